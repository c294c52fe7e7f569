"""Reconstruction errors: how unusual an input is for an autoencoder, computed in the graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.exporter.errors import HeadInferenceError, listed
from headgate.exporter.head_settings import KINDS, HeadSetting, field_value, fields_of
from headgate.exporter.names import clean_name
from headgate.v1 import AnomalyHead
from headgate.v1.tensors import format_shape


@dataclass(frozen=True)
class Reconstruction:
    """What an output reconstructs.

    Attributes:
        input: the input's name, as it is exported.
        squared: whether squared differences are averaged rather than absolute ones.
    """

    input: str
    squared: bool


def find_reconstructions(settings: Mapping[str, HeadSetting]) -> dict[str, Reconstruction]:
    """Return, by name of output, which outputs are to be replaced by their reconstruction errors.

    Raises:
        HeadInferenceError: an input is named without an error, or the other way round.

    >>> head = {"kind": "anomaly", "reconstructed_input": "x", "reconstruction_error": "absolute"}
    >>> find_reconstructions({"decoded": head, "label": "binary"})
    {'decoded': Reconstruction(input='x', squared=False)}
    """
    found = {}
    for output, setting in settings.items():
        fields = fields_of(output, setting) or {}
        name, error = fields.get("reconstructed_input"), fields.get("reconstruction_error")
        if fields.get("kind") == "anomaly" and (name or error):
            if not name or not error:
                raise HeadInferenceError(
                    f"output '{output}': reconstructed_input and reconstruction_error go together; give both"
                )
            error = field_value(KINDS["anomaly"]["reconstruction_error"], error, f"output '{output}': anomaly.")
            squared = error == AnomalyHead.RECONSTRUCTION_ERROR_SQUARED
            found[output] = Reconstruction(clean_name(str(name), str(name)), squared)
    return found


def replace_by_errors(
    outputs: Sequence[Any],
    aliases: Sequence[set[str]],
    inputs: Mapping[str, Any],
    reconstructions: Mapping[str, Reconstruction],
) -> list[Any]:
    """Replace reconstructions of inputs by their mean errors, float32 [rows].

    Args:
        outputs: the model's output tensors.
        aliases: all names of each of them.
        inputs: the input tensors, by the name that they are exported by.
        reconstructions: by one of an output's names, what it reconstructs; names of no output are passed over.

    Raises:
        HeadInferenceError: there is no such input, or it has another shape, or is text.
    """
    replaced = []
    for output, names in zip(outputs, aliases, strict=True):
        name = next(filter(reconstructions.__contains__, names), None)
        replaced.append(output if name is None else _error(output, name, inputs, reconstructions[name]))
    return replaced


def _error(output: Any, name: str, inputs: Mapping[str, Any], reconstruction: Reconstruction) -> Any:
    import tensorflow as tf

    if reconstruction.input not in inputs:
        raise HeadInferenceError(
            f"output '{name}': reconstructed_input is '{reconstruction.input}', the model's inputs are {listed(inputs)}"
        )
    expected = inputs[reconstruction.input]
    shapes = [[-1 if size is None else size for size in tensor.shape[1:]] for tensor in (output, expected)]
    if shapes[0] != shapes[1] or expected.dtype == tf.string:
        came, wanted = (format_shape([-1, *shape]) for shape in shapes)
        raise HeadInferenceError(
            f"output '{name}' of shape {came} cannot be compared with input '{reconstruction.input}', "
            f"{expected.dtype.name} of shape {wanted}; a reconstruction has the shape of its input, of numbers"
        )
    difference = tf.cast(expected, tf.float32) - tf.cast(output, tf.float32)
    errors = tf.square(difference) if reconstruction.squared else tf.abs(difference)
    return tf.reduce_mean(errors, axis=list(range(1, len(errors.shape))))
