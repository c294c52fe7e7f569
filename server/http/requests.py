"""What a request brings: its body, how long its client waits, and whether the client is still there."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from headgate.server.errors import DeadlineExceededError, InvalidArgumentError
from headgate.server.http.errors import HttpError

Result = TypeVar("Result")

#: How clients and gateways say it: grpc-gateway's header, and what Envoy tells those behind it.
GRPC_TIMEOUT = "Grpc-Timeout"
ENVOY_TIMEOUT_MS = "X-Envoy-Expected-Rq-Timeout-Ms"
#: As gRPC writes a time (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
#: The bits of zlib's window, and the format: 16 more are gzip's.
_WINDOWS = {"gzip": zlib.MAX_WBITS + 16, "deflate": zlib.MAX_WBITS}
_MIB = 1024 * 1024


class Deadline:
    """When a request has to be answered."""

    def __init__(self, timeout_s: float) -> None:
        """Begin to count; in an event loop."""
        self.timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + timeout_s

    @classmethod
    def of(cls, headers: Mapping[str, str], default_s: float) -> Deadline:
        """Read the headers of a request: the earliest that they tell, else the default.

        Raises:
            InvalidArgumentError: a header is no time.
        """
        given = [_grpc_timeout_s(headers.get(GRPC_TIMEOUT)), _envoy_timeout_s(headers.get(ENVOY_TIMEOUT_MS))]
        return cls(min([seconds for seconds in given if seconds is not None], default=default_s))

    def left_s(self) -> float:
        """Return how much time is left, in seconds.

        Raises:
            DeadlineExceededError: none.
        """
        left = self._end - self._loop.time()
        if left <= 0:
            raise DeadlineExceededError(f"there was no answer within {self.timeout_s:g} s")
        return left


def _grpc_timeout_s(value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,8})([HMSmun])", value)
    if found is None:
        raise InvalidArgumentError(
            f"the header {GRPC_TIMEOUT} is '{value}'; give up to 8 digits and one of H, M, S, m, u, n, such as 500m"
        )
    return int(found[1]) * _UNITS_S[found[2]]


def _envoy_timeout_s(value: str | None) -> float | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", value):
        raise InvalidArgumentError(f"the header {ENVOY_TIMEOUT_MS} is '{value}'; give milliseconds, such as 500")
    return int(value) / 1e3


async def read_body(request: Request, most_bytes: int, deadline: Deadline) -> bytes:
    """Return the body, unpacked if it came compressed.

    Raises:
        HttpError: it is too large, packed or not, or not here by the deadline, or compressed in another way than by
            gzip or deflate.
        InvalidArgumentError: what is compressed is damaged.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_large(most_bytes)
    chunks = []
    size = 0
    try:
        async with asyncio.timeout(deadline.left_s()):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most_bytes:
                    raise _too_large(most_bytes)
                chunks.append(chunk)
    except TimeoutError:
        raise HttpError(408, f"the body did not arrive within {deadline.timeout_s:g} s") from None
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    return body if encoding == "identity" else _unpack(body, encoding, most_bytes)


def _unpack(body: bytes, encoding: str, most_bytes: int) -> bytes:
    if encoding not in _WINDOWS:
        raise HttpError(415, f"the Content-Encoding is '{encoding}'; send gzip, deflate or identity")
    unpacker = zlib.decompressobj(_WINDOWS[encoding])
    try:
        unpacked = unpacker.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise InvalidArgumentError(f"the body is no valid {encoding}: {error}") from None
    if len(unpacked) > most_bytes:
        raise _too_large(most_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidArgumentError(f"the body is no valid {encoding}: it ends too early, or goes on after its end")
    return unpacked


def _too_large(most_bytes: int) -> HttpError:
    return HttpError(
        413, f"the body has more than {most_bytes / _MIB:g} MiB, which is this server's limit (--max-message-mb)"
    )


def pack(body: bytes, encoding: str) -> bytes:
    """Compress by gzip or deflate."""
    packer = zlib.compressobj(wbits=_WINDOWS[encoding])
    return packer.compress(body) + packer.flush()


async def while_connected(request: Request, answer: Awaitable[Result]) -> Result:
    """Await something, for as long as the client is there; only after the body has been read.

    Raises:
        ClientDisconnect: the client has gone; the awaited was cancelled.
    """
    answering = asyncio.ensure_future(answer)
    going = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((answering, going), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        going.cancel()
        answering.cancel()
