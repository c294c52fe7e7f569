"""tf.Examples to a model's inputs: features by name, each of the size that the model takes (FixedLenFeature)."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.server.dialects.messages import packed
from headgate.server.dialects.tensorflow_serving_tensors import MAX_REPEATED_ELEMENTS
from headgate.server.errors import InvalidArgumentError
from headgate.server.inputs import GivenTensor, ModelInput
from headgate.server.model import LoadedModel
from headgate.v1.input_meanings import abridged
from headgate.v1.tensors import format_spec, number_kind, text_array

#: The most features that are read of a request. Each keeps the I/O thread from other calls for 2 to 5 us.
MAX_FEATURES = 2**16
#: Up to so many numbers are faster read one by one.
_SHORT = 16
#: In which kind of list inputs of each kind of numpy's types may come; integers that a float type holds are taken.
_KINDS = {
    "f": ("float_list", "int64_list"),
    "i": ("int64_list",),
    "u": ("int64_list",),
    "b": ("int64_list",),
    "O": ("bytes_list",),
}


def read_input(message: Any, model: LoadedModel) -> list[GivenTensor]:
    """Read an Input: a list of tf.Examples, maybe with a context.

    Raises:
        InvalidArgumentError: it is empty; or a feature is missing, or of another type or size than the model takes.
    """
    kind = message.WhichOneof("kind")
    examples = getattr(message, kind).examples if kind else []
    context = message.example_list_with_context.context if kind == "example_list_with_context" else None
    return read_examples(examples, context, model)


def read_examples(examples: Sequence[Any], context: Any, model: LoadedModel) -> list[GivenTensor]:
    """Read the inputs of a model from tf.Examples, and from a context whose features all of them have.

    An input is made of the feature of its name, or where the first example has none such and the signature names the
    input's columns, of the features of these names. Other features are not looked at.

    Raises:
        InvalidArgumentError: as of `read_input`.
    """
    if not examples:
        raise InvalidArgumentError("the input has no examples; send at least one")
    given = _Features(examples, context)
    columns = {each.input: list(each.tabular.feature_names) for each in model.signature.input_meanings}
    tensors = []
    for index, model_input in enumerate(model.inputs.inputs):
        if given.first_has(model_input.name):
            tensors.append(_read_feature(given, model_input))
        elif names := columns.get(model_input.name):
            tensors.append(_read_columns(given, model_input, names))
        elif index not in model.inputs.padding.masks:
            raise given.missing(0, model_input.name, model_input)
    return tensors


def _read_feature(given: _Features, model_input: ModelInput) -> GivenTensor:
    """Read an input from the feature of its name."""
    name = model_input.name
    kinds, lists = given.find(name, model_input)
    row_shape = _row_shape(model_input, len(lists[0].value))
    expected = math.prod(row_shape)
    for index, values in enumerate(lists):
        if len(values.value) != expected:
            raise InvalidArgumentError(
                f"examples[{index}] has {len(values.value)} values in feature '{name}', input '{name}' "
                f"({format_spec(model_input.spec)}) takes {expected}"
                + ("" if model_input.is_fixed else ", as many as examples[0] has")
            )
    return GivenTensor(name, (len(lists), *row_shape), _array(kinds, lists))


def _row_shape(model_input: ModelInput, count: int) -> tuple[int, ...]:
    """Return the shape of a row of so many elements."""
    shape = model_input.item_shape
    if model_input.is_fixed:
        return shape
    if shape.count(-1) > 1:
        raise InvalidArgumentError(
            f"input '{model_input.name}' ({format_spec(model_input.spec)}) leaves several sizes open, which the length "
            "of a feature does not tell; send it as a tensor, by Predict"
        )
    unit = math.prod(abs(size) for size in shape)
    if count % unit:
        raise InvalidArgumentError(
            f"examples[0] has {count} values in feature '{model_input.name}', input '{model_input.name}' "
            f"({format_spec(model_input.spec)}) takes a multiple of {unit}"
        )
    return tuple([count // unit if size < 0 else size for size in shape])


def _read_columns(given: _Features, model_input: ModelInput, names: Sequence[str]) -> GivenTensor:
    """Read an input from features of one value each."""
    kinds: set[str] = set()
    columns: list[Any] = []
    for name in names:
        of_column, lists = given.find(name, model_input)
        for index, values in enumerate(lists):
            if len(values.value) != 1:
                raise InvalidArgumentError(
                    f"examples[{index}] has {len(values.value)} values in feature '{name}', which is one column of "
                    f"input '{model_input.name}' and takes 1"
                )
        kinds |= of_column
        columns += lists
    elements = _array(kinds, columns).reshape(len(names), -1)
    return GivenTensor(model_input.name, elements.T.shape, elements.T)


def _array(kinds: set[str], lists: Sequence[Any]) -> NDArray[Any]:
    """Return the values of lists [elements]."""
    if kinds == {"bytes_list"}:
        return text_array([value for values in lists for value in values.value])
    elements = array("q" if kinds == {"int64_list"} else "f" if kinds == {"float_list"} else "d")
    for values in lists:
        if elements.typecode == "f" and len(values.value) > _SHORT:
            elements.frombytes(packed(values, "value"))
        else:
            elements.extend(values.value)
    return np.frombuffer(elements, elements.typecode)


class _Features:
    """The features of examples, with those of their context."""

    def __init__(self, examples: Sequence[Any], context: Any) -> None:
        self._examples = [example.features.feature for example in examples[: MAX_FEATURES + 1]]
        self._context: Any = context.features.feature if context is not None else {}
        self._read = 0
        self._repeated = 0

    def first_has(self, name: str) -> bool:
        return name in self._examples[0] or name in self._context

    def find(self, name: str, model_input: ModelInput) -> tuple[set[str], list[Any]]:
        """Return of which kinds the features of a name are, and the list of each example."""
        self._read += len(self._examples)
        if self._read > MAX_FEATURES:
            raise InvalidArgumentError(
                f"the examples have more than {MAX_FEATURES} features that the model takes; send fewer examples at a "
                "time, or tensors, by Predict"
            )
        allowed = _KINDS[number_kind(model_input.data_type)]
        kinds: set[str] = set()
        lists = []
        for index, features in enumerate(self._examples):
            feature = features.get(name)
            kind = feature.WhichOneof("kind") if feature is not None else None
            own = kind is not None
            if not own:
                # One that is empty is none, as to TensorFlow.
                feature = self._context.get(name)
                kind = feature.WhichOneof("kind") if feature is not None else None
            if kind is None:
                raise self.missing(index, name, model_input)
            if kind not in allowed:
                raise InvalidArgumentError(
                    f"examples[{index}] has feature '{name}' as {kind}, input '{model_input.name}' "
                    f"({format_spec(model_input.spec)}) takes {' or '.join(allowed)}"
                )
            values = getattr(feature, kind)
            if not own:
                self._count_repeated(len(values.value))
            kinds.add(kind)
            lists.append(values)
        return kinds, lists

    def missing(self, index: int, name: str, model_input: ModelInput) -> InvalidArgumentError:
        there = abridged(sorted({*self._examples[index], *self._context})) or "none"
        return InvalidArgumentError(
            f"examples[{index}] has no feature '{name}' for input '{model_input.name}' "
            f"({format_spec(model_input.spec)}); its features: {there}"
        )

    def _count_repeated(self, elements: int) -> None:
        # A context of a megabyte and as many examples as there may be would take a hundred gigabytes.
        self._repeated += elements
        if self._repeated > MAX_REPEATED_ELEMENTS:
            raise InvalidArgumentError(
                f"the context gives its features to {len(self._examples)} examples, more than {MAX_REPEATED_ELEMENTS} "
                "elements in all; send fewer examples at a time"
            )
