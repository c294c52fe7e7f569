"""How well the heads of an ONNX model do: on data with targets, or compared with another model's answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.errors import OptimizationError
from headgate.exporter.evaluation.models import SCORERS
from headgate.exporter.evaluation.numbers import numbers_of
from headgate.exporter.evaluation.scorer import EvaluationSettings
from headgate.exporter.labelled_data import LabelledData
from headgate.exporter.tracing.traced_models import Arrays
from headgate.v1 import Head, TensorSpec
from headgate.v1.columns import (
    BinaryColumns,
    CountColumns,
    MeanVarianceColumns,
    MulticlassColumns,
    MultilabelColumns,
    OrdinalColumns,
    RegressionColumns,
)
from headgate.v1.tensors import data_type_of

#: The kinds of head whose decisions can be compared with those of another model; others are by their raw outputs.
_MEASURED = ("regression", "count", "mean_variance", "binary", "multiclass", "ordinal", "multilabel")
#: What says how well the others do, where there are targets; of each the first is bounded.
SCORES = {
    "quantile": ("r2", "mae", "pinball_loss"),
    "anomaly": ("roc_auc",),
    "embedding": ("accuracy",),
    "sequence_tags": ("token_accuracy",),
    "ctc": ("exact_match", "character_error_rate"),
    "segmentation": ("mean_iou",),
    "detection": ("map_50",),
    "keypoints": ("pck_0.1", "mean_distance"),
}
#: Of these metrics more is better, and 1 is perfect.
BOUNDED_METRICS = {"accuracy", "r2"} | {names[0] for names in SCORES.values()}

#: How much of its largest value an output may be off in `fidelity` where it does not vary.
_ROOM = 1e-3


def agreement_data(inputs: Arrays, answers: Arrays, heads: Sequence[Head], origin: str) -> LabelledData:
    """Take a model's own answers for right: decisions, numbers, and outputs without a head as they are."""
    by_output = {head.output: head for head in heads}
    targets = {}
    for output, values in answers.items():
        if values.dtype.kind == "f":
            name = by_output[output].name if output in by_output else output
            targets[name] = _decoded(by_output.get(output), answers, output)
    return LabelledData(inputs, targets, origin)


def metrics_of(data: LabelledData, answers: Arrays, heads: Sequence[Head]) -> dict[tuple[str, str], float]:
    """Return `{(head, metric): value}` of a model's answers: "accuracy" for labels, "r2" and "mae" for numbers.

    The definitions are those of scikit-learn; the accuracy of a multilabel head counts each label of each row. Rows
    that a decoder calls invalid are wrong; r2 is minus infinity where numbers are finite in one of both only. Heads of
    other kinds have scores of `headgate evaluate` where there are targets.

    Raises:
        OptimizationError: targets have another shape than the answers.
    """
    from sklearn import metrics

    by_output = {head.output: head for head in heads}
    values: dict[tuple[str, str], float] = {}
    for output in answers:
        head = by_output.get(output)
        name = output if head is None else head.name
        if name not in data.targets:
            continue
        if head is not None and head.WhichOneof("kind") in SCORES and data.origin == "labelled":
            values |= _scores(head, data.targets[name], answers)
            continue
        target, predicted = data.targets[name], _decoded(head, answers, output)
        if target.dtype.kind == "i":
            values[name, "accuracy"] = float(metrics.accuracy_score(target.ravel(), predicted.ravel()))
            continue
        finite = np.isfinite(target)
        if not np.array_equal(finite, np.isfinite(predicted)):
            values[name, "r2"], values[name, "mae"] = -np.inf, np.inf
            continue
        target, predicted = (np.where(finite, numbers, 0) for numbers in (target, predicted))
        # Targets of a head count the same whatever their units; the elements of a tensor are of one unit.
        average = "variance_weighted" if head is None else "uniform_average"
        values[name, "r2"] = (
            float(metrics.r2_score(target, predicted, multioutput=average)) if len(target) > 1 else np.nan
        )
        values[name, "mae"] = float(metrics.mean_absolute_error(target, predicted))
    return values


def fidelity(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the part of how an output varies from row to row that another model's output has in common with it.

    That is R2 over all elements, 1 - mean((after - before)^2) / variance. A thousandth of the largest value is added to
    the standard deviation, so that an output that never varies has some room, too.

    Args:
        before: `[rows, ...]`, finite or not.
        after: of the same shape.

    Returns:
        1 where both are the same, minus infinity where other elements are finite.

    >>> round(fidelity(np.array([0.0, 1.0]), np.array([0.1, 0.9])), 2)
    0.96
    """
    finite = np.isfinite(before)
    if not np.array_equal(finite, np.isfinite(after)):
        return -np.inf
    wanted, got = (np.where(finite, numbers, 0).astype(np.float64) for numbers in (before, after))
    noise = np.mean((got - wanted) ** 2)
    room = (np.sqrt(wanted.var(axis=0).mean()) + _ROOM * np.abs(wanted).max(initial=0)) ** 2
    return float(1 - noise / room) if noise else 1.0


def _scores(head: Head, targets: NDArray[Any], answers: Arrays) -> dict[tuple[str, str], float]:
    kind, decoder = str(head.WhichOneof("kind")), decoder_for(head, _specs_of(answers))
    scorer = SCORERS[kind](head, decoder, EvaluationSettings(confidence_level=0))
    try:
        scorer.add(lambda options: decoder.decode(answers, options), targets)
    except ValueError as error:
        raise OptimizationError(str(error)) from error
    found = scorer.evaluation().scores.metrics
    return {(head.name, metric): found[metric] for metric in SCORES[kind] if metric in found}


def _specs_of(answers: Arrays) -> list[TensorSpec]:
    return [
        TensorSpec(name=name, datatype=data_type_of(array.dtype), shape=(-1, *array.shape[1:]))
        for name, array in answers.items()
    ]


def _decoded(head: Head | None, answers: Arrays, output: str) -> NDArray[Any]:
    """Return a head's decisions as LabelledData has targets; what has no labels and no targets as [rows, numbers]."""
    raw = answers[output]
    kind = head and head.WhichOneof("kind")
    if head is None or kind not in _MEASURED:
        return raw.astype(np.float64).reshape(len(raw), -1)
    columns = decoder_for(head, _specs_of(answers)).decode(answers, DecodeOptions())
    match columns:
        case RegressionColumns() | CountColumns() | MeanVarianceColumns():
            return numbers_of(columns)
        case MultilabelColumns():
            predicted = np.full((len(columns), len(columns.thresholds)), 0, np.int64)
            predicted[np.repeat(np.arange(len(columns)), np.diff(columns.offsets)), columns.indices] = 1
            predicted[~columns.valid] = -1
            return predicted
        case MulticlassColumns():
            return columns.indices.astype(np.int64)
        case OrdinalColumns():
            return columns.ranks.astype(np.int64)
        case BinaryColumns():
            labels = list(head.binary.labels)
            return np.array([labels.index(label) if label else -1 for label in columns.labels], np.int64)
    raise AssertionError(kind)
