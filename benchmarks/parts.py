"""What the server's own parts of a request cost, without gRPC: `python -m headgate.benchmarks.parts`.

Times are the best of several runs, for a 10-64-64-3 MLP with a multiclass head.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from headgate.benchmarks.calls import cases
from headgate.benchmarks.models import LAYERS, write_mlp
from headgate.server import ModelConfig
from headgate.server.batching import BatchQueue
from headgate.server.dialects.headgate_v1 import PredictionRenderer
from headgate.server.dialects.open_inference import OpenInferenceDialect
from headgate.server.dialects.open_inference_outputs import TensorRenderer
from headgate.server.inference import InferenceRequest
from headgate.server.model_control import ModelControl
from headgate.server.repository import ModelRepository

_BATCH = 64


def main() -> None:
    """Print a table of parts: microseconds for each request, in a batch of 64 and alone."""
    with tempfile.TemporaryDirectory(prefix="headgate-parts-") as folder:
        write_mlp(Path(folder))
        repository = ModelRepository()
        ModelControl(repository, Path(folder), ModelConfig())
        (entry,) = repository
        model = repository.load(entry, "CPUExecutionProvider")
        dialect = OpenInferenceDialect(repository, "")
        infer = next(case.call.request for case in cases() if case.name == "ModelInfer")
        for _ in range(3):
            prepared = dialect._requests.prepare(infer)
        call: Any = SimpleNamespace(deadline=math.inf)

        def request() -> InferenceRequest:
            return InferenceRequest(call, prepared.inputs, 1, (), prepared.renderer)

        def queue(requests: list[InferenceRequest]) -> None:
            waiting = BatchQueue(_BATCH, _BATCH)
            for one in requests:
                waiting.put(one)
            waiting.take(0.0)

        print(f"{'µs a request':44}{'of ' + str(_BATCH):>8}{'alone':>8}")
        _report("parse and check (no earlier one like it)", lambda n: dialect._prepare(infer, streamed=False), None)
        _report("recognise (RequestCache.prepare)", lambda n: dialect._requests.prepare(infer), None)
        _report("make (InferenceRequest)", lambda n: request(), None)
        batches = {}
        for size in (_BATCH, 1):
            batches[size] = [request() for _ in range(size)]
            for row, one in enumerate(batches[size]):
                one.start, one.stop = row, row + 1
        features = {size: np.zeros((size, LAYERS[0]), np.float32) for size in batches}
        outputs = {size: model.session.run([array]) for size, array in features.items()}
        tensors, predictions = TensorRenderer(model, (), False), PredictionRenderer(model, b"", False)
        _report("queue and take (BatchQueue)", lambda n: queue(batches[n]), batches)
        _report("join (ModelInputs.join)", lambda n: model.inputs.join(batches[n], n), batches)
        _report("run (Session.run)", lambda n: model.session.run([features[n]]), batches)
        cold = [_median_cold_us(lambda size=size: model.session.run([features[size]])) / size for size in batches]  # type: ignore[misc]
        print(f"{'run, after a millisecond of other work':44}{cold[0]:8.2f}{cold[-1]:8.2f}")
        _report("write raw tensors", lambda n: list(tensors.render(outputs[n], batches[n])), batches)
        _report("decode and write top-1", lambda n: list(predictions.render(outputs[n], batches[n])), batches)
        _report("count", lambda n: model.statistics.record_batch(batches[n], n, 0, 0, 0, 0), batches)


def _report(part: str, run: Callable[[int], object], batches: dict[int, Any] | None) -> None:
    """Print what a part costs; `run` takes the size of the batch that it handles at once, if it handles batches."""
    costs = [_best_us(lambda size=size: run(size)) / size for size in batches or (1,)]  # type: ignore[misc]
    print(f"{part:44}{costs[0]:8.2f}{costs[-1]:8.2f}")


def _median_cold_us(run: Callable[[], object]) -> float:
    """Return how long something takes that has not run for a millisecond, in which Python did something else."""
    costs = []
    for _ in range(500):
        resume = time.perf_counter() + 1e-3
        while time.perf_counter() < resume:
            pass
        start = time.perf_counter()
        run()
        costs.append(time.perf_counter() - start)
    return statistics.median(costs) * 1e6


def _best_us(run: Callable[[], object]) -> float:
    return min(timeit.repeat(run, number=500, repeat=20)) / 500 * 1e6


if __name__ == "__main__":
    main()
