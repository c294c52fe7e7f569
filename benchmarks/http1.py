"""As much of an HTTP/1.1 client as a load generator needs; its connections are used as those of `http2` are."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import OK, UNAVAILABLE
from headgate.benchmarks.http2 import NEVER_NS, Answers

_RECEIVE_BYTES = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Post:
    """What is sent, again and again: a POST request to a path, with fields of its head in addition to the usual."""

    path: str
    body: bytes
    content_type: str
    fields: tuple[tuple[str, str], ...] = ()

    def to_bytes(self, port: int) -> bytes:
        """Return the request as it is sent to a port of this machine."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in self.fields)
        )
        return f"{head}\r\n".encode() + self.body


class Connection:
    """A connection that carries one request at a time, and never blocks.

    Attributes:
        is_leaving: the server takes no more requests on it.
    """

    def __init__(
        self,
        port: int,
        post: Post,
        answers: Answers,
        response_bytes: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Connect to a port of this machine.

        Args:
            port: where the server listens.
            post: what is sent.
            answers: where it is noted what became of requests.
            response_bytes: the length of the body of each answer; another one is taken for an error.
            clock: as `time.monotonic_ns`.

        Raises:
            OSError: nobody listens.
        """
        self.is_leaving = False
        self._answers = answers
        self._clock = clock
        self._request = post.to_bytes(port)
        self._response_bytes = response_bytes
        self._started_ns: int | None = None
        self._unread = b""
        self._unsent = memoryview(b"")
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the socket's, for `select`."""
        return self._socket.fileno()

    @property
    def is_blocked(self) -> bool:
        """Whether the socket takes no more for now: `flush` when it does."""
        return len(self._unsent) > 0

    @property
    def is_idle(self) -> bool:
        """Whether the request is answered."""
        return self._started_ns is None

    @property
    def expires_ns(self) -> int:
        """Requests have no deadlines."""
        return NEVER_NS

    def expire(self, now: int) -> int:
        """Give up no request."""
        return 0

    def send(self, started_ns: int) -> None:
        """Hand over the next request, which was to start at that time; only when idle. `flush` sends it."""
        self._started_ns = started_ns
        self._unsent = memoryview(self._request)

    def flush(self) -> None:
        """Send what was handed over, as far as the socket takes it.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]

    def receive(self) -> int:
        """Read what has come, and note it; return 1 if that ends an answer, else 0.

        Raises:
            BenchmarkError: the server answered otherwise than expected.
            ConnectionError: the server has closed the connection.
        """
        try:
            received = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return 0
        if not received:
            raise ConnectionResetError("the server closed it")
        now = self._clock()
        self._unread += received
        head_bytes = self._unread.find(_END_OF_HEAD)
        if head_bytes < 0:
            return 0
        # The line of the status, and the fields with an end of line each.
        head = self._unread[: head_bytes + 2]
        length = _CONTENT_LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None or int(length[1]) != self._response_bytes:
            status = head.partition(b"\r\n")[0].decode(errors="replace")
            raise BenchmarkError(
                f"the server answered {status!r} with {length[1].decode() if length else 'an unknown number of'} "
                f"bytes, 200 with {self._response_bytes} were expected"
            )
        if self._started_ns is None or len(self._unread) < head_bytes + len(_END_OF_HEAD) + self._response_bytes:
            return 0
        self._unread = b""
        self._answers.note(self._started_ns, now, OK)
        self._started_ns = None
        return 1

    def close(self, status: int = UNAVAILABLE) -> None:
        """Close the connection; a request that is not answered ends with `status`."""
        self.is_leaving = True
        if self._started_ns is not None:
            self._answers.note(self._started_ns, self._clock(), status)
            self._started_ns = None
        self._socket.close()
