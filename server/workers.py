"""What the workers of one server, processes that share a port, answer together."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc

from headgate.foreign import open_inference as oip
from headgate.server.errors import DeadlineExceededError, ServerError, UnavailableError
from headgate.server.transport import Call, Method

_INDEX = f"/{oip.SERVICE.full_name}/RepositoryIndex"
_SYSTEM_REGIONS = f"/{oip.SERVICE.full_name}/SystemSharedMemoryStatus"
#: What the protocol's status of CUDA regions lacks are the handles. The answer is JSON, see `Workers.cuda_regions`.
CUDA_REGIONS = "/headgate.Workers/CudaRegions"
_READY = (f"/{oip.SERVICE.full_name}/ServerReady", f"/{oip.SERVICE.full_name}/ModelReady")
#: Metadata of a question that one worker is to answer for itself.
ALONE = "headgate-worker-alone"
#: How long one has to say what it has.
_INDEX_TIMEOUT_S = 5.0
_CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    # How long connecting may take, at most. After the usual 20 s a worker that hangs would pass for one that has gone.
    ("grpc.min_reconnect_backoff_ms", 2**31 - 1),
]


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
        self._threads = ThreadPoolExecutor(4, "headgate-workers")

    def shared_methods(self, methods: Mapping[str, Method], is_serving: Callable[[], bool]) -> dict[str, Method]:
        """Return those of a worker's methods that answer for all workers.

        These are the methods that merge answers: of the workers that live. Readiness is that of the server, which
        begins when all workers have their models: `is_serving` tells.
        """

        def ready_once_serving(method: Method) -> Method:
            # No bytes: the message with its only field, `ready`, being false.
            return Method(lambda call: method.handle(call) if is_serving() else call.reply(b""))

        merged = {path: self._together(path, method) for path, method in methods.items() if method.merge is not None}
        return merged | {path: ready_once_serving(methods[path]) for path in _READY}

    def models(self) -> list[tuple[str, str]] | None:
        """Return the names and versions that the other workers have or are loading; the worker itself does not listen.

        None where none of them does, either.

        Raises:
            UnavailableError: one did not answer in time.
        """
        for answer in self._ask_all(_INDEX, b"", _INDEX_TIMEOUT_S):
            models = oip.RepositoryIndexResponse.FromString(answer).models
            return [(model.name, model.version) for model in models if model.state in ("READY", "LOADING")]
        return None

    def system_regions(self) -> list[Any]:
        """Return the system shared memory of the other workers, as the protocol describes it; see `models`."""
        for answer in self._ask_all(_SYSTEM_REGIONS, b"", _INDEX_TIMEOUT_S):
            return list(oip.SystemSharedMemoryStatusResponse.FromString(answer).regions.values())
        return []

    def cuda_regions(self) -> list[dict[str, Any]]:
        """Return the CUDA shared memory of the others, as `SharedMemory.register_cuda` takes it; see `models`."""
        for answer in self._ask_all(CUDA_REGIONS, b"", _INDEX_TIMEOUT_S):
            return [region | {"handle": bytes.fromhex(region["handle"])} for region in json.loads(answer)]
        return []

    def close(self) -> None:
        """Wait until all questions are answered; there must be no new ones."""
        self._threads.shutdown()

    def _together(self, path: str, method: Method) -> Method:
        def ask_all(call: Call) -> None:
            timeout_s = min(method.merge_timeout_s, call.deadline - time.time())
            if timeout_s <= 0:
                raise DeadlineExceededError(
                    "the deadline passed while the request waited for its turn; nobody was asked"
                )
            answers = self._ask_all(path, call.request, timeout_s)
            if not answers:
                raise UnavailableError("the server is shutting down")
            assert method.merge is not None
            call.reply(method.merge(answers))

        together = Method(ask_all)

        def handle(call: Call) -> None:
            if call.metadata(ALONE) is None:
                self._threads.submit(together.take, call)
            else:
                method.handle(call)

        return Method(handle)

    def _ask_all(self, path: str, request: bytes, timeout_s: float) -> list[bytes]:
        """Have all workers answer, this one among them; those that are not there are left out."""
        with ExitStack() as stack:
            # A channel that is kept would go on for a while to hold a worker for dead that has come back.
            channels = [stack.enter_context(grpc.insecure_channel(each, _CHANNEL_OPTIONS)) for each in self.addresses]
            futures = [
                channel.unary_unary(path).future(request, None if math.isinf(timeout_s) else timeout_s, [(ALONE, "1")])
                for channel in channels
            ]
            failures = [(future.code(), future.details()) for future in futures if future.exception() is not None]
            answers = [future.result() for future in futures if future.exception() is None]
        for code, details in failures:
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise UnavailableError(f"a worker did not answer within {timeout_s:.1f} s; try again")
            if code is not grpc.StatusCode.UNAVAILABLE:
                error = ServerError(details)
                error.code = code
                raise error
        return answers


def first_answer(answers: Sequence[bytes]) -> bytes:
    """Merge the answers of workers that have all done the same."""
    return answers[0]
