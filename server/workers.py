"""What the workers of one server, processes that share a port, answer together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc

from headgate.foreign import open_inference as oip
from headgate.server.errors import DeadlineExceededError, ServerError, UnavailableError
from headgate.server.transport import Call, Method

_STATISTICS = f"/{oip.SERVICE.full_name}/ModelStatistics"
_READY = (f"/{oip.SERVICE.full_name}/ServerReady", f"/{oip.SERVICE.full_name}/ModelReady")
#: Metadata of a question that one worker is to answer for itself.
ALONE = "headgate-worker-alone"
_TIMEOUT_S = 5.0
_CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


class Workers:
    """The workers of a server, as one of them knows them.

    Attributes:
        addresses: the Unix sockets on which each can be asked alone, "unix:/path".
        own_address: the one of this worker.
    """

    def __init__(self, addresses: Sequence[str], index: int) -> None:
        """Take the addresses, and which of them is this worker's."""
        self.addresses = addresses
        self.own_address = addresses[index]
        # Not on the I/O thread, which answers for this worker meanwhile.
        self._thread = ThreadPoolExecutor(1, "headgate-workers")

    def shared_methods(self, methods: Mapping[str, Method], is_serving: Callable[[], bool]) -> dict[str, Method]:
        """Return those of a worker's methods that answer for all workers.

        Statistics are sums over the workers that live. Readiness is that of the server, which begins when all workers
        have their models: `is_serving` tells.
        """
        alone = methods[_STATISTICS]
        together = Method(self._sum_statistics)

        def statistics(call: Call) -> None:
            if call.metadata(ALONE) is None:
                self._thread.submit(together.take, call)
            else:
                alone.handle(call)

        def ready_once_serving(method: Method) -> Method:
            # No bytes: the message with its only field, `ready`, being false.
            return Method(lambda call: method.handle(call) if is_serving() else call.reply(b""))

        return {_STATISTICS: Method(statistics)} | {path: ready_once_serving(methods[path]) for path in _READY}

    def close(self) -> None:
        """Wait until all questions are answered; there must be no new ones."""
        self._thread.shutdown()

    def _sum_statistics(self, call: Call) -> None:
        call.reply(add_statistics(self._ask_all(call)).SerializeToString())

    def _ask_all(self, call: Call) -> list[Any]:
        """Have all workers answer, this one among them; those that are not there are left out."""
        timeout_s = min(_TIMEOUT_S, call.deadline - time.time())
        if timeout_s <= 0:
            raise DeadlineExceededError("the deadline passed while the request waited for its turn; nobody was asked")
        with ExitStack() as stack:
            # A channel that is kept would go on for a while to hold a worker for dead that has come back.
            channels = [stack.enter_context(grpc.insecure_channel(each, _CHANNEL_OPTIONS)) for each in self.addresses]
            futures = [
                channel.unary_unary(_STATISTICS, None, oip.ModelStatisticsResponse.FromString).future(
                    call.request, timeout_s, [(ALONE, "1")]
                )
                for channel in channels
            ]
            failures = [(future.code(), future.details()) for future in futures if future.exception() is not None]
            answers = [future.result() for future in futures if future.exception() is None]
        for code, details in failures:
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise UnavailableError(f"a worker did not tell its statistics within {timeout_s:.1f} s; try again")
            if code is not grpc.StatusCode.UNAVAILABLE:
                error = ServerError(details)
                error.code = code
                raise error
        if not answers:
            raise UnavailableError("the server is shutting down")
        return answers


def add_statistics(responses: Iterable[Any]) -> Any:
    """Add ModelStatisticsResponses of several workers up, model by model."""
    totals: dict[tuple[str, str], Any] = {}
    for response in responses:
        for statistics in response.model_stats:
            total = totals.setdefault((statistics.name, statistics.version), statistics)
            if total is not statistics:
                _add(total, statistics)
    return oip.ModelStatisticsResponse(model_stats=totals.values())


def _add(total: Any, more: Any) -> None:
    total.last_inference = max(total.last_inference, more.last_inference)
    total.inference_count += more.inference_count
    total.execution_count += more.execution_count
    _add_durations(total.inference_stats, more.inference_stats)
    batches = {batch.batch_size: batch for batch in total.batch_stats}
    for batch in more.batch_stats:
        if batch.batch_size in batches:
            _add_durations(batches[batch.batch_size], batch)
        else:
            total.batch_stats.append(batch)
    total.batch_stats.sort(key=lambda batch: batch.batch_size)


def _add_durations(total: Any, more: Any) -> None:
    for kind, duration in more.ListFields():
        if kind.message_type is not None:
            known = getattr(total, kind.name)
            known.count += duration.count
            known.ns += duration.ns
