"""Reading the messages of a request."""

from typing import Any

from google.protobuf.message import DecodeError

from headgate.server.errors import InvalidArgumentError
from headgate.v1.wire import detach

#: From this size on, what a message carries is not copied out of it, which takes longer for a small one.
LARGE_BYTES = 64 * 1024


def parse(message_class: Any, serialized: bytes | memoryview) -> Any:
    """Parse a message.

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
    """Parse a message but for the values of a field, bytes or messages, which are returned as views of it.

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
    return parse(message_class, rest), values


def _no_message(message_class: Any, error: DecodeError) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the request is no {message_class.DESCRIPTOR.full_name}: {error}; was it made with the .proto files of this "
        "server?"
    )
