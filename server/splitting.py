"""Requests with more rows than a batch takes: run in parts, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from headgate.server.errors import DeadlineExceededError, ServerError
from headgate.server.inference import InferenceRequest, InputBuffer, Outputs
from headgate.server.padding import own_outputs
from headgate.server.statistics import Statistics


class SplitRequest:
    """A request whose parts run one after another; it is the caller of each, and its renderer.

    A part is queued when the one before it has run, so that requests which came meanwhile have their turn between them.
    The request itself is answered when all its parts have run, or one has failed.
    """

    def __init__(
        self,
        whole: InferenceRequest,
        max_rows: int,
        submit: Callable[[InferenceRequest], None],
        statistics: Statistics,
    ) -> None:
        """Split a request into parts of at most `max_rows`; `submit` queues a part."""
        self._whole = whole
        self._submit = submit
        self._statistics = statistics
        self._starts = range(0, whole.rows, max_rows)
        self._outputs: list[Outputs] = []
        self._cancelled = False
        self._on_cancel: Callable[[], None] | None = None
        self.deadline = whole.deadline

    def start(self) -> None:
        """Queue the first part.

        Raises:
            ServerError: it cannot be queued.
        """
        self._whole.call.watch_cancellation(self._cancel)
        self._submit(self._next_part())

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Keep the outputs of a part; yield the answer of the request if it was the last one."""
        (part,) = requests
        self._outputs.append(own_outputs(outputs, part))
        if part.parts_after:
            yield b""
        else:
            joined = [np.concatenate(parts) for parts in zip(*self._outputs, strict=True)]
            yield from self._whole.renderer.render(joined, [self._whole])

    def reply(self, answer: bytes) -> None:
        """Go on after a part: with the next one, or by answering the request."""
        # It knows the part that has run, which knows this: together they would wait for the garbage collector.
        self._on_cancel = None
        if len(self._outputs) == len(self._starts):
            self._outputs = []
            self._whole.call.reply(answer)
        elif self._cancelled:
            self._statistics.cancelled += 1
            self.fail(DeadlineExceededError("the client went away or its deadline passed; the rest was not run"))
        else:
            try:
                self._submit(self._next_part())
            except ServerError as error:
                self.fail(error)
            else:
                # The client may have gone since it was asked above.
                self._cancel_part()

    def fail(self, error: ServerError) -> None:
        """Answer the request with the error of a part."""
        self._on_cancel = None
        self._outputs = []
        self._whole.call.fail(error)

    def metadata(self, key: str) -> str | None:
        """Return the last value of a key of the request's metadata."""
        return self._whole.call.metadata(key)

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back when the request's client goes."""
        self._on_cancel = callback

    def _cancel(self) -> None:
        self._cancelled = True
        self._cancel_part()

    def _cancel_part(self) -> None:
        on_cancel = self._on_cancel
        if self._cancelled and on_cancel is not None:
            on_cancel()

    def _next_part(self) -> InferenceRequest:
        whole = self._whole
        index = len(self._outputs)
        start = self._starts[index]
        rows = min(self._starts.step, whole.rows - start)
        inputs = [_rows(buffer, whole.rows, start, start + rows) for buffer in whole.inputs]
        part = InferenceRequest(self, inputs, rows, whole.group, self, whole.id, whole.priority)
        part.parts_before, part.parts_after = index, len(self._starts) - index - 1
        if not index:
            part.start_by = whole.start_by
        return part


def _rows(buffer: InputBuffer, rows: int, start: int, stop: int) -> InputBuffer:
    row_size = len(buffer) // rows
    view = memoryview(buffer) if isinstance(buffer, bytes) else buffer
    return view[start * row_size : stop * row_size]
