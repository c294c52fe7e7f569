"""What Keras makes and saves under JAX and PyTorch, and what tf_keras, Keras 2 as a package of its own, does.

`make test-backends` installs these packages and runs what is marked; elsewhere it is skipped.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from headgate.exporter import export_model
from headgate.exporter.errors import ModelLoadError, VerificationError
from headgate.exporter.libraries import quiet, silent_tensorflow
from headgate.v1 import ACTIVATION_LOGITS

#: Trains networks for one step; saves them, inputs and their own answers: `python -c ... BACKEND NETWORK ...`.
_TRAINING = """
import sys
import keras, numpy
from keras import layers

assert keras.backend.backend() == sys.argv[1]
keras.utils.set_random_seed(1)
random = numpy.random.default_rng(1)

def table():
    yield random.normal(size=(8, 4)), random.integers(0, 3, 8), "sparse_categorical_crossentropy"
    hidden = [layers.Dense(5, "gelu"), layers.BatchNormalization(), layers.Dropout(0.3)]
    yield [keras.Input((4,), name="x"), *hidden, layers.Dense(3, "softmax", name="y")]

def picture(first=False):
    # Not as many channels as columns: Keras under TensorFlow would add a bias along the wrong axis, channels first.
    layout = "channels_first" if first else "channels_last"
    shape = (3, 12, 12) if first else (12, 12, 3)
    yield random.integers(0, 256, (8, *shape)), random.integers(0, 2, 8), "binary_crossentropy"
    stem = [layers.Rescaling(1 / 255), layers.Conv2D(5, 3, strides=2, padding="same", data_format=layout)]
    norm = layers.BatchNormalization(axis=1 if first else -1)
    middle = [layers.ReLU(), layers.DepthwiseConv2D(3, padding="same", data_format=layout)]
    pooling = [layers.MaxPooling2D(data_format=layout), layers.GlobalAveragePooling2D(data_format=layout)]
    yield [keras.Input(shape, name="x"), *stem, norm, *middle, *pooling, layers.Dense(1, "sigmoid", name="y")]

def channels_first():
    return picture(first=True)

def words():
    yield random.integers(0, 7, (8, 6)), random.normal(size=8), "mse"
    both_ways = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
    stack = [layers.Embedding(7, 5, mask_zero=True), both_ways, layers.GRU(3), layers.Dense(1, name="y")]
    yield [keras.Input((None,), dtype="int32", name="x"), *stack]

def attention():
    yield random.normal(size=(8, 6, 4)), random.integers(0, 2, (8, 5)), "binary_crossentropy"
    x = keras.Input((None, 4), name="x")
    attended = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 3)(x, x))
    yield keras.Model(x, layers.Dense(5, "sigmoid", name="y")(layers.GlobalMaxPooling1D()(attended)))

for name in sys.argv[2:]:
    (x, y, loss), network = globals()[name]()
    x = x.astype("int32" if name == "words" else "float32")
    model = keras.Sequential(network) if isinstance(network, list) else network
    model.compile(optimizer="adam", loss=loss)
    model.fit(x, y, verbose=0)
    model.save(name + ".keras")
    model.save(name + ".h5")
    numpy.savez(name + ".npz", x=x, y=model.predict(x, verbose=0))
