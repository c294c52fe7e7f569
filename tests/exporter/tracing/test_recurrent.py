import inspect
import itertools
from collections import Counter

import numpy as np
import onnxruntime
import pytest

from headgate.exporter.conversion.converter import convert
from headgate.exporter.errors import ConversionError
from headgate.exporter.libraries import quiet, require_libraries, silent_tensorflow
from headgate.exporter.tracing import recurrent
from headgate.exporter.tracing.traced_models import trace

require_libraries()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

FEATURES = 3
UNITS = 4


class Both:
    """A model as Keras and as onnxruntime compute it."""

    def __init__(self, model):
        keras.utils.set_random_seed(3)
        with quiet(), silent_tensorflow():
            for weight in model.weights:
                weight.assign(np.random.standard_normal(weight.shape) * 0.6)
            self.traced = trace(model)
            self.onnx = convert(self.traced)
        self.session = onnxruntime.InferenceSession(self.onnx.SerializeToString(), providers=["CPUExecutionProvider"])

    def operators(self):
        def nodes(graph):
            for node in graph.node:
                yield node
                for attribute in node.attribute:
                    yield from nodes(attribute.g)

        return Counter(node.op_type for node in nodes(self.onnx.graph))

    def recurrent_operators(self):
        return {
            name: count for name, count in self.operators().items() if name in ("LSTM", "GRU", "RNN", "Loop", "Scan")
        }

    def assert_equal(self, inputs, tolerance=1e-5):
        expected = self.traced.predict(inputs)
        actual = self.session.run(list(expected), inputs)
        for (name, keras_output), onnx_output in zip(expected.items(), actual, strict=True):
            np.testing.assert_allclose(onnx_output, keras_output, tolerance, tolerance, err_msg=name)


def sequences(rows, steps):
    return np.random.default_rng(rows + steps).standard_normal((rows, steps, FEATURES)).astype(np.float32)


def model_of(heads, masked, steps=None):
    """Make a model of one output a layer: all of them see the same sequences and the same mask."""
    x = keras.Input((steps, FEATURES), name="x")
    mask = keras.Input((steps,), dtype="bool", name="mask")
    outputs = {name: layer(x, mask=mask) if masked else layer(x) for name, layer in heads.items()}
    return keras.Model([x, mask] if masked else x, outputs)


def configurations(masked):
    for kind, layer in {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.SimpleRNN}.items():
        yield kind, layer(UNITS)
        yield f"{kind}_back", layer(UNITS, return_sequences=True, return_state=True, go_backwards=True)
        if masked:
            yield f"{kind}_every", layer(UNITS, return_sequences=True, use_bias=False)
            yield f"{kind}_zero", layer(UNITS, zero_output_for_mask=True, go_backwards=True, return_state=True)
    for mode, name in itertools.zip_longest(("sum", "mul", "ave", "concat", None), "abcd", fillvalue="e"):
        layer = layers.GRU(UNITS) if mode == "sum" else layers.LSTM(UNITS, return_sequences=True)
        if masked or mode in ("sum", "concat"):
            yield f"both_ways_{name}", layers.Bidirectional(layer, merge_mode=mode)
    yield "reset_before", layers.GRU(UNITS, reset_after=False)
    yield "cell", layers.RNN(layers.GRUCell(UNITS), return_sequences=True)
    cells = [layers.LSTMCell(3), layers.GRUCell(5), layers.SimpleRNNCell(2)]
    yield "stacked", layers.RNN(cells, return_sequences=True, return_state=True, go_backwards=True)


NODES = {
    False: {"LSTM": 2 + 2 + 1, "GRU": 2 + 2 + 1 + 1 + 1, "RNN": 2 + 1},
    True: {"LSTM": 4 + 8 + 1, "GRU": 4 + 2 + 1 + 1 + 1, "RNN": 4 + 1},
}


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "masked"])
def all_layers(request):
    return request.param, Both(model_of(dict(configurations(request.param)), request.param))


def test_every_layer_becomes_its_operator(all_layers):
    masked, both = all_layers
    assert both.recurrent_operators() == NODES[masked]


@pytest.mark.parametrize("steps", [1, 4])
def test_every_layer_matches_keras_for_every_mask(all_layers, steps):
    masked, both = all_layers
    masks = np.array(list(itertools.product((False, True), repeat=steps)))
    inputs = {"x": sequences(len(masks), steps)}
    both.assert_equal(inputs | {"mask": masks} if masked else inputs)


