import keras
import numpy as np
import pytest

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
