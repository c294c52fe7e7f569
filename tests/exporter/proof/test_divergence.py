"""The layer that a tampered ONNX graph gets wrong is found, whatever the Keras model is made of."""

import dataclasses

import keras
import numpy as np
import onnx
import pytest

from headgate.exporter.conversion.converter import convert
from headgate.exporter.errors import VerificationError
from headgate.exporter.proof.divergence import describe_divergence
from headgate.exporter.proof.keras_runs import run_keras
from headgate.exporter.proof.tolerances import PRECISIONS
from headgate.exporter.proof.verification import verify

layers = keras.layers


@pytest.fixture
def divergence(traced):
    """Convert a model, tamper with the ONNX model and say where it begins to differ."""

    def describe(model, tamper):
        traced_model = traced(model)
        onnx_model = convert(traced_model)
        tamper(onnx_model.graph)
        runs = run_keras(traced_model)
        return describe_divergence(traced_model, onnx_model.SerializeToString(), runs[0], PRECISIONS["float32"])

    return describe


def weights_of_shape(*shape):
    """Tamper with the first weight of a shape."""

    def tamper(graph):
        weight = next(tensor for tensor in graph.initializer if tuple(tensor.dims) == shape)
        changed = onnx.numpy_helper.to_array(weight) * np.float32(1.5)
        weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))

    return tamper


def operation(before, after):
    """Tamper with the first operation of a type."""

    def tamper(graph):
        next(node for node in graph.node if node.op_type == before).op_type = after

    return tamper


def nothing(graph):
    pass


@pytest.fixture
def residual():
    """A network whose normalizations and paddings are merged into its convolutions, which work on another layout."""
    image = keras.Input((9, 9, 3), name="image")
    x = layers.ZeroPadding2D(name="pad")(image)
    x = layers.Conv2D(4, 3, use_bias=False, name="first")(x)
    x = layers.ReLU(name="first_relu")(layers.BatchNormalization(name="first_norm")(x))
    y = layers.Conv2D(4, 5, padding="same", use_bias=False, name="second")(x)
    y = layers.BatchNormalization(name="second_norm")(y)
    x = layers.ReLU(name="second_relu")(layers.Add(name="sum")([x, y]))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, [layers.Dense(5, "softmax", name="probs")(x), layers.Dense(2, name="size")(x)])


def test_no_layer_of_a_sound_graph_is_blamed(divergence, residual):
    assert divergence(residual, nothing) == (
        "every layer agrees, so that what is at fault is computed outside of layers"
    )


def test_a_merged_convolution_in_the_middle(divergence, residual):
    line = divergence(residual, weights_of_shape(4, 4, 5, 5))
    assert line.startswith("the first layer that differs is 'second' (Conv2D)")


def test_an_operation_in_the_middle(divergence, residual):
    line = divergence(residual, operation("ReduceMean", "ReduceMax"))
    assert line.startswith("the first layer that differs is 'mean' (GlobalAveragePooling2D)")


def test_one_of_two_heads(divergence, residual):
    assert "'probs' (Dense)" in divergence(residual, operation("Softmax", "LogSoftmax"))


def test_recurrent_layers_are_blamed_as_a_whole(divergence):
    stack = [
        keras.Input((6, 3)),
        layers.LSTM(4, return_sequences=True, name="fine"),
        layers.LSTM(5, return_sequences=True, name="spoilt"),
        layers.LSTM(4, name="last"),
    ]
    line = divergence(keras.Sequential(stack), weights_of_shape(1, 20, 4))
    assert line.startswith("the first layer that differs is 'spoilt' (LSTM)")


class Branched(keras.Model):
    """Layers, a model inside, and operations between them that are no layers."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(8, name="first")
        self.nested = keras.Sequential([layers.Dense(6, "tanh", name="inner"), layers.Dense(7, name="deepest")])
        self.last = layers.Dense(1, name="last")

    def call(self, x):
        return self.last(keras.ops.sin(self.nested(self.first(x) * 2)) + 1)


def test_layers_of_a_model_inside_a_subclassed_model(divergence):
    model = Branched()
    model(np.zeros((1, 4), np.float32))
    assert "'deepest' (Dense): max error" in divergence(model, weights_of_shape(6, 7))
    assert "'first' (Dense): max error" in divergence(model, weights_of_shape(4, 8))
    # Nothing of the listening is left behind.
    assert "call" not in vars(model.first)


def test_the_error_is_one_line_that_names_the_layer(traced, residual):
    traced_model = traced(residual)
    onnx_model = convert(traced_model)
    weights_of_shape(4, 4, 5, 5)(onnx_model.graph)
    with pytest.raises(VerificationError) as caught:
        verify(traced_model, onnx_model.SerializeToString())
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("output 'probs' differs at batch size ")
    assert "the first layer that differs is 'second' (Conv2D)" in line
    assert line.endswith("; nothing was written")


def test_a_function_has_no_layers(traced, dense):
    traced_model = dataclasses.replace(traced(dense()), layers=[])
    (run, *_) = run_keras(traced_model)
    assert describe_divergence(traced_model, b"", run, PRECISIONS["float32"]) == (
        "which operation is at fault cannot be told, since the model is not made of Keras layers"
    )