"""

_HEADS = {
    "table": "multiclass",
    "picture": "binary",
    "channels_first": "binary",
    "words": "regression",
    "attention": "multilabel",
}


@pytest.fixture(scope="module", params=["jax", "torch"])
def trained(request, tmp_path_factory):
    """The folder of the files that a process made in which Keras runs on another backend."""
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    training = [sys.executable, "-c", _TRAINING, request.param, *_HEADS]
    subprocess.run(training, cwd=folder, env=os.environ | {"KERAS_BACKEND": request.param}, check=True)
    return folder


@pytest.mark.slow
@pytest.mark.backends
# Not attention.h5, which Keras writes and cannot load.
@pytest.mark.parametrize("name", [f"{network}.keras" for network in _HEADS] + ["table.h5", "picture.h5", "words.h5"])
def test_models_trained_under_other_backends(trained, name, tmp_path, exported):
    network, _ = name.split(".")
    file = exported(export_model(trained / name, tmp_path).path)
    assert file.signature.heads[0].WhichOneof("kind") == _HEADS[network]
    answers = np.load(trained / f"{network}.npz")
    np.testing.assert_allclose(file.run(x=answers["x"])[0], answers["y"], rtol=1e-4, atol=1e-5)


def test_a_file_that_was_made_under_jax(tmp_path, exported):
    """The file is as Keras 3.15.1 under JAX 0.10.2 wrote it, and so are the numbers."""
    file = exported(export_model(Path(__file__).parent / "files" / "jax.keras", tmp_path).path)
    x = (np.arange(8).reshape(2, 4) / 8).astype("float32")
    expected = [[0.5369335412979126, 0.4630664885044098], [0.716099202632904, 0.28390082716741833]]
    np.testing.assert_allclose(file.run(x=x)[0], expected, rtol=1e-5)
    assert file.signature.heads[0].WhichOneof("kind") == "multiclass"


@pytest.fixture(scope="module")
def tf_keras():
    with quiet(), silent_tensorflow():
        return pytest.importorskip("tf_keras")


@pytest.mark.backends
class TestKeras2:
    """What tf_keras makes and saves."""

    @pytest.fixture
    def flowers(self, tf_keras, rng):
        layers = tf_keras.layers
        numbers, words = tf_keras.Input((4,), name="numbers"), tf_keras.Input((None,), name="words", dtype="int32")
        # The addition is a layer of Keras 2 that calls a TensorFlow function.
        joined = layers.Dense(3)(numbers) + layers.GlobalAveragePooling1D()(layers.Embedding(5, 3)(words))
        species = layers.Dense(2, name="species")(layers.Dropout(0.5)(joined))
        model = tf_keras.Model({"numbers": numbers, "words": words}, species, name="flowers")
        model.compile("adam", loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(self.inputs(rng), rng.integers(0, 2, 3), verbose=0)
        return model

    def inputs(self, rng):
        return {"numbers": rng.normal(size=(3, 4)).astype("float32"), "words": rng.integers(0, 5, (3, 6), "int32")}

    def check(self, report, model, exported, rng):
        file = exported(report.path)
        inputs = self.inputs(rng)
        np.testing.assert_allclose(file.run(**inputs)[0], model(inputs, training=False), rtol=1e-4, atol=1e-5)
        [head] = file.signature.heads
        assert (head.name, head.WhichOneof("kind"), head.activation) == ("species", "multiclass", ACTIVATION_LOGITS)

    def test_models_in_memory(self, flowers, tmp_path, exported, rng):
        self.check(export_model(flowers, tmp_path), flowers, exported, rng)

    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    def test_files(self, suffix, flowers, tmp_path, exported, rng):
        flowers.save(tmp_path / f"flowers{suffix}")
        self.check(export_model(tmp_path / f"flowers{suffix}", tmp_path / "models"), flowers, exported, rng)

    def test_saved_models(self, flowers, tmp_path, exported, rng):
        flowers.save(tmp_path / "flowers", save_format="tf")
        heads = {"species": {"kind": "multiclass", "activation": "logits"}}
        # A SavedModel does not tell that its words are numbers below 5.
        report = export_model(tmp_path / "flowers", tmp_path / "models", heads=heads, examples=self.inputs(rng))
        self.check(report, flowers, exported, rng)

    def test_subclassed_models(self, tf_keras, tmp_path):
        class Own(tf_keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = tf_keras.layers.Dense(2)

            def call(self, inputs):
                return {"price": self.dense(inputs["numbers"])}

        model = Own()
        with pytest.raises(ModelLoadError, match="is not built"):
            export_model(model, tmp_path)
        model({"numbers": np.ones((2, 3), "float32")})
        report = export_model(model, tmp_path)
        assert [spec.name for spec in report.signature.inputs] == ["numbers"]
        assert [head.name for head in report.signature.heads] == ["price"]

    @pytest.mark.parametrize("layer", ["LSTM", "GRU", "SimpleRNN"])
    def test_recurrent_layers(self, layer, tf_keras, tmp_path, exported, rng):
        layers = tf_keras.layers
        recurrent = getattr(layers, layer)
        x = tf_keras.Input((6, 3), name="x")
        masked = recurrent(4)(layers.Masking()(x))
        model = tf_keras.Model(
            x, layers.Dense(1)(layers.Concatenate()([masked, layers.Bidirectional(recurrent(4))(x)]))
        )
        model.compile("adam", loss="mse")
        sequences = rng.normal(size=(5, 6, 3)).astype("float32")
        sequences[np.arange(6) >= rng.integers(1, 7, (5, 1))] = 0
        model.fit(sequences, rng.normal(size=5), verbose=0)
        file = exported(export_model(model, tmp_path).path)
        np.testing.assert_allclose(file.run(x=sequences)[0], model(sequences, training=False), rtol=1e-4, atol=1e-5)

    def test_what_tf2onnx_converts_wrongly_is_refused(self, tf_keras, tmp_path):
        layers = tf_keras.layers
        stack = [layers.Masking(), layers.Bidirectional(layers.LSTM(4)), layers.Dense(1, name="y")]
        model = tf_keras.Sequential([tf_keras.Input((6, 3), name="x"), *stack])
        with pytest.raises(VerificationError, match="the first layer that differs is 'backward_lstm"):
            export_model(model, tmp_path)
        assert not list(tmp_path.iterdir())
