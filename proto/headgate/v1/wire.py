"""Serialised messages, taken apart without parsing them: for values so large that a copy would cost more than the rest.

The format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
#: Of a message of more fields, what is large is not one of them; protobuf reads many small ones far faster.
_MAX_FIELDS = 1000


def map_file(path: Path) -> memoryview:
    """Return the content of a file, of which no more is read than is looked at.

    Raises:
        OSError: it cannot be read.
        ValueError: it is empty.
    """
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Go through the fields of a serialised message: the tag, the whole field, and its value in it.

    A tag is the number times 8 plus the wire type. The value of a length-delimited field is its content, that of
    another its bytes as they stand.

    Raises:
        DecodeError: it is no message.

    >>> from headgate.v1 import TensorSpec
    >>> [(tag, bytes(value)) for tag, _, value in fields(memoryview(TensorSpec(name="x").SerializeToString()))]
    [(10, b'x')]
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = read_varint(message, position)
        kind = tag & 0b111
        if kind == _LENGTH_DELIMITED:
            size, position = read_varint(message, position)
        elif kind == _VARINT:
            size = read_varint(message, position)[1] - position
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise DecodeError(f"a field is of wire type {kind}")
        end = position + size
        if end > len(message):
            raise DecodeError("the message ends within a field")
        yield tag, message[start:end], message[position:end]
        position = end


def values_of(message: memoryview, number: int, *numbers: int) -> Iterator[memoryview]:
    """Go through the values of a field, and of a field of theirs, and so on.

    Raises:
        DecodeError: it is no message.

    >>> from headgate.v1 import Signature, TensorSpec
    >>> message = Signature(inputs=[TensorSpec(name="a"), TensorSpec(name="b")]).SerializeToString()
    >>> inputs, name = Signature.INPUTS_FIELD_NUMBER, TensorSpec.NAME_FIELD_NUMBER
    >>> [bytes(value) for value in values_of(memoryview(message), inputs, name)]
    [b'a', b'b']
    """
    for tag, _, value in fields(message):
        if tag >> 3 == number:
            if numbers:
                yield from values_of(value, *numbers)
            else:
                yield value


def detach(message: memoryview, number: int) -> tuple[bytes, list[memoryview]] | None:
    """Take all values of a length-delimited field out of a message; return what is left of it, and the values.

    None for a message of a thousand fields or more: parse it.

    Raises:
        DecodeError: it is no message.

    >>> from headgate.v1 import Tensor
    >>> rest, (raw,) = detach(memoryview(Tensor(name="x", raw=b"1234").SerializeToString()), Tensor.RAW_FIELD_NUMBER)
    >>> Tensor.FromString(rest).name, bytes(raw)
    ('x', b'1234')
    """
    rest, values = [], []
    for tag, whole, value in fields(message):
        if tag == number << 3 | _LENGTH_DELIMITED:
            values.append(value)
        else:
            rest.append(whole)
        if len(rest) + len(values) == _MAX_FIELDS:
            return None
    return b"".join(rest), values


def read_varint(message: memoryview, position: int = 0) -> tuple[int, int]:
    r"""Return the number at a position, and the position after it.

    Raises:
        DecodeError: there is none.

    >>> read_varint(memoryview(b"\xac\x02"))
    (300, 2)
    """
    number = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise DecodeError("a number has no end")
