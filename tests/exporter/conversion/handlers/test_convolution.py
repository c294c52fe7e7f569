import keras
import numpy as np
import pytest
import tensorflow as tf

layers = keras.layers
SIZES = {1: (9,), 2: (7, 6), 3: (5, 6, 4)}


@pytest.fixture
def pictures(rng):
    def make(dimensions, data_format):
        sizes = SIZES[dimensions]
        shape = (2, *sizes, 4) if data_format == "channels_last" else (2, 4, *sizes)
        return rng.standard_normal(shape).astype(np.float32)

    return make


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dimensions", SIZES)
def test_groups(check_close, pictures, dimensions, data_format):
    Conv = getattr(layers, f"Conv{dimensions}D")
    conv = Conv(6, 3, strides=2, padding="same", groups=2, data_format=data_format)
    graph = check_close(conv, pictures(dimensions, data_format)).graph
    assert "Conv" in {node.op_type for node in graph.node}


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dimensions", SIZES)
@pytest.mark.parametrize(
    "arguments", [{"padding": "same"}, {"output_padding": 1}, {"padding": "same", "output_padding": 1}], ids=str
)
def test_transposed(check_close, pictures, dimensions, data_format, arguments):
    Conv = getattr(layers, f"Conv{dimensions}DTranspose")
    check_close(Conv(3, 3, strides=2, data_format=data_format, **arguments), pictures(dimensions, data_format))


@pytest.mark.parametrize("arguments", [{"dilation_rate": 2}, {"depth_multiplier": 2, "strides": 2}], ids=str)
def test_separable(check_close, pictures, arguments):
    check_close(layers.SeparableConv2D(3, 3, padding="same", **arguments), pictures(2, "channels_last"))


@pytest.mark.parametrize("kind", ["LayerNormalization", "RMSNormalization", "BatchNormalization"])
def test_normalization_of_a_single_pixel(check_close, rng, kind):
    model = keras.Sequential([keras.Input((1, 1, 8)), layers.Conv2D(8, 3, padding="same"), getattr(layers, kind)()])
    check_close(model, rng.standard_normal((3, 1, 1, 8)).astype(np.float32))


@pytest.mark.parametrize("opset", [13, 18])
def test_the_maximum_of_what_is_padded_with_zeros(check_close, rng, opset):
    pooled = [layers.Conv2D(8, 3), layers.ZeroPadding2D(), layers.MaxPooling2D(3, 2)]
    model = keras.Sequential([keras.Input((8, 8, 2)), *pooled])
    check_close(model, rng.standard_normal((5, 8, 8, 2)).astype(np.float32), opset=opset)


def test_only_vectors_along_the_channels_become_the_bias(check_close, rng, operation):
    kernel = rng.standard_normal((3, 3, 3, 8)).astype(np.float32)
    numbers = np.arange(8, dtype=np.float32)

    def sums(image):
        convolved = tf.nn.conv2d(image, kernel, 1, "SAME")
        return [
            tf.nn.relu(convolved + numbers),
            tf.nn.relu(convolved * 2 + numbers.reshape(8, 1, 1)),
            tf.nn.relu(tf.transpose(convolved * 3, [0, 1, 3, 2]) + numbers),
        ]

    check_close(operation(sums), rng.standard_normal((2, 8, 8, 3)).astype(np.float32))
