"""Connections and calls that break the rules of HTTP/2 and of gRPC."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass

import hpack

from headgate.benchmarks.fuzz.bombs import bomb
from headgate.benchmarks.fuzz.mutations import mutate_bytes
from headgate.benchmarks.fuzz.raw_http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Header,
    RawConnection,
    call_headers,
    frame,
    message,
    settings,
)

UNARY, STREAM = "/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelStreamInfer"
_TIMEOUT_S = 20.0
_TOO_LARGE = frozenset({"RESOURCE_EXHAUSTED"})


@dataclass(frozen=True, slots=True)
class BadCall:
    """A call with something wrong in its headers or in the bytes of its messages.

    Attributes:
        data: what follows the headers; None if they end the call.
        headers: beside the usual ones, or in their place.
        without: those of the usual ones that are left out.
        ends: how it may end, as `RawConnection.end_of` says. Codes of gRPC itself, which the server has no part in,
            are among them: INTERNAL for what is no message.
    """

    name: str
    data: bytes | None
    ends: frozenset[str]
    headers: tuple[Header, ...] = ()
    without: tuple[str, ...] = ()
    path: str = UNARY


def bad_calls(good: bytes) -> list[BadCall]:
    """Return calls like a good one of a serialised ModelInferRequest."""
    whole = message(good)
    refused = frozenset({"UNIMPLEMENTED", "INTERNAL", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "RST_STREAM 2"})
    gzipped = ("grpc-encoding", "gzip")
    calls = []
    for path in (UNARY, STREAM):
        # A stream may end without a message. A flag of the future is taken for no message by grpc, or an empty one.
        ended = refused | {"OK"} if path == STREAM else refused
        calls += [
            BadCall("no message", None, ended, path=path),
            BadCall("no data", b"", ended, path=path),
            BadCall("truncated prefix", whole[:3], ended, path=path),
            BadCall("truncated message", message(good[:5], length=100), ended, path=path),
            BadCall("a length of 4 GiB", message(good, length=2**32 - 1), _TOO_LARGE, path=path),
            BadCall("compressed, it is not said how", message(good, 1), refused, path=path),
            BadCall("a flag that does not exist", message(good, 2), ended | {"NOT_FOUND"}, path=path),
            BadCall("an unknown compression", message(good, 1), refused, (("grpc-encoding", "zstd"),), path=path),
            BadCall("not gzip", message(good, 1), refused, (gzipped,), path=path),
            BadCall("truncated gzip", message(gzip.compress(good)[:-9], 1), refused, (gzipped,), path=path),
        ]
    reset = frozenset({"RST_STREAM 1", "RST_STREAM 2", "INTERNAL", "UNIMPLEMENTED"})
    dropped = frozenset({"closed", "GOAWAY 1", "GOAWAY 11", "RESOURCE_EXHAUSTED", "INTERNAL", "RST_STREAM 1"})
    calls += [
        BadCall(f"path {path[:20]!r}", whole, reset, path=path) for path in ("", "/", "*", "//", "a", "/a" * 2000)
    ]
    calls += [
        BadCall(f"without {name}", whole, reset, without=(name,)) for name in (":path", ":method", ":authority", "te")
    ]
    calls += [
        BadCall(
            f"timeout {text!r}",
            whole,
            frozenset({"INTERNAL", "DEADLINE_EXCEEDED", "RST_STREAM 1"}),
            (("grpc-timeout", text),),
        )
        for text in ("abc", "-1S", "0n", "1", "S", "", "1.5S")
    ]
    return [
        *calls,
        BadCall("GET", None, reset, ((":method", "GET"),)),
        BadCall("20 kB of metadata", whole, dropped, (("x-large", "a" * 20_000),)),
        BadCall("2000 metadata", whole, dropped, tuple((f"x-{index}", "a") for index in range(2_000))),
        # gRPC takes it for Latin-1.
        BadCall("metadata that is no UTF-8", whole, frozenset({"OK"}), (("x-text", b"\x83"),)),
        BadCall("metadata that is no base64", whole, reset, (("x-bin", "!!!!"),)),
        BadCall("upper case", whole, reset, (("X-Upper", "a"),)),
    ]


def bombs() -> list[BadCall]:
    """Return calls whose messages are a gigabyte once they are decompressed."""
    return [
        BadCall(f"a gigabyte in {each}", message(bomb(each), 1), _TOO_LARGE, (("grpc-encoding", each),), path=path)
        for path in (UNARY, STREAM)
        for each in ("gzip", "deflate")
    ]


def good_call(good: bytes) -> BadCall:
    """Return a call with nothing wrong, of a serialised ModelInferRequest."""
    return BadCall("good", message(good), frozenset({"OK"}))


def good_compressed_call(good: bytes) -> BadCall:
    """Return the same with its message compressed."""
    return BadCall("good", message(gzip.compress(good), 1), frozenset({"OK"}), (("grpc-encoding", "gzip"),))


def send_call(port: int, call: BadCall) -> str | None:
    """Make a call; say what is wrong with how it ended, None if nothing is."""
    with RawConnection(port) as connection:
        flags = END_HEADERS | (END_STREAM if call.data is None else 0)
        connection.begin(1, call_headers(call.path, *call.headers, without=call.without), flags)
        if call.data is not None:
            connection.send_data(1, call.data)
        end = connection.end_of(1, _TIMEOUT_S)
    return None if end in call.ends else f"{call.name}: {end}"


def bad_beginnings(good: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """Go through what connections may begin with: other protocols, rubbish, and a good call with wrong bytes."""
    yield from (
        b"", b"\0", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /v2 HTTP/1.1\r\nContent-Length: 9999999999999\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), b"SSH-2.0-OpenSSH_9.6\r\n", PREFACE[:10], PREFACE,
        PREFACE + frame(DATA, 0, 0, b"x"), PREFACE + frame(HEADERS, END_HEADERS, 1, b"\xff" * 100),
        rng.randbytes(100_000),
    )  # fmt: skip
    begun = PREFACE + frame(SETTINGS)
    wild = settings([(INITIAL_WINDOW_SIZE, 2**32 - 1), (5, 1), (5, 2**32 - 1), (1, 2**32 - 1)])
    yield from (
        begun + frame(SETTINGS, 0, 0, b"x"), begun + frame(SETTINGS, 0, 1), begun + frame(SETTINGS, ACK, 0, bytes(6)),
        begun + frame(SETTINGS, 0, 0, wild), begun + frame(PRIORITY, 0, 1, b"x"), begun + frame(99, 255, 1, b"x"),
        begun + frame(WINDOW_UPDATE, 0, 0, bytes(4)), begun + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 3,
        begun + frame(PING, 0, 0, b"x"), begun + frame(PING, 0, 5, bytes(8)), begun + frame(GOAWAY, 0, 0, b"x"),
        begun + frame(HEADERS, END_HEADERS, 2, b"\x82"), begun + frame(HEADERS, END_HEADERS, 0, b"\x82"),
        begun + frame(CONTINUATION, END_HEADERS, 1, b"\x82"), begun + frame(PUSH_PROMISE, END_HEADERS, 1, bytes(8)),
        begun + frame(DATA, END_STREAM, 7, b"x"), begun + frame(RST_STREAM, 0, 9, bytes(4)),
        begun + frame(DATA, 0x8, 1, b"\xff"), begun + frame(HEADERS, END_HEADERS | 0x28, 1, b"\xff"),
        begun + frame(DATA, 0, 1, length=2**24 - 1), begun + frame(HEADERS, 0, 1, b"\x82") + frame(DATA, 0, 1),
    )  # fmt: skip
    whole = good_beginning(good)
    for _ in range(count):
        yield mutate_bytes(rng, whole, [whole])


def send_beginning(port: int, beginning: bytes) -> str | None:
    """Begin a connection so, and end it; say so if the server does not."""
    with RawConnection(port, open_=False) as connection:
        connection.send(beginning)
        end = connection.end()
    return f"a connection of {beginning[:100]!r} was not ended" if end == "open" else None


def good_beginning(good: bytes) -> bytes:
    """Return a connection with one good call."""
    headers = hpack.Encoder().encode(call_headers(UNARY), huffman=False)
    return (
        PREFACE + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, headers) + frame(DATA, END_STREAM, 1, message(good))
    )
