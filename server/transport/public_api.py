"""The transport on grpcio's public API: a thread for each call, and one I/O thread that they all hand their events to.

It stands in where `completion_queue` cannot: the same behaviour, for several times the CPU of a call.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from headgate.server.errors import ServerError
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
from headgate.server.transport.stream import Stream

_log = logging.getLogger(__name__)

#: Calls that are handled at the same time; more wait for one of them to end.
_MAX_CALLS = 1024

_Event = Callable[[], object]
_Events = SimpleQueue[_Event | None]


class PublicApiTransport:
    """See `headgate.server.transport.base.Transport`."""

    def __init__(
        self, methods: Mapping[str, Method], on_drained: Callable[[], Remaining], options: TransportOptions
    ) -> None:
        self._on_drained = on_drained
        self._options = options
        self._events: _Events = SimpleQueue()
        self._streams: set[Stream] = set()
        self._draining = False
        # A stream takes a thread of each: from one pool, streams that wait to be read could take them all.
        self._callers = ThreadPoolExecutor(_MAX_CALLS, "headgate-call")
        self._readers = ThreadPoolExecutor(_MAX_CALLS, "headgate-read")
        handlers = {path: self._handler(path, method) for path, method in methods.items()}
        self._server = grpc.server(self._callers, [_Dispatcher(handlers)], options=options.channel_args())
        self._thread = threading.Thread(target=self._loop, name="headgate-io", daemon=True)
        self.port = 0
        self.expired_calls = 0

    def start(self) -> None:
        """Listen, and handle calls."""
        self.port = listen(self._options, self._bind)
        self._server.start()
        self._thread.start()

    def drain(self, grace_s: float) -> bool:
        """Refuse new calls, let accepted ones finish for `grace_s` seconds, and cancel the rest."""
        if not self._thread.is_alive():
            return True
        stopped = self._server.stop(threading.TIMEOUT_MAX)
        self._events.put(self._drain_streams)
        finished: bool = stopped.wait(grace_s)
        if not finished:
            self._server.stop(None)
        return finished

    def close(self) -> None:
        """End all threads."""
        if self._thread.is_alive():
            self._events.put(None)
            self._thread.join()
        self._callers.shutdown()
        self._readers.shutdown()

    def _bind(self, address: str, tls: TlsOptions | None) -> int:
        if tls is None:
            port: int = self._server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials(
                [(tls.key, tls.certificate)], tls.client_ca, tls.client_ca is not None
            )
            port = self._server.add_secure_port(address, credentials)
        return port

    def _drain_streams(self) -> None:
        self._draining = True
        for stream in list(self._streams):
            stream.drain()

    def _handler(self, path: str, method: Method) -> Any:
        if method.kind is MethodKind.UNARY:
            return grpc.unary_unary_rpc_method_handler(partial(self._answer_unary, path, method))
        return grpc.stream_stream_rpc_method_handler(partial(self._answer_stream, method))

    def _answer_unary(self, path: str, method: Method, request: bytes, context: Any) -> bytes | None:
        if method.is_internal and not context.peer().startswith("unix:"):
            _refuse(path, request, context)
        call = _UnaryCall(request, context)
        if not context.add_callback(partial(self._events.put, call.end)):
            return None
        self._events.put(partial(method.take, call))
        answer = call.wait()
        if isinstance(answer, ServerError):
            context.abort(answer.code, status_details(answer))
        # None where the client has gone: then grpc sends nothing.
        return answer  # type: ignore[return-value]

    def _answer_stream(self, method: Method, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        stream = _PublicApiStream(method, self._options, self._streams, self._events, context)
        if context.add_callback(partial(self._events.put, stream.on_closed)):
            self._readers.submit(stream.read, requests)
            self._events.put(partial(self._open, stream))
            yield from stream.answers()

    def _open(self, stream: Stream) -> None:
        stream.open()
        if self._draining:
            stream.drain()

    def _loop(self) -> None:
        remaining = Remaining.NOTHING
        while True:
            events: list[_Event | None] = []
            with suppress(Empty):
                if remaining is not Remaining.HERE:
                    events.append(self._events.get())
                while len(events) < MAX_EVENTS_PER_TURN:
                    events.append(self._events.get_nowait())
            for event in events:
                if event is None:
                    return
                try:
                    event()
                except Exception:
                    _log.exception("the transport failed to handle an event")
            # They keep their calls alive, which must be gone before the next wait.
            event = None
            del events
            try:
                remaining = self._on_drained()
            except Exception:
                remaining = Remaining.NOTHING
                _log.exception("what the requests had gathered could not be run")


class _Dispatcher(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method
        return self._handlers.get(path) or grpc.stream_stream_rpc_method_handler(partial(_refuse, path))


def _refuse(path: str, requests: object, context: Any) -> None:
    error = unknown_method(path)
    # It raises.
    context.abort(error.code, status_details(error))


class _ServerCall:
    """What unary calls and streams share: the call, its metadata and its deadline."""

    def __init__(self, context: Any) -> None:
        self._context = context
        remaining_s = context.time_remaining()
        endless = remaining_s is None or remaining_s > NEVER
        self._deadline = math.inf if endless else time.time() + remaining_s

    @property
    def deadline(self) -> float:
        """In seconds of `time.time()`."""
        return self._deadline

    def metadata(self, key: str) -> str | None:
        """Return the last value of a key."""
        for name, value in reversed(self._context.invocation_metadata()):
            if name == key:
                return str(value)
        return None


class _UnaryCall(_ServerCall):
    def __init__(self, request: bytes, context: Any) -> None:
        super().__init__(context)
        self.request = request
        self.cancelled = False
        self._on_cancel: Callable[[], None] | None = None
        self._answer: Future[bytes | ServerError] = Future()

    def wait(self) -> bytes | ServerError | None:
        """Wait for the answer; None if the call ends before."""
        try:
            return self._answer.result()
        except CancelledError:
            return None

    def reply(self, response: bytes) -> None:
        """Answer with a serialised response message."""
        with suppress(InvalidStateError):
            self._answer.set_result(response)

    def fail(self, error: ServerError) -> None:
        """Answer with a status."""
        with suppress(InvalidStateError):
            self._answer.set_result(error)

    def push(self, response: bytes) -> None:
        """Refuse: a unary call takes one answer."""
        raise TypeError("a unary call is answered with `reply`")

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back when the client has gone."""
        self._on_cancel = callback

    def end(self) -> None:
        """Note that the call is over, answered or not."""
        # The callback knows the call: together they would wait for the garbage collector.
        on_cancel, self._on_cancel = self._on_cancel, None
        if self._answer.cancel():
            self.cancelled = True
            if on_cancel is not None:
                on_cancel()


