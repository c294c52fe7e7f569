"""Requests of many callers as one, and its answer as theirs."""

import asyncio
import concurrent.futures
import copy
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import accumulate, pairwise

from headgate.client.predictions import Predictions
from headgate.v1 import PredictRequest

Future = asyncio.Future[Predictions] | concurrent.futures.Future[Predictions]

#: Of requests that go together. Beyond it, what a call costs is little beside what its bytes cost.
_MAX_BYTES = 2**20


class Waiting:
    """A caller that waits for its answer.

    Attributes:
        request: what it asks.
        deadline: of `time.monotonic()`, after which nobody waits; None means never.
        future: of the answer; cancelled by a caller that has gone.
        rows, size: of the request, its size in bytes.
        kind: what requests have in common that can go together.
    """

    def __init__(self, request: PredictRequest, deadline: float | None, future: Future) -> None:
        self.request = request
        self.deadline = deadline
        self.future = future
        self.size = request.ByteSize()
        rows = {tensor.shape[0] if tensor.shape else -1 for tensor in request.inputs}
        self.rows = max(rows, default=-1)
        inputs = [(tensor.name, tensor.datatype, tensor.shape[1:]) for tensor in request.inputs]
        # One whose inputs differ in their rows, or have none, goes alone: the server says what is wrong with it.
        self.kind = (request.version, request.inputs_hash, inputs) if len(rows) == 1 and self.rows >= 0 else self


class WaitingList:
    """Those who wait, in the order in which they came."""

    def __init__(self, max_rows: int) -> None:
        """Take the most rows that go together."""
        self._max_rows = max_rows
        self._waiting: deque[Waiting] = deque()

    def add(self, waiting: Waiting) -> None:
        """Let one more wait."""
        self._waiting.append(waiting)

    def take(self) -> list[Waiting]:
        """Remove those who go together next, the first and others of its kind; nobody if nobody waits."""
        taken: list[Waiting] = []
        passed: list[Waiting] = []
        rows = size = 0
        while self._waiting and rows < self._max_rows:
            waiting = self._waiting.popleft()
            if waiting.future.done():
                continue
            fits = rows + waiting.rows <= self._max_rows and size + waiting.size <= _MAX_BYTES
            if not taken or (fits and waiting.kind == taken[0].kind):
                taken.append(waiting)
                rows += waiting.rows
                size += waiting.size
            else:
                passed.append(waiting)
        self._waiting.extendleft(reversed(passed))
        return taken

    def take_all(self) -> list[Waiting]:
        """Remove everybody."""
        everybody = list(self._waiting)
        self._waiting.clear()
        return everybody


def join(together: Sequence[Waiting]) -> tuple[PredictRequest, float | None]:
    """Return one request for the rows of all, who are of one kind, and for how many seconds the last of them waits."""
    deadlines = [waiting.deadline for waiting in together if waiting.deadline is not None]
    timeout_s = time_left(max(deadlines)) if len(deadlines) == len(together) else None
    first, *others = (waiting.request for waiting in together)
    if not others:
        return first, timeout_s
    joined = PredictRequest()
    joined.CopyFrom(first)
    for index, tensor in enumerate(joined.inputs):
        parts = [waiting.request.inputs[index] for waiting in together]
        tensor.shape[0] = sum(waiting.rows for waiting in together)
        tensor.raw = b"".join([part.raw for part in parts])
        tensor.strings[:] = [text for part in parts for text in part.strings]
    return joined, timeout_s


def time_left(deadline: float | None) -> float | None:
    """Return the seconds until a deadline of `time.monotonic()`."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def settle(together: Sequence[Waiting], outcome: Predictions | Exception) -> None:
    """Give each its rows of the answer, or an exception of its own."""
    ends = accumulate((waiting.rows for waiting in together), initial=0)
    for waiting, (start, stop) in zip(together, pairwise(ends), strict=True):
        # Those who have gone.
        with suppress(asyncio.InvalidStateError, concurrent.futures.InvalidStateError):
            if isinstance(outcome, Exception):
                waiting.future.set_exception(copy.copy(outcome))
            else:
                waiting.future.set_result(outcome if len(together) == 1 else _rows(outcome, start, stop))


def _rows(predictions: Predictions, start: int, stop: int) -> Predictions:
    columns = {head: columns.rows(start, stop) for head, columns in predictions.columns.items()}
    return replace(predictions, rows=stop - start, columns=columns)
