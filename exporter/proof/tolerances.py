"""How far an output may be from Keras' own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.proof.keras_runs import KerasRun
from headgate.exporter.tracing.traced_models import TracedModel
from headgate.v1 import Tolerance
from headgate.v1.parity import absolute_errors, largest


@dataclass(frozen=True)
class Precision:
    """What may be expected of two programs that compute the same in numbers of limited precision.

    An element may be off by `relative` of its value, and by `of_largest` of the largest value of its output, since what
    is left of a difference has the rounding errors of its terms; and by `least`, since functions such as the sigmoid
    come from 1 and are approximated to so much.

    Attributes:
        name: of the type that the model computes in.
        epsilon: from 1 to the next number of that type.
        relative: allowed, as a part of the element.
        of_largest: allowed beside it, as a part of the largest value of the output.
        least: allowed at least beside `relative`.
        roundings: how many roundings of each weight the answers of an ill-conditioned model may be apart; 0 where the
            tolerance is what was measured, and nothing can be said about the condition.
    """

    name: str
    epsilon: float
    relative: float
    of_largest: float
    least: float
    roundings: int


# A dot product of n terms is off by at most n/2 epsilon of the sum of the terms' magnitudes, and typically by the root
# of n of them (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, SIAM J. Sci. Comput. 41,
# 2019). Errors of one layer are the inputs of the next, so that those of 100 layers of some thousand terms each are
# some hundred epsilon: 840 and 84 are allowed in float32. A wrongly mapped operation is off by orders of magnitude
# more. Sums of 16-bit numbers are made in float32 by both sides; there it is the results of layers that are rounded. In
# float64 it is ONNX that sets the limit: attributes such as epsilon and alpha are float32.
PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float64", 2.0**-52, relative=1e-6, of_largest=1e-7, least=1e-9, roundings=16),
        Precision("float32", 2.0**-23, relative=1e-4, of_largest=1e-5, least=1e-7, roundings=16),
        Precision("float16", 2.0**-10, relative=2e-2, of_largest=1e-2, least=1e-3, roundings=8),
        Precision("bfloat16", 2.0**-7, relative=5e-2, of_largest=3e-2, least=1e-2, roundings=4),
    )
}
#: TF32 has as many significant bits as float16.
_TF32 = PRECISIONS["float16"]

#: What may be allowed by measure, as a part of how far an output's values are apart: beyond, equality says nothing.
_MOST_OF_SPREAD = 0.05
#: An output whose values are not this many tolerances apart says little of the model.
_TELLING = 10


def precision_of(traced: TracedModel, output: NDArray[Any]) -> Precision:
    """Return the coarsest of the types that the model's graph computes in and the output has."""
    import tensorflow as tf

    numbers = {value.type for node in traced.nodes.all() for value in node.attr.values() if value.type}
    types = {tf.dtypes.as_dtype(number).name for number in numbers} | {output.dtype.name}
    return max(
        (PRECISIONS[name] for name in types & set(PRECISIONS)),
        key=lambda precision: precision.epsilon,
        default=PRECISIONS["float32"],
    )


def tolerance_of(name: str, outputs: Sequence[NDArray[Any]], precision: Precision) -> Tolerance:
    """Return what is allowed for an output of which Keras' own values are given; integers have to be equal."""
    if outputs[0].dtype.kind != "f":
        return Tolerance(output=name, rule="equal")
    scale = largest(outputs)

    def absolute(precision: Precision) -> float:
        return max(precision.of_largest * scale, precision.least)

    return Tolerance(
        output=name,
        absolute=absolute(precision),
        relative=precision.relative,
        tf32_absolute=max(absolute(precision), absolute(_TF32)),
        tf32_relative=max(precision.relative, _TF32.relative),
        rule=precision.name,
    )


def is_telling(tolerance: Tolerance, outputs: Sequence[NDArray[Any]]) -> bool:
    """Return whether an output varies so much, from row to row, that being within a tolerance says something."""
    return spread_of(outputs) > _TELLING * (tolerance.absolute + tolerance.relative * largest(outputs))


def spread_of(outputs: Sequence[NDArray[Any]]) -> float:
    """Return how far the finite values of an output are apart between the rows of a batch, at most."""
    return float(_spreads(outputs).max(initial=0))


