import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from headgate.exporter.conversion import converter as conversion
from headgate.exporter.conversion.converter import convert
from headgate.exporter.errors import ConversionError
from headgate.exporter.tracing.traced_models import trace

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


def test_more_weights_than_tensorflow_can_freeze_are_refused(dense, monkeypatch):
    traced = trace(dense(), large_bytes=2**20)
    monkeypatch.setattr(conversion, "_MAX_FROZEN_BYTES", 4 * 5 - 1)
    with pytest.raises(ConversionError, match=r"0.0 GiB of weights that are not .*; build the model of Keras 3 layers"):
        convert(traced)
    monkeypatch.setattr(conversion, "_MAX_FROZEN_BYTES", 4 * 5)
    convert(traced)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_16_bits(traced, rng, policy):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [keras.Input((6, 6, 3), name="x"), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2, "gelu", name="y")]
    )
    found = traced(model)
    session = onnxruntime.InferenceSession(convert(found).SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {"x": rng.standard_normal((2, 6, 6, 3)).astype(np.float32)}
    [actual] = session.run(None, inputs)
    # bfloat16 is widened, here and in what is served.
    assert actual.dtype == (np.float16 if policy == "mixed_float16" else np.float32)
    np.testing.assert_allclose(actual, found.predict(inputs)["y"], rtol=3e-2, atol=3e-2)


def test_float8_is_refused(traced):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="narrow")])
    model.quantize("float8")
    with pytest.raises(ConversionError, match=r"layer 'narrow' computes in float8.*'int8'"):
        convert(traced(model))


def test_a_scalar_added_to_a_convolution_does_not_keep_transpositions_in_the_graph(traced):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(4, 3)(layers.Conv2D(4, 3, use_bias=False)(image) + 3.0))
    # To channels first, and back.
    assert [node.op_type for node in convert(traced(model)).graph.node].count("Transpose") == 2


def test_other_numbers_than_those_of_keras_are_told(traced):
    dense = layers.Dense(4, name="narrow", dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="packed"), dense])
    model.layers[0].quantize("int4")
    widened, unpacked = conversion.notes_of(traced(model))
    assert widened.startswith("layers 'narrow' compute in bfloat16")
    assert "int4 weights of 'packed'" in unpacked


@pytest.mark.parametrize("columns", [4, 5])
def test_biases_that_keras_adds_along_the_columns_are_told(columns, traced):
    conv = layers.Conv2D(4, 3, padding="same", data_format="channels_first", name="square")
    model = keras.Sequential([keras.Input((3, 6, columns)), conv])
    conv.bias.assign([0, 1, 2, 3])
    is_misplaced = np.asarray(model(np.zeros((1, 3, 6, columns))))[0, :, 0, 0].tolist() != [0, 1, 2, 3]
    assert not (is_misplaced and columns == 5)
    notes = conversion.notes_of(traced(model))
    assert [note.startswith("layers 'square' make as many channels") for note in notes] == [True] * is_misplaced
