"""What one row of the matrix is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

#: `draw(rows, free, random)` makes an input of `rows` rows, whose free dimensions have the size `free`.
Draw = Callable[[int, int, np.random.Generator], NDArray[Any]]


@dataclass(frozen=True)
class Values:
    """An input of a model: its shape without the batch, None where it is free, its type, and how to make examples."""

    shape: tuple[int | None, ...]
    dtype: str
    draw: Draw


@dataclass(frozen=True)
class Subject:
    """What is exported, and what to compare it with where that is not the same object.

    Attributes:
        source: what `export_model` takes.
        reference: a callable, the model itself.
    """

    source: Any
    reference: Any


@dataclass(frozen=True)
class Case:
    """One model, its inputs, and what is expected of its export.

    Attributes:
        name: `<class or subject>/<variant>`.
        build: make the model, or a Subject.
        inputs: by the name that they are to have in ONNX, in the order in which Keras takes them.
        call: run the reference on the inputs; default: on the one tensor, or on the list of them.
        outputs: the names that the outputs are to have in ONNX; default: not checked.
        options: further keywords of `export_model`.
        examples: whether examples go with the model, which the user of such a model has to give: text, and integers
            whose range is not known.
        refused: why ONNX cannot express it, or why it is not exported; empty for all that has to work.
        needs: a module without which the case cannot be built.
        free: the sizes of the free dimensions, one for each of the two batches compared.
    """

    name: str
    build: Callable[[], Any]
    inputs: Mapping[str, Values]
    call: Callable[[Any, dict[str, Any]], Any] | None = None
    outputs: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    examples: bool = False
    refused: str = ""
    needs: str = ""
    free: tuple[int, int] = (7, 12)


def normal(*shape: int | None, dtype: str = "float32") -> Values:
    return Values(shape, dtype, lambda rows, free, random: random.standard_normal(_sizes(rows, shape, free)))


def uniform(low: float, high: float, *shape: int | None) -> Values:
    return Values(shape, "float32", lambda rows, free, random: random.uniform(low, high, _sizes(rows, shape, free)))


def pixels(*shape: int | None, dtype: str = "float32") -> Values:
    """Return whole numbers 0 to 255, as pictures have."""
    return Values(shape, dtype, lambda rows, free, random: random.integers(0, 256, _sizes(rows, shape, free)))


def integers(high: int, *shape: int | None, low: int = 0, dtype: str = "int32") -> Values:
    return Values(shape, dtype, lambda rows, free, random: random.integers(low, high, _sizes(rows, shape, free)))


def flags(*shape: int | None) -> Values:
    return Values(shape, "bool", lambda rows, free, random: random.integers(0, 2, _sizes(rows, shape, free)))


def words(vocabulary: Sequence[str], *shape: int | None) -> Values:
    def draw(rows: int, free: int, random: np.random.Generator) -> NDArray[Any]:
        chosen: NDArray[Any] = random.choice(np.array(vocabulary, object), _sizes(rows, shape, free))
        return chosen

    return Values(shape, "string", draw)


def padded(steps: int, features: int, side: str = "right") -> Values:
    """Return sequences of random lengths, at least one step, filled up with zeros on one side or in the middle."""

    def draw(rows: int, _: int, random: np.random.Generator) -> NDArray[Any]:
        numbers = random.standard_normal((rows, steps, features))
        index = np.arange(steps)
        length = random.integers(1, steps, (rows, 1))
        if side == "gaps":
            real = random.integers(0, 2, (rows, steps)).astype(bool)
            real[:, 0] = True
        else:
            real = index < length if side == "right" else index >= steps - length
        return np.where(real[..., np.newaxis], numbers, 0)

    return Values((steps, features), "float32", draw)


def _sizes(rows: int, shape: Sequence[int | None], free: int) -> tuple[int, ...]:
    return (rows, *(free if size is None else size for size in shape))


def layer(
    kind: str,
    variant: str,
    *inputs: Values,
    make: Callable[[], Any] | None = None,
    call: Callable[[Any, list[Any]], Any] | None = None,
    adapt: Any = None,
    refused: str = "",
    examples: bool = False,
    free: tuple[int, int] = (7, 12),
    **options: Any,
) -> Case:
    """Return the case of a model that is one layer of `keras.layers`.

    Args:
        kind: the name of the class.
        variant: what is special about it.
        inputs: the layer gets the one, or a list.
        make: makes the layer; default: the class with `options`.
        call: applies the layer to the list of inputs in another way.
        adapt: data for `layer.adapt`.
        refused: see Case.
        examples: see Case.
        free: see Case.
        options: arguments of the class.
    """

    def build() -> Any:
        instance = make() if make else getattr(keras.layers, kind)(**options)
        if adapt is not None:
            instance.adapt(adapt)
        tensors = [keras.Input(v.shape, dtype=v.dtype, name=n) for n, v in named.items()]
        given = tensors if len(tensors) > 1 else tensors[0]
        return keras.Model(given, call(instance, tensors) if call else instance(given), name=kind.lower())

    named = {"x" if len(inputs) == 1 else f"x{index}": values for index, values in enumerate(inputs)}
    text = any(values.dtype == "string" for values in inputs)
    return Case(f"{kind}/{variant}", build, named, examples=examples or text, refused=refused, free=free)


def spread_weights(model: Any) -> None:
    """Give weights that are all zeros or ones (biases, scales, moving averages) values of which a mix-up would show."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        value = np.asarray(weight)
        if value.dtype.kind == "f" and len(np.unique(value)) < 3:
            weight.assign(value * random.uniform(0.9, 1.1, value.shape) + random.uniform(-0.1, 0.1, value.shape))
