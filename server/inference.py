"""What dialects hand to batching and execution. No protobuf, no gRPC."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headgate.server.errors import ServerError

#: One input of one request: row-major elements of the model's type as bytes; strings as an object array.
InputBuffer = bytes | memoryview | NDArray[np.object_]
Outputs = Sequence[NDArray[Any]]
#: The shape of one row of each input where any has free dimensions; empty for a model whose row shapes are fixed. Equal
#: for requests that can share a batch, even where their sizes differ (see `headgate.server.padding`).
ShapeGroup = tuple[tuple[int, ...], ...]


class Caller(Protocol):
    """What an InferenceRequest needs of the call that waits for it; see `headgate.server.transport.Call`."""

    @property
    def deadline(self) -> float:
        """When the client stops waiting, in seconds of `time.time()`; `math.inf` if never."""

    def metadata(self, key: str) -> str | None:
        """Return the last value of a (lower-case, text) metadata key that came with the call."""

    def reply(self, response: bytes) -> None:
        """Answer with a serialised response message."""

    def fail(self, error: ServerError) -> None:
        """Answer with an error."""

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back, once, when the client goes before the answer."""


class Renderer(Protocol):
    """Turns a batch's outputs into one serialised answer a request.

    Renderers are compared by identity: requests that want the same form of answer share one, so that its work is done
    once a batch.
    """

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterable[bytes]:
        """Yield the answer of each request, in order; `request.start` and `request.stop` are its rows in `outputs`.

        Raises:
            ServerError: the outputs of one of the requests cannot be an answer; the others are rendered again.
        """


class InferenceRequest:
    """Rows for a model, and the call that waits for the answer.

    Attributes:
        inputs: one buffer for each input of the model, in the model's order.
        rows: the size of the batch dimension.
        group: only requests of the same can share a batch.
        priority: 1 goes first.
        renderer: makes the answer.
        id: the client's name for the request, "" if it gave none.
        deadline: when the client stops waiting, in seconds of `time.time()`.
        start_by: when it leaves the queue if it has not begun to run: the deadline, or earlier by a queue timeout.
        parts_before, parts_after: of a request that is run in parts, how many of them run before and after this one.
        arrived_ns: `time.perf_counter_ns()` when it was made.
        start, stop: its rows in the batch that it runs in.
    """

    __slots__ = (
        "arrived_ns",
        "call",
        "deadline",
        "group",
        "id",
        "inputs",
        "parts_after",
        "parts_before",
        "priority",
        "renderer",
        "rows",
        "start",
        "start_by",
        "stop",
    )

    def __init__(
        self,
        call: Caller,
        inputs: Sequence[InputBuffer],
        rows: int,
        group: ShapeGroup,
        renderer: Renderer,
        id: str = "",
        priority: int = 1,
        queue_timeout_s: float = math.inf,
    ) -> None:
        """Make a request that arrives now; `queue_timeout_s` is how long it may wait before it runs."""
        self.call = call
        self.inputs = inputs
        self.rows = rows
        self.group = group
        self.renderer = renderer
        self.id = id
        self.priority = priority
        self.deadline = self.start_by = call.deadline
        if queue_timeout_s < math.inf:
            self.start_by = min(self.deadline, time.time() + queue_timeout_s)
        self.parts_before = self.parts_after = 0
        self.arrived_ns = time.perf_counter_ns()
        self.start = 0
        self.stop = rows
