import keras
import numpy as np
import onnx
import pytest

from headgate.exporter.conversion import convert
from headgate.exporter.errors import VerificationError
from headgate.exporter.verification import _compare, verify

layers = keras.layers


def test_integers_stay_inside_the_vocabulary(traced):
    """An index past the end would fail in onnxruntime and read zeros in TensorFlow."""
    model = keras.Sequential([keras.Input((5,), dtype="int32"), layers.Embedding(2, 3), layers.Flatten()])
    traced_model = traced(model)
    checks = verify(traced_model, convert(traced_model).SerializeToString()).checks
    assert [check.batch_size for check in checks] == [1, 3, 17]


def test_free_dimensions_suit_networks_that_halve_images(traced):
    image = keras.Input((None, None, 1), name="image")
    half = layers.Conv2D(2, 3, strides=2, padding="same")(image)
    joined = layers.Concatenate()([image, layers.UpSampling2D()(half)])
    traced_model = traced(keras.Model(image, layers.Conv2D(1, 1)(joined)))
    assert verify(traced_model, convert(traced_model).SerializeToString()).checks


def test_examples_replace_random_inputs_that_keras_refuses(traced, rng):
    picky = keras.Input((2,), name="x")
    model = keras.Model(picky, layers.Dense(1, name="y")(PositiveOnly()(picky)))
    traced_model = traced(model)
    onnx_bytes = convert(traced_model).SerializeToString()
    refused = r"the Keras model itself fails on random inputs of 1 rows: .*Condition x >= 0 did not hold.*examples="
    with pytest.raises(VerificationError, match=refused):
        verify(traced_model, onnx_bytes)
    checks = verify(traced_model, onnx_bytes, {"x": np.abs(rng.normal(size=(2, 2))).astype("float32")}).checks
    assert {check.inputs for check in checks} == {"given"}


class PositiveOnly(layers.Layer):
    def call(self, x):
        import tensorflow as tf

        if tf.executing_eagerly():
            tf.debugging.assert_non_negative(x)
        return x


def test_a_file_that_does_not_load_is_refused(traced, dense):
    with pytest.raises(VerificationError, match="onnxruntime cannot load the converted model"):
        verify(traced(dense()), b"no model")


def test_a_wrong_weight_is_found(traced, dense):
    traced_model = traced(dense(2))
    model = convert(traced_model)
    (kernel,) = [tensor for tensor in model.graph.initializer if list(tensor.dims) == [4, 2]]
    wrong = onnx.numpy_helper.to_array(kernel) * np.float32(1.01)
    kernel.CopyFrom(onnx.numpy_helper.from_array(wrong, kernel.name))
    with pytest.raises(VerificationError, match=r"output 'out' at batch size 1, random inputs: ONNX differs"):
        verify(traced_model, model.SerializeToString())


def compare(expected, actual):
    return _compare("y", "random", np.asarray(expected), np.asarray(actual), 1e-4, 1e-3)


def test_errors_are_the_worst_of_all_elements():
    check = compare([[10.0, 0.0], [-2.0, 1.0]], [[10.005, 5e-5], [-2.001, 1.0]])
    assert check.max_absolute_error == pytest.approx(5e-3)
    assert check.max_relative_error == pytest.approx(5e-4)


@pytest.mark.parametrize(
    ("expected", "actual", "message"),
    [
        ([1.0, 2.0], [1.0, 2.01], "ONNX differs from Keras by up to 0.01"),
        ([1.0, 2.0], [1.0, np.nan], "ONNX differs from Keras by up to nan"),
        ([1.0, np.inf], [1.0, -np.inf], "NaN or infinities where ONNX does not"),
        ([1.0, np.nan], [1.0, 0.0], "NaN or infinities where ONNX does not"),
        ([np.nan, np.nan], [np.nan, np.nan], "Keras gives no finite number"),
        ([1.0, 2.0], [[1.0, 2.0]], "ONNX gives shape [1, 2], Keras [2]"),
        (np.array(["a", "b"]), np.array(["a", "c"]), "give different text"),
        ([1, 2], [1, 3], "ONNX differs from Keras by up to 1"),
    ],
)
def test_outputs_that_differ(expected, actual, message):
    with pytest.raises(VerificationError) as caught:
        compare(expected, actual)
    assert message in str(caught.value)
    assert "output 'y' at batch size 2" in str(caught.value)


def test_outputs_that_agree():
    compare([1.0, np.nan, np.inf, -np.inf], [1.00001, np.nan, np.inf, -np.inf])
    compare(np.array([b"a"], object), np.array(["a"], object))
    compare(np.zeros((0, 3)), np.zeros((0, 3)))
    compare([True, False], [True, False])
