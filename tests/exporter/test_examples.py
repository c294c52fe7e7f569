import numpy as np
import pytest

from headgate.exporter.errors import ModelLoadError
from headgate.exporter.examples import named_arrays
from headgate.v1 import DataType, TensorSpec


def spec(name, *shape):
    return TensorSpec(name=name, datatype=DataType.DATA_TYPE_FP32, shape=shape)


def test_examples_get_the_models_types():
    arrays = named_arrays([spec("x", -1, 2)], [[1, 2], [3, 4]])
    assert arrays["x"].dtype == np.float32
    assert list(named_arrays([spec("a_b", -1), spec("c", -1)], {"a b": [1], "c": [2]})) == ["a_b", "c"]


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (np.zeros((3, 2)), "the model has 2 inputs; give the examples by name, an array for each of 'a', 'b'"),
        ({"a": np.zeros((3, 2))}, "the examples have the keys 'a', the model's inputs are 'a', 'b'"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((2, 1))}, "give every input the same number"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((3, 3))}, r"input 'b' have shape \[3,3\], the model takes \[batch,1\]"),
        ({"a": [["x", "y"]], "b": [[1]]}, "the examples for input 'a'.*FP32"),
    ],
)
def test_examples_that_do_not_fit(examples, message):
    with pytest.raises(ModelLoadError, match=message):
        named_arrays([spec("a", -1, 2), spec("b", -1, 1)], examples)
