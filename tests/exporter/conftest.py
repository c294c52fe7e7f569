import numpy as np
import onnx
import onnxruntime
import pytest

from headgate.exporter.libraries import quiet, require_libraries, silent_tensorflow
from headgate.exporter.tracing.traced_models import trace
from headgate.v1.signatures import METADATA_KEY, signature_from_json

require_libraries()

import keras  # noqa: E402


@pytest.fixture(autouse=True)
def _quiet_tensorflow():
    """The tests, too, call Keras; what its libraries deprecate among themselves is not ours to fail on."""
    keras.utils.set_random_seed(7)
    with quiet(), silent_tensorflow():
        yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def dense():
    """Make a model of one Dense layer: `dense(units, activation, loss)`."""

    def make(units=1, activation=None, loss=None, name="out"):
        layers = [keras.Input((4,), name="x"), keras.layers.Dense(units, activation=activation, name=name)]
        model = keras.Sequential(layers, name="model")
        if loss is not None:
            model.compile(loss=loss)
        return model

    return make


@pytest.fixture
def two_heads():
    """Make a functional model of two inputs and two outputs, `price` (linear) and `species` (softmax of 3)."""

    def make(loss=None, outputs=None):
        numbers = keras.Input((4,), name="numbers")
        words = keras.Input((None,), dtype="int32", name="words")
        embedded = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(6, 3)(words))
        joined = keras.layers.Concatenate()([numbers, embedded])
        price = keras.layers.Dense(1, name="price")(joined)
        species = keras.layers.Dense(3, activation="softmax", name="species")(joined)
        structure = [price, species] if outputs is None else {outputs[0]: price, outputs[1]: species}
        model = keras.Model([numbers, words], structure, name="flowers")
        if loss is not None:
            model.compile(loss=loss)
        return model

    return make


@pytest.fixture
def traced():
    return trace


@pytest.fixture
def exported():
    """Open an exported file as anyone would: its graph, a session, its signature."""

    class Exported:
        def __init__(self, path):
            self.model = onnx.load(path)
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            metadata = {entry.key: entry.value for entry in self.model.metadata_props}
            self.signature = signature_from_json(metadata[METADATA_KEY])
            self.inputs = {value.name: value.shape for value in self.session.get_inputs()}
            self.outputs = {value.name: value.shape for value in self.session.get_outputs()}

        def run(self, **inputs):
            return self.session.run(None, inputs)

    return Exported
