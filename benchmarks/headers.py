"""The headers of gRPC calls over HTTP/2: those of a request, and the status in those of an answer.

Header compression: RFC 7541; status and timeout: PROTOCOL-HTTP2.md of the grpc repository.
"""

from __future__ import annotations

import math

import grpc
import hpack

from headgate.benchmarks.errors import BenchmarkError

OK, CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 0, 1, 2, 4, 7, 8
INTERNAL, UNAVAILABLE = 13, 14
#: gRPC's status for the error codes of HTTP/2 that have one of their own; INTERNAL for all others.
RESET_STATUSES = {0x7: UNAVAILABLE, 0x8: CANCELLED, 0xB: RESOURCE_EXHAUSTED, 0xC: PERMISSION_DENIED}
#: In place of a gRPC status: the server had not answered when the load generator stopped waiting.
NO_ANSWER = -1
_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode} | {NO_ANSWER: "NO_ANSWER"}
#: More blocks than this are no common forms of answers.
_MAX_KNOWN_BLOCKS = 1024
_MAX_TIMEOUT_NUMBER = 99_999_999
#: A literal field that is not indexed, and its name; RFC 7541, section 6.2.2.
_TIMEOUT_NAME = b"\x00\x0cgrpc-timeout"


def status_name(status: int) -> str:
    """Return the name of a gRPC status code.

    >>> status_name(8)
    'RESOURCE_EXHAUSTED'
    """
    return _NAMES.get(status, str(status))


def request_blocks(path: str, authority: str, scheme: str, timeout_s: float | None) -> tuple[bytes, bytes]:
    """Return the header block of a connection's first request, which defines the fields, and that of all later ones.

    The timeout, if there is one, comes last.
    """
    fields = {
        ":method": "POST",
        ":scheme": scheme,
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "headgate-benchmarks",
        "grpc-accept-encoding": "identity, deflate, gzip",
    }
    if timeout_s is not None:
        fields["grpc-timeout"] = timeout_header(timeout_s)
    encoder = hpack.Encoder()
    first, later = (encoder.encode(fields.items(), huffman=False) for _ in range(2))
    return first, later


def with_timeout(block: bytes, timeout_s: float) -> bytes:
    """Return the header block of a later request, see `request_blocks`, with another timeout."""
    text = timeout_header(timeout_s).encode()
    # All fields are indexed, and a byte each. This one is not: it would take the place of one that is.
    return block[:-1] + _TIMEOUT_NAME + len(text).to_bytes() + text


def timeout_header(timeout_s: float) -> str:
    """Write a timeout as gRPC does: up to eight digits and a unit, rounded up.

    >>> timeout_header(0.05), timeout_header(600)
    ('50000u', '600000m')
    """
    for unit, per_s in (("u", 1_000_000), ("m", 1_000)):
        # Rounded first: 0.0501 s is 50100.000000000004 us.
        number = math.ceil(round(timeout_s * per_s, 3))
        if number <= _MAX_TIMEOUT_NUMBER:
            return f"{number}{unit}"
    raise BenchmarkError(f"a timeout of {timeout_s:g} s is too long; give at most a day")


class StatusReader:
    """Reads the gRPC status of header blocks, at next to no cost where a block is like an earlier one.

    What a block means depends on the fields that earlier blocks have added to the table: those known are forgotten
    when it changes, which it does not after the first answers.
    """

    def __init__(self) -> None:
        self._decoder = hpack.Decoder()
        self._known: dict[bytes, int | None] = {}

    def read(self, block: bytes) -> int | None:
        """Return the status in a block; None if it has none, as those before an answer.

        Raises:
            BenchmarkError: the server breaks the rules of HPACK.
        """
        try:
            return self._known[block]
        except KeyError:
            pass
        table = self._decoder.header_table
        before = list(table.dynamic_entries)
        try:
            fields = {str(name): str(value) for name, value in self._decoder.decode(block)}
        except hpack.HPACKError as error:
            raise BenchmarkError(f"the server sent headers that cannot be read: {error}") from error
        status = _status(fields)
        if list(table.dynamic_entries) != before:
            self._known.clear()
        elif len(self._known) < _MAX_KNOWN_BLOCKS:
            self._known[block] = status
        return status


def _status(fields: dict[str, str]) -> int | None:
    if "grpc-status" in fields:
        text = fields["grpc-status"]
        return int(text) if text.isdecimal() else UNKNOWN
    # Something in between that does not speak gRPC.
    return UNKNOWN if fields.get(":status", "200") != "200" else None
