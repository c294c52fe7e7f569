"""What dialects hand to batching and execution. No protobuf, no gRPC."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.server.transport import Call

#: One input of one request: row-major elements of the model's type as bytes; strings as an object array.
InputBuffer = bytes | memoryview | NDArray[np.object_]
Outputs = Sequence[NDArray[Any]]
#: The shape of one row of each input where any has free dimensions; empty for a model whose row shapes are fixed.
ShapeGroup = tuple[tuple[int, ...], ...]


class Renderer(Protocol):
    """Turns a batch's outputs into one serialised answer a request.

    Renderers are compared by identity: requests that want the same form of answer share one, so that its work is done
    once a batch.
    """

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterable[bytes]:
        """Yield the answer of each request, in order; `request.start` and `request.stop` are its rows in `outputs`."""


class InferenceRequest:
    """Rows for a model, and the call that waits for the answer.

    Attributes:
        inputs: one buffer for each input of the model, in the model's order.
        rows: the size of the batch dimension.
        group: only requests of the same can share a batch.
        renderer: makes the answer.
        id: the client's name for the request, "" if it gave none.
        deadline: in seconds of `time.time()`.
        arrived_ns: `time.perf_counter_ns()` when it was made.
        start, stop: its rows in the batch that it runs in.
    """

    __slots__ = ("arrived_ns", "call", "deadline", "group", "id", "inputs", "renderer", "rows", "start", "stop")

    def __init__(
        self,
        call: Call,
        inputs: Sequence[InputBuffer],
        rows: int,
        group: ShapeGroup,
        renderer: Renderer,
        id: str = "",
    ) -> None:
        self.call = call
        self.inputs = inputs
        self.rows = rows
        self.group = group
        self.renderer = renderer
        self.id = id
        self.deadline = call.deadline
        self.arrived_ns = time.perf_counter_ns()
        self.start = 0
        self.stop = rows
