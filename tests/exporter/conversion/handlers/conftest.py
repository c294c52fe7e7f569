import keras
import numpy as np
import onnxruntime
import pytest

from headgate.exporter.conversion.converter import convert


@pytest.fixture
def compare(traced):
    """Run a Keras model and its conversion on arrays by input; the outputs have to be identical."""

    def compare(model, *batches, opset=18):
        import keras

        found = traced(model if isinstance(model, keras.Model) else model())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        converted = convert(found, opset)
        session = onnxruntime.InferenceSession(
            converted.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for batch in batches:
            inputs = batch if isinstance(batch, dict) else {found.inputs[0].name: batch}
            for (name, expected), actual in zip(found.predict(inputs).items(), session.run(None, inputs), strict=True):
                if expected.dtype == object:
                    decode = np.vectorize(lambda text: text.decode() if isinstance(text, bytes) else text, [object])
                    expected = decode(expected)
                assert actual.shape == expected.shape
                assert actual.tolist() == expected.tolist(), name
        return converted

    return compare


@pytest.fixture
def one_layer():
    """Make a model of a layer alone."""
    import keras

    def make(layer, columns, dtype):
        x = keras.Input((columns,), dtype=dtype, name="x")
        return keras.Model(x, layer(x), name="m")

    return make


@pytest.fixture
def check_close(traced):
    """Convert models, put layers into ones, and compare what they give with TensorFlow."""

    def check(model, inputs, rtol=1e-4, atol=1e-5, opset=18):
        inputs = np.asarray(inputs)
        if not isinstance(model, keras.Model):
            x = keras.Input([None if size < 0 else size for size in inputs.shape[1:]], dtype=inputs.dtype.name)
            model = keras.Model(x, model(x))
        found = traced(model)
        converted = convert(found, opset)
        session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = found.predict({found.inputs[0].name: inputs})
        for name, actual in zip(expected, session.run(None, {found.inputs[0].name: inputs}), strict=True):
            np.testing.assert_allclose(actual, expected[name], rtol=rtol, atol=atol)
        return converted

    return check


@pytest.fixture
def operation():
    """Make a layer of a function of TensorFlow."""

    class Operation(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, inputs):
            return self.function(inputs)

    return Operation
