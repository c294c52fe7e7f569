"""As much of an HTTP/2 client as a closed loop of gRPC calls needs, at a few microseconds a call.

grpcio's clients take several times the CPU that headgate's server takes for a call. The server would mostly wait for
them, and pay for a wake-up with every request: its figures would be those of the client. Here a request is put together
from constant parts, and of an answer only the frame headers are read.

Frames: RFC 9113; header compression: RFC 7541; gRPC over HTTP/2: PROTOCOL-HTTP2.md of the grpc repository.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from headgate.benchmarks.errors import BenchmarkError

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
#: The length in two parts, 8 and 16 bits, the kind, flags, and the stream's id.
_FRAME_HEADER = Struct(">BHBBI")
#: A gRPC message is preceded by a compression flag and its length.
_MESSAGE_PREFIX_BYTES = 5

_SETTING_INITIAL_WINDOW_SIZE = 0x4
_LARGEST_WINDOW = 2**31 - 1
#: What either side may send before the other allows more; the server does so long before this many bytes are used.
_DEFAULT_WINDOW = 65_535
_FIRST_DYNAMIC_INDEX = 62
_RECEIVE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, again and again: a method, and a serialised request.

    Attributes:
        is_stream: the requests are messages of a bidirectional stream, instead of calls of their own.
    """

    path: str
    request: bytes
    is_stream: bool


class Connection:
    """A connection with a constant number of requests in flight: an answer is followed by the next request.

    Streams have one request in flight each, and stay open until the connection is closed.

    Attributes:
        latencies_ns: of the requests answered so far: from just before a request is sent to when its answer is read
            (of a unary call: its status too).
        is_sending: unset it to let the requests in flight be the last.
    """

    def __init__(self, port: int, call: Call, response_bytes: int, in_flight: int) -> None:
        """Connect to a port of this machine, and send the first requests.

        Args:
            port: where the server listens.
            call: what is sent.
            response_bytes: the length of each serialised answer; another one is taken for an error.
            in_flight: how many requests are in flight.

        Raises:
            BenchmarkError: the requests in flight do not fit the window that every connection starts with.
            OSError: nobody listens.
        """
        message = b"\0" + len(call.request).to_bytes(4) + call.request
        if in_flight * len(message) > _DEFAULT_WINDOW // 4:
            raise BenchmarkError(
                f"{in_flight} requests of {len(call.request)} bytes on one connection are too much for this load "
                f"generator; keep it below {_DEFAULT_WINDOW // 4} bytes"
            )
        self.latencies_ns: list[int] = []
        self.is_sending = True
        self._is_stream = call.is_stream
        self._data_bytes = _MESSAGE_PREFIX_BYTES + response_bytes
        self._unread = b""
        self._sent_ns: dict[int, int] = {}
        self._answered: set[int] = set()
        first_headers, later_headers = _header_blocks(
            {
                ":method": "POST",
                ":scheme": "http",
                ":path": call.path,
                ":authority": f"127.0.0.1:{port}",
                "te": "trailers",
                "content-type": "application/grpc",
                "user-agent": "headgate-benchmarks",
                "grpc-accept-encoding": "identity, deflate, gzip",
            }
        )
        flags = 0 if call.is_stream else _END_STREAM
        # A frame is its stream's id between a constant head and a constant rest.
        self._headers_head = _frame_head(_HEADERS, _END_HEADERS, len(later_headers))
        self._data_head = _frame_head(_DATA, flags, len(message))
        self._headers_rest = later_headers + self._data_head
        self._message = message
        # Clients number their streams 1, 3, 5, ...
        self._next_id = 1

        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now = time.perf_counter_ns()
        _, id_bytes, _, _, _ = self._next_call(now)
        out = [
            _PREFACE,
            _frame(_SETTINGS, 0, _SETTING_INITIAL_WINDOW_SIZE.to_bytes(2) + _LARGEST_WINDOW.to_bytes(4)),
            _frame(_WINDOW_UPDATE, 0, (_LARGEST_WINDOW - _DEFAULT_WINDOW).to_bytes(4)),
            _frame_head(_HEADERS, _END_HEADERS, len(first_headers)),
            *(id_bytes, first_headers, self._data_head, id_bytes, message),
        ]
        for _ in range(in_flight - 1):
            out += self._next_call(now)
        self._socket.sendall(b"".join(out))

    @property
    def is_idle(self) -> bool:
        """Whether all requests are answered."""
        return not self._sent_ns

    def fileno(self) -> int:
        """Return the socket's, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection, and so the streams on it."""
        self._socket.close()

    def receive(self) -> None:
        """Read what has come, note latencies, and send the next requests.

        Raises:
            BenchmarkError: the server answered otherwise than expected.
            ConnectionError: the server has closed the connection.
        """
        received = self._socket.recv(_RECEIVE_BYTES)
        if not received:
            raise ConnectionResetError("the server closed it")
        now = time.perf_counter_ns()
        out: list[bytes] = []
        for kind, flags, stream_id, payload in self._frames(received):
            if kind == _DATA:
                if len(payload) != self._data_bytes:
                    raise BenchmarkError(
                        f"the server sent {len(payload)} bytes of data, {self._data_bytes} were expected"
                    )
                if self._is_stream:
                    self._note_latency(stream_id, now)
                    if self.is_sending:
                        out += self._next_message(stream_id, now)
                else:
                    self._answered.add(stream_id)
            elif kind == _HEADERS and flags & _END_STREAM:
                # A call that fails, and a stream that ends early, are ended by headers that no data came before.
                if stream_id not in self._answered:
                    raise BenchmarkError("the server ended a call with an error")
                self._answered.remove(stream_id)
                self._note_latency(stream_id, now)
                if self.is_sending:
                    out += self._next_call(now)
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                out.append(_frame(kind, _ACK, payload if kind == _PING else b""))
            elif kind in (_RST_STREAM, _GOAWAY):
                raise BenchmarkError("the server refused to go on (RST_STREAM or GOAWAY)")
        if out:
            self._socket.sendall(b"".join(out))

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

    def _note_latency(self, stream_id: int, now: int) -> None:
        self.latencies_ns.append(now - self._sent_ns.pop(stream_id))

    def _next_call(self, now: int) -> tuple[bytes, ...]:
        stream_id = self._next_id
        self._next_id += 2
        self._sent_ns[stream_id] = now
        id_bytes = stream_id.to_bytes(4)
        return self._headers_head, id_bytes, self._headers_rest, id_bytes, self._message

    def _next_message(self, stream_id: int, now: int) -> tuple[bytes, ...]:
        self._sent_ns[stream_id] = now
        return self._data_head, stream_id.to_bytes(4), self._message


def _header_blocks(fields: dict[str, str]) -> tuple[bytes, bytes]:
    """Return the header block of the first request, which defines the fields, and that of all later ones."""
    first = b"".join(b"\x40" + _text(name) + _text(value) for name, value in fields.items())
    last_index = _FIRST_DYNAMIC_INDEX + len(fields) - 1
    return first, bytes(0x80 | index for index in range(last_index, _FIRST_DYNAMIC_INDEX - 1, -1))


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _frame_head(kind: int, flags: int, length: int) -> bytes:
    return length.to_bytes(3) + bytes([kind, flags])


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    """Put together a frame of the connection itself, which is stream 0."""
    return _frame_head(kind, flags, len(payload)) + bytes(4) + payload
