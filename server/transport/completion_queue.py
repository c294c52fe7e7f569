"""The transport on grpcio's completion queue: one I/O thread, a callback per completed operation.

`cygrpc` is what grpcio's own `grpc.server` is built on and private to it; no other module of headgate may touch it.
Two rules keep it safe: operations are fresh objects every time, and at most one operation of each type is under way on
a call.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from grpc._cython import cygrpc

from headgate.server.errors import (
    CancelledError,
    InternalError,
    ServerError,
    StartupError,
    UnavailableError,
    UnimplementedError,
)
from headgate.server.transport.base import Call, Method, MethodKind, TransportOptions

_log = logging.getLogger(__name__)

#: Calls that may begin between two polls without waiting for the loop to ask for more.
_OUTSTANDING_REQUESTS = 64
#: The most bytes of an error's message: clients refuse more than 8 KiB of metadata, and escapes may triple its size.
_MAX_DETAILS_BYTES = 2000
#: Events handled before `on_drained` is called even if more are ready.
_MAX_EVENTS_PER_TURN = 1024
#: What cygrpc gives for calls without a deadline is beyond this: seconds since 1970.
_NEVER = 1e18
_QUEUE_SHUTDOWN = cygrpc.CompletionType.queue_shutdown
_OK = cygrpc.StatusCode.ok

_SendInitialMetadata = cygrpc.SendInitialMetadataOperation
_SendMessage = cygrpc.SendMessageOperation
_SendStatus = cygrpc.SendStatusFromServerOperation
_ReceiveMessage = cygrpc.ReceiveMessageOperation
_ReceiveClose = cygrpc.ReceiveCloseOnServerOperation


class CompletionQueueTransport:
    """See `headgate.server.transport.base.Transport`."""

    def __init__(
        self, methods: Mapping[str, Method], on_drained: Callable[[], None], options: TransportOptions
    ) -> None:
        self._methods = {path.encode(): method for path, method in methods.items()}
        self._on_drained = on_drained
        self._options = options
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(_channel_args(options), False)
        self._server.register_completion_queue(self._queue)
        self._thread = threading.Thread(target=self._loop, name="headgate-io", daemon=True)
        self._calls_done = threading.Event()
        self._draining = False
        self._streams: set[_Stream] = set()
        self.port = 0

    def start(self) -> None:
        """Listen, and handle calls on the I/O thread."""
        host, port = self._options.host, self._options.port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = self._server.add_http2_port(address.encode())
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise StartupError(
                f"cannot listen on {address}: is the port taken by another server? choose another with --port"
            )
        self._server.start()
        for _ in range(_OUTSTANDING_REQUESTS):
            self._request_call()
        self._thread.start()

    def drain(self, grace_s: float) -> bool:
        """Refuse new calls, let accepted ones finish for `grace_s` seconds, and cancel the rest."""
        if not self._thread.is_alive():
            return True
        self._draining = True
        self._server.shutdown(self._queue, self._on_shutdown)
        for stream in list(self._streams):
            stream.drain()
        finished = self._calls_done.wait(grace_s)
        if not finished:
            self._server.cancel_all_calls()
            self._calls_done.wait()
        return finished

    def close(self) -> None:
        """End the I/O thread."""
        if self._thread.is_alive():
            self._queue.shutdown()
            self._thread.join()
            self._server.destroy()

    def _request_call(self) -> None:
        try:
            self._server.request_call(self._queue, self._queue, self._on_call)
        except ValueError:
            # The server began to shut down in the meantime.
            if not self._draining:
                raise

    def _on_call(self, event: Any) -> None:
        if not event.success:
            return
        if not self._draining:
            self._request_call()
        method = self._methods.get(event.call_details.method)
        if method is None:
            path = event.call_details.method.decode(errors="replace")
            _refuse(event.call, UnimplementedError(f"this server has no method {path}"))
        elif method.kind is MethodKind.UNARY:
            _UnaryCall(method, event)
        else:
            stream = _Stream(method, event, self._options.stream_window, self._streams)
            if self._draining:
                stream.drain()

    def _on_shutdown(self, event: Any) -> None:
        self._calls_done.set()

    def _loop(self) -> None:
        poll = self._queue.poll
        while True:
            event = poll()
            handled = 0
            while event.tag is not None:
                try:
                    event.tag(event)
                except Exception:
                    _log.exception("the transport failed to handle an event")
                # An event keeps its call alive, which must be gone before the next poll.
                event = None
                handled += 1
                event = poll(0.0)
                if handled == _MAX_EVENTS_PER_TURN:
                    self._end_turn()
                    handled = 0
            if event.completion_type == _QUEUE_SHUTDOWN:
                return
            self._end_turn()

    def _end_turn(self) -> None:
        try:
            self._on_drained()
        except Exception:
            _log.exception("what the requests had gathered could not be run")


class _ServerCall:
    """What unary calls and streams share: the call, its metadata and its deadline."""

    __slots__ = ("_event", "_method")

    def __init__(self, method: Method, event: Any) -> None:
        self._method = method
        self._event = event

    @property
    def deadline(self) -> float:
        """In seconds of `time.time()`."""
        deadline: float = self._event.call_details.deadline
        return deadline if deadline < _NEVER else math.inf

    def metadata(self, key: str) -> str | None:
        """Return the last value of a key."""
        for name, value in reversed(self._event.invocation_metadata):
            if name == key:
                return str(value)
        return None

    def _hand_over(self, call: Call) -> None:
        try:
            self._method.handle(call)
        except ServerError as error:
            call.fail(error)
        except Exception:
            _log.exception("a request could not be handled")
            call.fail(InternalError("the server failed to handle the request; its log says why"))


class _UnaryCall(_ServerCall):
    __slots__ = ("_answered", "_on_cancel", "_watched", "cancelled", "request")

    def __init__(self, method: Method, event: Any) -> None:
        super().__init__(method, event)
        self.cancelled = False
        self._answered = False
        self._watched = False
        self._on_cancel: Callable[[], None] | None = None
        event.call.start_server_batch((_ReceiveMessage(0),), self._on_message)

    def _on_message(self, event: Any) -> None:
        self.request = event.batch_operations[0].message()
        if self.request is None:
            self.cancelled = True
            self.fail(CancelledError("the call ended before its request arrived"))
        else:
            self._hand_over(self)

    def reply(self, response: bytes) -> None:
        """Answer with a serialised response message."""
        self._finish(_SendInitialMetadata(None, 0), _SendMessage(response, 0), _SendStatus(None, _OK, b"", 0))

    def fail(self, error: ServerError) -> None:
        """Answer with a status."""
        self._finish(_SendInitialMetadata(None, 0), _status(error))

    def push(self, response: bytes) -> None:
        """Refuse: a unary call takes one answer."""
        raise TypeError("a unary call is answered with `reply`")

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back when the client has gone."""
        self._watched = True
        self._on_cancel = callback
        self._event.call.start_server_batch((_ReceiveClose(0),), self._on_close)

    def _on_close(self, event: Any) -> None:
        # The callback knows the call: together they would wait for the garbage collector.
        on_cancel, self._on_cancel = self._on_cancel, None
        if event.batch_operations[0].cancelled() and not self._answered and on_cancel is not None:
            self.cancelled = True
            on_cancel()

    def _finish(self, *operations: Any) -> None:
        if self._answered:
            return
        self._answered = True
        # A call is only over once its close is received: here, without an event of its own, if nobody watches for it.
        if not self._watched:
            operations = (*operations, _ReceiveClose(0))
        self._event.call.start_server_batch(operations, _ignore)


