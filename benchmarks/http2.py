"""As much of an HTTP/2 client as a load generator of gRPC calls needs, at a few microseconds a call.

grpcio's clients take several times the CPU that headgate's server takes for a call. The server would mostly wait for
them, and pay for a wake-up with every request: its figures would be those of the client. Here a request is put together
from constant parts, and of an answer only the frame headers are read, and the status where it is not the usual one.

Frames and flow control: RFC 9113; gRPC over HTTP/2: PROTOCOL-HTTP2.md of the grpc repository.
"""

from __future__ import annotations

import itertools
import ssl
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    OK,
    RESET_STATUSES,
    UNAVAILABLE,
    UNKNOWN,
    StatusReader,
    request_blocks,
    with_timeout,
)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
#: The length in two parts, 8 and 16 bits, the kind, flags, and the stream's id.
_FRAME_HEADER = Struct(">BHBBI")
_SETTING = Struct(">HI")
#: A gRPC message is preceded by a compression flag and its length.
_MESSAGE_PREFIX_BYTES = 5

_HEADER_TABLE_SIZE, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 0x1, 0x3, 0x4, 0x5
_LARGEST_WINDOW = 2**31 - 1
#: What either side may send before the other allows more.
_DEFAULT_WINDOW = 65_535
_DEFAULT_FRAME_SIZE = 16_384
#: Where a server remembers fewer bytes of header fields than this, those of requests may not fit.
_HEADER_TABLE_BYTES = 4096
#: The server is allowed more when it has sent as much.
_WINDOW_STEP = 2**30
_RECEIVE_BYTES = 256 * 1024
#: In place of a time.
NEVER_NS = 2**62
#: The error code of HTTP/2, as the payload of RST_STREAM.
_CANCEL = (0x8).to_bytes(4)
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, again and again: a method, and serialised requests.

    Attributes:
        is_stream: the requests are messages of bidirectional streams, instead of calls of their own.
        more_requests: are sent in turn with `request`.
        timeout_s: the deadline that unary calls carry, from when they were to start; then they are cancelled.
        status_of: reads the gRPC status that an answer of a stream holds; None: whatever comes is right.
    """

    path: str
    request: bytes
    is_stream: bool
    more_requests: tuple[bytes, ...] = ()
    timeout_s: float | None = None
    status_of: Callable[[bytes], int] | None = None


class Answers:
    """What became of requests, in the order of their answers.

    Attributes:
        started_ns: when each was to start, by `time.monotonic_ns`.
        answered_ns: when its answer was read (of a unary call: its status too).
        statuses: gRPC status codes.
    """

    __slots__ = ("answered_ns", "started_ns", "statuses")

    def __init__(self) -> None:
        self.started_ns = array("q")
        self.answered_ns = array("q")
        self.statuses = array("b")

    def __len__(self) -> int:
        return len(self.statuses)

    def note(self, started_ns: int, answered_ns: int, status: int) -> None:
        """Note one."""
        self.started_ns.append(started_ns)
        self.answered_ns.append(answered_ns)
        self.statuses.append(status)

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
        """Return started_ns, answered_ns and statuses as arrays [answers]."""
        return (
            np.array(self.started_ns, np.int64),
            np.array(self.answered_ns, np.int64),
            np.array(self.statuses, np.int8),
        )


_NOTHING_UNSENT: list[memoryview] = []


class _Stream:
    """A call: a unary one, or one that carries many requests.

    Attributes:
        started_ns: of the requests that are not answered.
        window: how many bytes the server takes on it; below 0 where it has taken back what it allowed.
        unsent: messages, or what is left of them, that wait for that.
        unread: of an answer that has not come as a whole.
        received: bytes since the server was last allowed more.
    """

    __slots__ = ("id", "id_bytes", "received", "started_ns", "unread", "unsent", "window")

    def __init__(self, stream_id: int, window: int) -> None:
        self.id = stream_id
        self.id_bytes = stream_id.to_bytes(4)
        self.window = window
        self.started_ns: list[int] = []
        # Most calls need neither; they are shared until one does.
        self.unsent: list[memoryview] = _NOTHING_UNSENT
        self.unread: bytes | bytearray = b""
        self.received = 0


class Connection:
    """A connection that carries any number of requests at a time, and never blocks.

    Attributes:
        is_leaving: the server takes no more requests on it.
    """

    def __init__(
        self,
        address: Address,
        call: Call,
        answers: Answers,
        *,
        streams: int = 1,
        response_bytes: int | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Connect.

        Args:
            address: where the server listens.
            call: what is sent.
            answers: where it is noted what became of requests.
            streams: how many bidirectional streams carry the requests, where the call is one.
            response_bytes: the length of each serialised answer; another one is taken for an error. None: any length.
            clock: as `time.monotonic_ns`.

        Raises:
            OSError: nobody listens.
        """
        self.is_leaving = False
        self._answers = answers
        self._clock = clock
        self._is_stream = call.is_stream
        self._status_of = call.status_of
        self._data_bytes = None if response_bytes is None else _MESSAGE_PREFIX_BYTES + response_bytes
        timeout_s = None if call.is_stream else call.timeout_s
        self._timeout_ns = NEVER_NS if timeout_s is None else round(timeout_s * 1e9)
        blocks = request_blocks(call.path, address.authority, address.scheme, timeout_s)
        self._headers, self._later_headers = (
            (_frame_head(_HEADERS, _END_HEADERS, len(block)), block) for block in blocks
        )
        self._data_flags = 0 if call.is_stream else _END_STREAM
        messages = [b"\0" + len(request).to_bytes(4) + request for request in (call.request, *call.more_requests)]
        self._messages = itertools.cycle([(_frame_head(_DATA, self._data_flags, len(m)), m) for m in messages])

        self._streams: dict[int, _Stream] = {}
        self._idle: deque[_Stream] = deque()
        # Clients number their streams 1, 3, 5, ...
        self._next_id = 1
        self._wanted_streams = streams
        self._max_streams = _LARGEST_WINDOW
        #: Requests that wait for a stream.
        self._waiting: deque[int] = deque()
        self._window = self._initial_window = _DEFAULT_WINDOW
        self._max_frame_size = _DEFAULT_FRAME_SIZE
        self._received = 0
        self._statuses = StatusReader()

        self._socket = address.connect()
        self._tls = self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        self._unread = b""
        self._unsent = memoryview(b"")
        self._out: list[bytes | memoryview] = [
            _PREFACE,
            _frame(_SETTINGS, 0, _SETTING.pack(_INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)),
            _frame(_WINDOW_UPDATE, 0, (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4)),
        ]

    def fileno(self) -> int:
        """Return the socket's, for `select`."""
        return self._socket.fileno()

    @property
    def is_blocked(self) -> bool:
        """Whether the socket takes no more for now: `flush` when it does."""
        return len(self._unsent) > 0

    @property
    def is_idle(self) -> bool:
        """Whether all requests are answered."""
        return not self._waiting and not any(stream.started_ns for stream in self._streams.values())

    @property
    def expires_ns(self) -> int:
        """When the first of the unary calls passes its deadline, if it is not answered before."""
        if self._timeout_ns == NEVER_NS or not self._streams:
            return NEVER_NS
        # They are in the order in which they were started, or nearly, and before those that wait.
        return next(iter(self._streams.values())).started_ns[0] + self._timeout_ns

    def expire(self, now: int) -> int:
        """Give up unary calls that have passed their deadlines, as clients of gRPC do; return how many."""
        answered_before = len(self._answers)
        while now >= self.expires_ns:
            stream = next(iter(self._streams.values()))
            self._out += (_frame_head(_RST_STREAM, 0, 4), stream.id_bytes, _CANCEL)
            self._end_stream(stream.id, DEADLINE_EXCEEDED, now)
        return len(self._answers) - answered_before

    def send(self, started_ns: int) -> None:
        """Hand over the next request, which was to start at that time; `flush` sends what was handed over."""
        if self._is_stream:
            self._send(self._choose_stream(), started_ns)
        elif len(self._streams) < self._max_streams:
            self._send(self._open_stream(), started_ns)
        else:
            self._waiting.append(started_ns)

    def _send(self, stream: _Stream, started_ns: int) -> None:
        stream.started_ns.append(started_ns)
        head, message = next(self._messages)
        length = len(message)
        if length <= stream.window and length <= self._window and length <= self._max_frame_size and not stream.unsent:
            stream.window -= length
            self._window -= length
            self._out += (head, stream.id_bytes, message)
        else:
            stream.unsent = [*stream.unsent, memoryview(message)]
            self._send_unsent(stream)

    def flush(self) -> None:
        """Send what was handed over, as far as the socket takes it.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        while self._unsent or self._out:
            if not self._unsent:
                self._unsent = memoryview(b"".join(self._out))
                self._out.clear()
            try:
                sent = self._socket.send(self._unsent)
            except _WOULD_BLOCK:
                return
            self._unsent = self._unsent[sent:]

    def receive(self) -> int:
        """Read what has come, and note it; return how many requests were answered.

        Raises:
            BenchmarkError: the server answered otherwise than expected.
            ConnectionError: the server has closed the connection.
        """
        try:
            received = self._socket.recv(_RECEIVE_BYTES)
            # What TLS has deciphered is not seen by `select`.
            while self._tls is not None and self._tls.pending():
                received += self._tls.recv(_RECEIVE_BYTES)
        except _WOULD_BLOCK:
            return 0
        if not received:
            raise ConnectionResetError("the server closed it")
        now = self._clock()
        answered_before = len(self._answers)
        for kind, flags, stream_id, payload in self._frames(received):
            if kind == _DATA:
                self._read_data(stream_id, payload, flags, now)
            elif kind == _HEADERS:
                if flags & (_END_HEADERS | _PADDED) != _END_HEADERS:
                    raise BenchmarkError("the server sent padded or very long headers, which are not understood here")
                status = self._statuses.read(payload)
                if flags & _END_STREAM:
                    self._end_stream(stream_id, UNKNOWN if status is None else status, now)
            elif kind == _WINDOW_UPDATE:
                self._widen(stream_id, int.from_bytes(payload))
            elif kind == _SETTINGS and not flags & _ACK:
                self._read_settings(payload)
                self._out.append(_frame(_SETTINGS, _ACK, b""))
            elif kind == _PING and not flags & _ACK:
                self._out.append(_frame(_PING, _ACK, payload))
            elif kind == _RST_STREAM:
                self._end_stream(stream_id, RESET_STATUSES.get(int.from_bytes(payload), INTERNAL), now)
            elif kind == _GOAWAY:
                self._leave(int.from_bytes(payload[:4]), now)
        return len(self._answers) - answered_before

    def close(self, status: int = UNAVAILABLE) -> None:
        """Close the connection; requests that are not answered end with `status`."""
        now = self._clock()
        self.is_leaving = True
        for stream_id in list(self._streams):
            self._end_stream(stream_id, status, now)
        for started_ns in self._waiting:
            self._answers.note(started_ns, now, status)
        self._waiting.clear()
        self._socket.close()

    def _choose_stream(self) -> _Stream:
        if self._idle:
            return self._idle.popleft()
        if len(self._streams) < min(self._wanted_streams, self._max_streams):
            return self._open_stream()
        # Each in turn: the first becomes the last.
        stream_id = next(iter(self._streams))
        stream = self._streams[stream_id] = self._streams.pop(stream_id)
        return stream

    def _open_stream(self, left_ns: int | None = None) -> _Stream:
        """Begin a call; `left_ns` is what is left of the timeout of one that has waited for a stream."""
        stream = self._streams[self._next_id] = _Stream(self._next_id, self._initial_window)
        self._next_id += 2
        head, block = self._headers
        if left_ns is not None and self._timeout_ns < NEVER_NS:
            block = with_timeout(block, left_ns / 1e9)
            head = _frame_head(_HEADERS, _END_HEADERS, len(block))
        self._out += (head, stream.id_bytes, block)
        self._headers = self._later_headers
        return stream

    def _send_unsent(self, stream: _Stream) -> None:
        """Send as much of a stream's messages as the server takes."""
        while stream.unsent:
            message = stream.unsent[0]
            size = min(len(message), self._max_frame_size, self._window, stream.window)
            if size <= 0:
                break
            is_last = size == len(message)
            self._out += (
                _frame_head(_DATA, self._data_flags if is_last else 0, size),
                stream.id_bytes,
                message[:size],
            )
            stream.window -= size
            self._window -= size
            if is_last:
                del stream.unsent[0]
            else:
                stream.unsent[0] = message[size:]

    def _widen(self, stream_id: int, size: int) -> None:
        if stream_id:
            stream = self._streams.get(stream_id)
            if stream is not None:
                stream.window += size
                self._send_unsent(stream)
            return
        self._window += size
        self._send_all_unsent()

    def _send_all_unsent(self) -> None:
        for stream in self._streams.values():
            if stream.unsent:
                self._send_unsent(stream)

    def _read_settings(self, payload: bytes) -> None:
        for setting, value in _SETTING.iter_unpack(payload):
            if setting == _INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream.window += value - self._initial_window
                self._initial_window = value
            elif setting == _MAX_FRAME_SIZE:
                self._max_frame_size = value
            elif setting == _MAX_CONCURRENT_STREAMS:
                self._max_streams = value
            elif setting == _HEADER_TABLE_SIZE and value < _HEADER_TABLE_BYTES:
                raise BenchmarkError(f"the server wants header tables of {value} bytes, which are not understood here")
        self._send_all_unsent()

    def _read_data(self, stream_id: int, payload: bytes, flags: int, now: int) -> None:
        length = len(payload)
        if flags & _PADDED:
            raise BenchmarkError("the server sent padded data, which is not understood here")
        self._received += length
        if self._received >= _WINDOW_STEP:
            self._out.append(_frame(_WINDOW_UPDATE, 0, self._received.to_bytes(4)))
            self._received = 0
        if self._data_bytes is not None and length != self._data_bytes:
            raise BenchmarkError(f"the server sent {length} bytes of data, {self._data_bytes} were expected")
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if self._is_stream:
            self._read_messages(stream, payload, now)
        if flags & _END_STREAM:
            self._end_stream(stream_id, UNKNOWN, now)

    def _read_messages(self, stream: _Stream, payload: bytes, now: int) -> None:
        stream.received += len(payload)
        if stream.received >= _WINDOW_STEP:
            self._out += (_frame_head(_WINDOW_UPDATE, 0, 4), stream.id_bytes, stream.received.to_bytes(4))
            stream.received = 0
        buffer: bytes | bytearray = payload
        if stream.unread:
            buffer = stream.unread
            buffer += payload
        start = 0
        while len(buffer) - start >= _MESSAGE_PREFIX_BYTES:
            message = start + _MESSAGE_PREFIX_BYTES
            end = message + int.from_bytes(buffer[start + 1 : message])
            if end > len(buffer):
                break
            if not stream.started_ns:
                raise BenchmarkError("the server sent more answers than it got requests")
            status = OK if self._status_of is None else self._status_of(bytes(buffer[message:end]))
            self._answers.note(stream.started_ns.pop(0), now, status)
            if not stream.started_ns:
                self._idle.append(stream)
            start = end
        if buffer is not payload or start < len(buffer):
            # Appended to in place: an answer of many frames is not copied with each of them.
            stream.unread = bytearray(buffer[start:]) if start or buffer is payload else buffer

    def _end_stream(self, stream_id: int, status: int, now: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if self._is_stream:
            if not stream.started_ns and stream in self._idle:
                self._idle.remove(stream)
            # Without an answer, no request of a stream has succeeded.
            status = status or UNKNOWN
        for started_ns in stream.started_ns:
            self._answers.note(started_ns, now, status)
        while self._waiting and not self.is_leaving and len(self._streams) < self._max_streams:
            started_ns = self._waiting.popleft()
            left_ns = started_ns + self._timeout_ns - now
            if left_ns > 0:
                self._send(self._open_stream(left_ns), started_ns)
            else:
                self._answers.note(started_ns, now, DEADLINE_EXCEEDED)

    def _leave(self, last_stream_id: int, now: int) -> None:
        """Go on with the calls that the server still answers; all others fail."""
        self.is_leaving = True
        for stream_id in [stream_id for stream_id in self._streams if stream_id > last_stream_id]:
            self._end_stream(stream_id, UNAVAILABLE, now)
        while self._waiting:
            self._answers.note(self._waiting.popleft(), now, UNAVAILABLE)

    def _frames(self, received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Split what has come into kind, flags, stream id and payload; keep an incomplete frame for the next time."""
        buffer = self._unread + received
        start = 0
        while len(buffer) - start >= _FRAME_HEADER.size:
            length_high, length_low, kind, flags, stream_id = _FRAME_HEADER.unpack_from(buffer, start)
            payload = start + _FRAME_HEADER.size
            end = payload + (length_high << 16) + length_low
            if end > len(buffer):
                break
            yield kind, flags, stream_id, buffer[payload:end]
            start = end
        self._unread = buffer[start:]


def _frame_head(kind: int, flags: int, length: int) -> bytes:
    return length.to_bytes(3) + bytes([kind, flags])


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    """Put together a frame of the connection itself, which is stream 0."""
    return _frame_head(kind, flags, len(payload)) + bytes(4) + payload
