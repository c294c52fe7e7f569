"""What HTTP's clients are told when something goes wrong: a status, and `{"error": "..."}`."""

from __future__ import annotations

import grpc

#: As the gRPC code comments of google/rpc/code.proto map them, which is what Triton does for those that it has.
_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class HttpError(Exception):
    """What goes wrong before gRPC is asked, and has no status there."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def status_of(code: grpc.StatusCode) -> int:
    """Return the HTTP status for a gRPC status.

    >>> status_of(grpc.StatusCode.NOT_FOUND), status_of(grpc.StatusCode.INTERNAL)
    (404, 500)
    """
    return _STATUSES.get(code, 500)
