import keras
import numpy as np
import onnxruntime
import pytest

from headgate.exporter.conversion.converter import convert

layers = keras.layers


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        pytest.param(lambda: layers.Dense(3), (6,), id="dense"),
        pytest.param(lambda: layers.Conv2D(2, 3), (6, 5, 3), id="convolution"),
        pytest.param(lambda: keras.Sequential([layers.Flatten(), layers.Dense(3)]), (4, 2), id="model"),
    ],
)
def test_any_number_of_steps(traced, rng, make, sizes):
    x = keras.Input((None, *sizes), name="x")
    model = keras.Model(x, layers.TimeDistributed(make(), name="steps")(x))
    found = traced(model)
    converted = convert(found)
    assert "Loop" not in {node.op_type for node in converted.graph.node}
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows, steps in ((1, 1), (2, 5)):
        inputs = {"x": rng.standard_normal((rows, steps, *sizes)).astype(np.float32)}
        [actual] = session.run(None, inputs)
        np.testing.assert_allclose(actual, found.predict(inputs)["steps"], rtol=1e-4, atol=1e-5)


def test_the_model_is_left_as_it_was(traced, rng):
    x = keras.Input((None, 6))
    steps = layers.TimeDistributed(layers.Dense(3))
    traced(keras.Model(x, steps(x)))
    assert "call" not in vars(steps)
    assert steps(rng.standard_normal((2, 4, 6))).shape == (2, 4, 3)
