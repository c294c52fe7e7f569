"""What keeps to the rules in bad faith: frames by the ten thousand, calls that never end, clients that never read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headgate.benchmarks.errors import BenchmarkError
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
_HELD_CALLS, _HELD_AT_ONCE, _HELD_CONNECTIONS = 2_000, 1_000, 200
_UNREAD_MESSAGES, _UNREAD_CALLS = 200, 32
_HELD_S = 1.0

#: What the server takes, about, of a stream whose answers are not read: docs/limits.md.
_READ_MESSAGES = 8
_MOST_WINDOW = 2**31 - 1

Send = Callable[[int], None]


class Flood(NamedTuple):
    """What goes on and on, on one connection to a port or on many.

    Attributes:
        attack: sends it, or holds it open.
        good: as many good requests.
    """

    attack: Send
    good: Send


def floods(good: bytes, large: bytes) -> dict[str, Flood]:
    """Return floods by name; `good` is a serialised ModelInferRequest, `large` one of megabytes, as is its answer."""
    windows = settings([(INITIAL_WINDOW_SIZE, 1), (INITIAL_WINDOW_SIZE, 2**20)])
    many = _good_calls(good, _FRAMES)
    held = _good_calls(good, _HELD_CALLS, _HELD_AT_ONCE)

    def repeated(frames: bytes) -> Flood:
        return Flood(_repeated(frames), many)

    return {
        "calls that are cancelled": Flood(_cancelled(b""), many),
        "requests that are cancelled": Flood(_cancelled(message(good)), many),
        "pings": repeated(frame(PING, 0, 0, bytes(8))),
        "settings": repeated(frame(SETTINGS, 0, 0, windows)),
        "window updates": repeated(frame(WINDOW_UPDATE, 0, 0, (1).to_bytes(4))),
        "empty data": repeated(frame(DATA, 0, 1)),
        "empty messages": repeated(frame(DATA, 0, 1, message(b""))),
        "priorities and unknown frames": repeated(frame(PRIORITY, 0, 3, bytes(5)) + frame(99, 0, 0, bytes(50))),
        "endless headers": Flood(_endless_headers, _good_calls(good, _HEADER_FRAMES)),
        "calls that never end": Flood(_held_calls(_UNARY, b"\0\0\0\1\0" + good[:5]), held),
        "streams that never begin": Flood(_held_calls(_STREAM, b""), held),
        "watches": Flood(_held_calls(_WATCH, message(b"")), held),
        "connections that say nothing": Flood(_held_connections, _good_connections(good)),
        "a message a byte at a time": Flood(
            _slowly([bytes([byte]) for byte in message(good)[:-1]]), _slowly([message(good)] * (len(good) + 4))
        ),
        "answers of a stream that nobody reads": Flood(_unread_stream(large), _read_stream(large)),
        "answers of calls that nobody reads": Flood(_unread_calls(large), _good_calls(large, _UNREAD_CALLS)),
    }


def _good_calls(good: bytes, count: int, at_once: int = _AT_ONCE) -> Send:
    """Make good calls and wait for their answers, so many at a time."""

    def run(port: int) -> None:
        with _reading_connection(port) as connection:
            for first in range(0, count, at_once):
                streams = range(2 * first + 1, 2 * min(first + at_once, count), 2)
                for stream in streams:
                    connection.begin(stream, call_headers(_UNARY))
                    connection.send_data(stream, message(good))
                for stream in streams:
                    _check(connection.end_of(stream))

    return run


def _good_connections(good: bytes) -> Send:
    def run(port: int) -> None:
        for _ in range(_HELD_CONNECTIONS):
            _good_calls(good, 1)(port)

    return run


def _read_stream(large: bytes) -> Send:
    def run(port: int) -> None:
        with _reading_connection(port) as connection:
            connection.begin(1, call_headers(_STREAM))
            connection.send_data(1, message(large) * _READ_MESSAGES)
            _check(connection.end_of(1))

    return run


def _reading_connection(port: int) -> RawConnection:
    """Open a connection that takes answers of any size."""
    connection = RawConnection(port, [(INITIAL_WINDOW_SIZE, _MOST_WINDOW)])
    connection.send(frame(WINDOW_UPDATE, 0, 0, (_MOST_WINDOW - 65_535).to_bytes(4)))
    return connection


def _check(end: str) -> None:
    if end != "OK":
        raise BenchmarkError(f"a good call beside a flood ended with {end}")


def _repeated(frames: bytes) -> Send:
    """Send frames of the connection, or of a stream that is its first."""

    def run(port: int) -> None:
        with RawConnection(port) as connection:
            connection.begin(1, call_headers(_STREAM))
            for _ in range(_FRAMES // _AT_ONCE):
                if not connection.send(frames * _AT_ONCE):
                    break
            connection.end()

    return run


def _cancelled(data: bytes) -> Send:
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


def _held_calls(path: str, data: bytes) -> Send:
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


def _slowly(pieces: Sequence[bytes]) -> Send:
    def run(port: int) -> None:
        with _reading_connection(port) as connection:
            connection.begin(1, call_headers(_STREAM))
            for piece in pieces:
                connection.send(frame(DATA, 0, 1, piece))
                time.sleep(_HELD_S / 100)

    return run


def _unread_stream(large: bytes) -> Send:
    """Ask a stream for as much as it takes, and allow it to send nothing."""

    def run(port: int) -> None:
        with RawConnection(port, [(INITIAL_WINDOW_SIZE, 0)]) as connection:
            connection.begin(1, call_headers(_STREAM))
            connection.send_data(1, message(large) * _UNREAD_MESSAGES, 2 * _HELD_S, end=False)

    return run


def _unread_calls(large: bytes) -> Send:
    def run(port: int) -> None:
        with RawConnection(port, [(INITIAL_WINDOW_SIZE, 0)]) as connection:
            for stream in range(1, 2 * _UNREAD_CALLS, 2):
                connection.begin(stream, call_headers(_UNARY))
                connection.send_data(stream, message(large), 2 * _HELD_S)
            connection.end_of(0, _HELD_S)

    return run
