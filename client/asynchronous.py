"""The client for asyncio."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import grpc
import grpc.aio

from headgate.client.batcher import MAX_BATCH_SIZE, MAX_CONCURRENT_CALLS, AsyncBatcher
from headgate.client.channel import (
    DEFAULT_RETRY,
    DEFAULT_TIMEOUT_S,
    READ_AHEAD,
    ChannelOptions,
    EndOfInputs,
    channel_options,
    effective_timeout,
    error_from_rpc,
    open_channel,
    outcome_of,
)
from headgate.client.errors import HeadgateError, InvalidRequestError, NotFoundError, UnavailableError
from headgate.client.predictions import Predictions
from headgate.client.readiness import wait_for_model_async, wait_for_server_async
from headgate.client.requests import Inputs, Options, build_request, is_known, pinned
from headgate.client.retries import RetryPolicy
from headgate.v1 import (
    GetModelRequest,
    GetModelResponse,
    ListModelsRequest,
    Model,
    PredictRequest,
    StreamPredictResponse,
)
from headgate.v1.prediction_service_pb2_grpc import PredictionServiceStub

Result = TypeVar("Result")


class AsyncClient:
    """A connection to a headgate server, for one event loop; make it while the loop runs.

        async with AsyncClient("localhost:8001") as client:
            predictions = await client.predict("iris", [[5.1, 3.5, 1.4, 0.2]])
            print(predictions.head.labels)

    The methods are those of `Client`, with the same arguments and exceptions.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = DEFAULT_RETRY,
        credentials: grpc.ChannelCredentials | None = None,
        options: ChannelOptions | None = None,
        compression: grpc.Compression | None = None,
    ) -> None:
        self._target = target
        self.timeout_s = timeout_s
        self._closed = False
        self._channel = open_channel(grpc.aio, target, credentials, channel_options(options, retry), compression)
        self._stub: Any = PredictionServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._described: dict[tuple[str, int], GetModelResponse] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that are still running fail with UnavailableError."""
        self._closed = True
        await self._channel.close()

    async def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int = 0,
        timeout_s: float | None = None,
        request_id: str = "",
        **options: Unpack[Options],
    ) -> Predictions:
        """Return what a model predicts for a batch of rows; see `Client.predict`."""

        async def ask(described: GetModelResponse) -> Predictions:
            return await self.send(build_request(described, model, version, inputs, options, request_id), timeout_s)

        return await self._with_description(model, version, timeout_s, ask)

    async def send(self, request: PredictRequest, timeout_s: float | None = None) -> Predictions:
        """Return the answer to a request as it is; `predict` makes one of inputs."""
        return Predictions.from_response(await self._call(self._stub.Predict, request, timeout_s))

    @overload
    def stream_predict(
        self,
        model: str,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        version: int = 0,
        timeout_s: float | None = None,
        return_exceptions: Literal[False] = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Predictions]: ...

    @overload
    def stream_predict(
        self,
        model: str,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        version: int = 0,
        timeout_s: float | None = None,
        return_exceptions: Literal[True],
        **options: Unpack[Options],
    ) -> AsyncIterator[Predictions | HeadgateError]: ...

    async def stream_predict(
        self,
        model: str,
        inputs: Iterable[Inputs] | AsyncIterable[Inputs],
        *,
        version: int = 0,
        timeout_s: float | None = None,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Predictions | HeadgateError]:
        """Yield what a model predicts for each of many inputs, in their order; see `Client.stream_predict`.

        `inputs` is read by a task of its own; an ordinary iterable must not block.
        """
        turns: asyncio.Queue[HeadgateError | EndOfInputs | None] = asyncio.Queue()
        room = asyncio.Semaphore(READ_AHEAD)

        async def feed() -> None:
            try:
                async for item in _items(inputs):

                    async def build(described: GetModelResponse, item: Inputs = item) -> PredictRequest:
                        return pinned(described, build_request(described, model, version, item, options))

                    try:
                        request = await self._with_description(model, version, timeout_s, build)
                    except HeadgateError as error:
                        turns.put_nowait(error)
                    else:
                        turns.put_nowait(None)
                        await call.write(request)
                    await room.acquire()
                # First, so that the end of the stream is not taken for a missing answer.
                turns.put_nowait(EndOfInputs())
                await call.done_writing()
            except Exception as error:
                turns.put_nowait(EndOfInputs(error))
            except BaseException as error:
                # Whoever waits for a turn has to learn of it too, be it what the inputs await that was cancelled.
                turns.put_nowait(EndOfInputs(error))
                raise

        async def answer() -> StreamPredictResponse | None:
            message = await call.read()
            return None if message is grpc.aio.EOF else message

        # Features by name go to the version that is the latest now.
        self._described.pop((model, version), None)
        call = self._stub.StreamPredict(timeout=effective_timeout(timeout_s, None))
        call.add_done_callback(lambda _: turns.put_nowait(None))
        feeding = asyncio.create_task(feed())
        try:
            while not isinstance(turn := await turns.get(), EndOfInputs):
                outcome = turn or outcome_of(await answer())
                room.release()
                if isinstance(outcome, InvalidRequestError | NotFoundError):
                    self._described.pop((model, version), None)
                if isinstance(outcome, HeadgateError) and not return_exceptions:
                    raise outcome
                yield outcome
            if turn.error is not None:
                raise turn.error
            await answer()
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error, timeout_s) from None
        finally:
            feeding.cancel()
            call.cancel()

    def batcher(
        self,
        model: str,
        *,
        version: int = 0,
        max_batch_size: int = MAX_BATCH_SIZE,
        max_concurrent_calls: int = MAX_CONCURRENT_CALLS,
        **options: Unpack[Options],
    ) -> AsyncBatcher:
        """Return what sends the rows that many tasks ask for at the same time together; see `Client.batcher`."""
        return AsyncBatcher(self, model, version, max_batch_size, max_concurrent_calls, options)

    async def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """Return the models of the server; see `Client.models`."""
        return list((await self._call(self._stub.ListModels, ListModelsRequest(), timeout_s)).models)

    async def model(self, name: str, version: int = 0, *, timeout_s: float | None = None) -> GetModelResponse:
        """Return a model's state and what it takes and gives; see `Client.model`."""
        request = GetModelRequest(name=name, version=version)
        response: GetModelResponse = await self._call(self._stub.GetModel, request, timeout_s)
        if is_known(response):
            self._described[name, version] = response
        return response

    async def described(self, name: str, version: int = 0, *, timeout_s: float | None = None) -> GetModelResponse:
        """Return what `model` returned last; ask if it has not yet."""
        return self._described.get((name, version)) or await self.model(name, version, timeout_s=timeout_s)

    async def wait_until_ready(
        self, timeout_s: float = DEFAULT_TIMEOUT_S, *, model: str = "", version: int = 0
    ) -> None:
        """Return as soon as the server is serving, and `model`, if given, is ready; see `Client.wait_until_ready`."""
        deadline = time.monotonic() + timeout_s
        await wait_for_server_async(self._channel, self._target, timeout_s)
        if model:

            def ask(left_s: float) -> Awaitable[GetModelResponse]:
                return self.model(model, version, timeout_s=left_s)

            await wait_for_model_async(ask, f"model '{model}' of {self._target}", deadline - time.monotonic())

    async def _call(self, method: Callable[..., Any], request: object, timeout_s: float | None) -> Any:
        timeout_s = effective_timeout(timeout_s, self.timeout_s)
        try:
            return await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error, timeout_s) from None
        except (asyncio.CancelledError, grpc.aio.UsageError):
            task = asyncio.current_task()
            # So gRPC says that the connection was closed, but whoever waits for this call was not cancelled.
            if self._closed and task is not None and not task.cancelling():
                raise UnavailableError("the connection was closed") from None
            raise

    async def _with_description(
        self, model: str, version: int, timeout_s: float | None, use: Callable[[GetModelResponse], Awaitable[Result]]
    ) -> Result:
        """Await `use` with the model's description; a second time if it turns out to be old."""
        described = await self.described(model, version, timeout_s=timeout_s)
        try:
            return await use(described)
        except (InvalidRequestError, NotFoundError):
            current = await self.model(model, version, timeout_s=timeout_s)
            if current.inputs_hash == described.inputs_hash:
                raise
        return await use(current)


async def _items(inputs: Iterable[Inputs] | AsyncIterable[Inputs]) -> AsyncIterator[Inputs]:
    if isinstance(inputs, AsyncIterable):
        async for item in inputs:
            yield item
    else:
        for item in inputs:
            yield item
