"""Reading the messages of a request."""

from contextlib import suppress
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from numpy.typing import DTypeLike, NDArray

from headgate.server.errors import InvalidArgumentError
from headgate.v1.wire import detach, fields

#: From this size on, what a message carries is not copied out of it, which takes longer for a small one.
LARGE_BYTES = 64 * 1024
#: More have no sense in a request, not counting those of its messages. Each takes a hundred times its bytes to read.
_MAX_FIELDS = 8_000


def parse(message_class: Any, serialized: bytes | memoryview) -> Any:
    """Parse a request.

    Raises:
        InvalidArgumentError: the bytes are no such message, or have too many fields.
    """
    if len(serialized) >= LARGE_BYTES:
        # Of what is no message protobuf says why.
        with suppress(DecodeError):
            if _has_more_fields(memoryview(serialized), _MAX_FIELDS):
                name = message_class.DESCRIPTOR.full_name
                raise InvalidArgumentError(f"the request has more than {_MAX_FIELDS} fields, which no {name} needs")
    return parse_part(message_class, serialized)


def parse_part(message_class: Any, serialized: bytes | memoryview) -> Any:
    """Parse a message in a request, of any number of fields.

    Raises:
        InvalidArgumentError: the bytes are no such message.
    """
    try:
        return message_class.FromString(bytes(serialized))
    except DecodeError as error:
        raise _no_message(message_class, error) from None


def parse_without(
    message_class: Any, serialized: bytes | memoryview, number: int
) -> tuple[Any, list[memoryview]] | None:
    """Parse a request, or a part of it, but for the values of a field: bytes or messages, returned as views of it.

    None where that does not pay, since it has very many fields: parse it as a whole.

    Raises:
        InvalidArgumentError: the bytes are no such message.
    """
    try:
        detached = detach(memoryview(serialized), number)
    except DecodeError as error:
        raise _no_message(message_class, error) from None
    if detached is None:
        return None
    rest, values = detached
    return parse_part(message_class, rest), values


def read_id(message_class: Any, serialized: bytes) -> str:
    """Return the id of a request that was refused; "" where it has none, or is not to be read for it.

    A large one is not parsed again, whatever it is.
    """
    with suppress(DecodeError, UnicodeDecodeError):
        if len(serialized) < LARGE_BYTES:
            return str(message_class.FromString(serialized).id)
        detached = detach(memoryview(serialized), message_class.ID_FIELD_NUMBER)
        if detached is not None and detached[1]:
            return bytes(detached[1][-1]).decode()
    return ""


def read_numbers(message: Any, field: str, dtype: DTypeLike) -> NDArray[Any]:
    """Return the numbers in a list of a message [elements], in a type that holds all that the list can.

    The message must have less than a thousand other fields; those of its fields that are not known are discarded.
    """
    kind = message.DESCRIPTOR.fields_by_name[field].type
    if kind in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return np.frombuffer(packed(message, field), dtype)
    values = getattr(message, field)
    # Not as a list, which takes five times the memory.
    return np.fromiter(values, dtype, len(values))


def packed(message: Any, field: str) -> bytes | memoryview:
    """Return the elements of a list of floats or doubles as they lie in memory; see `read_numbers`.

    They stand so in the serialised message, little-endian; one by one they would take a hundred times as long.
    """
    message.DiscardUnknownFields()
    detached = detach(memoryview(message.SerializeToString()), message.DESCRIPTOR.fields_by_name[field].number)
    assert detached is not None
    return detached[1][0] if detached[1] else b""


def _has_more_fields(message: memoryview, most: int) -> bool:
    """Return whether a message has more fields; what is no message may raise a DecodeError, as of `fields`."""
    position, size = 0, len(message)
    for _ in range(most):
        if position >= size:
            return False
        kind = message[position] & 0x87
        # Small fields, of which alone there can be many, by hand: seven times as fast as `fields`.
        if kind in (0, 2) and position + 1 < size and message[position + 1] < 0x80:
            position += 2 + (message[position + 1] if kind == 2 else 0)
        else:
            _, whole, _ = next(fields(message[position:]))
            position += len(whole)
    return position < size


def _no_message(message_class: Any, error: DecodeError) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the request is no {message_class.DESCRIPTOR.full_name}: {error}; was it made with the .proto files of this "
        "server?"
    )
