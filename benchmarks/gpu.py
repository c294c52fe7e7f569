"""headgate on a CUDA device beside onnxruntime alone: `python -m headgate.benchmarks.gpu`, or `make gpu-check`.

It needs no more than headgate with its `gpu` extra and onnx, and writes `benchmarks/results/<date>-<device>.md`.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headgate.benchmarks import pages
from headgate.benchmarks.command import run
from headgate.benchmarks.cuda_devices import cuda_devices
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.models import IMAGE, INPUT, LAYERS, OUTPUT, write_cnn, write_mlp
from headgate.foreign.open_inference import ModelInferRequest, ModelInferResponse
from headgate.server import ExecutionConfig, Server, ServerSettings
from headgate.server.session import Session

_CUDA = "CUDAExecutionProvider"
_BATCH_SIZES = (1, 8, 64, 256)
_ROWS = {"mlp": LAYERS[:1], "cnn": IMAGE}
_SECONDS, _MIN_RUNS, _WARM_RUNS = 1.0, 30, 10
_Way = Callable[[NDArray[Any]], NDArray[Any]]
#: TF32 keeps 10 of 23 bits.
_TOLERANCE = 2e-2
_NOTES = """
Medians in microseconds for a batch, its copies to the device and back included.

- onnxruntime: `InferenceSession.run` on NumPy arrays, with onnxruntime's own options
- no binding: headgate's `Session` with `io_binding = false`
- binding: headgate's `Session` as it is by default: bound, page-locked memory
- CUDA graphs: the same with `cuda_graphs = true`
- one call: `ModelInfer` with as many rows, one call at a time, client and server in one process: on top of the
  binding's time it holds gRPC, the request's way through the server, and the client
"""


def main() -> None:
    """Measure, print the table, and write the results file.

    Raises:
        BenchmarkError: there is no device, or an answer is wrong.
    """
    devices = cuda_devices()
    if not devices:
        raise BenchmarkError("no CUDA device; this needs a machine with an NVIDIA driver and a device that it can use")
    lines = [
        f"# headgate on {devices[0]}",
        "",
        f"{datetime.now(UTC).date()}, Python {platform.python_version()}, onnxruntime {onnxruntime.__version__} "
        f"(CUDA {onnxruntime.cuda_version}), grpcio {grpc.__version__}, numpy {np.__version__}, {platform.platform()}",
        "",
        "| model | rows | onnxruntime | no binding | binding | CUDA graphs | one call | binding / onnxruntime |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *measure(),
        _NOTES,
    ]
    report = "\n".join(lines)
    print(report)
    pages.FOLDER.mkdir(parents=True, exist_ok=True)
    path = pages.FOLDER / f"{datetime.now(UTC).date()}-{pages.slug(devices[0])}.md"
    path.write_text(report)
    print(f"written to {path}")


def measure(provider: str = _CUDA, batch_sizes: tuple[int, ...] = _BATCH_SIZES, seconds: float = _SECONDS) -> list[str]:
    """Return the rows of the table: on any provider, so that the benchmark itself can be tested.

    Args:
        provider: a full onnxruntime provider name.
        batch_sizes: ascending.
        seconds: how long each is measured.

    Raises:
        BenchmarkError: an answer is wrong.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="headgate-gpu-") as folder:
        repository = Path(folder)
        paths = {"mlp": write_mlp(repository), "cnn": write_cnn(repository)}
        for model in paths:
            text = f"[batching]\nmax_batch_size = {batch_sizes[-1]}\n"
            (repository / model / "config.toml").write_text(text)
        server = Server(ServerSettings(repository=repository, port=0, provider=provider))
        server.start()
        try:
            with grpc.insecure_channel(
                f"127.0.0.1:{server.port}", [("grpc.max_receive_message_length", -1)]
            ) as channel:
                for model, path in paths.items():
                    ways = _ways(path, provider, batch_sizes[-1])
                    ways.append(lambda inputs, model=model: _call(channel, model, inputs))  # type: ignore[misc]
                    for size in batch_sizes:
                        inputs = np.random.default_rng(size).normal(size=(size, *_ROWS[model])).astype(np.float32)
                        times = _times_us(f"{model}, {size} rows", ways, inputs, seconds)
                        cells = [f"{us:,.0f}" if us else "" for us in times]
                        rows.append(f"| {model} | {size} | {' | '.join(cells)} | {times[2] / times[0]:.2f} |")
        finally:
            server.stop()
    return rows


def _ways(path: Path, provider: str, max_batch_size: int) -> list[_Way | None]:
    """Return the ways of running a model, in the order of the columns; None for one that the provider does not have."""

    def session(**execution: Any) -> _Way:
        made = Session(path, provider, 1, False, ExecutionConfig(**execution), max_batch_size)
        made.warm_up(max_batch_size)
        return lambda inputs: made.run([inputs])[0]

    # One of headgate's goes first, since it loads the device's libraries.
    unbound = session(io_binding=False)
    alone = onnxruntime.InferenceSession(str(path), providers=[provider])
    if alone.get_providers()[0] != provider:
        raise BenchmarkError(f"onnxruntime alone runs on {alone.get_providers()[0]}, not on {provider}")
    return [
        lambda inputs: alone.run([OUTPUT], {INPUT: inputs})[0],
        unbound,
        session(),
        session(cuda_graphs=True) if provider == _CUDA else None,
    ]


def _times_us(what: str, ways: list[_Way | None], inputs: NDArray[Any], seconds: float) -> list[float]:
    """Return the median of each way, all of them in turns; 0 for one that there is not."""
    outputs = [way(inputs) for way in ways if way for _ in range(_WARM_RUNS)]
    if not all(np.allclose(output, outputs[0], _TOLERANCE, _TOLERANCE) for output in outputs):
        raise BenchmarkError(f"{what}: the answers differ")
    samples: list[list[float]] = [[] for _ in ways]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[0]) < _MIN_RUNS:
        for way, times in zip(ways, samples, strict=True):
            if way is not None:
                start = time.perf_counter()
                way(inputs)
                times.append(time.perf_counter() - start)
    return [statistics.median(times) * 1e6 if times else 0.0 for times in samples]


def _call(channel: grpc.Channel, model: str, inputs: NDArray[Any]) -> NDArray[Any]:
    request = ModelInferRequest(model_name=model, raw_input_contents=[inputs.tobytes()])
    request.inputs.add(name=INPUT, datatype="FP32", shape=inputs.shape)
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    answer = ModelInferResponse.FromString(call(request.SerializeToString()))
    return np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(len(inputs), -1)


if __name__ == "__main__":
    run(main)
