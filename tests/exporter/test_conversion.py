import keras
import numpy as np
import onnx
import pytest

from headgate.exporter import conversion
from headgate.exporter.conversion import convert
from headgate.exporter.errors import ConversionError

layers = keras.layers


def test_free_dimensions_have_clean_names(traced):
    model = keras.Sequential(
        [keras.Input((None, None, 3), name="image"), layers.Conv2D(4, 3, padding="same", name="mask")], name="m"
    )
    graph = convert(traced(model)).graph
    dims = [
        [dim.dim_param or dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)
    ]
    assert dims == [["batch", "image_dim_1", "image_dim_2", 3], ["batch", "mask_dim_1", "mask_dim_2", 4]]
    assert graph.name == "m"


def test_constants_do_not_become_inputs(traced):
    normalization = layers.Normalization()
    normalization.adapt(np.array([[1.0, 2.0], [3.0, 5.0]]))
    model = keras.Sequential([keras.Input((2,), name="x"), normalization, layers.Dense(1)])
    assert [value.name for value in convert(traced(model)).graph.input] == ["x"]


def test_the_model_is_valid_onnx(traced, two_heads):
    model = convert(traced(two_heads()))
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == conversion.DEFAULT_OPSET


def test_unknown_operations_are_found_inside_loops_too(traced):
    import tensorflow as tf

    class Loop(layers.Layer):
        def call(self, x):
            return tf.while_loop(lambda i, y: i < tf.shape(x)[0], lambda i, y: (i + 1, tf.math.bessel_i0(y)), [0, x])[1]

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential([keras.Input((2,)), Loop(name="loop")], name="m")
    with pytest.raises(ConversionError, match=r"model 'm' .*BesselI0"):
        convert(traced(model))


def test_a_model_too_large_for_one_file_is_refused(traced, dense, monkeypatch):
    monkeypatch.setattr(conversion, "_MAX_WEIGHTS_BYTES", 4 * 3 + 3)
    with pytest.raises(ConversionError, match=r"the weights take 0.0 GiB, an ONNX file .* holds less than 2 GiB"):
        convert(traced(dense()))
    monkeypatch.setattr(conversion, "_MAX_WEIGHTS_BYTES", 4 * 5)
    convert(traced(dense()))
