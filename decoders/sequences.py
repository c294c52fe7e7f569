"""Outputs that hold a sequence for each row."""

from collections.abc import Mapping

from headgate.decoders.heads import HeadError, describe_kind
from headgate.v1 import Head, TensorSpec
from headgate.v1.tensors import format_spec


def sequence_shape(head: Head, outputs: Mapping[str, TensorSpec]) -> tuple[int, int, int]:
    """Return the shape of a head's output, [rows, steps, units]; -1 for any number of rows and of steps.

    Raises:
        HeadError: the output has another shape, or no fixed number of units.
    """
    spec = outputs[head.output]
    if len(spec.shape) != 3 or spec.shape[2] < 1:
        reads = f"{describe_kind(head)} reads [batch,steps,units] of fixed units"
        problem = f"'{head.output}' is {format_spec(spec)}; {reads}"
        raise HeadError(head.name, "output", problem)
    return -1, max(-1, spec.shape[1]), spec.shape[2]
