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
