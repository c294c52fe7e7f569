"""Real inputs, handed over with a model."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from headgate.exporter.errors import ModelLoadError, listed, reason_of
from headgate.exporter.names import clean_name
from headgate.exporter.tracing.traced_models import Arrays
from headgate.v1 import InputMeaning, TensorSpec
from headgate.v1.features import columns_of, stack_features
from headgate.v1.tensors import NUMPY_DTYPES, format_shape, format_spec


def named_arrays(
    inputs: Sequence[TensorSpec],
    examples: ArrayLike | Mapping[str, ArrayLike],
    meanings: Iterable[InputMeaning] = (),
    what: str = "the examples",
) -> Arrays:
    """Give examples names and the model's types: `{input: array}`, all of the same number of rows.

    Args:
        inputs: the model's inputs.
        examples: one array for a model with one input, else `{input: array}`; or features by name: `{feature: column}`
            or a DataFrame.
        meanings: tell the features of an input.
        what: what they are, for messages.

    Raises:
        ModelLoadError: the names, shapes or numbers of rows do not fit the model.
    """
    names = [spec.name for spec in inputs]
    features = {
        meaning.input: list(meaning.tabular.feature_names) for meaning in meanings if meaning.HasField("tabular")
    }
    columns = named_columns(examples, what)
    if columns is not None and len(inputs) == 1 and names[0] in features and names[0] not in columns:
        if set(columns) != set(features[names[0]]):
            raise ModelLoadError(
                f"{what} have the columns {listed(columns)}, the features of input '{names[0]}' are "
                f"{listed(features[names[0]])}"
            )
        examples = _stacked(columns, features[names[0]], what)
    elif columns is not None:
        examples = columns
    if not isinstance(examples, Mapping):
        if len(inputs) != 1:
            raise ModelLoadError(
                f"the model has {len(inputs)} inputs; give {what} by name, an array for each of {listed(names)}"
            )
        examples = {inputs[0].name: examples}
    examples = {clean_name(name, name): example for name, example in examples.items()}
    if set(examples) != set(names):
        raise ModelLoadError(f"{what} have the keys {listed(examples)}, the model's inputs are {listed(names)}")
    arrays = {}
    for spec in inputs:
        try:
            array = np.asarray(examples[spec.name], NUMPY_DTYPES[spec.datatype])
            if array.ndim == 1 and list(spec.shape[1:]) == [1]:
                array = array[:, None]
        except (TypeError, ValueError) as error:
            raise ModelLoadError(
                f"{what} for input '{spec.name}' cannot be read as {format_spec(spec)}: {reason_of(error)}"
            ) from error
        fits = array.ndim == len(spec.shape) and all(
            expected in (-1, size) for expected, size in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            came, expected = format_shape(array.shape), format_shape(spec.shape)
            raise ModelLoadError(f"{what} for input '{spec.name}' have shape {came}, the model takes {expected}")
        arrays[spec.name] = array
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) != 1 or 0 in rows.values():
        raise ModelLoadError(f"{what} have {rows} rows; give every input the same number, at least one")
    return arrays


def named_columns(examples: Any, what: str = "the examples") -> dict[str, ArrayLike] | None:
    """Return examples by name, if they have names: those of inputs or of features.

    Raises:
        ModelLoadError: two columns have the same name.
    """
    if isinstance(examples, Mapping):
        return dict(examples)
    try:
        return columns_of(examples)
    except ValueError as error:
        raise ModelLoadError(f"{what} cannot be read as features: {error}") from error


def _stacked(columns: Mapping[str, ArrayLike], names: Sequence[str], what: str) -> ArrayLike:
    try:
        return stack_features(columns, names)
    except ValueError as error:
        raise ModelLoadError(f"{what} cannot be read as features: {error}") from error
