"""Serialised messages with something wrong in their bytes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from headgate.v1.encoding import encode_varint
from headgate.v1.wire import fields

#: Bytes that mean something to who reads a message: long numbers, tags of no field, ends of groups that did not begin.
_PIECES = (
    b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x80" * 10 + b"\x01", b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x07",
    b"\x00", b"\x00\x00", b"\x07", b"\x0b", b"\x0c", b"\x0b\x0c", b"\x0a\xff\xff\xff\xff\x07", b"\x80", b"\xc3\x28",
    b"\xed\xa0\x80", b"\xf8\xff\xff\xff\x0f\x01",
)  # fmt: skip
_NESTING = 200


def mutate(rng: random.Random, serialized: bytes, others: Sequence[bytes]) -> bytes:
    """Change a message in one to three places; `others` are what pieces are taken from."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        serialized = _mutate_fields(rng, serialized) if rng.random() < 0.5 else mutate_bytes(rng, serialized, others)
    return serialized


def mutate_bytes(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change bytes in one place, whatever they mean."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 64)))
    match rng.randrange(7):
        case 0 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:end] + data[at:]
        case 4:
            other = rng.choice(others)
            return data[:at] + other[rng.randrange(len(other) + 1) :]
        case 5:
            return data[:at] + rng.randbytes(end - at) + data[end:]
        case _:
            return data[:at] + rng.choice(_PIECES) + data[rng.choice((at, end)) :]


def _mutate_fields(rng: random.Random, message: bytes, depth: int = 4) -> bytes:
    """Change one field, or one in a field that may be a message."""
    try:
        parts = [(tag, bytes(whole), bytes(value)) for tag, whole, value in fields(memoryview(message))]
    except DecodeError:
        return message
    if not parts:
        return message + rng.choice(_PIECES)
    index = rng.randrange(len(parts))
    tag, whole, value = parts[index]
    wholes = [whole for _, whole, _ in parts]
    number, kind = tag >> 3, tag & 0b111
    if kind == 2 and depth and rng.random() < 0.5:
        wholes[index] = _field(tag, _mutate_fields(rng, value, depth - 1))
        return b"".join(wholes)
    match rng.randrange(9):
        case 0:
            wholes.insert(rng.randrange(len(wholes) + 1), whole)
        case 1:
            del wholes[index]
        case 2:
            rng.shuffle(wholes)
        case 3:
            # Another wire type.
            wholes[index] = encode_varint(number << 3 | rng.randrange(8)) + whole[len(encode_varint(tag)) :]
        case 4 if kind == 2:
            # A length that lies.
            lie = rng.choice((0, 1, len(value) - 1, len(value) + 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
            wholes[index] = encode_varint(tag) + encode_varint(max(lie, 0)) + value
        case 5:
            # A field that nobody knows.
            unknown = _field(rng.choice((999, 19_000, 2**29 - 1)) << 3 | 2, rng.randbytes(rng.randrange(40)))
            wholes.insert(rng.randrange(len(wholes) + 1), unknown)
        case 6:
            nested = b""
            for _ in range(_NESTING):
                nested = _field(tag | 2, nested)
            wholes.insert(index, nested if rng.random() < 0.5 else b"\x0b" * _NESTING + b"\x0c" * _NESTING)
        case 7:
            # A number in more bytes than it takes.
            padded = encode_varint(tag)
            wholes[index] = padded[:-1] + bytes([padded[-1] | 0x80, 0x80, 0x00]) + whole[len(padded) :]
        case _:
            wholes[index] = _field(number << 3 | 2, rng.choice((b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", value * 2)))
    return b"".join(wholes)


def _field(tag: int, value: bytes) -> bytes:
    return encode_varint(tag) + encode_varint(len(value)) + value
