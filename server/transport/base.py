"""The interface between a transport and the rest of the server."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from headgate.server.errors import ServerError


class Call(Protocol):
    """One request that waits for one answer, alone (unary) or as a message of a stream.

    Answer it once, with `reply` or `fail`, from any thread; what comes after the first answer, or after the client
    has gone, is dropped.

    Attributes:
        request: the serialised request message.
        cancelled: the client has gone, or the deadline has passed. Only known after `watch_cancellation`.
    """

    request: bytes
    cancelled: bool

    @property
    def deadline(self) -> float:
        """When the client stops waiting, in seconds of `time.time()`; `math.inf` if never."""

    def metadata(self, key: str) -> str | None:
        """Return the last value of a (lower-case, text) metadata key that came with the call."""

    def reply(self, response: bytes) -> None:
        """Answer with a serialised response message."""

    def fail(self, error: ServerError) -> None:
        """Answer with an error: a status for a unary call, an in-band message where the method renders one."""

    def push(self, response: bytes) -> None:
        """Send one message of a server stream and keep it open. Only for methods of that kind."""

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back, once, on the I/O thread, when the client cancels or the deadline passes before the answer."""


class MethodKind(enum.Enum):
    """How messages flow."""

    UNARY = enum.auto()
    #: One request, any number of answers pushed over time.
    SERVER_STREAM = enum.auto()
    #: Any number of requests, one answer each, in the order of the requests.
    ORDERED_STREAM = enum.auto()


@dataclass(frozen=True, slots=True)
class Method:
    """What a transport does with calls to one path.

    `handle` runs on the I/O thread and must not block: it answers, or keeps the call to have it answered later.
    A ServerError that it raises is the answer.
    """

    handle: Callable[[Call], None]
    kind: MethodKind = MethodKind.UNARY
    #: Turns an error into a response message, so that it does not end an ordered stream.
    render_error: Callable[[Call, ServerError], bytes] | None = None


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Addresses and limits."""

    host: str = "127.0.0.1"
    #: 0 takes any free port.
    port: int = 8001
    max_message_bytes: int = 64 * 1024 * 1024
    #: How many messages of one stream may be unanswered or unsent before the server stops reading it.
    stream_window: int = 256


class Transport(Protocol):
    """Accepts calls and hands them to methods."""

    #: The port that is listened on; known after `start`.
    port: int

    def __init__(
        self, methods: Mapping[str, Method], on_drained: Callable[[], None], options: TransportOptions
    ) -> None:
        """Take the methods by path ("/package.Service/Method").

        `on_drained` is called on the I/O thread whenever all requests that had arrived have been handed to their
        methods: the moment to run what they have gathered.
        """

    def start(self) -> None:
        """Listen, and handle calls on an I/O thread of its own.

        Raises:
            StartupError: the address cannot be listened on.
        """

    def drain(self, grace_s: float) -> bool:
        """Refuse new calls, let accepted ones finish for at most `grace_s` seconds, and cancel the rest.

        Returns whether all accepted calls finished. Calls that were cancelled may still be answered, in vain.
        """

    def close(self) -> None:
        """End the I/O thread; only after `drain`, and once no other thread will answer a call."""
