"""Tensors as the Open Inference Protocol carries them, and the inputs of a request."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.foreign import open_inference as oip
from headgate.foreign.bytes_tensors import split_elements
from headgate.server.dialects.messages import LARGE_BYTES, parse, parse_without, read_numbers
from headgate.server.dialects.open_inference_parameters import read_region
from headgate.server.errors import InvalidArgumentError
from headgate.server.inputs import GivenTensor, ListedElements, read_shape
from headgate.server.shared_memory import SharedMemory
from headgate.v1 import DataType
from headgate.v1.tensors import NUMPY_DTYPES, data_type_name, text_array

#: The protocol's names of data types: ours, but for text.
NAMES = {data_type: data_type_name(data_type).replace("STRING", "BYTES") for data_type in NUMPY_DTYPES}
DATA_TYPES = {name: data_type for data_type, name in NAMES.items()}
#: Where typed contents of each type travel. FP16 and BF16 can only be raw.
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


def read_tensors(message: Any, raw: Sequence[bytes | memoryview], memory: SharedMemory, most: int) -> list[GivenTensor]:
    """Read the inputs of a ModelInferRequest.

    Args:
        message: the request; where its inputs are neither in shared memory nor in `raw`, they have contents.
        raw: one entry for each input that is not in shared memory, or none.
        memory: the regions that inputs may be in.
        most: how many to read; of more than the model has, these are enough to refuse them.

    Raises:
        InvalidArgumentError: they are not carried as the protocol says.
        NotFoundError: one names a region that is not there.
        UnimplementedError: one names a region, and shared memory is not allowed.
    """
    tensors = []
    inputs = message.inputs
    used = 0
    for tensor in inputs if len(inputs) <= most else inputs[:most]:
        data_type = DATA_TYPES.get(tensor.datatype)
        if data_type is None:
            raise InvalidArgumentError(
                f"input '{tensor.name}' has datatype '{tensor.datatype}'; this server takes {', '.join(DATA_TYPES)}"
            )
        shape = read_shape(tensor.name, tensor.shape)
        region = read_region(tensor) if tensor.parameters else None
        if region is None and not raw:
            tensors.append(GivenTensor(tensor.name, shape, _read_contents(tensor), data_type))
            continue
        # Empty contents beside raw ones are what MLServer's converters make.
        if tensor.HasField("contents") and tensor.contents.ListFields():
            where = "the request's raw_input_contents" if region is None else "its shared memory region"
            raise InvalidArgumentError(f"input '{tensor.name}' has contents beside {where}; send one of the two")
        data: Any
        if region is not None:
            data = memory.input(*region).read()
        elif used < len(raw):
            data = raw[used]
            used += 1
        else:
            raise _wrong_count(message, raw)
        if data_type == _STRING:
            count = math.prod(shape)
            data = ListedElements(count, True, functools.partial(_split_strings, bytes(data), tensor.name, count))
        tensors.append(GivenTensor(tensor.name, shape, data, data_type))
    if used < len(raw) and len(inputs) <= most:
        raise _wrong_count(message, raw)
    return tensors


def _wrong_count(message: Any, raw: Sequence[bytes | memoryview]) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the request has {len(message.inputs)} inputs and {len(raw)} entries in raw_input_contents; send one for each "
        "input that is not in shared memory"
    )


def _read_contents(tensor: Any) -> bytes | ListedElements:
    field = _CONTENTS.get(tensor.datatype)
    if field is None and 0 in tensor.shape:
        return b""
    if field is None:
        raise InvalidArgumentError(f"input '{tensor.name}' of {tensor.datatype} can only travel in raw_input_contents")
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if filled not in ([], [field]):
        raise InvalidArgumentError(
            f"input '{tensor.name}' of {tensor.datatype} travels in {field}, this one has {', '.join(filled)}"
        )
    is_text = field == "bytes_contents"
    elements = getattr(tensor.contents, field)
    return ListedElements(
        len(elements), is_text, lambda: text_array(elements) if is_text else _read_numbers(tensor, field)
    )


def _read_numbers(tensor: Any, field: str) -> NDArray[Any]:
    wide = {"int_contents": np.int32, "uint_contents": np.uint32}
    dtype = NUMPY_DTYPES[DATA_TYPES[tensor.datatype]]
    array = read_numbers(tensor.contents, field, wide.get(field, dtype))
    narrow = array.astype(dtype)
    if not np.array_equal(narrow, array) and dtype.kind in "iu":
        raise InvalidArgumentError(f"input '{tensor.name}' holds numbers that {tensor.datatype} cannot")
    return narrow


def _split_strings(raw: bytes, name: str, count: int) -> NDArray[Any]:
    """Return the elements of a BYTES tensor; of more than `count`, as many as tell that they are."""
    try:
        elements = split_elements(raw, count)
    except ValueError as error:
        raise InvalidArgumentError(
            f"input '{name}' is no valid BYTES tensor: each element is a little-endian uint32 length and "
            f"that many bytes, but {error}"
        ) from None
    return text_array(elements)
