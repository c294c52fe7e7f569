"""What the blocking and the asyncio client share around their channels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grpc import RpcError, StatusCode

from headgate.client.errors import DeadlineExceededError, HeadgateError, UnavailableError, error_from_status
from headgate.client.predictions import Predictions
from headgate.foreign import health
from headgate.v1 import StreamPredictResponse

DEFAULT_TIMEOUT_S = 30.0
#: How many requests of a stream may wait for their answers.
READ_AHEAD = 64
HEALTH_WATCH = f"/{health.SERVICE.full_name}/Watch"

ChannelOptions = Sequence[tuple[str, Any]]

_CHANNEL_OPTIONS: ChannelOptions = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Finds connections that died silently. Servers allow a ping every 5 minutes by default.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC waits up to 2 minutes before it tries again to connect; a restarted server should be found sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def channel_options(options: ChannelOptions | None) -> ChannelOptions:
    """Return the clients' channel options, followed by `options`, which win."""
    return [*_CHANNEL_OPTIONS, *(options or ())]


def error_from_rpc(error: RpcError, timeout_s: float | None = None) -> HeadgateError:
    """Make the exception of a call that failed; it had `timeout_s` for its answer."""
    code, details = error.code(), error.details()
    # gRPC's own words where the server said nothing.
    if code is StatusCode.DEADLINE_EXCEEDED and details == "Deadline Exceeded" and timeout_s is not None:
        details = f"there was no answer within {timeout_s:g} s"
    return error_from_status(code, details)


def not_ready_error(target: str, seen: str) -> DeadlineExceededError:
    """Make the exception of a server that did not become ready; `seen` says what it answered last."""
    return DeadlineExceededError(f"{target} is not ready: {seen}")


@dataclass(frozen=True)
class EndOfInputs:
    """The inputs of a stream have come to their end, by `error` if there is one."""

    error: Exception | None = None


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
