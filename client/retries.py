"""Which calls are made again, when, and how often: a retry policy of gRPC, which does the work."""

import json
from dataclasses import dataclass

from headgate.client.errors import OverloadedError, UnavailableError
from headgate.v1.prediction_service_pb2 import DESCRIPTOR

#: gRPC makes no more.
_MOST_ATTEMPTS = 5
#: gRPC counts milliseconds, and a pause of 0 of them never ends (grpcio 1.74 to 1.85).
_LEAST_BACKOFF_S = 0.01
#: Each attempt that fails takes a token, each success gives a tenth of one back, and with half of them gone nothing is
#: tried again: all calls of this process to a server may fail at once when it is restarted, but under lasting overload
#: retries add at most a tenth to the load.
_THROTTLING = {"maxTokens": 1000, "tokenRatio": 0.1}


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which pauses, a call is made that a server did not take.

    Only UNAVAILABLE and RESOURCE_EXHAUSTED are tried again: the server did not run the request, or the connection broke
    and running it twice does no harm, since a prediction changes nothing. Streams are never tried again. All attempts
    share the call's deadline. A server that sends `grpc-retry-pushback-ms` chooses the pause itself.

    Attributes:
        attempts: the first included: 2 to 5.
        initial_backoff_s: the pause before the second, in seconds, at least 0.01. Each pause is made up to a fifth
            shorter or longer, at random.
        max_backoff_s: the longest pause, in seconds, at least 0.01.
        multiplier: how many times as long as the one before it a pause is, at least 1.

    Raises:
        ValueError: an attribute is out of its range.

    >>> RetryPolicy(attempts=9)
    Traceback (most recent call last):
    ValueError: attempts is 9; give 2 to 5, or no policy at all for a single attempt
    """

    attempts: int = 3
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 1.0
    multiplier: float = 2.0

    def __post_init__(self) -> None:
        if not 2 <= self.attempts <= _MOST_ATTEMPTS:
            raise ValueError(
                f"attempts is {self.attempts}; give 2 to {_MOST_ATTEMPTS}, or no policy at all for a single attempt"
            )
        for name, least in (
            ("initial_backoff_s", _LEAST_BACKOFF_S),
            ("max_backoff_s", _LEAST_BACKOFF_S),
            ("multiplier", 1),
        ):
            if not least <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; give a number of at least {least}")

    def service_config(self) -> str:
        """Return the policy as JSON for the channel option `grpc.service_config`.

        https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto
        """
        service = DESCRIPTOR.services_by_name["PredictionService"]
        unary = [method.name for method in service.methods if not method.client_streaming]
        policy = {
            "maxAttempts": self.attempts,
            "initialBackoff": f"{self.initial_backoff_s:.9f}s",
            "maxBackoff": f"{self.max_backoff_s:.9f}s",
            "backoffMultiplier": self.multiplier,
            "retryableStatusCodes": [error.code.name for error in (UnavailableError, OverloadedError)],
        }
        names = [{"service": service.full_name, "method": method} for method in unary]
        return json.dumps({"methodConfig": [{"name": names, "retryPolicy": policy}], "retryThrottling": _THROTTLING})
