"""Requests that differ from an earlier one in nothing but their elements, which need not be parsed again."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from headgate.server.errors import ModelClosedError, ServerError
from headgate.server.inference import InferenceRequest, InputBuffer, Renderer, ShapeGroup
from headgate.server.model import LoadedModel
from headgate.server.repository import ModelRepository
from headgate.server.transport import Call

_COMPLEMENT = bytes(range(255, -1, -1))
#: Serialised requests without their elements: more than this is no common form of request.
_MAX_FRAME_BYTES = 4096
#: Places where the elements of requests of one length may be: a request is compared with what is known of each.
_MAX_LAYOUTS = 8


class PreparedRequest(NamedTuple):
    """A request that was parsed and checked.

    Attributes:
        is_lasting: whether the elements lie in the request, and the renderer is good for later ones, too; not where it
            names shared memory.
    """

    model: LoadedModel
    inputs: list[InputBuffer]
    rows: int
    group: ShapeGroup
    renderer: Renderer
    id: str
    priority: int = 1
    queue_timeout_s: float = math.inf
    is_lasting: bool = True

    def submit(self, call: Call) -> None:
        """Queue the request.

        Raises:
            QueueFullError: the model's queue has no room.
            DeadlineExceededError: it would not be done in time.
            ModelClosedError: the model was unloaded since the request was prepared.
        """
        model, inputs, rows, group, renderer, id, priority, queue_timeout_s, _ = self
        model.submit(InferenceRequest(call, inputs, rows, group, renderer, id, priority, queue_timeout_s))


class RequestCache:
    """Prepares requests, at next to no cost where one differs from an earlier one only in its elements.

    Most clients send the same message again and again with other elements. Parsing and checking it takes longer than
    running a small model, and copies large elements twice. Here such a message is recognised by its length and by the
    bytes around its elements, which are handed on as they are.
    """

    def __init__(
        self, prepare: Callable[[bytes], PreparedRequest], repository: ModelRepository, capacity: int = 1024
    ) -> None:
        """Take the function that parses and checks a serialised request, which may raise ServerError.

        What it answers holds until the models of the repository change.
        """
        self._prepare = prepare
        self._repository = repository
        self._generation = repository.generation
        self._capacity = capacity
        self._clear()

    def _clear(self) -> None:
        self._size = 0
        self._lengths: set[int] = set()
        # By length of the request, then by where its elements are, then by the bytes around them.
        self._layouts: dict[int, dict[tuple[int, int], dict[bytes, PreparedRequest]]] = {}

    def submit(self, call: Call) -> None:
        """Prepare and queue the request of a call.

        Raises:
            ServerError: it is wrong, or cannot be queued.
        """
        try:
            self.prepare(call.request).submit(call)
        except ModelClosedError:
            # It was unloaded in between. Where another version has taken its place, that is found now.
            self.prepare(call.request).submit(call)

    def prepare(self, request: bytes) -> PreparedRequest:
        """Parse and check a serialised request, or recognise it."""
        generation = self._repository.generation
        if generation != self._generation:
            self._generation = generation
            self._clear()
        length = len(request)
        layouts = self._layouts.get(length)
        if layouts is not None:
            for (start, stop), frames in layouts.items():
                known = frames.get(request[:start] + request[stop:])
                if known is not None:
                    model, _, rows, group, renderer, id, priority, queue_timeout_s, _ = known
                    elements = memoryview(request)[start:stop]
                    return PreparedRequest(model, [elements], rows, group, renderer, id, priority, queue_timeout_s)
        prepared = self._prepare(request)
        # Worth remembering if it is not the only one of its kind.
        if length in self._lengths:
            self._remember(request, prepared)
        else:
            # Lengths that nobody sends any more must not keep others out.
            if len(self._lengths) >= self._capacity:
                self._lengths.clear()
            self._lengths.add(length)
        return prepared

    def _remember(self, request: bytes, prepared: PreparedRequest) -> None:
        raw = prepared.inputs[0]
        # Its elements would not be checked.
        if prepared.model.inputs.checks_elements or not prepared.is_lasting:
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
            self._clear()
        frame = request[:start] + request[stop:]
        layouts = self._layouts.setdefault(len(request), {})
        if (start, stop) not in layouts and len(layouts) == _MAX_LAYOUTS:
            self._size -= len(layouts.pop(next(iter(layouts))))
        layouts.setdefault((start, stop), {})[frame] = prepared._replace(inputs=[])
        self._size += 1

    def _are_elements(self, request: bytes, start: int, stop: int) -> bool:
        """Prove that the elements, and nothing else, lie there: with these bytes flipped, all elements are flipped."""
        flipped = request[start:stop].translate(_COMPLEMENT)
        try:
            (raw,) = self._prepare(request[:start] + flipped + request[stop:]).inputs
        except ServerError:
            return False
        return bytes(raw) == flipped
