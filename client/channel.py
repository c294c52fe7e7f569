"""What the blocking and the asyncio client share around their channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from headgate.client.errors import (
    DeadlineExceededError,
    HeadgateError,
    InvalidRequestError,
    UnavailableError,
    error_from_status,
)
from headgate.client.predictions import Predictions
from headgate.client.retries import RetryPolicy
from headgate.v1 import StreamPredictResponse

DEFAULT_TIMEOUT_S = 30.0
#: gRPC counts nanoseconds since 1970; what is much longer it takes for a deadline that has passed.
_LONGEST_TIMEOUT_S = 1e9
DEFAULT_RETRY = RetryPolicy()
#: What gRPC says for a server of messages that this will not take later either.
TOO_LARGE = "SERVER: Received message larger than max"
#: How many requests of a stream may wait for their answers.
READ_AHEAD = 64

ChannelOptions = Sequence[tuple[str, Any]]

_CHANNEL_OPTIONS: ChannelOptions = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Proxies, load balancers and NAT gateways forget connections that have been idle for 60 s to 350 s, some without a
    # word. A headgate server takes pings as they come.
    ("grpc.keepalive_time_ms", 20_000),
    # Both: the first alone is not always heeded, and then it takes a minute (grpcio 1.74 to 1.85).
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC waits up to 2 minutes before it tries again to connect; a restarted server should be found sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Larger requests would not be tried again: 256 KiB by default.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
)


def channel_options(options: ChannelOptions | None, retry: RetryPolicy | None) -> ChannelOptions:
    """Return `options`, followed by those of the clients: of options with the same name gRPC takes the first."""
    retries = [("grpc.service_config", retry.service_config())] if retry else []
    return [*(options or ()), *retries, *_CHANNEL_OPTIONS]


def open_channel(
    api: Any,
    target: str,
    credentials: grpc.ChannelCredentials | None,
    options: ChannelOptions,
    compression: grpc.Compression | None,
) -> Any:
    """Open a channel of `grpc` or `grpc.aio`."""
    if credentials is None:
        return api.insecure_channel(target, options=options, compression=compression)
    return api.secure_channel(target, credentials, options=options, compression=compression)


def error_from_rpc(error: grpc.RpcError, timeout_s: float | None = None) -> HeadgateError:
    """Make the exception of a call that failed; it had `timeout_s` for its answer."""
    code, details = error.code(), error.details()
    # gRPC's own words where the server said nothing.
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details == "Deadline Exceeded" and timeout_s is not None:
        return no_answer_error(timeout_s)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in (details or ""):
        return InvalidRequestError(f"{details}; send fewer rows at a time")
    return error_from_status(code, details)


def effective_timeout(timeout_s: float | None, default_s: float | None) -> float | None:
    """Return how long a call may take, of a client that says `default_s`; None means as long as it takes.

    Raises:
        ValueError: it is no number of seconds, or of more than 30 years.

    >>> effective_timeout(None, 30.0)
    30.0
    """
    timeout_s = default_s if timeout_s is None else timeout_s
    if timeout_s is not None and not timeout_s <= _LONGEST_TIMEOUT_S:
        raise ValueError(f"timeout_s is {timeout_s}; give seconds, or None to a client whose calls have no deadline")
    return timeout_s


def no_answer_error(timeout_s: float) -> DeadlineExceededError:
    """Make the exception of a call for which nobody waits any longer."""
    return DeadlineExceededError(f"there was no answer within {timeout_s:.3g} s")


@dataclass(frozen=True)
class EndOfInputs:
    """The inputs of a stream have come to their end, by `error` if there is one."""

    error: BaseException | None = None


def outcome_of(answer: StreamPredictResponse | None) -> Predictions | HeadgateError:
    """Read one answer of a stream; None stands for a stream that has ended.

    Raises:
        UnavailableError: the stream has ended.
    """
    if answer is None:
        raise UnavailableError("the server ended the stream before it had answered every request")
    if answer.WhichOneof("outcome") == "error":
        return error_from_status(answer.error.code, answer.error.message)
    return Predictions.from_response(answer.response)