def test_initial_states_are_kept_where_a_row_has_no_step():
    x, mask = keras.Input((4, FEATURES), name="x"), keras.Input((4,), dtype="bool", name="mask")
    first, second = keras.Input((UNITS,), name="first"), keras.Input((UNITS,), name="second")
    options = {"return_sequences": True, "return_state": True}
    outputs = [
        *layers.LSTM(UNITS, **options)(x, mask=mask, initial_state=[first, second]),
        *layers.GRU(UNITS, **options)(x, mask=mask, initial_state=first),
        *layers.SimpleRNN(UNITS, **options)(x, initial_state=second),
        *layers.Bidirectional(layers.GRU(UNITS, **options))(x, mask=mask, initial_state=[first, second]),
    ]
    both = Both(keras.Model([x, mask, first, second], outputs))
    assert both.recurrent_operators() == {"LSTM": 1, "GRU": 3, "RNN": 1}
    states = {name: sequences(16, UNITS)[:, :, index] for index, name in enumerate(("first", "second"))}
    both.assert_equal(
        {"x": sequences(16, 4), "mask": np.array(list(itertools.product((False, True), repeat=4))), **states}
    )


def test_masks_come_from_masking_and_embedding_and_go_on_to_the_next_layer():
    x, words = keras.Input((None, FEATURES), name="x"), keras.Input((None,), dtype="int32", name="words")
    embedded = layers.Embedding(5, 3, mask_zero=True)(words)
    shared = layers.GRU(3, return_sequences=True)
    both = Both(
        keras.Model(
            [x, words],
            [
                layers.LSTM(2)(layers.Bidirectional(layers.LSTM(2, return_sequences=True))(layers.Masking()(x))),
                shared(shared(embedded)),
            ],
        )
    )
    assert both.recurrent_operators() == {"LSTM": 3, "GRU": 2}
    random = np.random.default_rng(0)
    for rows, steps in ((1, 6), (9, 3)):
        hidden = random.random((rows, steps, 1)) < 0.5
        inputs = {"x": np.where(hidden, 0, sequences(rows, steps)).astype(np.float32)}
        both.assert_equal(inputs | {"words": random.integers(0, 3, (rows, steps), np.int32)})


def test_hidden_steps_may_hold_anything():
    both = Both(model_of({"y": layers.LSTM(UNITS, return_sequences=True), "last": layers.GRU(UNITS)}, masked=True))
    masks = np.array(list(itertools.product((False, True), repeat=4)))
    x = sequences(len(masks), 4)
    x[~masks] = np.nan
    both.assert_equal({"x": x, "mask": masks})
    assert np.isfinite(both.session.run(None, {"x": x, "mask": masks})[0]).all()


def test_a_mask_may_have_a_third_dimension():
    x, mask = keras.Input((4, FEATURES), name="x"), keras.Input((4, 1), dtype="int32", name="mask")
    both = Both(keras.Model([x, mask], layers.RNN(layers.GRUCell(UNITS))(x, mask=mask)))
    assert both.recurrent_operators() == {"GRU": 1}
    both.assert_equal(
        {"x": sequences(3, 4), "mask": np.array([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]], np.int32)[..., None]}
    )


def test_activations_that_onnx_knows():
    known = [activation.__name__ for activation in recurrent._activations()]
    heads = {}
    for name, other in zip(known, [*known[1:], known[0]], strict=True):
        heads[f"lstm_{name}"] = layers.LSTM(UNITS, activation=name, recurrent_activation=other)
    heads["gru"] = layers.GRU(UNITS, activation="elu", recurrent_activation="hard_sigmoid")
    heads["rnn"] = layers.SimpleRNN(UNITS, activation="leaky_relu")
    both = Both(model_of(heads, masked=False, steps=3))
    assert both.recurrent_operators() == {"LSTM": len(known), "GRU": 1, "RNN": 1}
    both.assert_equal({"x": sequences(5, 3)}, tolerance=1e-4)


class DoublingCell(layers.GRUCell):
    def call(self, inputs, states, training=False):
        output, _ = super().call(inputs, states, training)
        return output * 2, [output]


@pytest.mark.slow
def test_what_onnx_has_no_operator_for_remains_a_loop_and_matches():
    heads = {
        "activation": layers.GRU(UNITS, activation="swish", return_sequences=True),
        "cell": layers.RNN(DoublingCell(UNITS), return_state=True),
        "float64": layers.GRU(UNITS, dtype="float64"),
    }
    both = Both(model_of(heads, masked=True))
    assert both.recurrent_operators() == {"Loop": len(heads)}
    for rows, steps in ((1, 6), (4, 2)):
        masks = np.random.default_rng(rows).random((rows, steps)) < 0.6
        both.assert_equal({"x": sequences(rows, steps), "mask": masks})


@pytest.mark.slow
def test_convolutional_recurrence_remains_a_loop_and_matches():
    x = keras.Input((None, 4, 4, 1), name="x")
    both = Both(keras.Model(x, layers.ConvLSTM2D(2, 3, return_sequences=True)(x)))
    for rows, steps in ((1, 3), (2, 1)):
        both.assert_equal({"x": sequences(rows * steps * 16, 1)[:, :, 0].reshape(rows, steps, 4, 4, 1)})


