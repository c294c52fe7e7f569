"""How long an export takes by stages, and how much memory: `python -m headgate.benchmarks.export`.

Each model is exported in a process of its own, imports included. "TensorFlow's own" memory is what it takes to import
TensorFlow, to load the model, and to run it in Keras on the batches that the export compares.
"""

import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TOTALS = ("all", "cpu", "peak")
#: By model what `export_model` is told; random weights leave nothing to lose.
MODELS: dict[str, tuple[dict[str, Any], ...]] = {
    "small MLP": ({},),
    "MLP of 135 MB": ({},),
    "ResNet50": ({}, {"fp16": True, "max_metric_loss": 1}, {"int8": "dynamic", "max_metric_loss": 1}),
}


def save(model: str, path: str) -> None:
    """Save a model with random weights."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    if model == "ResNet50":
        network = keras.applications.ResNet50(weights=None)
    else:
        units = 64 if model == "small MLP" else 4096
        hidden = [keras.layers.Dense(units, activation="relu") for _ in range(3)]
        network = keras.Sequential([keras.Input((256,)), *hidden, keras.layers.Dense(10, activation="softmax")])
    network.save(path)


def measure_tensorflow(path: str) -> dict[str, float]:
    """Return the peak memory in MB of running the model in Keras alone."""
    from headgate.exporter.libraries import quiet, require_libraries
    from headgate.exporter.proof.keras_runs import run_keras
    from headgate.exporter.sources.keras_models import load_source
    from headgate.exporter.tracing.traced_models import trace

    require_libraries()
    with quiet():
        run_keras(trace(load_source(path, safe_mode=True).model))
    return {"peak": _peak_mb()}


def measure_export(path: str, options: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of an export by stage, and the peak memory in MB."""
    begun = time.perf_counter()
    from headgate.exporter import export_model

    with tempfile.TemporaryDirectory() as repository:
        seconds = export_model(path, repository, **options).seconds
    return {**seconds, "all": time.perf_counter() - begun, "cpu": time.process_time(), "peak": _peak_mb()}


def _peak_mb() -> float:
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    """Print a table."""
    print("| model | seconds | CPU seconds | by stage | peak MB | TensorFlow's own | the rest by the model's size |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model, variants in MODELS.items():
            path = str(Path(folder) / "model.keras")
            _alone(save, model, path)
            size, own = Path(path).stat().st_size / 2**20, _alone(measure_tensorflow, path)
            for options in variants:
                export = _alone(measure_export, path, options)
                stages = ", ".join(
                    f"{stage} {seconds:.1f}" for stage, seconds in export.items() if stage not in _TOTALS
                )
                how = "".join(f", {option}" for option in options if option != "max_metric_loss")
                print(
                    f"| {model}, {size:.0f} MB{how} | {export['all']:.1f} | {export['cpu']:.1f} | {stages} "
                    f"| {export['peak']:.0f} | {own['peak']:.0f} | {(export['peak'] - own['peak']) / size:.1f}x |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
