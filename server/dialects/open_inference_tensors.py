"""Tensors as the Open Inference Protocol carries them: the inputs of a request, the outputs of an answer."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import LARGE_BYTES, parse, parse_without
from headgate.server.errors import InvalidArgumentError, UnimplementedError
from headgate.server.inference import InferenceRequest, Outputs
from headgate.server.inputs import GivenTensor
from headgate.server.model import LoadedModel
from headgate.server.padding import own_outputs
from headgate.v1 import DataType
from headgate.v1.encoding import delimited, encode_varint, tag_of
from headgate.v1.tensors import NUMPY_DTYPES, data_type_name, text_array

#: The protocol's names of data types: ours, but for text.
NAMES = {data_type: data_type_name(data_type).replace("STRING", "BYTES") for data_type in NUMPY_DTYPES}
DATA_TYPES = {name: data_type for data_type, name in NAMES.items()}
#: Where typed contents of each type travel. FP16 can only be raw.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_STRING = DataType.DATA_TYPE_STRING
_LENGTH = struct.Struct("<I")
_ID = tag_of(oip.ModelInferResponse, "id")
_RAW_OUTPUT_CONTENTS = tag_of(oip.ModelInferResponse, "raw_output_contents")
_INFER_RESPONSE = tag_of(oip.ModelStreamInferResponse, "infer_response")


def parse_infer_request(request: bytes) -> tuple[Any, Sequence[bytes | memoryview]]:
    """Return a ModelInferRequest and its raw_input_contents; those of a large one are views of it, not copies.

    Raises:
        InvalidArgumentError: the bytes are no such message.
    """
    if len(request) >= LARGE_BYTES:
        parsed = parse_without(oip.ModelInferRequest, request, oip.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER)
        if parsed is not None:
            return parsed
    message = parse(oip.ModelInferRequest, request)
    return message, message.raw_input_contents


def read_tensors(message: Any, raw: Sequence[bytes | memoryview]) -> list[GivenTensor]:
    """Read the inputs of a ModelInferRequest, typed ones or the `raw` ones that came with it.

    Raises:
        InvalidArgumentError: they are not carried as the protocol says.
        UnimplementedError: one names a shared memory region.
    """
    if raw and len(raw) != len(message.inputs):
        raise InvalidArgumentError(
            f"the request has {len(message.inputs)} inputs and {len(raw)} entries in raw_input_contents; "
            "send one for each input"
        )
    tensors = []
    for index, tensor in enumerate(message.inputs):
        data_type = DATA_TYPES.get(tensor.datatype)
        if data_type is None:
            raise InvalidArgumentError(
                f"input '{tensor.name}' has datatype '{tensor.datatype}'; known are {', '.join(DATA_TYPES)}"
            )
        if tensor.parameters:
            refuse_shared_memory(tensor.name, tensor.parameters)
        if not raw:
            data: Any = _read_contents(tensor)
        elif tensor.HasField("contents"):
            raise InvalidArgumentError(
                f"input '{tensor.name}' has contents beside the request's raw_input_contents; send one of the two"
            )
        else:
            data = raw[index] if data_type != _STRING else _split_strings(bytes(raw[index]), tensor.name)
        tensors.append(GivenTensor(tensor.name, tuple(tensor.shape), data, data_type))
    return tensors


def _read_contents(tensor: Any) -> NDArray[Any]:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidArgumentError(f"input '{tensor.name}' of {tensor.datatype} can only travel in raw_input_contents")
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if filled not in ([], [field]):
        raise InvalidArgumentError(
            f"input '{tensor.name}' of {tensor.datatype} travels in {field}, this one has {', '.join(filled)}"
        )
    elements = getattr(tensor.contents, field)
    if field == "bytes_contents":
        return text_array(elements)
    wide = {"int_contents": np.int32, "uint_contents": np.uint32}
    dtype = NUMPY_DTYPES[DATA_TYPES[tensor.datatype]]
    array = np.array(elements, wide.get(field, dtype))
    narrow = array.astype(dtype)
    if not np.array_equal(narrow, array) and dtype.kind in "iu":
        raise InvalidArgumentError(f"input '{tensor.name}' holds numbers that {tensor.datatype} cannot")
    return narrow


def refuse_shared_memory(name: str, parameters: Any) -> None:
    """Raise UnimplementedError if the parameters of a tensor name a shared memory region."""
    if "shared_memory_region" in parameters:
        raise UnimplementedError(
            f"'{name}' names a shared memory region, which this server does not serve; send the tensor itself"
        )


class TensorRenderer:
    """Writes each request's rows of the outputs as a ModelInferResponse (in a ModelStreamInferResponse if streamed).

    An answer is put together from serialised parts, which protobuf allows: fields may be concatenated on the wire.
    """

    def __init__(self, model: LoadedModel, outputs: tuple[str, ...], streamed: bool) -> None:
        """Choose the outputs by name; none means all.

        Raises:
            InvalidArgumentError: the model has no output of that name.
        """
        specs = {spec.name: (index, spec) for index, spec in enumerate(model.session.outputs)}
        unknown = [name for name in outputs if name not in specs]
        if unknown:
            known = ", ".join(f"'{name}'" for name in specs)
            raise InvalidArgumentError(f"model '{model.name}' has no output '{unknown[0]}'; it has {known}")
        self._outputs = [specs[name] for name in outputs or specs]
        self._name = model.name
        self._version = str(model.version)
        self._streamed = streamed
        self._is_padded = bool(model.inputs.padding.outputs)
        self._constant_parts: dict[Any, bytes] = {}

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request."""
        item_shapes, slicers = self._read(outputs)
        for request in requests:
            start, stop = request.start, request.stop
            if self._is_padded:
                item_shapes, slicers = self._read(own_outputs(outputs, request))
                start, stop = 0, request.rows
            parts: list[bytes | memoryview] = [self._constant_part(request.rows, item_shapes)]
            if request.id:
                parts += delimited(_ID, request.id.encode())
            for rows in slicers:
                parts += delimited(_RAW_OUTPUT_CONTENTS, rows(start, stop))
            if self._streamed:
                parts[:0] = (_INFER_RESPONSE, encode_varint(sum(map(len, parts))))
            yield b"".join(parts)

    def _read(self, outputs: Outputs) -> tuple[tuple[tuple[int, ...], ...], list[Any]]:
        """Return of each chosen output the shape of a row, and what `_row_slicer` makes of it."""
        arrays = [outputs[index] for index, _ in self._outputs]
        return tuple([array.shape[1:] for array in arrays]), [_row_slicer(array) for array in arrays]

    def _constant_part(self, rows: int, item_shapes: tuple[tuple[int, ...], ...]) -> bytes:
        part = self._constant_parts.get((rows, item_shapes))
        if part is None:
            tensors = [
                {"name": spec.name, "datatype": NAMES[spec.datatype], "shape": (rows, *item_shape)}
                for (_, spec), item_shape in zip(self._outputs, item_shapes, strict=True)
            ]
            response = oip.ModelInferResponse(model_name=self._name, model_version=self._version, outputs=tensors)
            part = response.SerializeToString()
            # Free dimensions can make any number of shapes.
            if len(self._constant_parts) >= 1024:
                self._constant_parts.clear()
            self._constant_parts[rows, item_shapes] = part
        return part


def _row_slicer(array: NDArray[Any]) -> Any:
    """Return a function from rows (start, stop) to their elements as raw bytes."""
    if array.dtype == object:
        return lambda start, stop: _join_strings(array[start:stop])
    row_bytes = array.nbytes // len(array) if len(array) else 0
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return lambda start, stop: data[start * row_bytes : stop * row_bytes]


def _join_strings(elements: NDArray[Any]) -> bytes:
    encoded = [element.encode() if isinstance(element, str) else bytes(element) for element in elements.ravel()]
    return b"".join([part for element in encoded for part in (_LENGTH.pack(len(element)), element)])


def _split_strings(raw: bytes, name: str) -> NDArray[Any]:
    elements = []
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        if start > len(raw):
            break
        position = start + _LENGTH.unpack_from(raw, position)[0]
        elements.append(raw[start:position])
    if position != len(raw):
        raise InvalidArgumentError(
            f"input '{name}' is no valid BYTES tensor: each element is a little-endian uint32 length and that many "
            f"bytes, but {len(raw)} bytes end within an element"
        )
    return text_array(elements)
