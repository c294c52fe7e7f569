"""What a call to the server can raise.

HeadgateError               any failure; `code` is the gRPC status code, `details` what the server or gRPC said
|- InvalidRequestError      INVALID_ARGUMENT: the request does not fit the model; do not repeat it
|- NotFoundError            NOT_FOUND: no such model, version or head
|- NoHeadsError             FAILED_PRECONDITION: the model gives raw tensors only
|- OverloadedError          RESOURCE_EXHAUSTED: the model's queue is full; try again later
|- DeadlineExceededError    DEADLINE_EXCEEDED: no answer within `timeout_s`
|- UnavailableError         UNAVAILABLE: no connection, or the server is loading the model or shutting down
|- ModelFailedError         INTERNAL: the model failed while running
"""

from grpc import StatusCode


class HeadgateError(Exception):
    """A call to the server failed. `str(error)` is one line.

    Attributes:
        code: the gRPC status code.
        details: the status message as it came.
    """

    code: StatusCode = StatusCode.UNKNOWN

    def __init__(self, details: str) -> None:
        super().__init__(" ".join(details.split()))
        self.details = details


class InvalidRequestError(HeadgateError):
    """The request does not fit the model. Found by the client or by the server."""

    code = StatusCode.INVALID_ARGUMENT


class NotFoundError(HeadgateError):
    """The server has no such model, version or head."""

    code = StatusCode.NOT_FOUND


class NoHeadsError(HeadgateError):
    """The model has no heads: it can only be asked for raw tensors, over the Open Inference Protocol."""

    code = StatusCode.FAILED_PRECONDITION


class OverloadedError(HeadgateError):
    """The model's queue is full. The request was not run; try again later."""

    code = StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceededError(HeadgateError):
    """No answer came within the time allowed."""

    code = StatusCode.DEADLINE_EXCEEDED


class UnavailableError(HeadgateError):
    """The server cannot be reached, is loading the model, or is shutting down."""

    code = StatusCode.UNAVAILABLE


class ModelFailedError(HeadgateError):
    """The model failed while running; the server's log says more, under the request's id."""

    code = StatusCode.INTERNAL


_CLASSES = {error.code: error for error in HeadgateError.__subclasses__()}
_CODES = {code.value[0]: code for code in StatusCode}


def error_from_status(code: StatusCode | int, details: str | None) -> HeadgateError:
    """Make the exception of a gRPC status; a status without a class of its own becomes a plain HeadgateError.

    >>> error_from_status(5, "there is no model 'iris'")
    NotFoundError("there is no model 'iris'")
    >>> error_from_status(StatusCode.UNIMPLEMENTED, "Method not found!")
    HeadgateError('UNIMPLEMENTED: Method not found!')
    """
    if isinstance(code, int):
        code = _CODES.get(code, StatusCode.UNKNOWN)
    details = details or "no details were given"
    if code in _CLASSES:
        return _CLASSES[code](details)
    error = HeadgateError(f"{code.name}: {details}")
    error.code, error.details = code, details
    return error
