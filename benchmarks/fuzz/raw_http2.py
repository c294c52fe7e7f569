"""HTTP/2 connections that may break every rule: frames are sent as they are given.

Frames: RFC 9113; gRPC over HTTP/2: PROTOCOL-HTTP2.md of the grpc repository.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import hpack

from headgate.benchmarks.headers import status_name

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 0x4, 0x5
_SETTING = struct.Struct(">HI")
_FRAME_BYTES = 16_384
_RECEIVE_BYTES = 2**18
_TIMEOUT_S = 10.0

Header = tuple[str, str | bytes]


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """Make a frame; `length` is what its header says of the payload, if it is to lie."""
    size = len(payload) if length is None else length
    return size.to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Make the payload of a SETTINGS frame."""
    return b"".join(_SETTING.pack(*value) for value in values)


def message(payload: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """Make a gRPC message: a flag that says whether it is compressed, and its length, which may lie."""
    return bytes([flag]) + (len(payload) if length is None else length).to_bytes(4) + payload


def call_headers(path: str, *more: Header, without: Sequence[str] = ()) -> list[Header]:
    """Return the headers of a gRPC call."""
    usual = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "fuzz"), ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]  # fmt: skip
    replaced = {name for name, _ in more} | set(without)
    # Those of HTTP/2 itself come first.
    return sorted([each for each in usual if each[0] not in replaced] + list(more), key=lambda each: each[0][:1] != ":")


class RawConnection:
    """A connection."""

    def __init__(self, port: int, values: Iterable[tuple[int, int]] = (), *, open_: bool = True) -> None:
        """Connect to a port of this machine; begin HTTP/2 with these settings, unless that is done by hand."""
        self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._unread = b""
        self._window = self._initial_window = 65_535
        self._stream_windows: dict[int, int] = {}
        self._frame_bytes = _FRAME_BYTES
        #: What became of streams: a status, or how else they ended.
        self._ends: dict[int, str] = {}
        if open_:
            self.send(PREFACE + frame(SETTINGS, payload=settings(values)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def send(self, data: bytes) -> bool:
        """Send; return whether the server takes it."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def headers(self, headers: Iterable[Header]) -> bytes:
        """Compress headers, as the next on this connection."""
        block: bytes = self._encoder.encode(headers, huffman=False)
        return block

    def begin(self, stream: int, headers: Iterable[Header], flags: int = END_HEADERS) -> bool:
        """Begin a call."""
        return self.send(frame(HEADERS, flags, stream, self.headers(headers)))

    def send_data(self, stream: int, data: bytes, timeout_s: float = 10.0, *, end: bool = True) -> int:
        """Send data as fast as the server's windows allow; return how many bytes it took before the end."""
        sent = 0
        until = time.monotonic() + timeout_s
        while sent < len(data) and stream not in self._ends:
            room = min(self._frame_bytes, self._window, self._stream_window(stream), len(data) - sent)
            if room <= 0:
                if time.monotonic() >= until or not self._receive(until - time.monotonic()):
                    break
                continue
            is_last = end and sent + room == len(data)
            if not self.send(frame(DATA, END_STREAM if is_last else 0, stream, data[sent : sent + room])):
                break
            sent += room
            self._window -= room
            self._stream_windows[stream] = self._stream_window(stream) - room
        if end and not data:
            self.send(frame(DATA, END_STREAM, stream))
        return sent

    def end_of(self, stream: int, timeout_s: float = 10.0) -> str:
        """Return how a stream ends: the name of a gRPC status, how it was reset, or what became of the connection."""
        until = time.monotonic() + timeout_s
        while stream not in self._ends:
            left_s = until - time.monotonic()
            if left_s <= 0:
                return "silence"
            if not self._receive(left_s):
                return self._ends.get(stream, self._ends.get(0, "closed"))
        return self._ends[stream]

    def end(self, timeout_s: float = 10.0) -> str:
        """Say that nothing more comes, and return how the server ends the connection; "open" if it does not."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return "closed"
        until = time.monotonic() + timeout_s
        while self._receive(until - time.monotonic()):
            if time.monotonic() >= until:
                return "open"
        return self._ends.get(0, "closed")

    def _stream_window(self, stream: int) -> int:
        return self._stream_windows.setdefault(stream, self._initial_window)

    def _receive(self, timeout_s: float) -> bool:
        """Read what has come; return whether the connection goes on."""
        self._socket.settimeout(max(timeout_s, 0.001))
        try:
            received = self._socket.recv(_RECEIVE_BYTES)
        except TimeoutError:
            return True
        except OSError:
            return False
        self._unread += received
        while len(self._unread) >= 9 and len(self._unread) >= 9 + (size := int.from_bytes(self._unread[:3])):
            kind, flags, stream = self._unread[3], self._unread[4], int.from_bytes(self._unread[5:9])
            payload, self._unread = self._unread[9 : 9 + size], self._unread[9 + size :]
            self._take(kind, flags, stream, payload)
        return bool(received)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
            if flags & END_STREAM:
                status = fields.get("grpc-status")
                self._ends[stream] = status_name(int(status)) if status else f"HTTP {fields.get(':status')}"
        elif kind == RST_STREAM:
            self._ends.setdefault(stream, f"RST_STREAM {int.from_bytes(payload)}")
        elif kind == GOAWAY:
            self._ends[0] = f"GOAWAY {int.from_bytes(payload[4:8])}"
        elif kind == WINDOW_UPDATE and stream:
            self._stream_windows[stream] = self._stream_window(stream) + int.from_bytes(payload)
        elif kind == WINDOW_UPDATE:
            self._window += int.from_bytes(payload)
        elif kind == SETTINGS and not flags & ACK:
            for setting, value in _SETTING.iter_unpack(payload):
                if setting == INITIAL_WINDOW_SIZE:
                    for each in self._stream_windows:
                        self._stream_windows[each] += value - self._initial_window
                    self._initial_window = value
                elif setting == _MAX_FRAME_SIZE:
                    self._frame_bytes = value
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
