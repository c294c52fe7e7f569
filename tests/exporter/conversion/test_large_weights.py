import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from headgate.exporter.conversion.converter import convert
from headgate.exporter.conversion.large_weights import large_variables
from headgate.exporter.tracing.traced_models import trace

L = keras.layers
NEVER = 2**60


def network(*layers, shape, dtype="float32"):
    model = keras.Sequential([keras.Input(shape, name="x", dtype=dtype), *layers], name="m")
    for weight in model.weights:
        if weight.trainable:
            weight.assign(keras.random.normal(weight.shape, seed=len(weight.shape)))
    return model


def answers(model, **inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


CASES = {
    "dense": (network(L.Dense(5, activation="relu"), L.Dense(3), shape=(4,)), (4,)),
    "dense on sequences": (network(L.Dense(5), shape=(6, 4)), (6, 4)),
    "free length": (network(L.Dense(5), L.GlobalMaxPooling1D(), shape=(None, 4)), (7, 4)),
    "einsum": (network(L.EinsumDense("abc,cde->abde", (None, 2, 3)), L.Flatten(), shape=(6, 4)), (6, 4)),
    "convolutions": (
        network(
            L.Conv2D(6, 3, padding="same", use_bias=False),
            L.BatchNormalization(),
            L.DepthwiseConv2D(3),
            L.SeparableConv2D(5, 2),
            L.Conv2DTranspose(4, 3, strides=2),
            L.GlobalAveragePooling2D(),
            shape=(8, 8, 3),
        ),
        (8, 8, 3),
    ),
    "other ranks": (network(L.Conv1D(4, 3), L.Reshape((6, 2, 2, 1)), L.Conv3D(3, 2), shape=(8, 3)), (8, 3)),
    "grouped": (network(L.Conv2D(4, 3, groups=2), shape=(6, 6, 4)), (6, 6, 4)),
    "recurrent": (network(L.LSTM(4, return_sequences=True), L.GRU(3), shape=(6, 4)), (6, 4)),
    "mixed": (
        network(L.LayerNormalization(), L.PReLU(), L.Normalization(mean=1.0, variance=4.0), shape=(6, 4)),
        (6, 4),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_answers_however_weights_come(name, rng):
    """Here every weight is large: those that operations look at become constants, the others initializers."""
    model, shape = CASES[name]
    x = rng.standard_normal((3, *shape)).astype(np.float32)
    expected = model(x).numpy()
    large, frozen = (convert(trace(model, large_bytes=least)) for least in (1, NEVER))
    for converted in (large, frozen):
        np.testing.assert_allclose(answers(converted, x=x), expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())
    assert [value.name for value in large.graph.input] == ["x"]


def test_kernels_are_stored_in_the_layout_that_onnx_wants():
    converted = convert(trace(CASES["convolutions"][0], large_bytes=1))
    assert (6, 3, 3, 3) in [tuple(tensor.dims) for tensor in converted.graph.initializer]
    kernels = {node.input[1] for node in converted.graph.node if node.op_type == "Conv"}
    assert kernels <= {tensor.name for tensor in converted.graph.initializer}


def test_a_weight_in_two_places(rng):
    """An embedding whose table also makes the output, as in language models."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    table = L.ReversibleEmbedding(20, 4) if hasattr(L, "ReversibleEmbedding") else L.Embedding(20, 4)
    hidden = L.Dense(4, activation="tanh")(table(tokens))
    logits = keras.ops.matmul(hidden, keras.ops.transpose(table.embeddings))
    model = keras.Model(tokens, logits, name="tied")
    converted = convert(trace(model, large_bytes=1))
    x = rng.integers(0, 20, (3, 5)).astype(np.int32)
    np.testing.assert_allclose(answers(converted, tokens=x), model(x).numpy(), rtol=1e-4, atol=1e-6)


def test_mixed_precision_kernels_are_stored_in_float16(rng):
    keras.config.set_dtype_policy("mixed_float16")
    model = network(L.Dense(8), L.Dense(4, dtype="float32"), shape=(4,))
    converted = convert(trace(model, large_bytes=1))
    assert onnx.TensorProto.FLOAT16 in [tensor.data_type for tensor in converted.graph.initializer]
    x = rng.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(answers(converted, x=x), model(x).numpy(), rtol=2e-2, atol=2e-2)


def test_a_weight_that_is_an_output_too(rng):
    class WithWeight(L.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(4, 4), initializer="normal", name="table")

        def call(self, x):
            return keras.ops.matmul(x, self.table), keras.ops.broadcast_to(self.table, (keras.ops.shape(x)[0], 4, 4))

    x = keras.Input((4,), name="x")
    model = keras.Model(x, WithWeight()(x), name="m")
    converted = convert(trace(model, large_bytes=1))
    sample = rng.standard_normal((2, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    for got, wanted in zip(session.run(None, {"x": sample}), model(sample), strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_large_weights_pass_through_no_graph():
    """TensorFlow freezes whatever it captures, so that what is large must not be among that."""
    model = network(L.Dense(64), L.Dense(3), shape=(32,))
    traced = trace(model, large_bytes=32 * 64 * 4)
    assert [tuple(variable.shape) for variable in traced.large_variables] == [(32, 64)]
    assert sorted(tuple(variable.shape) for variable in traced.function.variables) == [(3,), (64,), (64, 3)]


def test_which_variables_are_large():
    model = network(L.Dense(8), L.BatchNormalization(), shape=(4,))
    assert [tuple(variable.shape) for variable in large_variables([model, *model.layers], 4 * 32)] == [(4, 8)]
    assert large_variables([tf.Module()], 1) == []
