"""Whether an answer is one that bad input deserves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from headgate.benchmarks.fuzz.services import Target

_Code = grpc.StatusCode
#: What may be wrong with any request.
_BLAMES_THE_REQUEST = {
    _Code.INVALID_ARGUMENT, _Code.NOT_FOUND, _Code.ALREADY_EXISTS, _Code.FAILED_PRECONDITION, _Code.UNIMPLEMENTED,
}  # fmt: skip
#: Codes that are right only with some messages.
_WITH_REASON = {
    # A model may fail on an input that has its type and shape.
    _Code.INTERNAL: "the model failed on this request: .*indices element out of data bounds",
    _Code.RESOURCE_EXHAUSTED: "the queue is full|.* larger than max",
    _Code.DEADLINE_EXCEEDED: "the deadline|the queue timeout|the request would begin",
    _Code.UNAVAILABLE: "model '.*' (is|has)",
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
#: What the server cuts its messages to, and the mark of that.
_MAX_MESSAGE_BYTES = 2003
#: Signs of the inside of a server.
_INSIDE = re.compile(
    r"Traceback|object at 0x|<class '|<built-in|Error\(|Exception|std::|grpc::|onnxruntime::|\.cc\b|\.py\b|"
    r"site-packages|NoneType|\bdtype\(|array\(|(?<!')\bb'|\bDESCRIPTOR"
)
_NO_MESSAGE = "the request is no "
#: What is refused before it is parsed.
_UNREAD = "the request has more than"
#: Fields in which answers carry errors of their own, and in which they name the code.
_TEXT_FIELDS, _CODE_FIELDS = ("error_message", "message"), ("code", "error_code")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call.

    Attributes:
        code, details: its status.
        answers: serialised.
        seconds: how long it took.
    """

    code: grpc.StatusCode
    details: str
    answers: Sequence[bytes]
    seconds: float


def judge(target: Target, requests: Sequence[bytes], outcome: Outcome, timeout_s: float) -> str | None:
    """Say what is wrong with the answer to a request, or those to the messages of a stream; None if nothing is."""
    if outcome.code is _Code.DEADLINE_EXCEEDED and outcome.seconds >= timeout_s:
        return f"no answer came within {timeout_s:g} s"
    errors = [] if outcome.code is _Code.OK else [(outcome.code, outcome.details)]
    for answer in outcome.answers:
        try:
            errors += errors_in(target.answer.FromString(answer))
        except DecodeError:
            return f"an answer is no {target.answer.DESCRIPTOR.full_name}"
    for code, text in errors:
        if code is not None and (fault := _fault_of_code(code, text)):
            return fault
        if fault := fault_of_text(text):
            return f"{fault}: {text[:200]!r}"
    if outcome.code is _Code.OK and target.takes_stream and len(outcome.answers) != len(requests):
        return f"a stream of {len(requests)} messages got {len(outcome.answers)} answers"
    return _fault_of_parsing(target, requests, [text for _, text in errors])


def _fault_of_code(code: grpc.StatusCode, text: str) -> str | None:
    return None if code in _BLAMES_THE_REQUEST or has_reason(code, text) else f"{code.name}: {text[:200]}"


def has_reason(code: grpc.StatusCode, text: str) -> bool:
    """Return whether a code that blames no request comes with a message that makes it right."""
    return re.match(_WITH_REASON.get(code, "(?!)"), text) is not None


def fault_of_text(text: str) -> str | None:
    if not text:
        return "the message is empty"
    if not text.isprintable():
        return "the message is not one line of text"
    if len(text.encode()) > _MAX_MESSAGE_BYTES:
        return f"the message has {len(text.encode())} bytes"
    return "the message tells of the server's inside" if _INSIDE.search(text) else None


def _fault_of_parsing(target: Target, requests: Sequence[bytes], texts: Sequence[str]) -> str | None:
    """Compare what the server takes for no message with what protobuf does."""
    readable = [_is_readable(target.request, request) for request in requests]
    refused = [text for text in texts if text.startswith(_NO_MESSAGE)]
    if target.takes_stream and any(text for text in texts if text not in refused):
        # What ends a stream leaves the rest of it unread.
        return None
    if all(readable) and refused:
        return f"the request can be parsed: {refused[0]}"
    if all(readable) or refused or any(text.startswith(_UNREAD) for text in texts):
        return None
    return "a request that cannot be parsed was not refused as that"


def _is_readable(message_class: Any, serialized: bytes) -> bool:
    try:
        message_class.FromString(serialized)
    except DecodeError:
        return False
    return True


def errors_in(answer: Any) -> Iterator[tuple[grpc.StatusCode | None, str]]:
    """Go through the errors that an answer carries, of which not all have a code."""
    for field, value in answer.ListFields():
        if field.name in _TEXT_FIELDS and isinstance(value, str):
            number = next((getattr(answer, name) for name in _CODE_FIELDS if hasattr(answer, name)), None)
            yield None if number is None else _CODES.get(number, _Code.UNKNOWN), value
        elif field.message_type is not None and not field.is_repeated and "request" not in field.name:
            yield from errors_in(value)
