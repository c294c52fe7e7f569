"""Good requests in place of bad ones: what a bystander sees of as many clients that do nothing wrong."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc

from headgate.benchmarks.fuzz.attack import TIMEOUT_S, Call, Messages, send_all
from headgate.benchmarks.fuzz.seeds import infer_request
from headgate.benchmarks.fuzz.services import Target
from headgate.benchmarks.fuzz.verdict import Outcome, errors_in, judge
from headgate.foreign import open_inference as oip
from headgate.foreign import tensorflow_serving as tfs
from headgate.v1 import DataType, PredictRequest, Tensor

#: From here on, what a message takes is a matter of its size.
_LARGE_BYTES = 2**12
#: What changes which models are served is good once, and no more.
_CHANGES = ("RepositoryModelUnload", "RepositoryModelLoad", "HandleReloadConfigRequest")


class Control:
    """Sends good requests where an attack would send bad ones: as many, at its pace, to the same methods.

    Where a method has no request that is always good, one to another takes its place; where a message is large, a good
    one as large.

    Attributes:
        faults: good requests that failed, in one line each.
    """

    def __init__(
        self, channel: grpc.Channel, targets: Sequence[Target], seeds: Mapping[str, Sequence[bytes]], seed: int
    ) -> None:
        """Take valid requests by the path of their method; those that are answered without an error are good."""
        self.faults: list[str] = []
        self._channel = channel
        self._rng = random.Random(seed)
        self._good = {target.path: self._find_good(target, seeds) for target in targets}
        self._any = list(itertools.chain(*self._good.values()))
        by_path = {target.path: target for target in targets}
        self._large = functools.cache(
            lambda size: itertools.cycle([(by_path[path], (request,)) for path, request in large_requests(size)])
        )

    def send(self, target: Target, calls: Sequence[Messages]) -> int:
        """Send good requests in place of calls to a method; return how many."""
        instead = [self._instead_of(target, messages) for messages in calls]
        outcomes = send_all(self._channel, instead)
        for (asked, requests), outcome in zip(instead, outcomes, strict=True):
            if fault := _error_of(asked, outcome) or judge(asked, requests, outcome, TIMEOUT_S):
                self.faults.append(f"{asked.path}: a good request got {fault}")
        return sum(map(len, calls))

    def _instead_of(self, target: Target, messages: Messages) -> Call:
        size = sum(map(len, messages))
        if size >= _LARGE_BYTES:
            # At most as large, of a few sizes.
            return next(self._large(2 ** (size.bit_length() - 1)))
        target, request = self._rng.choice(self._good[target.path] or self._any)
        return target, request * (len(messages) if target.takes_stream else 1)

    def _find_good(self, target: Target, seeds: Mapping[str, Sequence[bytes]]) -> list[Call]:
        if target.path.endswith(_CHANGES):
            return []
        requests = seeds.get(target.path, [b""])
        # Twice: what can be done once only is not good the next time.
        calls = [(target, (request,)) for request in requests for _ in range(2)]
        errors = [_error_of(target, outcome) for outcome in send_all(self._channel, calls)]
        return [call for call, *both in zip(calls[::2], errors[::2], errors[1::2], strict=True) if not any(both)]


def large_requests(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield requests of about a size by the path of their method: numbers in each form in which they can be carried.

    The size is in bytes.
    """
    floats, ints = size // 4, size // 3 * 3
    row, rows = [1, floats], [ints // 3, 3]
    tensor = Tensor(name="x", shape=row, raw=bytes(size), datatype=DataType.DATA_TYPE_FP32)
    predict = PredictRequest(model="lengths", inputs=[tensor]).SerializeToString()
    for method in ("Predict", "StreamPredict"):
        yield f"/headgate.v1.PredictionService/{method}", predict
    inference = f"/{oip.SERVICE.full_name}"
    for method in ("ModelInfer", "ModelStreamInfer"):
        yield f"{inference}/{method}", infer_request("lengths", "FP32", row, bytes(size))
    yield f"{inference}/ModelInfer", _listed("lengths", "FP32", row, fp32_contents=[0.0] * floats)
    yield f"{inference}/ModelInfer", _listed("bytes", "UINT8", rows, uint_contents=[1] * ints)
    predict_raw = f"/{tfs.PREDICTION_SERVICE.full_name}/Predict"
    yield predict_raw, _with_values("lengths", row, dtype="DT_FLOAT", float_val=[0.0] * floats)
    yield predict_raw, _with_values("bytes", rows, dtype="DT_UINT8", int_val=[1] * ints)


def _listed(model: str, datatype: str, shape: Sequence[int], **contents: Sequence[float]) -> bytes:
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "contents": contents}
    return bytes(oip.ModelInferRequest(model_name=model, inputs=[tensor]).SerializeToString())


def _with_values(model: str, shape: Sequence[int], **values: Any) -> bytes:
    tensor = tfs.TensorProto(tensor_shape={"dim": [{"size": size} for size in shape]}, **values)
    return bytes(tfs.PredictRequest(model_spec={"name": model}, inputs={"x": tensor}).SerializeToString())


def _error_of(target: Target, outcome: Outcome) -> str:
    if outcome.code is not grpc.StatusCode.OK:
        return f"{outcome.code.name}: {outcome.details}"
    return next((text for answer in outcome.answers for _, text in errors_in(target.answer.FromString(answer))), "")
