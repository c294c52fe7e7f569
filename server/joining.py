"""The inputs of a batch, put together of those of its requests."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from headgate.server.inference import InferenceRequest, InputBuffer
from headgate.server.padding import PaddedShapes, pad
from headgate.v1 import DataType, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES

#: From here on memory that was used before beats new memory, with its page fault for every 4 KiB: measured by
#: `python -m headgate.benchmarks.joining`.
LARGE_BYTES = 2**19
#: The most that a thread keeps for an input of a model.
MAX_KEPT_BYTES = 2**26


class InputJoiner:
    """Puts one input of a model's batches together.

    Threads may do so at the same time. A large batch is overwritten by the next one that the same thread joins.
    """

    def __init__(self, index: int, spec: TensorSpec, fill: Any = None, pad_to_bucket: bool = False) -> None:
        """Prepare for an input.

        Args:
            index: which of the model's inputs it is.
            spec: its type and shape.
            fill: what requests of other sizes are filled up with; None if they cannot be.
            pad_to_bucket: whether they are filled up to the size of their bucket, and not just to that of the largest.
        """
        self._index = index
        self._dtype = NUMPY_DTYPES[spec.datatype]
        self._is_text = spec.datatype == DataType.DATA_TYPE_STRING
        self._fixed_shape = tuple(spec.shape[1:]) if min(spec.shape[1:], default=0) >= 0 else None
        self._fill = fill
        self._pad_to_bucket = pad_to_bucket
        self._memory = _ThreadMemory()

    def join(self, requests: Sequence[InferenceRequest], rows: int) -> NDArray[Any]:
        """Join a batch: [rows, ...]. A single request that is not filled up is not copied."""
        index = self._index
        item_shape = self._fixed_shape
        if item_shape is None:
            item_shape = requests[0].group[index]
            if self._fill is not None:
                shapes = [request.group[index] for request in requests]
                if self._pad_to_bucket:
                    item_shape = cast("PaddedShapes", requests[0].group).bucket[index]
                else:
                    item_shape = tuple(map(max, item_shape, *shapes))
                if shapes.count(item_shape) < len(shapes):
                    return self._pad(requests, rows, item_shape)
        if len(requests) == 1:
            return self._array(requests[0].inputs[index]).reshape(rows, *item_shape)
        parts: Any = [request.inputs[index] for request in requests]
        if self._is_text:
            return np.concatenate(parts).reshape(rows, *item_shape)
        if rows * math.prod(item_shape) * self._dtype.itemsize < LARGE_BYTES:
            return np.frombuffer(b"".join(parts), self._dtype).reshape(rows, *item_shape)
        joined = self._allocate(rows, item_shape)
        elements = joined.reshape(-1).view(np.uint8).data
        start = 0
        for part in parts:
            stop = start + len(part)
            elements[start:stop] = part
            start = stop
        return joined

    def _pad(self, requests: Sequence[InferenceRequest], rows: int, item_shape: tuple[int, ...]) -> NDArray[Any]:
        index = self._index
        arrays = [
            self._array(request.inputs[index]).reshape(request.rows, *request.group[index]) for request in requests
        ]
        joined = self._allocate(rows, item_shape)
        pad(arrays, joined, self._fill)
        return joined

    def _array(self, buffer: InputBuffer) -> NDArray[Any]:
        return buffer if isinstance(buffer, np.ndarray) else np.frombuffer(buffer, self._dtype)

    def _allocate(self, rows: int, item_shape: tuple[int, ...]) -> NDArray[Any]:
        size = rows * math.prod(item_shape) * self._dtype.itemsize
        if self._is_text or size < LARGE_BYTES:
            return np.empty((rows, *item_shape), self._dtype)
        return self._memory.take(size).view(self._dtype).reshape(rows, *item_shape)


class _ThreadMemory(threading.local):
    """Memory that a thread uses again and again."""

    _kept: NDArray[np.uint8] = np.empty(0, np.uint8)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return `size` bytes, overwritten by whoever takes them next."""
        if size > MAX_KEPT_BYTES:
            return np.empty(size, np.uint8)
        if len(self._kept) < size:
            # What is never written to takes no memory.
            self._kept = np.empty(1 << (size - 1).bit_length(), np.uint8)
        return self._kept[:size]
