"""Whether the ONNX model computes what the Keras model computes."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.errors import VerificationError, listed, reason_of
from headgate.exporter.proof.divergence import describe_divergence
from headgate.exporter.proof.keras_runs import BATCH_SIZES, KerasRun, run_keras
from headgate.exporter.proof.sessions import SERVED_LEVEL, OnnxModel, open_session
from headgate.exporter.proof.tolerances import (
    Precision,
    for_each_unit,
    hides_units,
    is_telling,
    is_unstable,
    measured,
    movements,
    precision_of,
    spread_of,
    tolerance_of,
)
from headgate.exporter.tracing.traced_models import Arrays, TracedModel
from headgate.v1 import Head, ParityCheck, Tolerance, Verification
from headgate.v1.columns.comparison import changed_decisions
from headgate.v1.parity import Difference, absolute_of, compare


def verify(
    traced: TracedModel,
    onnx_model: OnnxModel,
    examples: Arrays | None = None,
    *,
    runs: Sequence[KerasRun] | None = None,
    heads: Sequence[Head] = (),
    precision: Precision | None = None,
    level: str = SERVED_LEVEL,
) -> Verification:
    """Compare Keras with onnxruntime on the CPU, on random inputs and on examples, at several batch and free sizes.

    Numbers may differ by a tolerance that depends on the type that the model computes in; where that is not enough, by
    what Keras' own answers move when its weights and inputs are rounded otherwise (see
    `headgate.exporter.proof.tolerances`). Integers and text are the same. Labels that heads decide for may change where
    their scores are within the tolerance. NaN and infinities are equal to themselves.

    Args:
        traced: the Keras model.
        onnx_model: the serialised ONNX model, or the path of its file where it has external data.
        examples: real inputs, repeated where they are fewer than 17 rows.
        runs: what Keras answers, where it is known already: of `run_keras(traced, examples)`.
        heads: what the outputs mean, for the labels that change.
        precision: what to expect of an ONNX model that computes in another type than Keras: one of
            `headgate.exporter.proof.tolerances.PRECISIONS`, or a Precision of its own.
        level: how much onnxruntime rewrites the graph: "disabled", "basic", "extended" or "all".

    Raises:
        VerificationError: an output is off by more than the tolerance, the ONNX model does not run, or there is nothing
            to compare with.
    """
    runs = run_keras(traced, examples) if runs is None else runs
    session = open_session(onnx_model, level)
    answers = [answers_of(session, run) for run in runs]
    # Its weights need no memory beside copies of Keras' own.
    del session
    small = [run for run in runs if run.rows <= BATCH_SIZES[1]]
    moved = cache(lambda epsilon: movements(traced, small, epsilon))
    verification = Verification(graph_optimization_level=level)
    for spec in traced.outputs:
        expected = [run.outputs[spec.name] for run in runs]
        actual = [answer[spec.name] for answer in answers]
        if expected[0].dtype.kind == "f" and not any(np.isfinite(output).any() for output in expected):
            raise VerificationError(
                f"output '{spec.name}': Keras gives no finite number, so there is nothing to compare; give examples="
            )
        expects = precision or precision_of(traced, expected[0])
        tolerance = tolerance_of(spec.name, expected, expects)
        differences = _compare(runs, actual, tolerance)
        agrees = all(difference.is_allowed for difference in differences)
        movement = 0.0
        if tolerance.absolute and expects.roundings and not (agrees and is_telling(tolerance, expected)):
            movement = float(moved(expects.epsilon)[spec.name].max())
            other = measured(tolerance, expected, movement, expects) or tolerance
            again = _compare(runs, actual, other)
            if agrees or all(difference.is_allowed for difference in again):
                tolerance, differences = other, again
        if tolerance.absolute and expects.roundings and hides_units(tolerance, expected, expects):
            tolerance = for_each_unit(tolerance, expected, moved(expects.epsilon)[spec.name], expects)
            differences = _compare(runs, actual, tolerance)
        failed = [run for run, difference in zip(runs, differences, strict=True) if not difference.is_allowed]
        if failed:
            what = _describe(runs, differences, tolerance)
            if is_unstable(expected, movement, expects):
                where = (
                    f"Keras' own output moves by {movement:.2g} when weights and inputs change by one unit in the last "
                    "place, so that nothing can be proven: train the model, or build one that is more stable"
                )
            else:
                where = _explain(traced, onnx_model, failed[0], tolerance, expects, level)
            raise VerificationError(f"{what}; {where}; nothing was written")
        verification.tolerances.append(tolerance)
        verification.checks.extend(
            _check(run, difference, tolerance) for run, difference in zip(runs, differences, strict=True)
        )
    _count_changed_labels(verification, traced, heads, runs, answers)
    return verification


def count_changed_labels(
    verification: Verification,
    traced: TracedModel,
    onnx_model: OnnxModel,
    runs: Sequence[KerasRun],
    heads: Sequence[Head],
) -> None:
    """Count anew for how many rows heads decide for another label: heads that have changed since `verify`.

    `verification` is that of the same models and runs, and is changed.
    """
    session = open_session(onnx_model, verification.graph_optimization_level)
    _count_changed_labels(verification, traced, heads, runs, [answers_of(session, run) for run in runs])


def remarks(verification: Verification, runs: Sequence[KerasRun]) -> list[str]:
    """Return what there is to say about a comparison that passed, one sentence each."""
    remarks = []
    for tolerance in verification.tolerances:
        outputs = [run.outputs[tolerance.output] for run in runs]
        if tolerance.absolute and not is_telling(tolerance, outputs):
            remarks.append(
                f"output '{tolerance.output}' is nearly the same whatever the model was asked (it varies by "
                f"{spread_of(outputs):.2g}), so that its equality says little; hand over other examples="
            )
        if "," in tolerance.rule:
            remarks.append(f"output '{tolerance.output}' was compared by another rule than usual: {tolerance.rule}")
    return remarks


def batch_remarks(traced: TracedModel, verification: Verification, runs: Sequence[KerasRun]) -> list[str]:
    """Return a sentence on outputs whose rows depend on the other rows of the batch, since servers make up batches."""
    run = max(runs, key=lambda run: run.rows)
    alone = traced.predict({name: array[:1] for name, array in run.inputs.items()})
    mixed = [
        tolerance.output
        for tolerance in verification.tolerances
        if not _is_close(alone[tolerance.output], run.outputs[tolerance.output][:1], tolerance)
    ]
    if not mixed:
        return []
    return [
        f"Keras answers a row of output {listed(mixed)} otherwise when other rows are in its batch, and a server puts "
        "the rows of different requests together: build the model without what looks across rows (a mean over axis 0, "
        "text of as many words as the longest has), or serve it with max_batch_size = 1"
    ]


def _is_close(alone: NDArray[Any], together: NDArray[Any], tolerance: Tolerance) -> bool:
    if alone.dtype.kind != "f":
        return np.array_equal(alone, together)
    # Ten times, since other kernels may run for a single row.
    relative, absolute = 10 * tolerance.relative, 10 * absolute_of(tolerance)
    return alone.shape == together.shape and np.allclose(alone, together, relative, absolute, equal_nan=True)


def answers_of(session: Any, run: KerasRun) -> Arrays:
    """Return what an ONNX model answers to the whole batch of a run; raises VerificationError where it fails."""
    try:
        outputs = session.run(list(run.outputs), run.inputs)
    except Exception as error:
        raise VerificationError(f"onnxruntime fails at {run}, where Keras does not: {reason_of(error)}") from error
    return dict(zip(run.outputs, outputs, strict=True))


def _compare(runs: Sequence[KerasRun], actual: Sequence[NDArray[Any]], tolerance: Tolerance) -> list[Difference]:
    differences = []
    for run, got in zip(runs, actual, strict=True):
        wanted = run.outputs[tolerance.output]
        try:
            differences.append(compare(wanted, got, absolute_of(tolerance), tolerance.relative))
        except ValueError as error:
            raise VerificationError(f"output '{tolerance.output}' at {run}: ONNX gives {error}") from error
    return differences


def _check(run: KerasRun, difference: Difference, tolerance: Tolerance) -> ParityCheck:
    output = run.outputs[tolerance.output]
    return ParityCheck(
        output=tolerance.output,
        batch_size=run.rows,
        inputs=run.origin,
        max_absolute_error=difference.max_absolute_error,
        max_relative_error=difference.max_relative_error,
        max_ulp_error=difference.max_ulp_error,
        worst_element=difference.worst_element,
        tolerance_used=difference.tolerance_used,
        free_sizes=run.free_sizes,
        spread=spread_of([output]) if output.dtype.kind == "f" else 0.0,
    )


def _describe(runs: Sequence[KerasRun], differences: Sequence[Difference], tolerance: Tolerance) -> str:
    index = max(range(len(runs)), key=lambda index: differences[index].tolerance_used)
    worst = differences[index]
    what = f"output '{tolerance.output}' differs at {runs[index]}: ONNX gives {worst}"
    if runs[index].outputs[tolerance.output].dtype.kind != "f":
        return what
    return f"{what}, allowed is {worst.absolute:.3g} + {tolerance.relative:g} of the value ({tolerance.rule})"


def _explain(
    traced: TracedModel, onnx_model: OnnxModel, run: KerasRun, tolerance: Tolerance, precision: Precision, level: str
) -> str:
    """Say what is at fault: the runtime that rewrites the graph, or the first layer that was converted wrongly."""
    if level != "disabled":
        unoptimized = answers_of(open_session(onnx_model, "disabled"), run)
        if _compare([run], [unoptimized[tolerance.output]], tolerance)[0].is_allowed:
            return f"it agrees where onnxruntime does not rewrite the graph, so that its level '{level}' is at fault"
    return describe_divergence(traced, onnx_model, run, precision)


def _count_changed_labels(
    verification: Verification,
    traced: TracedModel,
    heads: Sequence[Head],
    runs: Sequence[KerasRun],
    answers: Sequence[Arrays],
) -> None:
    for head in heads:
        decoder = decoder_for(head, traced.outputs)
        checks = [check for check in verification.checks if check.output == head.output]
        for check, run, answer in zip(checks, runs, answers, strict=True):
            keras, onnx = (decoder.decode(outputs, DecodeOptions()) for outputs in (run.outputs, answer))
            check.changed_labels = changed_decisions(keras, onnx)
