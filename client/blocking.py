"""The blocking client."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from threading import Event, Semaphore
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import grpc

from headgate.client.batcher import MAX_BATCH_SIZE, MAX_CONCURRENT_CALLS, Batcher
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
from headgate.client.errors import HeadgateError, InvalidRequestError, NotFoundError
from headgate.client.predictions import Predictions
from headgate.client.readiness import wait_for_model, wait_for_server
from headgate.client.requests import Inputs, Options, build_request, is_known, pinned
from headgate.client.retries import RetryPolicy
from headgate.v1 import GetModelRequest, GetModelResponse, ListModelsRequest, Model, PredictRequest
from headgate.v1.prediction_service_pb2_grpc import PredictionServiceStub

Result = TypeVar("Result")


class Client:
    """A connection to a headgate server. Threads may share it.

        with Client("localhost:8001") as client:
            predictions = client.predict("iris", [[5.1, 3.5, 1.4, 0.2]])
            print(predictions.head.labels)

    Every method that calls the server raises the exceptions of `headgate.client.errors`.

    Args:
        target: the server's host and port, or any other name that gRPC resolves.
        timeout_s: how long a call may take where it does not say, with all attempts; None means as long as it takes.
            Streams take as long as they take where they do not say.
        retry: when a call that the server did not take is made again; None means never.
        credentials: for TLS, from `grpc.ssl_channel_credentials()`; None means plain text.
        options: gRPC channel options, in addition to the client's own.
        compression: how gRPC compresses messages, such as `grpc.Compression.Gzip`.

    Attributes:
        timeout_s: as given.
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
        self._channel = open_channel(grpc, target, credentials, channel_options(options, retry), compression)
        self._stub: Any = PredictionServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._described: dict[tuple[str, int], GetModelResponse] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls that are still running are cancelled."""
        self._channel.close()

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int = 0,
        timeout_s: float | None = None,
        request_id: str = "",
        **options: Unpack[Options],
    ) -> Predictions:
        """Return what a model predicts for a batch of rows.

        Args:
            model: the model's name.
            inputs: an array [rows, ...] for a model with a single input, or a dict with one for each input's name;
                numpy arrays, nested lists, anything that numpy reads. Numbers are converted to the type that the
                model takes, if that keeps their values (float64 may be rounded to float32). Where the model names
                its features, also `{"age": 61, "sex": 1}` for one row, `{"age": [61, 48], "sex": [1, 0]}`, a list of
                such rows, or a DataFrame, its columns in any order.
            version: the model's version; 0 means the latest that is being served.
            timeout_s: how long the call may take, in seconds (the first for a model, and the first after it was
                replaced: each of its calls); None means as long as the client says.
            request_id: any text; comes back as `Predictions.id` and stands in the server's log.
            options: `heads`, `top_k`, `threshold`, `confidence_level`, `include_probabilities`, `include_entropy`,
                `include_margin`, `include_groups`, `half_precision`, `mask_encoding`, `relative_coordinates`,
                `priority`, `queue_timeout_us`; see `headgate.client.Options`.
        """

        def ask(described: GetModelResponse) -> Predictions:
            return self.send(build_request(described, model, version, inputs, options, request_id), timeout_s)

        return self._with_description(model, version, timeout_s, ask)

    def send(self, request: PredictRequest, timeout_s: float | None = None) -> Predictions:
        """Return the answer to a request as it is; `predict` makes one of inputs."""
        return Predictions.from_response(self._call(self._stub.Predict, request, timeout_s))

    @overload
    def stream_predict(
        self,
        model: str,
        inputs: Iterable[Inputs],
        *,
        version: int = 0,
        timeout_s: float | None = None,
        return_exceptions: Literal[False] = False,
        **options: Unpack[Options],
    ) -> Iterator[Predictions]: ...

    @overload
    def stream_predict(
        self,
        model: str,
        inputs: Iterable[Inputs],
        *,
        version: int = 0,
        timeout_s: float | None = None,
        return_exceptions: Literal[True],
        **options: Unpack[Options],
    ) -> Iterator[Predictions | HeadgateError]: ...

    def stream_predict(
        self,
        model: str,
        inputs: Iterable[Inputs],
        *,
        version: int = 0,
        timeout_s: float | None = None,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Predictions | HeadgateError]:
        """Yield what a model predicts for each of many inputs, in their order, over one call.

        Cheaper for each than `predict`. `inputs` may be endless: it is read on a thread of its own, about
        64 requests ahead of the answers. The call ends when the iterator is exhausted or closed.

        Args:
            model: as in `predict`.
            inputs: yields what `predict` takes as `inputs`.
            version: as in `predict`; features by name stay with the version that was the latest when the stream began,
                as long as it is served.
            timeout_s: how long the whole stream may take; None means as long as it takes.
            return_exceptions: False: an input that fails ends the stream; its exception is raised when its turn comes.
                True: the exception is yielded in its turn, and the stream goes on. A broken connection always raises.
            options: as in `predict`.
        """
        # One entry an input, in order: None where the server answers, else what stands in for an answer.
        turns: SimpleQueue[HeadgateError | EndOfInputs | None] = SimpleQueue()
        room = Semaphore(READ_AHEAD)
        closed = Event()

        def build(item: Inputs, described: GetModelResponse) -> PredictRequest:
            return pinned(described, build_request(described, model, version, item, options))

        def requests() -> Iterator[PredictRequest]:
            try:
                for item in inputs:
                    try:
                        request = self._with_description(model, version, timeout_s, partial(build, item))
                    except HeadgateError as error:
                        turns.put(error)
                    else:
                        turns.put(None)
                        yield request
                    room.acquire()
                    if closed.is_set():
                        return
                turns.put(EndOfInputs())
            except GeneratorExit:
                # The call has ended: gRPC takes no more.
                raise
            except BaseException as error:
                # Whatever it is: this is a thread of gRPC's, and the caller waits for a turn.
                turns.put(EndOfInputs(error))

        # Features by name go to the version that is the latest now.
        self._described.pop((model, version), None)
        call = self._stub.StreamPredict(requests(), timeout=effective_timeout(timeout_s, None))
        # A call that fails while the next input is still awaited is noticed at once: its error is the next answer.
        if not call.add_callback(lambda: turns.put(None)):
            turns.put(None)
        try:
            while not isinstance(turn := turns.get(), EndOfInputs):
                outcome = turn or outcome_of(next(call, None))
                room.release()
                if isinstance(outcome, InvalidRequestError | NotFoundError):
                    self._described.pop((model, version), None)
                if isinstance(outcome, HeadgateError) and not return_exceptions:
                    raise outcome
                yield outcome
            if turn.error is not None:
                raise turn.error
            next(call, None)
        except grpc.RpcError as error:
            raise error_from_rpc(error, timeout_s) from None
        finally:
            call.cancel()
            closed.set()
            room.release()

    def batcher(
        self,
        model: str,
        *,
        version: int = 0,
        max_batch_size: int = MAX_BATCH_SIZE,
        max_concurrent_calls: int = MAX_CONCURRENT_CALLS,
        **options: Unpack[Options],
    ) -> Batcher:
        """Return what sends the rows that many threads ask for at the same time together, for less than each alone.

            with client.batcher("iris") as batcher:
                rows = list(threads.map(batcher.predict, inputs))

        Args:
            model: as in `predict`.
            version: as in `predict`.
            max_batch_size: the most rows that are sent together.
            max_concurrent_calls: how many calls to the server are under way at most; what comes meanwhile waits.
            options: as in `predict`; the same for all calls.

        Raises:
            ValueError: a number is below 1.
        """
        return Batcher(self, model, version, max_batch_size, max_concurrent_calls, options)

    def models(self, *, timeout_s: float | None = None) -> list[Model]:
        """Return the models of the server, by name and version, those too that are loading or failed."""
        return list(self._call(self._stub.ListModels, ListModelsRequest(), timeout_s).models)

    def model(self, name: str, version: int = 0, *, timeout_s: float | None = None) -> GetModelResponse:
        """Return a model's state (`model`) and what it takes and gives (`signature`); version 0 means the latest."""
        response: GetModelResponse = self._call(
            self._stub.GetModel, GetModelRequest(name=name, version=version), timeout_s
        )
        if is_known(response):
            self._described[name, version] = response
        return response

    def described(self, name: str, version: int = 0, *, timeout_s: float | None = None) -> GetModelResponse:
        """Return what `model` returned last; ask if it has not yet."""
        return self._described.get((name, version)) or self.model(name, version, timeout_s=timeout_s)

    def wait_until_ready(self, timeout_s: float = DEFAULT_TIMEOUT_S, *, model: str = "", version: int = 0) -> None:
        """Return as soon as the server says that it is serving, and that `model`, if one is given, is ready.

        Args:
            timeout_s: how long to wait.
            model: a model's name, for one that may still be loading, or be put into the repository meanwhile.
            version: of the model; 0 means any.

        Raises:
            DeadlineExceededError: that was not so within `timeout_s`; the message says what was heard last.
        """
        deadline = time.monotonic() + timeout_s
        wait_for_server(self._channel, self._target, timeout_s)
        if model:

            def ask(left_s: float) -> GetModelResponse:
                return self.model(model, version, timeout_s=left_s)

            wait_for_model(ask, f"model '{model}' of {self._target}", deadline - time.monotonic())

    def _call(self, method: Callable[..., Any], request: object, timeout_s: float | None) -> Any:
        timeout_s = effective_timeout(timeout_s, self.timeout_s)
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise error_from_rpc(error, timeout_s) from None

    def _with_description(
        self, model: str, version: int, timeout_s: float | None, use: Callable[[GetModelResponse], Result]
    ) -> Result:
        """Call `use` with the model's description; a second time if it turns out to be old."""
        described = self.described(model, version, timeout_s=timeout_s)
        try:
            return use(described)
        except (InvalidRequestError, NotFoundError):
            current = self.model(model, version, timeout_s=timeout_s)
            if current.inputs_hash == described.inputs_hash:
                raise
        return use(current)
