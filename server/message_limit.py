"""How large the requests of models can be: read from their files, without loading them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import DecodeError

from headgate.v1.wire import map_file, read_varint, values_of

_MIB = 1024 * 1024
#: What every server takes.
_LEAST_BYTES = 16 * _MIB
#: What a model whose rows have no fixed size can be sent at least.
_LEAST_BYTES_OF_FREE_SIZES = 64 * _MIB
#: So many full batches fit a request; it is run in parts.
_BATCHES = 4
#: Names, shapes and options.
_MARGIN_BYTES = 64 * 1024

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_GRAPH, _INPUT, _TYPE, _TENSOR_TYPE, _ELEMENT_TYPE, _SHAPE, _DIM, _DIM_VALUE = 7, 11, 2, 1, 1, 2, 1, 1
#: The bytes of an element, by TensorProto.DataType.
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}


def largest_message_bytes(models: Iterable[tuple[Path, int]], *, others_may_come: bool = False) -> int:
    """Return the size of the largest request that models should be sent, given their ONNX files and largest batches.

    That is four full batches of the model with the largest rows. Models that are loaded later are not known.
    """
    largest = _LEAST_BYTES_OF_FREE_SIZES if others_may_come else _LEAST_BYTES
    for path, max_batch_size in models:
        row_bytes = fixed_row_bytes(path)
        if row_bytes is None:
            largest = max(largest, _LEAST_BYTES_OF_FREE_SIZES)
        else:
            largest = max(largest, _BATCHES * max_batch_size * row_bytes)
    return largest + _MARGIN_BYTES


def fixed_row_bytes(path: Path) -> int | None:
    """Return the bytes of a row of all inputs; None where a size is free, or the file is not readable as ONNX."""
    try:
        return sum(map(_input_row_bytes, values_of(map_file(path), _GRAPH, _INPUT)))
    except (OSError, ValueError, LookupError, DecodeError):
        # Where the file is at fault, loading says why.
        return None


def _input_row_bytes(graph_input: memoryview) -> int:
    (tensor,) = values_of(graph_input, _TYPE, _TENSOR_TYPE)
    (element_type,) = values_of(tensor, _ELEMENT_TYPE)
    _, *dims = values_of(tensor, _SHAPE, _DIM)
    sizes = [size for dim in dims for size in values_of(dim, _DIM_VALUE)]
    if len(sizes) < len(dims):
        raise ValueError("a dimension is free")
    return _ITEM_BYTES[read_varint(element_type)[0]] * math.prod(read_varint(size)[0] for size in sizes)
