"""What can go wrong while serving, split by whose fault it is.

ServerError
├── InvalidArgumentError      the request does not fit the model
├── NotFoundError             no such model, version, head, output, region or method
├── AlreadyExistsError        a region of that name is registered
├── FailedPreconditionError   the request is fine, but not for this model
├── QueueFullError            the model's queue has no room, or none left
├── DeadlineExceededError     the deadline or queue timeout ended before the request's turn, or would have
├── UnavailableError          loading, or shutting down
│   └── ModelClosedError      unloaded while the request was on its way to it
├── UnimplementedError        a method that this server does not have
├── InternalError             the model or the server failed
└── StartupError              the server cannot start as asked; never sent to a client

A message is one line: what came, what was expected, what to do. What clients sent may stand in it, and cannot make two
lines of it, nor control a terminal.
"""

import grpc

from headgate.v1.text import printable

#: Of a message; names that clients sent may have many megabytes, which take a minute to escape.
_MAX_CHARACTERS = 10_000


class ServerError(Exception):
    """The root; `code` is the gRPC status that a client sees."""

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL

    def __str__(self) -> str:
        """Return the message in one line, of a very long one the beginning."""
        return printable(super().__str__()[:_MAX_CHARACTERS])


class InvalidArgumentError(ServerError):
    """The request does not fit the model."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ServerError):
    """No such model, version, head, output, region or method."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(ServerError):
    """A region of that name is registered."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPreconditionError(ServerError):
    """The request is fine, but not for this model."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class QueueFullError(ServerError):
    """The model's queue has no room, or a more urgent request took it."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceededError(ServerError):
    """The deadline or queue timeout ended before the request's turn, or would have."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class UnavailableError(ServerError):
    """Loading, or shutting down."""

    code = grpc.StatusCode.UNAVAILABLE


class ModelClosedError(UnavailableError):
    """The model was unloaded while the request was on its way to it; another version may have taken its place."""


class UnimplementedError(ServerError):
    """A method that this server does not have."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(ServerError):
    """The model or the server failed; the log has the details under the request's id."""

    code = grpc.StatusCode.INTERNAL


class StartupError(ServerError):
    """The server cannot start as asked."""


class Interrupted(BaseException):
    """A signal came while a server was loading, or a second one while it drained."""


def first_line(error: Exception) -> str:
    """Return what an exception of a library says, in one line; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
