"""Recurrent layers in onnxruntime, tf2onnx's loops against headgate's nodes: `python -m headgate.benchmarks.recurrent`.

50 steps of 64 features, layers of 64 units; the masked ones see rows of 1 to 50 steps. The two models take turns on one
thread, and medians of the CPU time are reported.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import onnxruntime

from headgate.exporter.conversion.converter import DEFAULT_OPSET, convert
from headgate.exporter.libraries import quiet, require_libraries, silent_tensorflow
from headgate.exporter.tracing.traced_models import trace

_STEPS, _FEATURES, _UNITS = 50, 64, 64
_BATCH_SIZES = (1, 32)
_ROUNDS, _ROUND_SECONDS = 51, 0.02


def main() -> None:
    """Print a table of layers: microseconds a run as loops and as nodes, and how many times faster nodes are."""
    require_libraries()
    import keras

    def model(layer: Any, masked: bool = False) -> Any:
        return keras.Sequential([keras.Input((_STEPS, _FEATURES)), *[keras.layers.Masking()] * masked, layer])

    models = {
        "GRU": model(keras.layers.GRU(_UNITS)),
        "GRU, masked": model(keras.layers.GRU(_UNITS), masked=True),
        "LSTM, masked": model(keras.layers.LSTM(_UNITS), masked=True),
        "LSTM, masked, bidirectional": model(keras.layers.Bidirectional(keras.layers.LSTM(_UNITS)), masked=True),
        "SimpleRNN": model(keras.layers.SimpleRNN(_UNITS)),
        "SimpleRNN, masked": model(keras.layers.SimpleRNN(_UNITS), masked=True),
    }
    random = np.random.default_rng(0)
    print(f"{'µs a run':32}{'rows':>6}{'loops':>9}{'nodes':>9}{'ratio':>8}{'max |difference|':>18}")
    for name, keras_model in models.items():
        sessions = [_session(onnx_model) for onnx_model in _both(keras_model)]
        for rows in _BATCH_SIZES:
            inputs = random.standard_normal((rows, _STEPS, _FEATURES), np.float32)
            if "masked" in name:
                inputs[np.arange(_STEPS) >= random.integers(1, _STEPS + 1, (rows, 1))] = 0
            outputs = [_run(session, inputs) for session in sessions]
            loops, nodes = _medians_us(sessions, inputs)
            difference = np.abs(outputs[0] - outputs[1]).max()
            print(f"{name:32}{rows:6}{loops:9.0f}{nodes:9.0f}{loops / nodes:8.1f}{difference:18.1e}")


def _both(model: Any) -> tuple[Any, Any]:
    """Convert a model by tf2onnx alone, and by headgate."""
    import tensorflow as tf
    import tf2onnx

    with quiet(), silent_tensorflow():
        signature = [tf.TensorSpec([None, _STEPS, _FEATURES], tf.float32, name="x")]
        function = tf.function(lambda x: model(x, training=False), autograph=False)
        loops, _ = tf2onnx.convert.from_function(function, signature, opset=DEFAULT_OPSET)
        return loops, convert(trace(model))


def _session(model: Any) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, inputs: Any) -> Any:
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def _medians_us(sessions: list[onnxruntime.InferenceSession], inputs: Any) -> list[float]:
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(_ROUNDS):
        for session, its_times in zip(sessions, times, strict=True):
            start, runs = time.thread_time(), 0
            while (elapsed := time.thread_time() - start) < _ROUND_SECONDS:
                _run(session, inputs)
                runs += 1
            its_times.append(elapsed / runs * 1e6)
    return [statistics.median(one) for one in times]


if __name__ == "__main__":
    main()
