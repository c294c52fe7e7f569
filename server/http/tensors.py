"""Raw tensors as JSON and binary data, which is the Open Inference Protocol's REST form, and as its gRPC messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from headgate.foreign import open_inference as oip
from headgate.foreign.bytes_tensors import join_elements, split_elements
from headgate.server.errors import InvalidArgumentError
from headgate.server.http.arrays import array_of
from headgate.server.http.schemas import InferRequest, InputTensor, RequestedOutput, parse
from headgate.server.inputs import read_shape
from headgate.v1.tensors import NUMPY_DTYPES, convert, data_type_name, format_shape

#: By the protocol's name. What travels in two bytes has no JSON.
_DTYPES = {
    data_type_name(data_type): dtype
    for data_type, dtype in NUMPY_DTYPES.items()
    if data_type_name(data_type) not in ("STRING", "FP16", "BF16")
}
_BINARY_SIZE, _BINARY, _BINARY_DEFAULT = "binary_data_size", "binary_data", "binary_data_output"
_REGION = "shared_memory_region"


def read_infer_request(body: bytes, json_length: int | None) -> tuple[Any, Callable[[str], bool]]:
    """Make a ModelInferRequest, but for the model's name; return it with what tells which outputs are to be binary.

    Args:
        body: JSON, followed by the tensors that it says are binary.
        json_length: how long the JSON is; None means all of it.

    Raises:
        InvalidArgumentError: the body is not as the protocol says.
    """
    if json_length is not None and not 0 < json_length <= len(body):
        raise InvalidArgumentError(
            f"Inference-Header-Content-Length is {json_length}, the body has {len(body)} bytes; give the length of the "
            "JSON at its start"
        )
    given = parse(InferRequest, body[:json_length])
    message = oip.ModelInferRequest(id=given.id)
    binary_default = given.parameters.pop(_BINARY_DEFAULT, False)
    _set_parameters(message.parameters, given.parameters)
    _add_inputs(message, given.inputs, memoryview(body)[json_length or len(body) :])
    return message, _add_outputs(message, given.outputs, binary_default is True)


def write_infer_answer(response: Any, is_binary: Callable[[str], bool]) -> tuple[bytes, int | None]:
    """Return the body for a ModelInferResponse, and how long the JSON at its start is if binary tensors follow.

    Raises:
        InvalidArgumentError: an output can only be binary, and is not to be.
    """
    outputs, tensors = [], []
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        described: dict[str, Any] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        # Those in shared memory have neither, nor do they from Triton: its C++ client takes any parameters of an output
        # for those of binary data.
        if _REGION not in output.parameters:
            if is_binary(output.name):
                described["parameters"] = {_BINARY_SIZE: len(raw)}
                tensors.append(raw)
            else:
                described["data"] = _elements(output, raw)
        outputs.append(described)
    answer: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        answer["id"] = response.id
    if response.parameters:
        answer["parameters"] = plain_parameters(response.parameters)
    head = to_json(answer | {"outputs": outputs}, inf_nan_mode="null")
    return (b"".join([head, *tensors]), len(head)) if tensors else (head, None)


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map of InferParameters as plain values."""
    chosen = {key: (value, value.WhichOneof("parameter_choice")) for key, value in parameters.items()}
    return {key: getattr(value, kind) for key, (value, kind) in chosen.items() if kind}


def _set_parameters(target: Any, parameters: Mapping[str, bool | int | float | str]) -> None:
    for key, value in parameters.items():
        match value:
            case bool():
                target[key].bool_param = value
            case str():
                target[key].string_param = value
            case float():
                target[key].double_param = value
            case int() if -(2**63) <= value < 2**63:
                target[key].int64_param = value
            case int() if 0 <= value < 2**64:
                target[key].uint64_param = value
            case _:
                raise InvalidArgumentError(f"parameter '{key}' is {value}; whole numbers have at most 64 bits")


