"""Concurrent calls of few rows, sent together."""

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from headgate.client.channel import effective_timeout, no_answer_error
from headgate.client.errors import InvalidRequestError, ModelFailedError, NotFoundError, UnavailableError
from headgate.client.joining import Waiting, WaitingList, join, settle, time_left
from headgate.client.predictions import Predictions
from headgate.client.requests import Inputs, Options, build_request
from headgate.v1 import GetModelResponse, PredictRequest

if TYPE_CHECKING:
    from headgate.client.asynchronous import AsyncClient
    from headgate.client.blocking import Client

#: The most rows that go together: as many as a server runs at once by default.
MAX_BATCH_SIZE = 64
#: While one of them is run, the next is on its way.
MAX_CONCURRENT_CALLS = 2
#: What may be the fault of one of those that went together, or of a description that is old: each is asked alone then.
_FAULTS = (InvalidRequestError, NotFoundError, ModelFailedError)


class _AnyBatcher:
    """What a batcher asks, and who waits for an answer."""

    def __init__(
        self, model: str, version: int, max_batch_size: int, max_concurrent_calls: int, options: Options
    ) -> None:
        if max_batch_size < 1 or max_concurrent_calls < 1:
            raise ValueError(
                f"max_batch_size is {max_batch_size}, max_concurrent_calls {max_concurrent_calls}; give 1 or more"
            )
        self._model = model
        self._version = version
        self._options = options
        self._waiting = WaitingList(max_batch_size)
        self._free_calls = max_concurrent_calls
        self._closed = False

    def _request(self, described: GetModelResponse, inputs: Inputs) -> PredictRequest:
        return build_request(described, self._model, self._version, inputs, self._options)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the batcher is closed")


class Batcher(_AnyBatcher):
    """Sends what many threads ask for at the same time together; made by `Client.batcher`.

    A call that comes alone goes alone, at once. Those that come while others are under way go together as soon as one
    of these is answered: nothing waits for a timer, and the more callers there are, the less each of them costs.
    """

    def __init__(
        self,
        client: "Client",
        model: str,
        version: int,
        max_batch_size: int,
        max_concurrent_calls: int,
        options: Options,
    ) -> None:
        super().__init__(model, version, max_batch_size, max_concurrent_calls, options)
        self._client = client
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_concurrent_calls, "headgate-batcher")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more calls, and return when those that came have been answered."""
        with self._lock:
            self._closed = True
        self._threads.shutdown()

    def predict(self, inputs: Inputs, *, timeout_s: float | None = None) -> Predictions:
        """Return what the model predicts for one row, or a few; see `Client.predict`.

        Raises:
            HeadgateError: as `Client.predict` does; what is wrong with one call fails no other.
            ValueError: the batcher is closed.
        """
        timeout_s = effective_timeout(timeout_s, self._client.timeout_s)
        deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        with suppress(*_FAULTS):
            described = self._client.described(self._model, self._version, timeout_s=timeout_s)
            answer: Future[Predictions] = Future()
            waiting = Waiting(self._request(described, inputs), deadline, answer)
            with self._lock:
                self._check_open()
                self._waiting.add(waiting)
                if self._free_calls:
                    self._free_calls -= 1
                    self._threads.submit(self._send)
            try:
                return answer.result(time_left(deadline))
            except TimeoutError:
                answer.cancel()
                raise no_answer_error(timeout_s or 0) from None
        return self._client.predict(
            self._model, inputs, version=self._version, timeout_s=time_left(deadline), **self._options
        )

    def _send(self) -> None:
        while True:
            with self._lock:
                together = self._waiting.take()
                if not together:
                    self._free_calls += 1
                    return
            try:
                settle(together, self._client.send(*join(together)))
            except Exception as error:
                settle(together, error)


class AsyncBatcher(_AnyBatcher):
    """Sends what many tasks ask for at the same time together; made by `AsyncClient.batcher`. See `Batcher`."""

    def __init__(
        self,
        client: "AsyncClient",
        model: str,
        version: int,
        max_batch_size: int,
        max_concurrent_calls: int,
        options: Options,
    ) -> None:
        super().__init__(model, version, max_batch_size, max_concurrent_calls, options)
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Take no more calls, and return when those that came have been answered."""
        self._closed = True
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def predict(self, inputs: Inputs, *, timeout_s: float | None = None) -> Predictions:
        """Return what the model predicts for one row, or a few; see `Batcher.predict`."""
        timeout_s = effective_timeout(timeout_s, self._client.timeout_s)
        deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        with suppress(*_FAULTS):
            described = await self._client.described(self._model, self._version, timeout_s=timeout_s)
            answer: asyncio.Future[Predictions] = asyncio.get_running_loop().create_future()
            waiting = Waiting(self._request(described, inputs), deadline, answer)
            self._check_open()
            self._waiting.add(waiting)
            if self._free_calls:
                self._free_calls -= 1
                task = asyncio.create_task(self._send())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            try:
                async with asyncio.timeout(time_left(deadline)):
                    return await answer
            except TimeoutError:
                raise no_answer_error(timeout_s or 0) from None
        return await self._client.predict(
            self._model, inputs, version=self._version, timeout_s=time_left(deadline), **self._options
        )

    async def _send(self) -> None:
        try:
            while together := self._waiting.take():
                try:
                    settle(together, await self._client.send(*join(together)))
                except Exception as error:
                    settle(together, error)
        except asyncio.CancelledError:
            # The channel was closed, or the loop is: nobody else would send the others.
            settle([*together, *self._waiting.take_all()], UnavailableError("the connection was closed"))
            raise
        finally:
            self._free_calls += 1
