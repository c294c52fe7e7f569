"""Where models come from: files of every format, SavedModels, functions, other versions and backends of Keras."""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from headgate.benchmarks.coverage.cases import Case, Subject, normal, padded, spread_weights

_X = normal(4)


@keras.saving.register_keras_serializable("headgate.coverage")
class Registered(kl.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs * 2


def _model() -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, kl.Dense(2, name="out")(kl.Dense(5, activation="gelu")(x)))


def _two_outputs() -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, {"zebra": kl.Dense(2)(x), "ant": kl.Dense(3)(x)})


def _saved(name: str, model: Any) -> Subject:
    path = Path(tempfile.mkdtemp()) / name
    spread_weights(model)
    model.save(path)
    return Subject(path, model)


def _compiled() -> Any:
    model = _model()
    model.compile(loss="mse", optimizer="adam")
    model.fit(np.zeros((8, 4), "float32"), np.zeros((8, 2), "float32"), verbose=0)
    return model


def _with_lambda() -> Any:
    return keras.Sequential([keras.Input((4,), name="x"), kl.Lambda(lambda x: x + 1), kl.Dense(2)])


def _masked_lstm() -> Any:
    return keras.Sequential([keras.Input((6, 3), name="x"), kl.Masking(), kl.LSTM(4), kl.Dense(2)])


def _saved_model() -> Subject:
    model, folder = _model(), tempfile.mkdtemp()
    spread_weights(model)
    model.export(folder, format="tf_saved_model", verbose=False)
    return Subject(folder, model)


def _saved_model_of_module() -> Subject:
    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.normal((4, 2)))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
        def __call__(self, x: Any) -> Any:
            return {"out": tf.matmul(x, self.kernel)}

    module, folder = Module(), tempfile.mkdtemp()
    tf.saved_model.save(module, folder, signatures={"serving_default": module.__call__})
    return Subject(folder, module)


def _function() -> Subject:
    kernel = tf.Variable(tf.random.normal((4, 2)))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def function(x: Any) -> Any:
        return {"out": tf.nn.relu(tf.matmul(x, kernel))}

    return Subject(function, function)


def _without_training(reference: Any, x: dict[str, Any]) -> Any:
    return reference(x["x"])


def _tf_keras_model() -> Any:
    import tf_keras

    return tf_keras.Sequential([tf_keras.layers.InputLayer((4,), name="x"), tf_keras.layers.Dense(2, name="out")])


def _tf_keras_file(name: str) -> Subject:
    return _saved(name, _tf_keras_model())


_FOREIGN = """
import sys
import keras
keras.utils.set_random_seed(1)
x = keras.Input((4,), name="x")
hidden = keras.layers.BatchNormalization()(keras.layers.Dense(5, activation="gelu")(x))
keras.Model(x, keras.layers.Dense(2, name="out")(hidden)).save(sys.argv[1])
"""


def _of_backend(backend: str) -> Subject:
    """Save a model in a process where Keras runs on another backend."""
    path = Path(tempfile.mkdtemp()) / "model.keras"
    environment = os.environ | {"KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", _FOREIGN, str(path)], env=environment, check=True, capture_output=True)
    return Subject(path, keras.saving.load_model(path))


CASES = [
    Case("File/.keras", lambda: _saved("model.keras", _model()), {"x": _X}, outputs=["out"]),
    Case("File/.keras, compiled and trained", lambda: _saved("model.keras", _compiled()), {"x": _X}, outputs=["out"]),
    Case(
        "File/.keras, dictionary of outputs",
        lambda: _saved("model.keras", _two_outputs()),
        {"x": _X},
        outputs=["zebra", "ant"],
    ),
    Case(
        "File/.keras, masked LSTM",
        lambda: _saved("model.keras", _masked_lstm()),
        {"x": padded(6, 3)},
        outputs=["dense"],
    ),
    Case(
        "File/.keras, registered custom layer",
        lambda: _saved("model.keras", keras.Sequential([keras.Input((4,), name="x"), Registered(name="out")])),
        {"x": _X},
        outputs=["out"],
    ),
    Case(
        "File/.keras, Lambda, trusted",
        lambda: _saved("model.keras", _with_lambda()),
        {"x": _X},
        outputs=["dense"],
        options={"safe_mode": False},
    ),
    Case(
        "File/.keras, Lambda",
        lambda: _saved("model.keras", _with_lambda()),
        {"x": _X},
        outputs=["dense"],
        refused="the file holds code, which loading would run; safe_mode=False allows it",
    ),
    Case("File/.h5", lambda: _saved("model.h5", _model()), {"x": _X}, outputs=["out"]),
    Case("File/.h5, compiled and trained", lambda: _saved("model.h5", _compiled()), {"x": _X}, outputs=["out"]),
    Case("SavedModel/of model.export", _saved_model, {"x": _X}, outputs=["output_0"]),
    Case("SavedModel/of a tf.Module", _saved_model_of_module, {"x": _X}, _without_training, outputs=["out"]),
    Case("tf.function/with variables", _function, {"x": _X}, _without_training, outputs=["out"]),
    Case("tf_keras/model", _tf_keras_model, {"x": _X}, _without_training, ["out"], needs="tf_keras"),
    Case(
        "tf_keras/.keras",
        lambda: _tf_keras_file("model.keras"),
        {"x": _X},
        _without_training,
        ["out"],
        needs="tf_keras",
    ),
    Case("tf_keras/.h5", lambda: _tf_keras_file("model.h5"), {"x": _X}, _without_training, ["out"], needs="tf_keras"),
    *(
        Case(
            f"Backend/.keras file made under {backend}",
            partial(_of_backend, backend),
            {"x": _X},
            outputs=["out"],
            needs=backend,
        )
        for backend in ("jax", "torch")
    ),
]