class _Stream(_ServerCall):
    """A stream: reads ahead up to a window, answers in the order of the requests, writes one message at a time.

    A client that does not read its answers is not read from once the window is full, so that it cannot make the
    server's memory grow.
    """

    __slots__ = (
        "_closed",
        "_draining",
        "_final",
        "_half_closed",
        "_lock",
        "_opened",
        "_outbox",
        "_reading",
        "_sending",
        "_streams",
        "_unanswered",
        "_window",
    )

    def __init__(self, method: Method, event: Any, window: int, streams: set[_Stream]) -> None:
        super().__init__(method, event)
        self._window = window
        self._streams = streams
        self._lock = threading.RLock()
        self._unanswered: deque[_StreamCall] = deque()
        self._outbox: deque[bytes] = deque()
        self._final: Any = None
        self._opened = self._sending = self._reading = self._half_closed = self._draining = self._closed = False
        streams.add(self)
        event.call.start_server_batch((_ReceiveClose(0),), self._on_close)
        self._read()

    def drain(self) -> None:
        """Take no more requests; end when those taken are answered. A server stream ends at once."""
        with self._lock:
            self._draining = True
            self._advance()

    def _read(self) -> None:
        self._reading = True
        self._event.call.start_server_batch((_ReceiveMessage(0),), self._on_message)

    def _on_message(self, event: Any) -> None:
        request = event.batch_operations[0].message()
        call = None
        with self._lock:
            self._reading = False
            if request is None:
                self._half_closed = True
            elif not (self._draining or self._closed):
                call = _StreamCall(self, request)
                self._unanswered.append(call)
        if call is not None:
            self._hand_over(call)
        with self._lock:
            self._advance()

    def settle(self) -> None:
        """Move the answers that are next in order to the outbox, and go on writing."""
        with self._lock:
            unanswered = self._unanswered
            while unanswered and unanswered[0].response is not None:
                self._outbox.append(unanswered.popleft().response)  # type: ignore[arg-type]
            self._advance()

    def push(self, response: bytes) -> None:
        """Write a message that answers no request in particular."""
        with self._lock:
            self._outbox.append(response)
            self._advance()

    def end(self, error: ServerError) -> None:
        """End with a status once what stands in the outbox is written."""
        with self._lock:
            self._final = self._final or _status(error)
            self._advance()

    def _advance(self) -> None:
        """Start the next write, the final status, or the next read, whichever is due."""
        if self._closed:
            return
        if self._outbox and not self._sending:
            self._sending = True
            self._send(_SendMessage(self._outbox.popleft(), 0))
        elif not self._sending:
            self._end_if_due()
        room = len(self._unanswered) + len(self._outbox) < self._window
        one_request = self._method.kind is MethodKind.SERVER_STREAM
        if room and not (self._reading or self._half_closed or self._draining or self._closed or one_request):
            self._read()

    def _end_if_due(self) -> None:
        if self._final is None:
            idle = not self._unanswered
            if self._half_closed and idle and self._method.kind is MethodKind.ORDERED_STREAM:
                self._final = _SendStatus(None, _OK, b"", 0)
            elif self._draining and (idle or self._method.kind is MethodKind.SERVER_STREAM):
                self._final = _status(UnavailableError("the server is shutting down"))
        if self._final is not None:
            self._closed = True
            self._send(self._final)

    def _send(self, operation: Any) -> None:
        operations = (operation,) if self._opened else (_SendInitialMetadata(None, 0), operation)
        self._opened = True
        self._event.call.start_server_batch(operations, self._on_sent)

    def _on_sent(self, event: Any) -> None:
        with self._lock:
            self._sending = False
            self._advance()

    def _on_close(self, event: Any) -> None:
        with self._lock:
            self._streams.discard(self)
            cancelled = event.batch_operations[0].cancelled()
            self._closed = True
            abandoned = [call for call in self._unanswered if call.response is None]
            self._unanswered.clear()
            self._outbox.clear()
        if cancelled:
            for call in abandoned:
                call.cancel()


