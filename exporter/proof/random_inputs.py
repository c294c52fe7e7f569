"""Inputs that are made up: of any batch size, and of free sizes that a model accepts."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.input_meanings import infer_input_meanings
from headgate.exporter.tracing.traced_models import TracedModel
from headgate.v1 import FreeSize, InputMeaning, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES

#: What free sizes are multiples of: networks that halve images need a power of two, and those without padding a size
#: that is large enough.
_UNITS = (1, 2, 4, 8, 16, 32, 64, 128)
#: The part of the steps that a Masking layer hides.
_MASKED = 0.3
#: Text that no vocabulary is made of: other letters, punctuation, other spaces, none at all.
_WORDS = ("", "?", "Ärger 東京", "the  quick\tbrown fox", "a-b_c.d", "UNKNOWN 42", "x" * 40)


def free_axes(specs: Iterable[TensorSpec]) -> Iterator[tuple[str, int]]:
    """Yield the free axes of tensors, but the batch: the name of the tensor, and the axis.

    >>> [*free_axes([TensorSpec(name="image", shape=[-1, -1, -1, 3])])]
    [('image', 1), ('image', 2)]
    """
    for spec in specs:
        for axis, size in enumerate(spec.shape):
            if axis and size < 0:
                yield spec.name, axis


def free_sizes(specs: list[TensorSpec]) -> Iterator[list[FreeSize]]:
    """Yield sizes for the free axes of inputs, those that ask least of a model first.

    First every axis has a size of its own, then the same axes of all inputs are equal (tokens and their mask), then all
    axes (square images); and then again in multiples of 2, 4, ... A model without free axes has one empty choice.

    >>> image = TensorSpec(name="image", shape=[-1, -1, -1, 3])
    >>> [[free.size for free in sizes] for sizes in free_sizes([image])][:4]
    [[5, 6], [5, 5], [4, 6], [4, 4]]
    """
    axes = [*free_axes(specs)]
    tried: list[list[int]] = []
    for unit in _UNITS:
        first = 5 if unit == 1 else 4 // unit or 1
        independent = [index for index, _ in enumerate(axes)]
        by_axis = [axis - min(axis for _, axis in axes) for _, axis in axes]
        for offsets in (independent, by_axis, [0] * len(axes)):
            sizes = [unit * (first + offset) for offset in offsets]
            if sizes not in tried:
                tried.append(sizes)
                yield [
                    FreeSize(input=name, axis=axis, size=size) for (name, axis), size in zip(axes, sizes, strict=True)
                ]


class RandomInputs:
    """Makes inputs up for a model, the same each time.

    Values of an input whose vocabulary is known (see `headgate.exporter.input_meanings`) are drawn from it, and from
    others where the model takes others; pixels from their range. Other numbers are standard normal, save for steps that
    a Masking layer hides; integers lie below the smallest vocabulary of the model's Embedding and CategoryEncoding
    layers, or 10; text is of words that the model's lookups know, and of others.
    """

    def __init__(self, traced: TracedModel) -> None:
        self._specs = traced.inputs
        self._meanings = {meaning.input: meaning for meaning in infer_input_meanings(traced)}
        self._vocabulary_size = _least_vocabulary(traced.layers)
        self._masked = next((layer.mask_value for layer in traced.layers if "Masking" in _class_names(layer)), None)
        self._words = [*_known_words(traced.layers), *_WORDS]
        self._random = np.random.default_rng(0)

    def draw(self, rows: int, sizes: list[FreeSize]) -> dict[str, NDArray[Any]]:
        """Draw one array for each input."""
        arrays = {}
        for spec in self._specs:
            shape = [rows, *spec.shape[1:]]
            for free in sizes:
                if free.input == spec.name:
                    shape[free.axis] = free.size
            arrays[spec.name] = self._draw(spec, shape).astype(NUMPY_DTYPES[spec.datatype])
        return arrays

    def _draw(self, spec: TensorSpec, shape: list[int]) -> NDArray[Any]:
        kind = NUMPY_DTYPES[spec.datatype].kind
        meaning = self._meanings.get(spec.name, InputMeaning())
        image, known = meaning.image, meaning.vocabulary
        if known.strings or known.integers:
            others: list[Any] = [*_WORDS] if kind == "O" else [*range(self._vocabulary_size)]
            choices = [*known.strings, *known.integers, *(others if known.accepts_others else [])]
            return self._random.choice(np.array(choices, NUMPY_DTYPES[spec.datatype]), shape)
        if kind == "O":
            return self._random.choice(np.array(self._words, object), shape)
        if image.HasField("maximum"):
            return self._random.uniform(image.minimum, image.maximum, shape)
        if kind in "biu":
            return self._random.integers(0, 2 if kind == "b" else self._vocabulary_size, shape)
        numbers = self._random.standard_normal(shape)
        if self._masked is not None and len(shape) > 2:
            numbers[self._random.random(shape[:2]) < _MASKED] = self._masked
        return numbers


def _least_vocabulary(layers: Iterable[Any]) -> int:
    """Return a number below which integers are safe for every embedding and encoding."""
    sizes = [10]
    for layer in layers:
        kinds = _class_names(layer)
        if "Embedding" in kinds:
            sizes.append(layer.input_dim)
        elif "CategoryEncoding" in kinds:
            sizes.append(layer.num_tokens)
    return min(sizes)


def _known_words(layers: Iterable[Any]) -> Iterator[str]:
    """Yield words that lookups know, at most 50 of each."""
    for layer in layers:
        if _class_names(layer) & {"StringLookup", "TextVectorization"}:
            yield from map(str, layer.get_vocabulary()[:50])


def _class_names(layer: Any) -> set[str]:
    """Return the names of a layer's classes: those of Keras 3 and of tf_keras are called alike."""
    return {cls.__name__ for cls in type(layer).__mro__}
