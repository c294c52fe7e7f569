"""Real inputs, handed over with a model."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from headgate.exporter.errors import ModelLoadError, listed, reason_of
from headgate.exporter.names import clean_name
from headgate.exporter.traced_models import Arrays
from headgate.v1 import TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, format_shape, format_spec


def named_arrays(inputs: Sequence[TensorSpec], examples: ArrayLike | Mapping[str, ArrayLike]) -> Arrays:
    """Give examples names and the model's types: `{input: array}`, all of the same number of rows.

    Args:
        inputs: the model's inputs.
        examples: one array for a model with one input, else `{input: array}`.

    Raises:
        ModelLoadError: the names, shapes or numbers of rows do not fit the model.
    """
    names = [spec.name for spec in inputs]
    if not isinstance(examples, Mapping):
        if len(inputs) != 1:
            raise ModelLoadError(
                f"the model has {len(inputs)} inputs; give examples as a dictionary with keys {listed(names)}"
            )
        examples = {inputs[0].name: examples}
    examples = {clean_name(name, name): example for name, example in examples.items()}
    if set(examples) != set(names):
        raise ModelLoadError(f"the examples have the keys {listed(examples)}, the model's inputs are {listed(names)}")
    arrays = {}
    for spec in inputs:
        try:
            array = np.asarray(examples[spec.name], NUMPY_DTYPES[spec.datatype])
        except (TypeError, ValueError) as error:
            raise ModelLoadError(
                f"the examples for input '{spec.name}' cannot be read as {format_spec(spec)}: {reason_of(error)}"
            ) from error
        fits = array.ndim == len(spec.shape) and all(
            expected in (-1, size) for expected, size in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            came, expected = format_shape(array.shape), format_shape(spec.shape)
            raise ModelLoadError(f"the examples for input '{spec.name}' have shape {came}, the model takes {expected}")
        arrays[spec.name] = array
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) != 1 or 0 in rows.values():
        raise ModelLoadError(f"the examples have {rows} rows; give every input the same number, at least one")
    return arrays
