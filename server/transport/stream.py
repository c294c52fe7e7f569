"""Streams: what is read, answered and written when, whichever transport does it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from headgate.server.errors import ServerError, UnavailableError
from headgate.server.transport.base import Method, MethodKind
from headgate.server.transport.options import TransportOptions


class Stream(ABC):
    """A stream: reads ahead up to a window, answers in the order of the requests, writes one message at a time.

    A client that does not read its answers is not read from once the window is full, so that it cannot make the
    server's memory grow. A transport implements `start_read`, `start_write` and `start_end`, which must not block, and
    calls `on_message`, `on_sent` and `on_closed` on its I/O thread.
    """

    def __init__(self, method: Method, options: TransportOptions, streams: set[Stream]) -> None:
        """Join `streams`, those that are open, from `open` until `on_closed`."""
        self._method = method
        self._window, self._window_bytes = options.stream_window, options.stream_window_bytes
        self._streams = streams
        self._lock = threading.RLock()
        self._unanswered: deque[StreamCall] = deque()
        self._outbox: deque[bytes] = deque()
        #: The bytes of requests, and of answers that wait for their turn or to be written.
        self._held_bytes = 0
        self._error: ServerError | None = None
        self._sending = self._reading = self._half_closed = self._draining = self._closed = False

    @property
    @abstractmethod
    def deadline(self) -> float:
        """In seconds of `time.time()`."""

    @abstractmethod
    def metadata(self, key: str) -> str | None:
        """Return the last value of a key."""

    @abstractmethod
    def start_read(self) -> None:
        """Read a message; then `on_message` is called."""

    @abstractmethod
    def start_write(self, message: bytes) -> None:
        """Write a message; then `on_sent` is called."""

    @abstractmethod
    def start_end(self, error: ServerError | None) -> None:
        """End the stream with a status, OK without an error."""

    def open(self) -> None:
        """Begin to read."""
        with self._lock:
            self._streams.add(self)
            self._reading = True
            self.start_read()

    def drain(self) -> None:
        """Take no more requests; end when those taken are answered. A server stream ends at once."""
        with self._lock:
            self._draining = True
            self._advance()

    def on_message(self, request: bytes | None) -> None:
        """Hand over a request; None is the end of the requests."""
        call = None
        with self._lock:
            self._reading = False
            if request is None:
                self._half_closed = True
            elif not (self._draining or self._closed or self._error):
                call = StreamCall(self, self._method, request)
                self._unanswered.append(call)
                self._held_bytes += len(request)
        if call is not None:
            self._method.take(call)
        with self._lock:
            self._advance()

    def on_sent(self) -> None:
        """Go on after a message was written."""
        with self._lock:
            self._sending = False
            self._advance()

    def on_closed(self) -> None:
        """Drop what is left, and tell the calls that still wait for an answer."""
        with self._lock:
            self._streams.discard(self)
            self._closed = True
            abandoned = [call for call in self._unanswered if call.answer is None]
            self._unanswered.clear()
            self._outbox.clear()
        for call in abandoned:
            call.cancel()

    def settle(self, call: StreamCall, answer: bytes | ServerError) -> None:
        """Note the first answer of a call; move those that are next to the outbox, up to an error, and write on."""
        with self._lock:
            if call.answer is not None:
                return
            call.answer = answer
            if isinstance(answer, bytes):
                self._held_bytes += len(answer)
            unanswered = self._unanswered
            while unanswered and self._error is None and (following := unanswered[0].answer) is not None:
                self._held_bytes -= len(unanswered.popleft().request)
                if isinstance(following, ServerError):
                    self._error = following
                else:
                    self._outbox.append(following)
            self._advance()

    def push(self, response: bytes) -> None:
        """Write a message that answers no request in particular."""
        with self._lock:
            if not self._closed:
                self._outbox.append(response)
                self._held_bytes += len(response)
                self._advance()

    def _advance(self) -> None:
        """Start the next write, the end, or the next read, whichever is due."""
        if self._closed:
            return
        if self._outbox and not self._sending:
            self._sending = True
            response = self._outbox.popleft()
            self._held_bytes -= len(response)
            self.start_write(response)
        elif not self._sending:
            self._end_if_due()
        held = len(self._unanswered) + len(self._outbox)
        room = held < self._window and self._held_bytes < self._window_bytes
        one_request = self._method.kind is MethodKind.SERVER_STREAM
        no_more = self._half_closed or self._draining or self._closed or self._error is not None or one_request
        if room and not (self._reading or no_more):
            self._reading = True
            self.start_read()

    def _end_if_due(self) -> None:
        ordered = self._method.kind is MethodKind.ORDERED_STREAM
        idle = not self._unanswered
        if self._error is not None:
            self._end(self._error)
        elif ordered and idle and self._half_closed:
            self._end(None)
        elif self._draining and (idle or not ordered):
            self._end(UnavailableError("the server is shutting down"))

    def _end(self, error: ServerError | None) -> None:
        self._closed = True
        self.start_end(error)


class StreamCall:
    """One message of a stream, waiting for its answer; see `headgate.server.transport.base.Call`.

    Attributes:
        answer: a response, or the error that ends the stream in its place.
    """

    __slots__ = ("_method", "_on_cancel", "_stream", "answer", "cancelled", "request")

    def __init__(self, stream: Stream, method: Method, request: bytes) -> None:
        self._stream = stream
        self._method = method
        self._on_cancel: Callable[[], None] | None = None
        self.request = request
        self.answer: bytes | ServerError | None = None
        self.cancelled = False

    @property
    def deadline(self) -> float:
        """The stream's, in seconds of `time.time()`."""
        return self._stream.deadline

    def metadata(self, key: str) -> str | None:
        """Return the last value of a key of the stream's metadata."""
        return self._stream.metadata(key)

    def reply(self, response: bytes) -> None:
        """Answer when all earlier messages of the stream are answered."""
        self._settle(response)

    def fail(self, error: ServerError) -> None:
        """Answer with an in-band error, or end the stream where the method renders none."""
        render_error = self._method.render_error
        rendered = None if render_error is None else render_error(self, error)
        self._settle(error if rendered is None else rendered)

    def push(self, response: bytes) -> None:
        """Send one message of a server stream."""
        self._stream.push(response)

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back when the stream ends before the answer."""
        self._on_cancel = callback

    def cancel(self) -> None:
        """Note that no answer can be delivered any more."""
        self.cancelled = True
        on_cancel, self._on_cancel = self._on_cancel, None
        if on_cancel is not None:
            on_cancel()

    def _settle(self, answer: bytes | ServerError) -> None:
        # The callback knows the call: together they would wait for the garbage collector.
        self._on_cancel = None
        self._stream.settle(self, answer)
