"""How well the heads of an ONNX model do: on data with targets, or compared with another model's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.errors import ModelLoadError, listed
from headgate.exporter.examples import named_arrays
from headgate.exporter.tracing.traced_models import Arrays
from headgate.v1 import Head, TensorSpec
from headgate.v1.columns import BinaryColumns, MulticlassColumns, MultilabelColumns, RegressionColumns
from headgate.v1.tensors import data_type_of

#: The kinds of head whose decisions can be measured; others are compared by their raw outputs.
_MEASURED = ("regression", "binary", "multiclass", "multilabel")
#: Of these metrics more is better, and 1 is perfect.
BOUNDED_METRICS = ("accuracy", "r2")

#: How much of its largest value an output may be off in `fidelity` where it does not vary.
_ROOM = 1e-3


@dataclass(frozen=True)
class LabelledData:
    """Inputs, and what is right for them.

    Attributes:
        inputs: by name, `[rows, ...]`.
        targets: by name of the head (of the output, where it has none); for labels [rows] (multilabel: [rows, labels]
            of 0 and 1) int64 positions in the head's labels, for numbers float64 [rows, targets] in the targets' unit.
        origin: "labelled", "given" or "random": see `MetricChange` in signature.proto.
    """

    inputs: Arrays
    targets: dict[str, NDArray[Any]]
    origin: str


def labelled_data(inputs: Sequence[TensorSpec], heads: Sequence[Head], data: Mapping[str, ArrayLike]) -> LabelledData:
    """Read data that was handed over with its targets.

    Args:
        inputs: the model's inputs.
        heads: what its outputs mean.
        data: one array for each input, by name (`x` for a model with one), and one for each head that is to be
            measured, by the head's name or that of its output (`y` for a model with one head). Targets of a head with
            labels are labels, or their positions (multilabel: 0 or 1 for each label, [rows, labels]); those of a
            regression are numbers in the unit of its answers.

    Raises:
        ModelLoadError: the names, shapes or values do not fit the model.
    """
    by_name = {str(name): np.asarray(values) for name, values in data.items()}
    input_names = [spec.name for spec in inputs]
    if len(inputs) == 1 and input_names[0] not in by_name and "x" in by_name:
        by_name[input_names[0]] = by_name.pop("x")
    if len(heads) == 1 and "y" in by_name and not {heads[0].name, heads[0].output} & by_name.keys():
        by_name[heads[0].name] = by_name.pop("y")
    arrays = named_arrays(inputs, {name: by_name.pop(name) for name in input_names if name in by_name})
    rows = len(next(iter(arrays.values())))
    targets = {}
    for head in heads:
        values = by_name.pop(head.name, None)
        if values is None:
            values = by_name.pop(head.output, None)
        if values is not None:
            targets[head.name] = _targets(head, values, rows)
    if by_name or not targets:
        known = [head.name for head in heads]
        came = listed(by_name) if by_name else "no targets"
        raise ModelLoadError(
            f"the labelled data has {came} beside the inputs {listed(input_names)}; "
            f"give targets for the heads {listed(known)} (y for the only head)"
        )
    return LabelledData(arrays, targets, "labelled")


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
    that a decoder calls invalid are wrong; r2 is minus infinity where numbers are finite in one of both only.
    """
    from sklearn import metrics

    by_output = {head.output: head for head in heads}
    values = {}
    for output in answers:
        head = by_output.get(output)
        name = output if head is None else head.name
        if name not in data.targets:
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


def _targets(head: Head, values: NDArray[Any], rows: int) -> NDArray[Any]:
    kind = head.WhichOneof("kind")
    if len(values) != rows:
        raise ModelLoadError(f"the targets for head '{head.name}' have {len(values)} rows, the inputs {rows}")
    if kind == "regression":
        try:
            numbers = values.astype(np.float64).reshape(rows, -1)
        except ValueError:
            raise ModelLoadError(f"the targets for head '{head.name}' are no numbers; give them in its unit") from None
        if not np.isfinite(numbers).all():
            raise ModelLoadError(f"the targets for head '{head.name}' hold NaN or infinities; leave these rows out")
        return numbers
    labels = list(getattr(head, str(kind)).labels)
    if kind == "multilabel":
        if values.shape != (rows, len(labels)) or not np.isin(values, (0, 1)).all():
            raise ModelLoadError(f"the targets for head '{head.name}' have to be 0 or 1, [rows, {len(labels)}]")
        return values.astype(np.int64)
    if values.ndim == 2 and values.shape[1] == len(labels) > 1 and values.dtype.kind in "biuf":
        values = values.argmax(axis=1)
    values = values.reshape(rows, -1)[:, 0]
    positions = {label: position for position, label in enumerate(labels)}
    if values.dtype.kind in "biuf":
        positions = {position: position for position, _ in enumerate(labels)}
    unknown = [value for value in values.tolist() if _key(value) not in positions]
    if unknown:
        raise ModelLoadError(
            f"the targets for head '{head.name}' hold {unknown[0]!r}; give its labels ({listed(labels[:5])}"
            f"{', ...' if len(labels) > 5 else ''}) or their positions from 0 to {len(labels) - 1}"
        )
    return np.array([positions[_key(value)] for value in values.tolist()], np.int64)


def _key(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _decoded(head: Head | None, answers: Arrays, output: str) -> NDArray[Any]:
    """Return a head's decisions as LabelledData has targets; what has no labels and no targets as [rows, numbers]."""
    raw = answers[output]
    kind = head and head.WhichOneof("kind")
    if head is None or kind not in _MEASURED:
        return raw.astype(np.float64).reshape(len(raw), -1)
    specs = [
        TensorSpec(name=name, datatype=data_type_of(array.dtype), shape=(-1, *array.shape[1:]))
        for name, array in answers.items()
    ]
    columns = decoder_for(head, specs).decode(answers, DecodeOptions())
    match columns:
        case RegressionColumns():
            return columns.values.astype(np.float64)
        case MultilabelColumns():
            predicted = np.full((len(columns), len(columns.thresholds)), 0, np.int64)
            predicted[np.repeat(np.arange(len(columns)), np.diff(columns.offsets)), columns.indices] = 1
            predicted[~columns.valid] = -1
            return predicted
        case MulticlassColumns():
            return columns.indices.astype(np.int64)
        case BinaryColumns():
            labels = list(head.binary.labels)
            return np.array([labels.index(label) if label else -1 for label in columns.labels], np.int64)
    raise AssertionError(kind)
