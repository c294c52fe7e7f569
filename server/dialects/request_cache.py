"""Requests that differ from an earlier one in nothing but their elements, which need not be parsed again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from headgate.server.errors import ServerError
from headgate.server.inference import InferenceRequest, InputBuffer, Renderer, ShapeGroup
from headgate.server.model import LoadedModel
from headgate.server.transport import Call

_COMPLEMENT = bytes(range(255, -1, -1))
#: Serialised requests without their elements: more than this is no common form of request.
_MAX_FRAME_BYTES = 4096


class PreparedRequest(NamedTuple):
    """A request that was parsed and checked."""

    model: LoadedModel
    inputs: list[InputBuffer]
    rows: int
    group: ShapeGroup
    renderer: Renderer
    id: str
    priority: int = 1
    queue_timeout_s: float = math.inf

    def submit(self, call: Call) -> None:
        """Queue the request.

        Raises:
            QueueFullError: the model's queue has no room.
            DeadlineExceededError: it would not be done in time.
        """
        model, inputs, rows, group, renderer, id, priority, queue_timeout_s = self
        model.submit(InferenceRequest(call, inputs, rows, group, renderer, id, priority, queue_timeout_s))


class RequestCache:
    """Prepares requests, at next to no cost where one differs from an earlier one only in its elements.

    Most clients send the same message again and again with other elements. Parsing and checking it takes longer than
    running a small model, and copies large elements twice. Here such a message is recognised by its length and by the
    bytes around its elements, which are handed on as they are.
    """

    def __init__(self, prepare: Callable[[bytes], PreparedRequest], capacity: int = 1024) -> None:
        """Take the function that parses and checks a serialised request, which may raise ServerError."""
        self._prepare = prepare
        self._capacity = capacity
        self._size = 0
        self._lengths: set[int] = set()
        # By length of the request, then by where its elements are, then by the bytes around them.
        self._layouts: dict[int, dict[tuple[int, int], dict[bytes, PreparedRequest]]] = {}

    def prepare(self, request: bytes) -> PreparedRequest:
        """Parse and check a serialised request, or recognise it."""
        length = len(request)
        layouts = self._layouts.get(length)
        if layouts is not None:
            for (start, stop), frames in layouts.items():
                known = frames.get(request[:start] + request[stop:])
                if known is not None:
                    model, _, rows, group, renderer, id, priority, queue_timeout_s = known
                    elements = memoryview(request)[start:stop]
                    return PreparedRequest(model, [elements], rows, group, renderer, id, priority, queue_timeout_s)
        prepared = self._prepare(request)
        # Worth remembering if it is not the only one of its kind.
        if length in self._lengths:
            self._remember(request, prepared)
        elif len(self._lengths) < self._capacity:
            self._lengths.add(length)
        return prepared

    def _remember(self, request: bytes, prepared: PreparedRequest) -> None:
        raw = prepared.inputs[0]
        # Its elements would not be checked.
        if prepared.model.inputs.checks_elements:
            return
        # A request with an id of its own is not seen again.
        if prepared.id or len(prepared.inputs) > 1 or not isinstance(raw, bytes | memoryview) or not raw:
            return
        # Checked first: where there is much besides, the search can take as long as the product of both.
        if len(request) - len(raw) > _MAX_FRAME_BYTES:
            return
        raw = bytes(raw)
        start = request.rfind(raw)
        stop = start + len(raw)
        if start < 0 or not self._are_elements(request, start, stop):
            return
        if self._size >= self._capacity:
            self._layouts.clear()
            self._lengths.clear()
            self._size = 0
        frame = request[:start] + request[stop:]
        self._layouts.setdefault(len(request), {}).setdefault((start, stop), {})[frame] = prepared._replace(inputs=[])
        self._size += 1

    def _are_elements(self, request: bytes, start: int, stop: int) -> bool:
        """Prove that the elements, and nothing else, lie there: with these bytes flipped, all elements are flipped."""
        flipped = request[start:stop].translate(_COMPLEMENT)
        try:
            (raw,) = self._prepare(request[:start] + flipped + request[stop:]).inputs
        except ServerError:
            return False
        return bytes(raw) == flipped
