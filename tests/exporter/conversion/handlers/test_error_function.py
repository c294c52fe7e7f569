import keras
import numpy as np
import onnxruntime
import pytest
import scipy.special
import tensorflow as tf

from headgate.exporter.conversion.converter import convert

NUMBERS = np.array([[*np.linspace(-8, 8, 2001), -0.0, 1e-9, -np.inf, np.inf, np.nan]])


@pytest.mark.parametrize(
    ("function", "reference"),
    [(tf.math.erf, scipy.special.erf), (tf.math.erfc, scipy.special.erfc)],
    ids=["erf", "erfc"],
)
def test_float64(traced, operation, function, reference):
    x = keras.Input(NUMBERS.shape[1:], dtype="float64", name="x")
    layer = operation(function)
    layer.dtype_policy = keras.DTypePolicy("float64")
    converted = convert(traced(keras.Model(x, layer(x))))
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    [actual] = session.run(None, {"x": NUMBERS})
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, reference(NUMBERS), rtol=0, atol=1e-14)
