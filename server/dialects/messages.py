"""Reading the messages of a request."""

from typing import Any

from google.protobuf.message import DecodeError

from headgate.server.errors import InvalidArgumentError


def parse(message_class: Any, serialized: bytes) -> Any:
    """Parse a message.

    Raises:
        InvalidArgumentError: the bytes are no such message.
    """
    try:
        return message_class.FromString(serialized)
    except DecodeError as error:
        name = message_class.DESCRIPTOR.full_name
        raise InvalidArgumentError(
            f"the request is no {name}: {error}; was it made with the .proto files of this server?"
        ) from None


def encode_varint(value: int) -> bytes:
    """Encode a non-negative integer as protobuf does (https://protobuf.dev/programming-guides/encoding/#varints).

    >>> encode_varint(300).hex()
    'ac02'
    """
    if value < 128:
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_ONE_BYTE = [bytes([value]) for value in range(128)]
