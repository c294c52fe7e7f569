import keras
import numpy as np
import pytest
import tensorflow as tf

from headgate.exporter.errors import ConversionError, ModelLoadError
from headgate.exporter.sources.entry_points import TensorFunction
from headgate.exporter.tracing.traced_models import trace
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


class Several(keras.Model):
    """Takes several arguments, one of which may be left out; Keras does not record their shapes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.embedding = layers.Embedding(5, 2)
        self.dense = layers.Dense(2)

    def call(self, numbers, tokens, offset=None, training=None, mask=None):
        total = self.dense(numbers) + keras.ops.mean(self.embedding(tokens), axis=1)
        return total if offset is None else total + offset


def test_examples_tell_the_inputs_of_several_arguments():
    model = Several()
    examples = {"tokens": np.ones((2, 4), "int32"), "numbers": np.ones((2, 3))}
    model(**examples)
    traced = trace(model, examples)
    assert [(spec.name, list(spec.shape)) for spec in traced.inputs] == [("numbers", [-1, 3]), ("tokens", [-1, 4])]
    assert traced.inputs[1].datatype == DataType.DATA_TYPE_INT32
    inputs = {"numbers": np.ones((6, 3), "float32"), "tokens": np.ones((6, 4), "int32")}
    np.testing.assert_array_equal(traced.predict(inputs)["output"], model(**inputs))
    with_offset = trace(model, examples | {"offset": np.ones((2, 2))})
    assert [spec.name for spec in with_offset.inputs] == ["numbers", "offset", "tokens"]


def test_several_arguments_are_not_known_without_examples():
    model = Several(name="total")
    model(np.zeros((2, 3), "float32"), np.zeros((2, 4), "int32"))
    expected = r"inputs of model 'total' are not known.*examples=\{'numbers': \.\.\., 'tokens': .*wrap it"
    with pytest.raises(ModelLoadError, match=expected):
        trace(model)


def test_several_arguments_that_the_model_was_built_for():
    class Built(Several):
        def build(self, numbers_shape, tokens_shape):
            self.dense.build(numbers_shape)
            self.embedding.build(tokens_shape)

    model = Built()
    model(np.zeros((2, 3), "float32"), np.zeros((2, 4), "int32"))
    assert [(spec.name, list(spec.shape)) for spec in trace(model).inputs] == [
        ("numbers", [-1, 3]),
        ("tokens", [-1, 4]),
    ]


def test_variables_come_in_the_order_in_which_they_are_used():
    model = keras.Sequential([keras.Input((3,)), *(layers.Dense(units) for units in range(4, 12))])
    shapes = [tuple(variable.shape) for variable in trace(model).variables]
    assert shapes == [tuple(weight.shape) for weight in model.weights]


def test_a_model_that_was_never_called():
    with pytest.raises(
        ModelLoadError, match=r"the inputs of model 'pair' are not known, since it was never called; call"
    ):
        trace(Pair(name="pair"))


def test_names_that_are_no_identifiers():
    x = keras.Input((3,), name="my input:1")
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="größe ü")], name="in ner")
    model = keras.Model(x, [inner(x), layers.Dense(2, name="-last one")(x)], name="mödel x")
    traced = trace(model)
    assert [spec.name for spec in traced.inputs] == ["my_input_1"]
    assert [spec.name for spec in traced.outputs] == ["in_ner", "-last_one"]
    assert traced.aliases["in_ner"] == {"in_ner", "in ner"}
    # The layers are called as before, and the graph tells which is which.
    assert [layer.name for layer in model.layers] == ["my input:1", "in ner", "-last one"]
    assert traced.scopes["gr_e_"] == "größe ü"


def test_structures_of_inputs_and_outputs():
    a, b = keras.Input((3,), name="zeta"), keras.Input((2,), name="alpha")
    same = layers.Dense(1, name="same")(a)
    model = keras.Model({"zeta": a, "alpha": b}, {"z": [same, same], "b": {"through": b}, "a": layers.Dense(4)(b)})
    traced = trace(model)
    assert [spec.name for spec in traced.inputs] == ["alpha", "zeta"]
    assert [(spec.name, spec.shape[1]) for spec in traced.outputs] == [("a", 4), ("b_through", 2), ("z", 1), ("z_1", 1)]
    inputs = {"zeta": np.ones((5, 3), "float32"), "alpha": np.full((5, 2), 7, "float32")}
    outputs = traced.predict(inputs)
    np.testing.assert_array_equal(outputs["b_through"], inputs["alpha"])
    np.testing.assert_array_equal(outputs["z"], outputs["z_1"])
    for name, output in zip(
        outputs, traced.function(*[tf.constant(inputs[n]) for n in ("alpha", "zeta")]), strict=False
    ):
        np.testing.assert_allclose(output, outputs[name], rtol=1e-5)


def test_inputs_that_are_outputs_are_named_apart():
    x = keras.Input((3,), name="x")
    traced = trace(keras.Model(x, {"x": x, "y": layers.Dense(1)(x)}))
    assert [spec.name for spec in traced.outputs] == ["x_1", "y"]
    assert traced.aliases["x_1"] == {"x_1", "x"}
    assert traced.last_op("x_1") == "Placeholder"


def test_layers_of_training_pass_values_on():
    stack = [layers.RandomFlip(), layers.RandomRotation(0.1), layers.Dropout(0.5), layers.GaussianNoise(1.0)]
    model = keras.Sequential([keras.Input((4, 4, 3), name="image"), *stack, layers.Flatten(name="pixels")])
    image = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(trace(model).predict({"image": image})["pixels"], image.reshape(2, -1))


class Noise(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


class Counter(layers.Layer):
    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.count.assign_add(1.0)
        return x * self.count


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Noise(name="no ise"), "layer 'no ise' of model 'odd' draws random numbers when it predicts"),
        (Counter(name="counter"), "layer 'counter' of model 'odd' changes its variables when it predicts"),
        (layers.GRU(2, stateful=True, name="gru"), "layer 'gru' of model 'odd' is stateful.*stateful=False"),
    ],
)
def test_models_that_are_no_functions_are_refused(layer, message):
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, 4)), layer], name="odd")
    with pytest.raises(ConversionError, match=message):
        trace(model)


@pytest.mark.parametrize("names", [("noise", "noise_1"), ("noise_1", "noise"), ("noise__1", "noise")])
@pytest.mark.parametrize("first", [True, False])
def test_a_layer_at_fault_is_told_from_those_of_similar_names(names, first):
    noise, dense = Noise(name=names[0]), layers.Dense(4, name=names[1])
    model = keras.Sequential([keras.Input((4,)), *((noise, dense) if first else (dense, noise))], name="odd")
    with pytest.raises(ConversionError, match=f"layer '{names[0]}' of model 'odd' draws random numbers"):
        trace(model)


def test_functions_that_change_variables_are_refused():
    variable = tf.Variable(0.0)
    function = tf.function(lambda x: x + variable.assign_add(1.0), input_signature=[tf.TensorSpec((None, 2))])
    with pytest.raises(ConversionError, match="model 'count' changes its variables"):
        trace(TensorFunction("count", function, function))


def test_sparse_inputs_are_refused():
    x = keras.Input((3,), sparse=True, name="words")
    with pytest.raises(ModelLoadError, match="input 'words' is sparse or ragged"):
        trace(keras.Model(x, layers.Dense(1)(x)))


def test_the_last_operation_of_nested_functions():
    inner = tf.function(lambda x, y: (tf.nn.softmax(y), tf.identity(x)))

    def outer(x):
        softmax, passed = inner(tf.sigmoid(x), x)
        return {"softmax": tf.cast(softmax, tf.float32), "passed": passed}

    function = tf.function(outer, input_signature=[tf.TensorSpec((None, 3))])
    traced = trace(TensorFunction("nested", function, function))
    assert {name: traced.last_op(name) for name in ("softmax", "passed")} == {"softmax": "Softmax", "passed": "Sigmoid"}


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


def test_the_last_operation_of_recurrent_layers_is_called_as_people_do():
    traced = trace(keras.Sequential([keras.Input((3, 4)), layers.GRU(2, name="gru")]))
    assert traced.last_op("gru") == "LSTM, GRU or SimpleRNN"
