"""Good requests at a steady rate, from a process of their own: what a bystander sees of an attack."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np

from headgate.benchmarks.fuzz.models import BYSTANDERS, LABELS
from headgate.foreign import open_inference as oip
from headgate.v1 import PredictRequest, PredictResponse, Tensor

RATE_PER_S = 100
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A request of the bystander.

    Attributes:
        at_s: when it was to be sent, by `time.monotonic`.
        latency_s: from then to its answer.
        fault: what was wrong with the answer; "" if nothing was.
    """

    at_s: float
    latency_s: float
    fault: str


def latency_s(sightings: Iterable[Sighting], percentile: float) -> float:
    """Return a percentile of the latencies, in seconds; NaN of none."""
    latencies = [each.latency_s for each in sightings]
    return float(np.percentile(latencies, percentile)) if latencies else float("nan")


class Bystander:
    """Sends requests until the end of the `with` statement.

    Attributes:
        sightings: all of them, once it has ended.
    """

    def __init__(self, url: str) -> None:
        self.sightings: list[Sighting] = []
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_run, args=(url, other), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        # Until it has connected.
        self._connection.recv()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.send(None)
        self.sightings = self._connection.recv()
        self._process.join()


def _run(url: str, connection: Connection[Any, Any]) -> None:
    sightings: list[Sighting] = []
    answered = threading.Semaphore(0)
    rng = random.Random(0)
    with grpc.insecure_channel(url) as channel:
        ask = [_predict(channel), _infer(channel)]
        for each in ask:
            each(0)[0].result()
        connection.send(None)
        start = time.monotonic()
        sent = 0
        for sent in itertools.count():
            at_s = start + sent / RATE_PER_S
            if connection.poll(max(0.0, at_s - time.monotonic())):
                break
            kind = rng.randrange(3)
            future, fault_of = ask[sent % 2](kind)

            def note(future: Any, at_s: float = at_s, kind: int = kind, fault_of: Any = fault_of) -> None:
                latency = time.monotonic() - at_s
                failed = future.exception()
                fault = f"{future.code().name}: {future.details()}" if failed else fault_of(future.result(), kind)
                sightings.append(Sighting(at_s, latency, fault))
                answered.release()

            future.add_done_callback(note)
        for _ in range(sent):
            answered.acquire()
    connection.send(sightings)


def _row(kind: int) -> bytes:
    row = np.zeros((1, 4), np.float32)
    row[0, kind] = 1
    return row.tobytes()


def _predict(channel: grpc.Channel) -> Any:
    method = channel.unary_unary(
        "/headgate.v1.PredictionService/Predict", PredictRequest.SerializeToString, PredictResponse.FromString
    )

    def fault_of(answer: PredictResponse, kind: int) -> str:
        labels = list(answer.predictions[0].multiclass.labels)
        return "" if labels == [LABELS[kind]] else f"the answer is {labels}, not {LABELS[kind]}"

    def ask(kind: int) -> Any:
        request = PredictRequest(model=BYSTANDERS, inputs=[Tensor(name="x", shape=[1, 4], raw=_row(kind))])
        return method.future(request, timeout=_TIMEOUT_S), fault_of

    return ask


def _infer(channel: grpc.Channel) -> Any:
    method = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        oip.ModelInferRequest.SerializeToString,
        oip.ModelInferResponse.FromString,
    )

    def fault_of(answer: Any, kind: int) -> str:
        (raw,) = answer.raw_output_contents
        return "" if raw == _row(kind)[:12] else f"the answer is {np.frombuffer(raw, '<f4').tolist()}, not {kind}"

    def ask(kind: int) -> Any:
        request = oip.ModelInferRequest(model_name=BYSTANDERS, raw_input_contents=[_row(kind)])
        request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
        return method.future(request, timeout=_TIMEOUT_S), fault_of

    return ask
