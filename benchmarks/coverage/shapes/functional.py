"""Sequential and functional models: inputs, outputs and names."""

from typing import Any

import keras
from keras import layers as kl
from keras import ops

from headgate.benchmarks.coverage.cases import Case, integers, normal, words

_A, _B = normal(4), normal(3)


def _one(call: Any, *, shape: tuple[int | None, ...] = (4,), dtype: str = "float32") -> Any:
    x = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(x, call(x))


def _two(call: Any, names: tuple[str, str] = ("a", "b")) -> Any:
    a, b = keras.Input((4,), name=names[0]), keras.Input((3,), name=names[1])
    return keras.Model([a, b], call(a, b))


def _dense(name: str) -> kl.Layer:
    return kl.Dense(2, name=name)


def _joined(a: Any, b: Any) -> Any:
    return _dense("out")(kl.Concatenate()([a, b]))


def _dictionary(model: Any, x: dict[str, Any]) -> Any:
    return model(x)


def _sequential() -> Any:
    return keras.Sequential([keras.Input((4,), name="x"), kl.Dense(5, activation="relu"), _dense("out")])


def _dictionary_inputs() -> Any:
    inputs = {"zebra": keras.Input((4,), name="zebra"), "ant": keras.Input((3,), name="ant")}
    return keras.Model(inputs, _joined(inputs["zebra"], inputs["ant"]))


def _dictionary_inputs_with_other_names() -> Any:
    inputs = {"zebra": keras.Input((4,), name="first"), "ant": keras.Input((3,), name="second")}
    return keras.Model(inputs, _joined(inputs["zebra"], inputs["ant"]))


def _nested_inputs() -> Any:
    a, b, c = (keras.Input((size,), name=name) for name, size in (("a", 4), ("b", 3), ("c", 2)))
    return keras.Model([a, [b, c]], _dense("out")(kl.Concatenate()([a, b, c])))


def _nested_model() -> Any:
    inner = keras.Sequential([keras.Input((4,)), kl.Dense(5, activation="relu")], name="inner")
    return _one(lambda x: _dense("out")(inner(x)))


def _nested_twice() -> Any:
    inner = keras.Sequential([keras.Input((4,)), kl.Dense(4, activation="relu")], name="inner")
    middle = keras.Sequential([keras.Input((4,)), inner, kl.Dense(4)], name="middle")
    return _one(lambda x: _dense("out")(middle(inner(x))))


def _nested_with_several() -> Any:
    inner = _two(lambda a, b: [_dense("p")(a), _dense("q")(b)])
    return _two(lambda a, b: kl.Add(name="out")(inner([a, b])))


def _siamese() -> Any:
    tower = keras.Sequential([keras.Input((4,)), kl.Dense(5, activation="tanh")])
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    return keras.Model([left, right], kl.Dot(axes=1, name="out")([tower(left), tower(right)]))


def _shared_layer() -> Any:
    shared = kl.Dense(4, activation="tanh")
    return _one(lambda x: shared(shared(shared(x))))


def _shared_embedding() -> Any:
    table = kl.Embedding(10, 3)
    first, second = (keras.Input((5,), dtype="int32", name=name) for name in ("first", "second"))
    return keras.Model([first, second], kl.Dot(axes=(2, 2), name="out")([table(first), table(second)]))


def _tied_heads() -> Any:
    shared = kl.Dense(2, name="shared")
    return _two(lambda a, b: [shared(a), shared(kl.Dense(4)(b))])


def _residual() -> Any:
    return _one(lambda x: kl.Add(name="out")([x, kl.Dense(4)(x)]))


def _wide_and_deep() -> Any:
    numbers = keras.Input((4,), name="numbers")
    word = keras.Input((1,), dtype="string", name="word")
    number = keras.Input((1,), dtype="int64", name="number")
    parts = [
        kl.Normalization(mean=1.0, variance=2.0)(numbers),
        kl.Flatten()(kl.Embedding(5, 2)(kl.StringLookup(vocabulary=["a", "b", "c", "d"])(word))),
        kl.CategoryEncoding(num_tokens=6, output_mode="one_hot")(number),
    ]
    return keras.Model([numbers, word, number], _dense("out")(kl.Concatenate()(parts)))


def _operators() -> Any:
    return _one(lambda x: ops.where(x > 0, x * 2 - 1, ops.exp(x)) / (1 + ops.abs(x)))


def _slices() -> Any:
    return _one(lambda x: ops.concatenate([x[:, 1:3], x[:, ::-1], x[:, -1:]], axis=1))


def _pass_through() -> Any:
    return _one(lambda x: [x, _dense("out")(x)])


def _renamed_head() -> Any:
    return _one(lambda x: [_dense("price")(x), kl.Dense(3, activation="softmax", name="species")(x)])


