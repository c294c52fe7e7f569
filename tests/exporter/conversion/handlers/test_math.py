import keras
import numpy as np
import pytest
import tensorflow as tf

from headgate.exporter.errors import ConversionError

layers = keras.layers
#: Around zero, far from it, and what is no number.
NUMBERS = np.array([[-np.inf, -30, -1.5, -1e-3, -0.0, 0.0, 1e-3, 0.5, 2, 30, np.inf, np.nan]], np.float32)


@pytest.mark.parametrize("name", ["gelu", "celu", "elu", "selu"])
def test_activations(check_close, name):
    check_close(layers.Activation(name), NUMBERS[:, 1:-2])


@pytest.mark.parametrize("function", [tf.math.erfc, tf.math.expm1, tf.math.log1p])
def test_functions_of_numbers_that_are_none(check_close, operation, function):
    # onnxruntime 1.20 gives a number for the erf of NaN.
    inputs = {tf.math.log1p: np.abs(NUMBERS), tf.math.erfc: NUMBERS[:, :-1]}.get(function, NUMBERS)
    check_close(operation(function), inputs)


def test_gelu_is_one_that_onnxruntime_can_fuse(check_close):
    graph = check_close(layers.Activation("gelu"), NUMBERS[:, 1:-2]).graph
    assert sorted(node.op_type for node in graph.node) == ["Add", "Div", "Erf", "Mul", "Mul"]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint32"])
def test_integers_are_divided_downwards(check_close, operation, dtype):
    limits = np.iinfo(dtype)
    numbers = np.array([[limits.min, limits.min + 1, 0, 1, 6, 7, limits.max]], dtype)
    divisor = 3 if limits.min == 0 else -3
    check_close(operation(lambda x: tf.stack([x // 3, x // divisor, x % 3, x % divisor], 1)), numbers, rtol=0, atol=0)


def test_fractions_are_divided_downwards(check_close, operation):
    check_close(operation(lambda x: tf.stack([x // 0.3, x % 0.3, x % -0.3], 1)), NUMBERS[:, 1:-2])


in_graphs = pytest.mark.skipif(keras.__version__.startswith("3.11."), reason="in graphs it takes integers only")


@in_graphs
@pytest.mark.parametrize("mode", ["int", "multi_hot", "count"])
def test_discretization(check_close, mode):
    boundaries = [-1.5, 0.0, 0.5]
    check_close(layers.Discretization(bin_boundaries=boundaries, output_mode=mode), NUMBERS[:, :-1])


@in_graphs
def test_discretization_puts_what_is_no_number_last_and_takes_integers(check_close):
    check_close(layers.Discretization(bin_boundaries=[0.0, 1.0]), NUMBERS)
    check_close(layers.Discretization(bin_boundaries=[0, 2, 4]), np.array([[-1, 0, 1, 2, 3, 4, 5]], np.int32))


@pytest.mark.parametrize("side", ["left", "right"])
def test_searches_in_sorted_rows(check_close, operation, side):
    rows = np.array([[1, 2, 2, 5, 0, 1, 2, 3, 5, 6], [0, 0, 0, 1, -1, 0, 0.5, 1, 2, 3]], np.float32)
    check_close(operation(lambda x: tf.searchsorted(x[:, :4], x[:, 4:], side)), rows)


@pytest.mark.parametrize("side", ["left", "right"])
def test_where_searches_put_what_is_no_number(check_close, operation, side):
    rows = np.array([[0, 1, 2, np.nan, np.inf, -np.inf]], np.float32)
    check_close(operation(lambda x: tf.searchsorted(x[:, :3], x[:, 3:], side)), rows)


def test_the_largest_of_zeros_is_plus_zero(check_close, operation):
    numbers = np.array([[-0.0, 0.0, -1], [0.0, -0.0, -2], [-3, -0.0, -4]], np.float32)
    check_close(operation(lambda x: keras.ops.argmax(x, -1)), numbers)
    check_close(operation(keras.ops.signbit), NUMBERS)


def test_other_bits_are_refused_by_name(check_close, operation):
    with pytest.raises(ConversionError, match=r"Bitcast \(in layer 'operation\w*': other bits .*\); only the sign"):
        check_close(operation(lambda x: tf.bitcast(x, tf.int32) + 1), NUMBERS)
    # The same number, but not to look at one bit.
    with pytest.raises(ConversionError, match="only the sign of float32"):
        check_close(operation(lambda x: tf.bitwise.bitwise_or(tf.bitcast(x, tf.int32), np.int32(-(2**31)))), NUMBERS)
