"""What keeps to the rules in bad faith: frames by the ten thousand, calls that never end, clients that never read."""

from __future__ import annotations

import time
from collections.abc import Callable

from headgate.benchmarks.fuzz.raw_http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawConnection,
    call_headers,
    frame,
    message,
    settings,
)

_UNARY, _STREAM = "/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelStreamInfer"
_WATCH = "/grpc.health.v1.Health/Watch"
_CANCEL = (8).to_bytes(4)
#: How many frames of a kind are sent, and how many at a time.
_FRAMES, _AT_ONCE = 10_000, 100
_HEADER_FRAMES = 1_000
_HELD_CALLS, _HELD_CONNECTIONS = 2_000, 200
_UNREAD_MESSAGES, _UNREAD_CALLS = 200, 32
_HELD_S = 1.0

#: Sends something again and again, or holds it open, on one connection to a port or on many.
Flood = Callable[[int], None]


def floods(good: bytes, large: bytes) -> dict[str, Flood]:
    """Return floods by name; `good` is a serialised ModelInferRequest, `large` one of megabytes, as is its answer."""
    windows = settings([(INITIAL_WINDOW_SIZE, 1), (INITIAL_WINDOW_SIZE, 2**20)])
    return {
        "calls that are cancelled": _cancelled(b""),
        "requests that are cancelled": _cancelled(message(good)),
        "pings": _repeated(frame(PING, 0, 0, bytes(8))),
        "settings": _repeated(frame(SETTINGS, 0, 0, windows)),
        "window updates": _repeated(frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4))),
        "empty data": _repeated(frame(DATA, 0, 1)),
        "empty messages": _repeated(frame(DATA, 0, 1, message(b""))),
        "priorities and unknown frames": _repeated(frame(PRIORITY, 0, 3, bytes(5)) + frame(99, 0, 0, bytes(50))),
        "endless headers": _endless_headers,
        "calls that never end": _held_calls(_UNARY, b"\0\0\0\1\0" + good[:5]),
        "streams that never begin": _held_calls(_STREAM, b""),
        "watches": _held_calls(_WATCH, message(b"")),
        "connections that say nothing": _held_connections,
        "a message a byte at a time": _byte_by_byte(good),
        "answers of a stream that nobody reads": _unread_stream(large),
        "answers of calls that nobody reads": _unread_calls(large),
    }


def _repeated(frames: bytes) -> Flood:
    """Send frames of the connection, or of a stream that is its first."""

    def run(port: int) -> None:
        with RawConnection(port) as connection:
            connection.begin(1, call_headers(_STREAM))
            for _ in range(_FRAMES // _AT_ONCE):
                if not connection.send(frames * _AT_ONCE):
                    break
            connection.end()

    return run


def _cancelled(data: bytes) -> Flood:
    def run(port: int) -> None:
        with RawConnection(port) as connection:
            for first in range(0, _FRAMES, _AT_ONCE):
                frames = b""
                for stream in range(2 * first + 1, 2 * (first + _AT_ONCE), 2):
                    frames += frame(HEADERS, END_HEADERS, stream, connection.headers(call_headers(_UNARY)))
                    frames += frame(DATA, END_STREAM, stream, data) if data else b""
                    frames += frame(RST_STREAM, 0, stream, _CANCEL)
                if not connection.send(frames):
                    break
            connection.end()

    return run


def _endless_headers(port: int) -> None:
    with RawConnection(port) as connection:
        connection.begin(1, call_headers(_UNARY), flags=0)
        for _ in range(_HEADER_FRAMES):
            if not connection.send(frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 100)):
                break
        connection.end()


def _held_calls(path: str, data: bytes) -> Flood:
    def run(port: int) -> None:
        with RawConnection(port) as connection:
            for stream in range(1, 2 * _HELD_CALLS, 2):
                if not connection.begin(stream, call_headers(path)):
                    break
                connection.send(frame(DATA, 0, stream, data))
            connection.end_of(0, _HELD_S)

    return run


def _held_connections(port: int) -> None:
    connections = [RawConnection(port, open_=index % 2 == 0) for index in range(_HELD_CONNECTIONS)]
    connections[0].end_of(0, _HELD_S)
    for connection in connections:
        connection.close()


def _byte_by_byte(good: bytes) -> Flood:
    def run(port: int) -> None:
        with RawConnection(port) as connection:
            connection.begin(1, call_headers(_STREAM))
            for byte in message(good)[:-1]:
                connection.send(frame(DATA, 0, 1, bytes([byte])))
                time.sleep(_HELD_S / 100)

    return run


def _unread_stream(large: bytes) -> Flood:
    """Ask a stream for as much as it takes, and allow it to send nothing."""

    def run(port: int) -> None:
        with RawConnection(port, [(INITIAL_WINDOW_SIZE, 0)]) as connection:
            connection.begin(1, call_headers(_STREAM))
            connection.send_data(1, message(large) * _UNREAD_MESSAGES, 2 * _HELD_S, end=False)

    return run


def _unread_calls(large: bytes) -> Flood:
    def run(port: int) -> None:
        with RawConnection(port, [(INITIAL_WINDOW_SIZE, 0)]) as connection:
            for stream in range(1, 2 * _UNREAD_CALLS, 2):
                connection.begin(stream, call_headers(_UNARY))
                connection.send_data(stream, message(large), 2 * _HELD_S)
            connection.end_of(0, _HELD_S)

    return run
