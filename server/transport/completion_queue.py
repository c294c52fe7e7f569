"""The transport on grpcio's completion queue: one I/O thread, a callback per completed operation.

`cygrpc` is what grpcio's own `grpc.server` is built on and private to it; no other module of headgate may touch it.
Two rules keep it safe: operations are fresh objects every time, and at most one operation of each type is under way on
a call.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from grpc._cython import cygrpc

from headgate.server.errors import DeadlineExceededError, ServerError, UnimplementedError
from headgate.server.transport.base import (
    MAX_EVENTS_PER_TURN,
    NEVER,
    Method,
    MethodKind,
    Remaining,
    status_details,
    unknown_method,
)
from headgate.server.transport.listening import listen
from headgate.server.transport.options import TlsOptions, TransportOptions
from headgate.server.transport.polling import PollingPolicy
from headgate.server.transport.stream import Stream

_log = logging.getLogger(__name__)

#: Calls that may begin between two polls without waiting for the loop to ask for more.
_OUTSTANDING_REQUESTS = 64
#: Events that a call on its own brings in one turn: its end is that of the call before it.
_EVENTS_OF_A_CALL = 3
#: One of so many turns polls on all the same. Where each of a thousand connections has a call, polls find nothing so
#: often that every turn would bring one of them, though the others wait.
_TURNS_OF_A_CALL = 64
#: How often nothing must be ready before the turn ends, where there is more than one call: the more of them run as one
#: batch, the less each costs (docs/performance.md).
_IDLE_POLLS = 2
#: Between the end of the last call and that of its connection, when it is drained.
_PATIENCE_S = 1.0
_QUEUE_SHUTDOWN = cygrpc.CompletionType.queue_shutdown
_QUEUE_TIMEOUT = cygrpc.CompletionType.queue_timeout
_OK = cygrpc.StatusCode.ok

_SendInitialMetadata = cygrpc.SendInitialMetadataOperation
_SendMessage = cygrpc.SendMessageOperation
_SendStatus = cygrpc.SendStatusFromServerOperation
_ReceiveMessage = cygrpc.ReceiveMessageOperation
_ReceiveClose = cygrpc.ReceiveCloseOnServerOperation


class CompletionQueueTransport:
    """See `headgate.server.transport.base.Transport`."""

    def __init__(
        self, methods: Mapping[str, Method], on_drained: Callable[[], Remaining], options: TransportOptions
    ) -> None:
        self._methods = {path.encode(): method for path, method in methods.items()}
        self._on_drained = on_drained
        self._options = options
        self._polling = PollingPolicy(options.busy_poll_us * 1000)
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(options.channel_args(), False)
        self._server.register_completion_queue(self._queue)
        self._thread = threading.Thread(target=self._loop, name="headgate-io", daemon=True)
        self._calls_done = threading.Event()
        self._draining = False
        self._streams: set[Stream] = set()
        #: Calls asked for, or begun and not over: at 0 no more will come.
        self._open = 0
        self.port = 0
        self.expired_calls = 0

    def start(self) -> None:
        """Listen, and handle calls on the I/O thread."""
        self.port = listen(self._options, self._bind)
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
        end = time.monotonic() + grace_s
        while not (finished := self._calls_done.wait(min(_PATIENCE_S, max(0, end - time.monotonic())))):
            # What has not begun never will: half a header, or a call that came with the shutdown, which gRPC's core may
            # forget (PublishNewRpc of its server.cc queues it after what is queued was ended).
            finished = self._open == 0
            if finished or time.monotonic() >= end:
                self._server.cancel_all_calls()
                self._calls_done.wait()
                break
        return finished

    def close(self) -> None:
        """End the I/O thread."""
        if self._thread.is_alive():
            self._queue.shutdown()
            self._thread.join()
            self._server.destroy()

    def _bind(self, address: str, tls: TlsOptions | None) -> int:
        if tls is None:
            port: int = self._server.add_http2_port(address.encode())
        else:
            pair = cygrpc.SslPemKeyCertPair(tls.key, tls.certificate)
            credentials = cygrpc.server_credentials_ssl(tls.client_ca, [pair], tls.client_ca is not None)
            port = self._server.add_http2_port(address.encode(), credentials)
        return port

    def _request_call(self) -> None:
        try:
            self._server.request_call(self._queue, self._queue, self._on_call)
        except ValueError:
            # The server began to shut down in the meantime.
            if not self._draining:
                raise
        else:
            self._open += 1

    def _on_call(self, event: Any) -> None:
        if not event.success:
            self._open -= 1
            return
        if not self._draining:
            self._request_call()
        method = self._methods.get(event.call_details.method)
        if method is None or (method.is_internal and not event.call.peer().startswith(b"unix:")):
            self._refuse(event, unknown_method(event.call_details.method.decode(errors="replace")))
        elif event.call_details.deadline < time.time():
            # gRPC had it for so long: the sooner it is out of the way, the sooner come those that somebody waits for.
            self.expired_calls += 1
            self._refuse(event, DeadlineExceededError("the deadline passed before the server took the call"))
        elif method.kind is MethodKind.UNARY:
            _UnaryCall(method, event, self._on_call_over)
        else:
            stream = _CompletionQueueStream(method, event, self._on_call_over, self._options, self._streams)
            if self._draining:
                stream.drain()

    def _refuse(self, event: Any, error: ServerError) -> None:
        operations = _SendInitialMetadata(None, 0), _status(error), _ReceiveClose(0)
        event.call.start_server_batch(operations, self._on_call_over)

    def _on_call_over(self, event: Any) -> None:
        self._open -= 1

    def _on_shutdown(self, event: Any) -> None:
        self._calls_done.set()

    def _loop(self) -> None:
        poll = self._queue.poll
        event = poll()
        turns = 0
        while event.completion_type != _QUEUE_SHUTDOWN:
            handled = 0
            turns += 1
            alone = _EVENTS_OF_A_CALL if turns % _TURNS_OF_A_CALL else 0
            while event.tag is not None and handled < MAX_EVENTS_PER_TURN:
                try:
                    event.tag(event)
                except Exception:
                    _log.exception("the transport failed to handle an event")
                # An event keeps its call alive, which must be gone before the next poll.
                event = None
                handled += 1
                event = poll(0.0)
                # A poll looks at one socket only. That it finds nothing does not mean that there is nothing on others.
                polls = _IDLE_POLLS if handled > alone else 0
                while polls and event.completion_type == _QUEUE_TIMEOUT:
                    event = poll(0.0)
                    polls -= 1
            remaining = self._end_turn()
            if event.completion_type == _QUEUE_TIMEOUT:
                event = poll(0.0) if remaining is Remaining.HERE else self._wait(remaining)

    def _wait(self, remaining: Remaining) -> Any:
        """Wait for an event; poll for a while first where waits are short and nobody else needs the processor."""
        poll = self._queue.poll
        event = poll(0.0)
        # What is there at once, as the end of a call is after its answer, says nothing of how long waits are.
        if event.completion_type != _QUEUE_TIMEOUT:
            return event
        started = time.perf_counter_ns()
        if remaining is Remaining.NOTHING:
            end = started + self._polling.poll_ns
            while event.completion_type == _QUEUE_TIMEOUT and time.perf_counter_ns() < end:
                event = poll(0.0)
        if event.completion_type == _QUEUE_TIMEOUT:
            event = poll()
        self._polling.waited(time.perf_counter_ns() - started)
        return event

    def _end_turn(self) -> Remaining:
        try:
            return self._on_drained()
        except Exception:
            _log.exception("what the requests had gathered could not be run")
            return Remaining.NOTHING


class _ServerCall:
    """What unary calls and streams share: the call, its metadata and its deadline."""

    __slots__ = ("_event", "_method", "_on_over")

    def __init__(self, method: Method, event: Any, on_over: Callable[[Any], None]) -> None:
        self._method = method
        self._event = event
        self._on_over = on_over

    @property
    def deadline(self) -> float:
        """In seconds of `time.time()`."""
        deadline: float = self._event.call_details.deadline
        return deadline if deadline < NEVER else math.inf

    def metadata(self, key: str) -> str | None:
        """Return the last value of a key."""
        for name, value in reversed(self._event.invocation_metadata):
            if name == key:
                return str(value)
        return None


class _UnaryCall(_ServerCall):
    __slots__ = ("_answered", "_on_cancel", "_watched", "cancelled", "request")

    def __init__(self, method: Method, event: Any, on_over: Callable[[Any], None]) -> None:
        super().__init__(method, event, on_over)
        self.cancelled = False
        self._answered = False
        self._watched = False
        self._on_cancel: Callable[[], None] | None = None
        event.call.start_server_batch((_ReceiveMessage(0),), self._on_message)

    def _on_message(self, event: Any) -> None:
        self.request = event.batch_operations[0].message()
        if self.request is None:
            # gRPC's own answer to this. Where the client has gone instead, nobody reads it.
            self.fail(UnimplementedError("this method takes one request message, and none came"))
        else:
            self._method.take(self)

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
        self._on_over(event)
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
        if self._watched:
            self._event.call.start_server_batch(operations, _ignore)
        else:
            self._event.call.start_server_batch((*operations, _ReceiveClose(0)), self._on_over)


class _CompletionQueueStream(_ServerCall, Stream):
    def __init__(
        self,
        method: Method,
        event: Any,
        on_over: Callable[[Any], None],
        options: TransportOptions,
        streams: set[Stream],
    ) -> None:
        _ServerCall.__init__(self, method, event, on_over)
        Stream.__init__(self, method, options, streams)
        self._opened = False
        event.call.start_server_batch((_ReceiveClose(0),), self._on_closed)
        self.open()

    def start_read(self) -> None:
        self._event.call.start_server_batch((_ReceiveMessage(0),), self._on_message)

    def start_write(self, message: bytes) -> None:
        self._send(_SendMessage(message, 0))

    def start_end(self, error: ServerError | None) -> None:
        self._send(_SendStatus(None, _OK, b"", 0) if error is None else _status(error))

    def _send(self, operation: Any) -> None:
        operations = (operation,) if self._opened else (_SendInitialMetadata(None, 0), operation)
        self._opened = True
        self._event.call.start_server_batch(operations, self._on_sent)

    def _on_message(self, event: Any) -> None:
        self.on_message(event.batch_operations[0].message())

    def _on_sent(self, event: Any) -> None:
        self.on_sent()

    def _on_closed(self, event: Any) -> None:
        self._on_over(event)
        self.on_closed()


def _ignore(event: Any) -> None:
    pass


def _status(error: ServerError) -> Any:
    return _SendStatus(None, error.code.value[0], status_details(error).encode(), 0)
