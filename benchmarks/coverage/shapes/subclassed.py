"""Subclassed models, custom layers, Lambda."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl
from keras import ops

from headgate.benchmarks.coverage.cases import Case, integers, normal

_A, _B = normal(4), normal(3)


class Layers(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = kl.Dense(5, activation="relu"), kl.Dense(2)


class OneInput(Layers):
    def call(self, inputs: Any) -> Any:
        return self.out(self.hidden(inputs))


class TrainingArgument(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = kl.Dropout(0.5)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.out(self.dropout(self.hidden(inputs), training=training))


class TwoArguments(Layers):
    def call(self, left: Any, right: Any) -> Any:
        return self.out(self.hidden(ops.concatenate([left, right], axis=1)))


class ListOfInputs(Layers):
    def call(self, inputs: Any) -> Any:
        left, right = inputs
        return self.out(self.hidden(ops.concatenate([left, right], axis=1)))


class DictionaryOfInputs(Layers):
    def call(self, inputs: Any) -> Any:
        return self.out(self.hidden(ops.concatenate([inputs["zebra"], inputs["ant"]], axis=1)))


class DictionaryOfOutputs(Layers):
    def call(self, inputs: Any) -> Any:
        hidden = self.hidden(inputs)
        return {"zebra": self.out(hidden), "ant": ops.sigmoid(hidden)}


class TupleOfOutputs(Layers):
    def call(self, inputs: Any) -> Any:
        hidden = self.hidden(inputs)
        return self.out(hidden), hidden


class Words(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = kl.Embedding(10, 4), kl.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.out(ops.mean(self.table(inputs), axis=1))


class ListOfLayers(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [kl.Dense(4, activation="tanh") for _ in range(3)]

    def call(self, inputs: Any) -> Any:
        for block in self.blocks:
            inputs = inputs + block(inputs)
        return inputs


class _Private(OneInput):
    """The model is called `__private` after it."""


class Loop(Layers):
    def call(self, inputs: Any) -> Any:
        return ops.fori_loop(0, 3, lambda _, x: ops.tanh(x) * 1.5, inputs)


class Condition(Layers):
    def call(self, inputs: Any) -> Any:
        return ops.cond(ops.sum(inputs) > 0, lambda: self.out(inputs), lambda: self.out(-inputs))


class Scan(Layers):
    def call(self, inputs: Any) -> Any:
        return ops.cumsum(inputs, axis=1)


class CustomLayer(kl.Layer):
    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 3))

    def call(self, inputs: Any) -> Any:
        return ops.einsum("ab,bc->ac", inputs, self.kernel) ** 2


class TensorFlowLayer(kl.Layer):
    def call(self, inputs: Any) -> Any:
        return tf.math.top_k(inputs, k=2).values + tf.reduce_logsumexp(inputs, axis=-1, keepdims=True)


class Sampling(kl.Layer):
    """Draws at random in training alone, as a variational autoencoder's does."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return inputs + keras.random.normal(ops.shape(inputs)) if training else inputs


class Random(kl.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(ops.shape(inputs))


class PythonCode(kl.Layer):
    def call(self, inputs: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(lambda x: x + 1, [inputs], tf.float32), inputs.shape)


def _called(model: Any, *shapes: tuple[int, ...], as_list: bool = False) -> Any:
    arrays = [np.zeros((2, *shape), "float32") for shape in shapes]
    model(arrays) if as_list else model(*arrays)
    return model


def _called_with_dictionary() -> Any:
    model = DictionaryOfInputs()
    model({"zebra": np.zeros((2, 4), "float32"), "ant": np.zeros((2, 3), "float32")})
    return model


def _of_layer(make: Any) -> Any:
    def build() -> Any:
        x = keras.Input((4,), name="x")
        return keras.Model(x, make()(x))

    return build


def _words_model() -> Any:
    model = Words()
    model(np.zeros((2, 6), "int32"))
    return model


def _trained() -> Any:
    model = OneInput()
    model.compile(loss="mse", optimizer="sgd")
    model.fit(np.zeros((8, 4), "float32"), np.zeros((8, 2), "float32"), verbose=0)
    return model


def _autoencoder() -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, kl.Dense(4)(Sampling()(kl.Dense(2)(x))))


_LIST = {"input_0": _A, "input_1": _B}

CASES = [
    Case("Subclassed/one input", lambda: _called(OneInput(), (4,)), {"input": _A}, outputs=["output"]),
    Case("Subclassed/trained", _trained, {"input": _A}, outputs=["output"]),
    Case("Subclassed/training argument", lambda: _called(TrainingArgument(), (4,)), {"input": _A}),
    Case(
        "Subclassed/two arguments",
        lambda: _called(TwoArguments(), (4,), (3,)),
        {"left": _A, "right": _B},
        lambda model, x: model(x["left"], x["right"]),
        outputs=["output"],
        examples=True,
    ),
    Case("Subclassed/list of inputs", lambda: _called(ListOfInputs(), (4,), (3,), as_list=True), _LIST),
    Case(
        "Subclassed/dictionary of inputs", _called_with_dictionary, {"zebra": _A, "ant": _B}, lambda model, x: model(x)
    ),
    Case(
        "Subclassed/dictionary of outputs",
        lambda: _called(DictionaryOfOutputs(), (4,)),
        {"input": _A},
        outputs=["zebra", "ant"],
    ),
    Case("Subclassed/tuple of outputs", lambda: _called(TupleOfOutputs(), (4,)), {"input": _A}),
    Case("Subclassed/integers", _words_model, {"input": integers(10, 6)}, examples=True),
    Case("Subclassed/private class", lambda: _called(_Private(), (4,)), {"input": _A}),
    Case("Subclassed/list of layers", lambda: _called(ListOfLayers(), (4,)), {"input": _A}),
    Case("Subclassed/never called", OneInput, {"input": _A}, refused="a model that was never called has no weights"),
    Case(
        "Sequential/never called",
        lambda: keras.Sequential([kl.Dense(3)]),
        {"input": _A},
        refused="a model that was never called has no weights",
    ),
    Case("Subclassed/loop", lambda: _called(Loop(), (4,)), {"input": _A}),
    Case("Subclassed/condition", lambda: _called(Condition(), (4,)), {"input": _A}),
    Case("Subclassed/cumulative sum", lambda: _called(Scan(), (4,)), {"input": _A}),
    Case("Custom layer/with weights", _of_layer(CustomLayer), {"x": _A}),
    Case("Custom layer/TensorFlow functions", _of_layer(TensorFlowLayer), {"x": _A}),
    Case("Custom layer/random in training alone", _autoencoder, {"x": _A}),
    Case(
        "Custom layer/random",
        _of_layer(Random),
        {"x": _A},
        refused="its answers are random, so nothing can be proven equal",
    ),
    Case("Custom layer/Python code", _of_layer(PythonCode), {"x": _A}, refused="code in Python is no part of a graph"),
    Case("Lambda/in a functional model", _of_layer(lambda: kl.Lambda(lambda x: ops.square(x) + 1)), {"x": _A}),
]