class _PublicApiStream(_ServerCall, Stream):
    def __init__(
        self, method: Method, options: TransportOptions, streams: set[Stream], events: _Events, context: Any
    ) -> None:
        _ServerCall.__init__(self, context)
        Stream.__init__(self, method, options, streams)
        self._events = events
        #: Whether to read on.
        self._reads: SimpleQueue[bool] = SimpleQueue()
        #: What to send; an error or None ends the stream.
        self._writes: SimpleQueue[bytes | ServerError | None] = SimpleQueue()

    def start_read(self) -> None:
        self._reads.put(True)

    def start_write(self, message: bytes) -> None:
        self._writes.put(message)

    def start_end(self, error: ServerError | None) -> None:
        self._writes.put(error)

    def on_closed(self) -> None:
        super().on_closed()
        self._reads.put(False)
        self._writes.put(None)

    def read(self, requests: Iterator[bytes]) -> None:
        """Read requests when asked to, on a thread of its own."""
        while self._reads.get():
            request = None
            # It is raised where the client has gone.
            with suppress(grpc.RpcError):
                request = next(requests, None)
            self._events.put(partial(self.on_message, request))

    def answers(self) -> Iterator[bytes]:
        """Give grpc what to send, on a thread of its own."""
        while isinstance(item := self._writes.get(), bytes):
            yield item
            self._events.put(self.on_sent)
        if item is not None:
            self._context.abort(item.code, status_details(item))
