"""Tensors as TensorFlow Serving carries them: the inputs of a PredictRequest, the outputs of a PredictResponse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.foreign import message_class
from headgate.foreign import tensorflow_serving as tfs
from headgate.server.dialects.messages import LARGE_BYTES, parse, parse_without, read_numbers
from headgate.server.errors import InvalidArgumentError
from headgate.server.inputs import GivenTensor, ListedElements, read_shape
from headgate.v1 import DataType, TensorSpec
from headgate.v1.encoding import encode_varint, tag_of
from headgate.v1.tensors import NUMPY_DTYPES, text_array

#: TensorFlow's name of each data type, and the list that its elements travel in.
_TYPES = {
    DataType.DATA_TYPE_BOOL: ("DT_BOOL", "bool_val"),
    DataType.DATA_TYPE_UINT8: ("DT_UINT8", "int_val"),
    DataType.DATA_TYPE_UINT16: ("DT_UINT16", "int_val"),
    DataType.DATA_TYPE_UINT32: ("DT_UINT32", "uint32_val"),
    DataType.DATA_TYPE_UINT64: ("DT_UINT64", "uint64_val"),
    DataType.DATA_TYPE_INT8: ("DT_INT8", "int_val"),
    DataType.DATA_TYPE_INT16: ("DT_INT16", "int_val"),
    DataType.DATA_TYPE_INT32: ("DT_INT32", "int_val"),
    DataType.DATA_TYPE_INT64: ("DT_INT64", "int64_val"),
    DataType.DATA_TYPE_FP16: ("DT_HALF", "half_val"),
    DataType.DATA_TYPE_FP32: ("DT_FLOAT", "float_val"),
    DataType.DATA_TYPE_FP64: ("DT_DOUBLE", "double_val"),
    DataType.DATA_TYPE_STRING: ("DT_STRING", "string_val"),
    DataType.DATA_TYPE_BF16: ("DT_BFLOAT16", "half_val"),
}
_DATA_TYPES = {tfs.DataType.Value(name): data_type for data_type, (name, _) in _TYPES.items()}
_STRING = DataType.DATA_TYPE_STRING
#: Lists whose elements are wider than those of some of their types.
_WIDE = {"int_val": np.int32, "half_val": np.int32}
#: Lists that travel as the elements lie in memory.
_AS_IN_MEMORY = ("float_val", "double_val", "bool_val")
_NO_ELEMENTS = {"dtype", "tensor_shape", "version_number"}
#: The most elements that a request can have which it does not send: those that repeat one that it does.
MAX_REPEATED_ELEMENTS = 2**18

#: From rows (start, stop) of an output to the parts of their serialised map entry.
RowWriter = Callable[[int, int], tuple[bytes, bytes | memoryview]]

_InputsEntry = message_class("tensorflow.serving.PredictRequest.InputsEntry")
_OutputsEntry = message_class("tensorflow.serving.PredictResponse.OutputsEntry")
_OUTPUTS = tag_of(tfs.PredictResponse, "outputs")
_VALUE = tag_of(_OutputsEntry, "value")


def parse_predict_request(request: bytes) -> tuple[Any, Mapping[str, tuple[Any, bytes | memoryview]]]:
    """Return a PredictRequest, and its inputs by name, each with its tensor_content; that of a large one is a view.

    Raises:
        InvalidArgumentError: the bytes are no such message.
    """
    if len(request) >= LARGE_BYTES:
        parsed = parse_without(tfs.PredictRequest, request, tfs.PredictRequest.INPUTS_FIELD_NUMBER)
        inputs = _parse_inputs(parsed[1]) if parsed is not None else None
        if parsed is not None and inputs is not None:
            return parsed[0], inputs
    message = parse(tfs.PredictRequest, request)
    return message, {name: (tensor, tensor.tensor_content) for name, tensor in message.inputs.items()}


def _parse_inputs(entries: Sequence[memoryview]) -> Mapping[str, tuple[Any, bytes | memoryview]] | None:
    """Parse the inputs of a request but for their tensor_content; None where they are not as clients write them."""
    inputs = {}
    for serialized in entries:
        parsed = parse_without(_InputsEntry, serialized, _InputsEntry.VALUE_FIELD_NUMBER)
        if parsed is None or len(parsed[1]) != 1:
            return None
        entry, (value,) = parsed
        tensor = parse_without(tfs.TensorProto, value, tfs.TensorProto.TENSOR_CONTENT_FIELD_NUMBER)
        if tensor is None:
            return None
        inputs[entry.key] = (tensor[0], tensor[1][-1] if tensor[1] else b"")
    return inputs


def read_tensor(name: str, tensor: Any, content: bytes | memoryview) -> GivenTensor:
    """Read an input: a TensorProto, and its tensor_content, if it has any.

    Raises:
        InvalidArgumentError: it is of no type that models take, or not carried as the protocol says.
    """
    data_type = _DATA_TYPES.get(tensor.dtype)
    if data_type is None:
        known = tensor.dtype in tfs.DataType.values()
        came = tfs.DataType.Name(tensor.dtype) if known else tensor.dtype
        raise InvalidArgumentError(
            f"input '{name}' has dtype {came}; models take {', '.join(type_name for type_name, _ in _TYPES.values())}"
        )
    type_name, field = _TYPES[data_type]
    if tensor.tensor_shape.unknown_rank:
        raise InvalidArgumentError(f"input '{name}' has a shape of unknown rank; give the size of each dimension")
    shape = read_shape(name, [dim.size for dim in tensor.tensor_shape.dim])
    filled = [descriptor.name for descriptor, _ in tensor.ListFields() if descriptor.name not in _NO_ELEMENTS]
    if content:
        if filled not in ([], ["tensor_content"]):
            raise InvalidArgumentError(
                f"input '{name}' has elements in tensor_content and in {filled[-1]}; fill one of them"
            )
        if data_type == _STRING:
            raise InvalidArgumentError(f"input '{name}' of DT_STRING can only travel in string_val")
        return GivenTensor(name, shape, content, data_type)
    if filled not in ([], [field]):
        raise InvalidArgumentError(
            f"input '{name}' of {type_name} travels in tensor_content or {field}, this one has {', '.join(filled)}"
        )
    count = len(getattr(tensor, field))
    missing = 0 if min(shape, default=0) < 0 else max(0, math.prod(shape) - count)
    if missing > MAX_REPEATED_ELEMENTS:
        raise InvalidArgumentError(
            f"input '{name}' of shape [{','.join(map(str, shape))}] came with {count} elements; "
            f"at most {MAX_REPEATED_ELEMENTS} can be left out to repeat the last one, send all"
        )

    def read() -> NDArray[Any]:
        return _fill_up(_read_list(name, tensor, type_name, field, NUMPY_DTYPES[data_type]), missing)

    return GivenTensor(name, shape, ListedElements(count + missing, data_type == _STRING, read), data_type)


def _read_list(name: str, tensor: Any, type_name: str, field: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    if field == "string_val":
        return text_array(tensor.string_val)
    wide = read_numbers(tensor, field, _WIDE.get(field, dtype))
    narrow = wide.astype(np.uint16 if field == "half_val" else dtype)
    if field in _WIDE and not np.array_equal(narrow, wide):
        raise InvalidArgumentError(f"input '{name}' holds numbers in {field} that are none of {type_name}")
    return narrow.view(dtype)


def _fill_up(elements: NDArray[Any], missing: int) -> NDArray[Any]:
    """Repeat the last element, zero if there is none, for so many that are missing."""
    if not missing:
        return elements
    last = elements[-1:]
    if not len(last):
        last = np.array([b""], object) if elements.dtype == object else np.zeros(1, elements.dtype)
    return np.append(elements, last.repeat(missing))


def tensor_info(spec: TensorSpec) -> Any:
    """Describe an input or output of a signature: a TensorInfo; -1 are sizes that are free."""
    return tfs.TensorInfo(name=spec.name, dtype=_TYPES[spec.datatype][0], tensor_shape=_shape(spec.shape))


def _shape(sizes: Sequence[int]) -> Any:
    return tfs.TensorShapeProto(dim=[tfs.TensorShapeProto.Dim(size=size) for size in sizes])


class OutputWriter:
    """Writes rows of one output as they stand in a PredictResponse, in the list of its type as TensorFlow Serving does.

    Clients that were written by hand read these lists. For floats they cost no more than tensor_content would.
    """

    def __init__(self, spec: TensorSpec) -> None:
        """Take the name and the type of the output."""
        self._name = spec.name
        self._dtype, self._field = _TYPES[spec.datatype]
        self._openings: dict[Any, bytes] = {}

    def rows(self, array: NDArray[Any]) -> RowWriter:
        """Return what writes the rows of an array [rows, ...]."""
        item_shape = array.shape[1:]
        elements = self._elements(array)

        def write(start: int, stop: int) -> tuple[bytes, bytes | memoryview]:
            serialized = elements(start, stop)
            return self._opening(stop - start, item_shape, len(serialized)), serialized

        return write

    def _elements(self, array: NDArray[Any]) -> Callable[[int, int], bytes | memoryview]:
        if self._field in _AS_IN_MEMORY:
            row_bytes = array.nbytes // len(array) if len(array) else 0
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            return lambda start, stop: data[start * row_bytes : stop * row_bytes]
        # protobuf writes varints and text; the field comes with its tag and length.
        bits = array.view(np.uint16) if self._field == "half_val" else array
        return lambda start, stop: tfs.TensorProto(**{self._field: _listed(bits[start:stop])}).SerializeToString()

    def _opening(self, rows: int, item_shape: tuple[int, ...], size: int) -> bytes:
        """Return what stands before elements of a size in bytes."""
        opening = self._openings.get((rows, item_shape, size))
        if opening is None:
            tensor = tfs.TensorProto(dtype=self._dtype, tensor_shape=_shape((rows, *item_shape))).SerializeToString()
            if self._field in _AS_IN_MEMORY:
                tensor += tag_of(tfs.TensorProto, self._field) + encode_varint(size)
            key = _OutputsEntry(key=self._name).SerializeToString()
            entry = key + _VALUE + encode_varint(len(tensor) + size) + tensor
            opening = _OUTPUTS + encode_varint(len(entry) + size) + entry
            # Free dimensions and text can make any number of sizes.
            if len(self._openings) >= 1024:
                self._openings.clear()
            self._openings[rows, item_shape, size] = opening
        return opening


def _listed(array: NDArray[Any]) -> list[Any]:
    elements = array.ravel().tolist()
    if array.dtype == object:
        return [each.encode() if isinstance(each, str) else each for each in elements]
    return elements