class _StreamCall:
    """One message of a stream, waiting for its answer."""

    __slots__ = ("_on_cancel", "_stream", "cancelled", "request", "response")

    def __init__(self, stream: _Stream, request: bytes) -> None:
        self._stream = stream
        self._on_cancel: Callable[[], None] | None = None
        self.request = request
        self.response: bytes | None = None
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
        if self.response is None:
            self.response = response
            # The callback knows the call: together they would wait for the garbage collector.
            self._on_cancel = None
            self._stream.settle()

    def fail(self, error: ServerError) -> None:
        """Answer with an in-band error, or end the stream where the method has none."""
        render = self._stream._method.render_error
        if render is None:
            self._stream.end(error)
        else:
            self.reply(render(self, error))

    def push(self, response: bytes) -> None:
        """Send one message of a server stream."""
        self._stream.push(response)

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back when the client has gone."""
        self._on_cancel = callback

    def cancel(self) -> None:
        """Note that the client has gone."""
        self.cancelled = True
        on_cancel, self._on_cancel = self._on_cancel, None
        if on_cancel is not None:
            on_cancel()


def _ignore(event: Any) -> None:
    pass


def _status(error: ServerError) -> Any:
    details = str(error).encode()
    if len(details) > _MAX_DETAILS_BYTES:
        details = details[:_MAX_DETAILS_BYTES].decode(errors="ignore").encode() + b"..."
    return _SendStatus(None, error.code.value[0], details, 0)


def _refuse(call: Any, error: ServerError) -> None:
    call.start_server_batch((_SendInitialMetadata(None, 0), _status(error), _ReceiveClose(0)), _ignore)


def _channel_args(options: TransportOptions) -> tuple[tuple[str, int], ...]:
    return (
        # Without this a second server could share the port unnoticed.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # grpc's default answers a client that pings more often than every 5 minutes with GOAWAY too_many_pings.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    )
