"""HTTP/1.1 connections with limits, and without upgrades: uvicorn has none for a head that does not come to its end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: How long a connection on which nothing is asked has until a head is there, from its start or its first byte.
HEAD_TIMEOUT_S = 10.0
MOST_HEAD_BYTES = 64 * 1024
#: How long clients have at the end to close idle connections, too, as TLS wants it; many look at them no more.
_FAREWELL_S = 0.5
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class LimitedProtocol(HttpToolsProtocol):
    """A connection that is closed when a head takes too long, or is too large; offers to upgrade it are ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        # As uvicorn has it.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._timer: asyncio.TimerHandle | None = None
        #: What has come since a head ended, or a part of a body: of a head that goes on, or of a body's trailers.
        self._head_bytes = 0
        #: Those that are not answered yet, and maybe some that are.
        self._cycles: deque[RequestResponseCycle] = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        # uvicorn tells only the last that the client has gone, which is not the one that runs if more have come.
        for cycle in self._cycles:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close, now or after the answer."""
        super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(_FAREWELL_S, self._leave)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_timer()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Stop counting and waiting: the rest is the application's. An error is answered by 400."""
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")
        if self.parser.should_upgrade():
            return
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()
        while self._cycles and self._cycles[0].response_complete:
            self._cycles.popleft()
        self._cycles.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Count from here."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body, unless the head is yet to be read as that of a request with one."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def head_without_upgrade(self) -> bytes:
        """Return the head that was read last, but for its offer of another protocol."""
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _leave(self) -> None:
        """Have the server wait for this connection no longer."""
        if not self.transport.get_write_buffer_size():
            self.connections.discard(self)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Parser(httptools.HttpRequestParser):
    """Reads a request that offers another protocol, as curl --http2 and Java's client do, like one that does not.

    httptools takes it to end with its head: the body would be the next request, whoever wrote it.
    """

    def __init__(self, protocol: LimitedProtocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Read what has come."""
        while True:
            try:
                super().feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._protocol.head_without_upgrade() + data[upgrade.args[0] :]
            else:
                return