def test_unrolled_layers():
    heads = {"plain": layers.GRU(UNITS, unroll=True, return_sequences=True)}
    # Keras itself zeroes other outputs here than those of the hidden steps.
    options = {"return_sequences": True, "zero_output_for_mask": True, "go_backwards": True}
    heads["odd"] = layers.LSTM(UNITS, unroll=True, **options)
    both = Both(model_of(heads, masked=True, steps=3))
    assert both.recurrent_operators() == {"GRU": 1}
    both.assert_equal({"x": sequences(8, 3), "mask": np.array(list(itertools.product((False, True), repeat=3)))})


def test_float16():
    keras.config.set_dtype_policy("mixed_float16")
    both = Both(model_of({"lstm": layers.LSTM(UNITS, return_sequences=True), "gru": layers.GRU(UNITS)}, masked=True))
    assert both.recurrent_operators() == {"LSTM": 1, "GRU": 1}
    both.assert_equal({"x": sequences(8, 3), "mask": np.array(list(itertools.product((False, True), repeat=3)))}, 1e-2)


def test_dropout_is_off_in_inference():
    heads = {
        "lstm": layers.LSTM(UNITS, dropout=0.5),
        "rnn": layers.SimpleRNN(UNITS, dropout=0.1, recurrent_dropout=0.5),
    }
    both = Both(model_of(heads, masked=False))
    assert both.recurrent_operators() == {"LSTM": 1, "RNN": 1}
    both.assert_equal({"x": sequences(2, 3)})


def test_dropout_that_is_on_in_inference_is_refused():
    class Always(keras.Model):
        def __init__(self):
            super().__init__()
            self.recurrent = layers.LSTM(UNITS, dropout=0.5)

        def call(self, inputs):
            return self.recurrent(inputs, training=True)

    model = Always()
    model(sequences(2, 3))
    with pytest.raises(ConversionError, match="draws random numbers"):
        trace(model)


def test_stateful_layers_are_refused():
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, FEATURES)), layers.LSTM(2, stateful=True, name="memory")])
    with pytest.raises(ConversionError, match=r"layer 'memory' .* is stateful"):
        trace(model)


def test_layers_of_a_time_distributed_layer_are_native():
    x = keras.Input((2, 4, FEATURES), name="x")
    both = Both(keras.Model(x, layers.TimeDistributed(layers.GRU(UNITS))(x)))
    assert both.recurrent_operators().keys() == {"GRU"}
    both.assert_equal({"x": sequences(6, 4).reshape(3, 2, 4, FEATURES)})


def test_the_keras_model_stays_as_it_was():
    model = model_of({"y": layers.Bidirectional(layers.LSTM(UNITS))}, masked=False)
    x = sequences(2, 3)
    before = model.predict(x, verbose=0)["y"]
    trace(model)
    assert not any("inner_loop" in vars(layer) for layer in model._flatten_layers())
    np.testing.assert_array_equal(model.predict(x, verbose=0)["y"], before)


@keras.saving.register_keras_serializable("headgate")
class Compiled(keras.Model):
    def __init__(self):
        super().__init__()
        self.recurrent = layers.GRU(UNITS)
        self.recurrent.build((None, None, FEATURES))

    @tf.function
    def call(self, inputs):
        return self.recurrent(inputs)


def test_functions_that_tensorflow_keeps_are_left_alone():
    model = Compiled()
    model.build((None, 3, FEATURES))
    both = Both(model)
    both.assert_equal({both.traced.inputs[0].name: sequences(2, 3)})


def test_keras_loops_have_the_parameters_that_are_known():
    for layer in (layers.RNN, layers.LSTM, layers.GRU, layers.SimpleRNN):
        assert list(inspect.signature(layer.inner_loop).parameters) == recurrent._PARAMETERS


def test_another_keras_gets_loops(monkeypatch):
    monkeypatch.setattr(recurrent, "_PARAMETERS", ["self", "sequences", "something_new"])
    both = Both(model_of({"y": layers.GRU(UNITS)}, masked=False))
    assert both.recurrent_operators() == {"Loop": 1}
    both.assert_equal({"x": sequences(2, 3)})


def test_python_functions_of_others_are_refused():
    x = keras.Input((3,), name="x")
    call = layers.Lambda(
        lambda x: tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32, stateful=False), [None, 3])
    )
    with pytest.raises(ConversionError, match="PyFuncStateless"):
        Both(keras.Model(x, call(x)))


def test_reversed_axes():
    x = keras.Input((None, 2, FEATURES), name="x")
    both = Both(
        keras.Model(x, [layers.Lambda(lambda x, axes=axes: tf.reverse(x, axes))(x) for axes in ([1], [2, -1], [])])
    )
    assert both.operators()["ReverseSequence"] == 0
    both.assert_equal({"x": sequences(12, 2).reshape(3, 4, 2, FEATURES)})