CASES = [
    Case("Sequential/with an input", _sequential, {"x": _A}, outputs=["out"]),
    Case("Sequential/nested", lambda: keras.Sequential([keras.Input((4,), name="x"), _sequential()]), {"x": _A}),
    Case("Functional/two inputs", lambda: _two(_joined), {"a": _A, "b": _B}, outputs=["out"]),
    Case(
        "Functional/inputs in non-alphabetical order",
        lambda: _two(_joined, ("zebra", "ant")),
        {"zebra": _A, "ant": _B},
        outputs=["out"],
    ),
    Case("Functional/an input that is not used", lambda: _two(lambda a, b: _dense("out")(a)), {"a": _A, "b": _B}),
    Case("Functional/two outputs", _renamed_head, {"x": _A}, outputs=["price", "species"]),
    Case(
        "Functional/two inputs, two outputs",
        lambda: _two(lambda a, b: [_dense("p")(a), kl.Dense(3, name="q")(b)]),
        {"a": _A, "b": _B},
        outputs=["p", "q"],
    ),
    Case(
        "Functional/dictionary of inputs, non-alphabetical",
        _dictionary_inputs,
        {"zebra": _A, "ant": _B},
        _dictionary,
        ["out"],
    ),
    Case(
        "Functional/dictionary of inputs, keys other than the layers' names",
        _dictionary_inputs_with_other_names,
        {"first": _A, "second": _B},
        lambda model, x: model({"zebra": x["first"], "ant": x["second"]}),
        ["out"],
    ),
    Case(
        "Functional/dictionary of outputs, non-alphabetical",
        lambda: _one(lambda x: {"zebra": kl.Dense(2)(x), "ant": kl.Dense(3)(x)}),
        {"x": _A},
        outputs=["zebra", "ant"],
    ),
    Case(
        "Functional/dictionary of one output",
        lambda: _one(lambda x: {"answer": kl.Dense(2)(x)}),
        {"x": _A},
        outputs=["answer"],
    ),
    Case(
        "Functional/nested inputs",
        _nested_inputs,
        {"a": _A, "b": _B, "c": normal(2)},
        lambda model, x: model([x["a"], [x["b"], x["c"]]]),
    ),
    Case(
        "Functional/nested outputs",
        lambda: _one(lambda x: [kl.Dense(2, name="p")(x), [kl.Dense(3, name="q")(x), kl.Dense(4, name="r")(x)]]),
        {"x": _A},
        outputs=["p", "q", "r"],
    ),
    Case(
        "Functional/nested dictionary of outputs",
        lambda: _one(lambda x: {"z": {"b": kl.Dense(2)(x), "a": kl.Dense(3)(x)}, "c": kl.Dense(4)(x)}),
        {"x": _A},
    ),
    Case("Functional/an input passed straight to an output", _pass_through, {"x": _A}),
    Case("Functional/nothing but an input", lambda: _one(lambda x: x), {"x": _A}),
    Case("Functional/the same output twice", lambda: _one(lambda x: [y := _dense("out")(x), y]), {"x": _A}),
    Case(
        "Functional/intermediate and final output",
        lambda: _one(lambda x: [y := kl.Dense(3)(x), kl.ReLU()(y)]),
        {"x": _A},
    ),
    Case("Functional/nested model", _nested_model, {"x": _A}, outputs=["out"]),
    Case("Functional/nested twice", _nested_twice, {"x": _A}, outputs=["out"]),
    Case("Functional/nested model with several inputs and outputs", _nested_with_several, {"a": _A, "b": _B}),
    Case("Functional/siamese", _siamese, {"left": _A, "right": _A}, outputs=["out"]),
    Case("Functional/shared layer", _shared_layer, {"x": _A}),
    Case(
        "Functional/shared embedding",
        _shared_embedding,
        {"first": integers(10, 5), "second": integers(10, 5)},
        outputs=["out"],
    ),
    Case("Functional/one layer makes both outputs", _tied_heads, {"a": _A, "b": _B}),
    Case("Functional/residual", _residual, {"x": _A}, outputs=["out"]),
    Case(
        "Functional/numbers, text and categories",
        _wide_and_deep,
        {"numbers": _A, "word": words(["a", "b", "zz"], 1), "number": integers(6, 1, dtype="int64")},
        examples=True,
        outputs=["out"],
    ),
    Case("Functional/operators and keras.ops", _operators, {"x": _A}),
    Case("Functional/slices", _slices, {"x": _A}),
    Case(
        "Names/inputs that are no identifiers",
        lambda: _two(_joined, ("first name", "größe (cm)")),
        {"first_name": _A, "gr_e_cm": _B},
        lambda model, x: model(list(x.values())),
    ),
    Case(
        "Names/layers that are no identifiers",
        lambda: _one(lambda x: kl.Dense(2, name="résumé: p(y|x)")(kl.Dense(3, name="hidden layer #1")(x))),
        {"x": _A},
    ),
    Case(
        "Names/an output called as an input",
        lambda: _one(lambda x: {"x": kl.Dense(2)(x)}),
        {"x": _A},
        outputs=["x_1"],
    ),
    Case(
        "Names/inputs without names",
        lambda: keras.Sequential([keras.Input((4,)), kl.Dense(2)]),
        {"input_layer": _A},
    ),
    Case("Scalars/an output without units", lambda: _one(lambda x: ops.sum(x, axis=1)), {"x": _A}),
    Case(
        "Scalars/an input without units",
        lambda: _one(lambda x: kl.Reshape((1,))(x), shape=()),
        {"x": normal()},
    ),
    Case(
        "Scalars/an output without a batch",
        lambda: _one(lambda x: ops.sum(x)),
        {"x": _A},
        refused="headgate batches: every output needs a first dimension that is the batch",
    ),
]
