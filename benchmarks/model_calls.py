"""A model on a server, asked over grpcio for what a benchmark has to know: its inputs, and what it has done so far."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import OK, status_name
from headgate.benchmarks.http2 import Call
from headgate.foreign import open_inference as oip
from headgate.v1 import DataType, GetModelRequest, GetModelResponse, Signature, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, data_type_name

_TIMEOUT_S = 30.0
_INFERENCE = f"/{oip.SERVICE.full_name}"
_PREDICTION = "/headgate.v1.PredictionService"


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where the time of a model's requests went on the server, on average.

    A batch's whole time counts for each of its requests.

    Attributes:
        requests: with a result.
        queue_s, input_s, infer_s, output_s: seconds a request: waiting; putting the batch together; running it;
            decoding it and writing the answers.
        batch_rows: the mean number of rows in a batch.
    """

    requests: int
    queue_s: float
    input_s: float
    infer_s: float
    output_s: float
    batch_rows: float

    @classmethod
    def between(cls, before: Any, after: Any) -> Breakdown | None:
        """Make it of two ModelStatistics messages; None if the model did nothing in between."""
        first, last = before.inference_stats, after.inference_stats
        requests = last.success.count - first.success.count
        executions = after.execution_count - before.execution_count
        if requests <= 0 or executions <= 0:
            return None
        queue, load, infer, output = (
            (getattr(last, name).ns - getattr(first, name).ns) / requests / 1e9
            for name in ("queue", "compute_input", "compute_infer", "compute_output")
        )
        rows = (after.inference_count - before.inference_count) / executions
        return cls(requests, queue, load, infer, output, rows)


class ModelCalls:
    """Calls about one model, on a connection of their own."""

    def __init__(self, address: Address, model: str, version: int = 0) -> None:
        self._address = address
        self._model = model
        self._version = version
        self._channel = address.channel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._channel.close()

    def signature(self) -> Signature:
        """Return what the model takes and what its outputs mean; of a headgate server.

        Raises:
            BenchmarkError: there is no such server or model.
        """
        request = GetModelRequest(name=self._model, version=self._version)
        return GetModelResponse.FromString(self._ask(f"{_PREDICTION}/GetModel", request)).signature

    def raw_signature(self) -> Signature:
        """Return what the model takes; of any server of the Open Inference Protocol.

        Raises:
            BenchmarkError: there is no such server or model.
        """
        request = oip.ModelMetadataRequest(name=self._model, version=str(self._version or ""))
        metadata = oip.ModelMetadataResponse.FromString(self._ask(f"{_INFERENCE}/ModelMetadata", request))
        return Signature(
            inputs=[
                TensorSpec(name=tensor.name, datatype=_data_type(tensor.datatype), shape=tensor.shape)
                for tensor in metadata.inputs
            ]
        )

    def statistics(self) -> Any:
        """Return the model's ModelStatistics so far; None if the server keeps none."""
        request = oip.ModelStatisticsRequest(name=self._model, version=str(self._version or ""))
        try:
            answer = self._unary(f"{_INFERENCE}/ModelStatistics", request.SerializeToString(), _TIMEOUT_S)
        except grpc.RpcError:
            return None
        statistics = oip.ModelStatisticsResponse.FromString(answer).model_stats
        # Without a version, Triton counts each on its own; the last is the one that is asked for.
        return statistics[-1] if statistics else None

    def check(self, call: Call) -> None:
        """Make a call once, without its deadline.

        Raises:
            BenchmarkError: it fails.
        """
        try:
            if not call.is_stream:
                self._unary(call.path, call.request, _TIMEOUT_S)
                return
            answer = b"".join(self._channel.stream_stream(call.path)(iter([call.request]), timeout=_TIMEOUT_S))
        except grpc.RpcError as error:
            raise self._error(error) from error
        if call.status_of is not None and (status := call.status_of(answer)) != OK:
            raise BenchmarkError(f"the server refuses the request ({status_name(status)}): {_readable(answer)}")

    def _ask(self, path: str, request: Any) -> bytes:
        try:
            return self._unary(path, request.SerializeToString(), _TIMEOUT_S)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _unary(self, path: str, request: bytes, timeout_s: float) -> bytes:
        answer: bytes = self._channel.unary_unary(path)(request, timeout=timeout_s)
        return answer

    def _error(self, error: Any) -> BenchmarkError:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return BenchmarkError(f"{self._address.url} has no such call; servers other than headgate need --raw")
        details = " ".join((error.details() or "").split()) or error.code().name
        if "Socket closed" in details:
            # So ends a connection on which the server waits for a TLS handshake, or one without a client's certificate.
            details += f"; does the server ask for {'--tls-cert' if self._address.is_secure else '--tls'}?"
        return BenchmarkError(f"{self._address.url}: {details}")


def _data_type(name: str) -> DataType:
    known = {data_type_name(data_type): data_type for data_type in NUMPY_DTYPES} | {"BYTES": DataType.DATA_TYPE_STRING}
    if name not in known:
        raise BenchmarkError(f"the model takes {name}, which this load generator cannot make")
    return known[name]


def _readable(answer: bytes) -> str:
    return "".join(character for character in answer.decode(errors="ignore") if character.isprintable())