def _spreads(outputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        apart = [np.ptp(output.astype(np.float64), axis=0, keepdims=True) for output in outputs if len(output)]
    return _largest_of_units(apart)


def _largest_of_units(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the largest finite magnitude at each position along the last axis; of all, where that differs in size."""
    arrays = [array for array in arrays if array.size]
    units = {array.shape[-1] if array.ndim > 1 else 1 for array in arrays}
    unit_count = units.pop() if len(units) == 1 else 1
    columns = [np.abs(array.astype(np.float64)).reshape(-1, unit_count) for array in arrays]
    parts = [np.max(column, axis=0, where=np.isfinite(column), initial=0) for column in columns]
    largest_of_units: NDArray[np.float64] = np.max([np.zeros(unit_count), *parts], axis=0)
    return largest_of_units


def measured(
    tolerance: Tolerance, outputs: Sequence[NDArray[Any]], movement: float, precision: Precision
) -> Tolerance | None:
    """Return a tolerance that follows from how far Keras' own answers move when its numbers are rounded otherwise.

    To round in another order is to change each weight and input by a few units in the last place (the backward error
    of N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), so that it cannot change the
    outputs by much more than that does. That is more than the usual tolerance for an ill-conditioned model, and less
    for one whose outputs hardly vary, as those of many deep networks with random weights do.

    Args:
        tolerance: the usual one.
        outputs: Keras' own.
        movement: how far they move (see `movements`).
        precision: what the model computes in.

    Returns:
        None where so much would be allowed that equality said nothing.
    """
    scale, most = largest(outputs), _MOST_OF_SPREAD * spread_of(outputs)
    needed = precision.roundings * max(movement, precision.epsilon * scale)
    why = (
        f"{precision.name}, {{}}: Keras' own output moves by {movement:.2g} when weights and inputs change by one unit "
        f"in the last place, and {precision.roundings} times as much is allowed"
    )
    found = Tolerance()
    found.CopyFrom(tolerance)
    if not is_telling(tolerance, outputs):
        least = min(precision.least, PRECISIONS["float32"].least)
        found.absolute, found.relative = max(needed, most, least), 0
        found.rule = why.format("hardly varies") + f", or {_MOST_OF_SPREAD:.0%} of how far its values are apart"
        return found if found.absolute < tolerance.absolute + tolerance.relative * scale else None
    found.absolute += needed
    coarser = max(_TF32.epsilon / precision.epsilon, 1)
    found.tf32_absolute += min(coarser * movement, most)
    found.rule = why.format("ill-conditioned")
    return found if found.absolute <= most else None


def is_unstable(outputs: Sequence[NDArray[Any]], movement: float, precision: Precision) -> bool:
    """Return whether Keras' own answers move so far, when its numbers are rounded otherwise, that nothing is proven."""
    return precision.roundings * movement > _MOST_OF_SPREAD * spread_of(outputs)


def hides_units(tolerance: Tolerance, outputs: Sequence[NDArray[Any]], precision: Precision) -> bool:
    """Return whether what is allowed says nothing of some units, positions along the last axis, as they vary less."""
    spreads = _spreads(outputs)
    hidden = (spreads > 0) & (_MOST_OF_SPREAD * spreads < tolerance.absolute)
    return tolerance.absolute > precision.of_largest and bool(hidden.any())


def for_each_unit(
    tolerance: Tolerance, outputs: Sequence[NDArray[Any]], movement: NDArray[np.float64], precision: Precision
) -> Tolerance:
    """Return a tolerance that allows each unit of an output no more than leaves its equality saying something.

    Prices beside probabilities, say: what is allowed of the largest price is more than any probability. As much as a
    probability may be off is allowed anyway.

    Args:
        tolerance: for all units.
        outputs: Keras' own.
        movement: how far each unit moves (see `movements`).
        precision: what the model computes in.
    """
    scales, most = _largest_of_units(outputs), _MOST_OF_SPREAD * _spreads(outputs)
    moved = movement if scales.size > 1 else movement.max()
    needed = precision.roundings * np.maximum(moved, precision.epsilon * scales)
    found = Tolerance()
    found.CopyFrom(tolerance)
    enough = np.maximum(np.maximum(needed, most), precision.of_largest)
    found.unit_absolute[:] = np.minimum(enough, tolerance.absolute)
    return found


def movements(traced: TracedModel, runs: Sequence[KerasRun], epsilon: float) -> Mapping[str, NDArray[np.float64]]:
    """Return how far Keras' own answers move when every weight and input changes by up to `epsilon` of it.

    It is by output, `[units]`: the most of each position along its last axis, or of all where that differs in size.
    """
    random = np.random.default_rng(1)

    def nudged(array: NDArray[Any]) -> NDArray[Any]:
        up, down = (np.array(1 + change, array.dtype) for change in (epsilon, -epsilon))
        changed: NDArray[Any] = np.where(random.integers(0, 2, array.shape, np.int8), array * up, array * down)
        return changed

    moved: dict[str, list[NDArray[Any]]] = {}
    for run in runs:
        inputs = {name: nudged(array) if array.dtype.kind == "f" else array for name, array in run.inputs.items()}
        with _changed_weights(traced, nudged):
            outputs = traced.predict(inputs)
        for name, output in outputs.items():
            if output.dtype.kind == "f":
                moved.setdefault(name, []).append(absolute_errors(run.outputs[name], output))
    return {name: _largest_of_units(errors) for name, errors in moved.items()}


@contextmanager
def _changed_weights(traced: TracedModel, change: Any) -> Iterator[None]:
    variables = [variable for variable in traced.variables if variable.dtype.is_floating]
    variables += traced.large_variables
    before = [variable.numpy() for variable in variables]
    try:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(change(value))
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
