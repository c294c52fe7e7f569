"""The interface between a transport and the rest of the server."""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headgate.server.errors import InternalError, ServerError, UnimplementedError
from headgate.server.tracing import trace_of
from headgate.server.transport.options import TransportOptions

_log = logging.getLogger(__name__)

#: What grpc gives as the deadline of calls without one is beyond this: seconds since 1970.
NEVER = 1e18
#: Events handled before `on_drained` is called even if more are ready.
MAX_EVENTS_PER_TURN = 1024
#: The most bytes of an error's message: clients refuse more than 8 KiB of metadata, and escapes may triple its size.
_MAX_DETAILS_BYTES = 2000


class Call(Protocol):
    """One request that waits for one answer, alone (unary) or as a message of a stream.

    Answer it once, with `reply` or `fail`, from any thread; what comes after the first answer, or after the client
    has gone, is dropped.

    Attributes:
        request: the serialised request message.
        cancelled: the client has gone, the deadline has passed, or the stream has ended. Only known after
            `watch_cancellation`.
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
        """Answer with an error: an in-band message where the method renders one, else a status, which ends a stream."""

    def push(self, response: bytes) -> None:
        """Send one message of a server stream and keep it open. Only for methods of that kind."""

    def watch_cancellation(self, callback: Callable[[], None]) -> None:
        """Call back, once, on the I/O thread, when the call ends before it is answered.

        That is when the client cancels, the deadline passes, or an error ends the stream.
        """


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
    #: Turns an error into a response message, so that it does not end an ordered stream; None where it is to end it.
    render_error: Callable[[Call, ServerError], bytes | None] | None = None
    #: Where several workers share a port, all handle the call; makes their answers one. None: the one that got it
    #: answers alone. Unary methods only.
    merge: Callable[[Sequence[bytes]], bytes] | None = None
    #: How long to wait for the answers of all, in seconds, even if the client waits longer.
    merge_timeout_s: float = math.inf
    #: Whether there is such a method for clients on Unix sockets only. Unary methods only.
    is_internal: bool = False

    def take(self, call: Call) -> None:
        """Handle a call; what `handle` raises is its answer."""
        try:
            self.handle(call)
        except ServerError as error:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("refused with %s%s: %s", error.code.name, trace_of(call), error)
            call.fail(error)
        except Exception:
            _log.exception("a request could not be handled")
            call.fail(InternalError("the server failed to handle the request; its log says why"))


class Remaining(enum.IntEnum):
    """What there is left to do when all that came was handled; of several, the largest counts."""

    NOTHING = 0
    #: Other threads run batches, or are likely to in a moment: the processors are theirs.
    ELSEWHERE = 1
    #: More than `on_drained` does at a time; it is to be called again soon.
    HERE = 2


def unknown_method(path: str) -> UnimplementedError:
    """Return what a call to a method is answered that there is not, or not for this client."""
    return UnimplementedError(f"this server has no method {path}")


class Transport(Protocol):
    """Accepts calls and hands them to methods."""

    #: The port that is listened on; known after `start`. 0 for a Unix socket.
    port: int
    #: How many calls were refused before their message was read, since their deadline had passed.
    expired_calls: int

    def __init__(
        self, methods: Mapping[str, Method], on_drained: Callable[[], Remaining], options: TransportOptions
    ) -> None:
        """Take the methods by path ("/package.Service/Method").

        `on_drained` is called on the I/O thread whenever all requests that had arrived have been handed to their
        methods: the moment to run what they have gathered. It returns what is left to do.
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


def status_details(error: ServerError) -> str:
    """Return the message of an error, cut to what fits into a status."""
    details = str(error)
    encoded = details.encode()
    if len(encoded) <= _MAX_DETAILS_BYTES:
        return details
    return encoded[:_MAX_DETAILS_BYTES].decode(errors="ignore") + "..."