def _add_inputs(message: Any, inputs: Iterable[InputTensor], binary: memoryview) -> None:
    position = 0
    for tensor in inputs:
        size = tensor.parameters.pop(_BINARY_SIZE, None)
        ways = (size is not None, tensor.data is not None, _REGION in tensor.parameters)
        if sum(ways) != 1:
            raise InvalidArgumentError(
                f"input '{tensor.name}' has {sum(ways)} of data, {_BINARY_SIZE} and {_REGION}; give one of them"
            )
        added = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        _set_parameters(added.parameters, tensor.parameters)
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(binary) - position:
                raise InvalidArgumentError(
                    f"input '{tensor.name}' has the {_BINARY_SIZE} {size!r}, {len(binary) - position} bytes are left "
                    "in the body; give the number of bytes of the tensor, and append them to the JSON"
                )
            message.raw_input_contents.append(bytes(binary[position : position + size]))
            position += size
        elif tensor.data is not None:
            message.raw_input_contents.append(_raw(tensor))
    if position != len(binary):
        raise InvalidArgumentError(
            f"the body has {len(binary)} bytes after its JSON, the inputs' {_BINARY_SIZE} add up to {position}"
        )


def _add_outputs(message: Any, outputs: Iterable[RequestedOutput], binary_default: bool) -> Callable[[str], bool]:
    binary = {output.name: output.parameters.pop(_BINARY, binary_default) is True for output in outputs}
    for output in outputs:
        added = message.outputs.add(name=output.name)
        _set_parameters(added.parameters, output.parameters)
    return lambda name: binary.get(name, binary_default)


def _raw(tensor: InputTensor) -> bytes:
    """Return the elements of an input as they travel in raw_input_contents."""
    array = array_of(tensor.data, tensor.name)
    shape = read_shape(tensor.name, tensor.shape)
    if array.shape != shape and (array.ndim > 1 or array.size != math.prod(shape)):
        raise InvalidArgumentError(
            f"input '{tensor.name}' has shape {format_shape(shape)}, its data {format_shape(array.shape)}; "
            f"send {math.prod(shape)} elements, flat or nested as the shape says"
        )
    if tensor.datatype == "BYTES":
        if array.size and array.dtype != object:
            raise InvalidArgumentError(f"input '{tensor.name}' of BYTES holds no text; send text")
        return join_elements([text.encode() for text in array.ravel()])
    dtype = _DTYPES.get(tensor.datatype)
    if dtype is None:
        raise InvalidArgumentError(
            f"input '{tensor.name}' has datatype '{tensor.datatype}'; JSON can carry {', '.join(_DTYPES)} and BYTES, "
            "FP16 and BF16 travel as binary data"
        )
    return _convert(array, dtype, tensor).tobytes()


def _convert(array: NDArray[Any], dtype: np.dtype[Any], tensor: InputTensor) -> NDArray[Any]:
    fitting = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
    if array.size and array.dtype.kind not in fitting:
        what = {"O": "text", "b": "booleans"}.get(array.dtype.kind, "fractions, or numbers beyond 64 bits")
        raise InvalidArgumentError(f"input '{tensor.name}' of {tensor.datatype} holds {what}")
    converted, lost = convert(array, dtype)
    if array.size and lost.any():
        first = array.ravel()[lost.ravel().argmax()]
        raise InvalidArgumentError(f"input '{tensor.name}' holds {first}, which {tensor.datatype} cannot")
    return converted


def _elements(output: Any, raw: bytes) -> list[Any]:
    if output.datatype == "BYTES":
        return _texts(raw, output.name)
    dtype = _DTYPES.get(output.datatype)
    if dtype is None:
        raise InvalidArgumentError(
            f"output '{output.name}' is of {output.datatype}, which JSON cannot carry; ask for binary data: "
            f'{{"name": "{output.name}", "parameters": {{"{_BINARY}": true}}}}'
        )
    elements: list[Any] = np.frombuffer(raw, dtype).tolist()
    return elements


def _texts(raw: bytes, name: str) -> list[str]:
    try:
        return [element.decode() for element in split_elements(raw)]
    except UnicodeDecodeError:
        raise InvalidArgumentError(
            f"output '{name}' holds bytes that are no UTF-8, which JSON cannot carry; ask for binary data"
        ) from None
