import keras
import numpy as np
import pytest

from headgate.exporter.errors import ConversionError, ModelLoadError
from headgate.exporter.traced_models import trace
from headgate.v1 import DataType

layers = keras.layers


class Pair(keras.Model):
    """Takes and gives dictionaries, as subclassed models do."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(5, 2)
        self.dense = layers.Dense(2)

    def call(self, inputs):
        tokens = keras.ops.mean(self.embedding(inputs["tokens"]), axis=1)
        return {"sum": tokens + self.dense(inputs["numbers"]), "only tokens": tokens}


@pytest.fixture
def pair():
    model = Pair()
    model({"numbers": np.zeros((2, 3), "float32"), "tokens": np.zeros((2, 4), "int64")})
    return model


def test_a_subclassed_model_is_named_by_its_dictionaries(pair):
    traced = trace(pair)
    assert [spec.name for spec in traced.inputs] == ["numbers", "tokens"]
    assert [spec.name for spec in traced.outputs] == ["only_tokens", "sum"]
    assert [list(spec.shape) for spec in traced.outputs] == [[-1, 2], [-1, 2]]


def test_examples_tell_the_types_of_a_subclassed_model(pair):
    traced = trace(pair, {"numbers": np.zeros((6, 3)), "tokens": np.zeros((6, 4), "int32")})
    assert [spec.datatype for spec in traced.inputs] == [DataType.DATA_TYPE_FP32, DataType.DATA_TYPE_INT32]
    inputs = {"numbers": np.ones((6, 3), "float32"), "tokens": np.ones((6, 4), "int32")}
    expected = pair(inputs)
    for name, output in traced.predict(inputs).items():
        np.testing.assert_array_equal(output, expected[name.replace("_", " ")])


def test_inputs_in_a_list_are_numbered():
    class Sum(keras.Model):
        def call(self, inputs):
            return inputs[0] + inputs[1]

    model = Sum()
    model([np.zeros((2, 3), "float32"), np.zeros((2, 3), "float32")])
    traced = trace(model)
    assert [spec.name for spec in traced.inputs] == ["input_0", "input_1"]
    assert [spec.name for spec in traced.outputs] == ["output"]


def test_a_model_of_several_arguments_has_to_be_wrapped():
    class Sum(keras.Model):
        def call(self, a, b):
            return a + b

    model = Sum(name="total")
    model(np.zeros((2, 3), "float32"), np.zeros((2, 3), "float32"))
    with pytest.raises(ModelLoadError, match=r"the inputs of model 'total' are not known.*wrap it"):
        trace(model)


def test_an_output_without_a_batch_is_refused():
    x = keras.Input((4,), name="x")
    with pytest.raises(ConversionError, match=r"output '\w+' has shape \[4\]; its first dimension has to be the batch"):
        trace(keras.Model(x, keras.ops.mean(x, axis=0)))


def test_a_model_that_needs_python_is_refused():
    class Python(layers.Layer):
        def call(self, x):
            return x * float(x[0, 0])

        def compute_output_shape(self, shape):
            return shape

    model = keras.Sequential([keras.Input((4,)), Python()], name="slow")
    with pytest.raises(ConversionError, match="model 'slow' cannot be traced as a TensorFlow graph"):
        trace(model)


@pytest.mark.parametrize(
    ("last", "op"),
    [
        (layers.Dense(2), "BiasAdd"),
        (layers.Dense(2, activation="sigmoid", dtype="float16"), "Sigmoid"),
        (layers.Softmax(), "Softmax"),
        (layers.Rescaling(2.0), "AddV2"),
    ],
)
def test_the_last_operation(last, op):
    model = keras.Sequential([keras.Input((4,)), last, layers.Reshape((-1, 1)), layers.Flatten()])
    traced = trace(model)
    assert traced.last_op(traced.outputs[0].name) == op
