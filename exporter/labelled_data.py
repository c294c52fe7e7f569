"""Inputs that are handed over with what is right for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.exporter.errors import ModelLoadError, listed
from headgate.exporter.examples import named_arrays
from headgate.exporter.tracing.traced_models import Arrays
from headgate.v1 import Head, TensorSpec

#: A true box of a detection head: the row that it is in, its corners, and the position of its label.
BOX_DTYPE = np.dtype([("row", np.int64), ("box", np.float64, 4), ("label", np.int64)])

#: What inputs of such data are called in messages.
ROWS = "the rows of the labelled data"

#: What the names of the arrays of a detection head's targets end in.
_BOX_PARTS = ("_boxes", "_labels", "_counts")


@dataclass(frozen=True)
class LabelledData:
    """Inputs, and what is right for them.

    Attributes:
        inputs: by name, `[rows, ...]`.
        targets: by name of the head (of the output, where it has none), in these forms:

            * regression, quantile, count, mean_variance: float64 [rows, targets], in the unit of the answers;
            * binary, multiclass, ordinal: int64 [rows], positions in the head's labels;
            * multilabel: int64 [rows, labels] of 0 and 1;
            * anomaly: int64 [rows], 1 for anomalous rows;
            * segmentation: int64 [rows, height, width], positions in the head's labels, -1 for pixels that do not
              count; of independent labels [rows, height, width, labels] of 0 and 1;
            * sequence_tags: int64 [rows, steps], positions in the head's labels, -1 for steps that do not count;
            * ctc: str [rows];
            * embedding: int64 [rows], positions among the different labels of the head's prototypes;
            * keypoints: float64 [rows, points, 2], NaN for points that do not count;
            * detection: `BOX_DTYPE` [boxes], the rows ascending.
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
            measured, by the head's name or that of its output (`y` for a model with one head):

            * regression, quantile, count, mean_variance: numbers in the unit of the answers, [rows] or [rows, targets];
            * binary, multiclass, ordinal: labels, or their positions, [rows] or [rows, 1]; or one-hot [rows, labels];
            * multilabel: 0 or 1 for each label, [rows, labels];
            * anomaly: 1 or True for anomalous rows, [rows];
            * segmentation: labels or their positions, [rows, height, width], -1 (or "") for pixels that do not count;
              of independent labels 0 or 1, [rows, height, width, labels];
            * sequence_tags: labels or their positions, [rows, steps], -1 (or "") for steps that do not count;
            * ctc: texts, [rows];
            * embedding: labels of prototypes, or their positions among the different ones, [rows];
            * keypoints: x and y, [rows, points, 2], as in answers; NaN for points that do not count;
            * detection: three arrays whose names end in `_boxes` (left, top, right, bottom as in answers, [boxes, 4]),
              `_labels` (labels or their positions, [boxes]) and `_counts` (how many of them each row has, [rows]).

    Raises:
        ModelLoadError: the names, shapes or values do not fit the model.

    >>> x = TensorSpec(name="x", datatype="DATA_TYPE_FP32", shape=[-1, 1])
    >>> head = Head(name="ill", output="p", binary={"labels": ["no", "yes"]})
    >>> labelled_data([x], [head], {"x": [[0.5], [0.7]], "y": ["yes", "no"]}).targets
    {'ill': array([1, 0])}
    """
    by_name = {str(name): np.asarray(values) for name, values in data.items()}
    input_names = [spec.name for spec in inputs]
    if len(inputs) == 1 and input_names[0] not in by_name and "x" in by_name:
        by_name[input_names[0]] = by_name.pop("x")
    missing = [name for name in input_names if name not in by_name]
    if missing:
        or_x = ", or x" if len(inputs) == 1 else ""
        raise ModelLoadError(
            f"the labelled data has the arrays {listed(by_name)}, the model's inputs are {listed(input_names)}; "
            f"give an array for each, by its name{or_x}"
        )
    arrays = named_arrays(inputs, {name: by_name.pop(name) for name in input_names}, what=ROWS)
    rows = len(next(iter(arrays.values())))
    targets = {}
    for head in heads:
        for name in (head.name, head.output, *(["y"] if len(heads) == 1 else [])):
            parts = [name + part for part in _BOX_PARTS] if head.HasField("detection") else [name]
            if set(parts) <= by_name.keys():
                targets[head.name] = _targets(head, [by_name.pop(part) for part in parts], rows)
                break
    # Anomalies are looked for where nobody knows them.
    if by_name or not (targets or any(head.HasField("anomaly") for head in heads)):
        came = listed(by_name) if by_name else "no targets"
        raise ModelLoadError(
            f"the labelled data has {came} beside the inputs {listed(input_names)}; "
            f"give targets for the heads {listed(map(_target_name, heads))} (y for the only head)"
        )
    return LabelledData(arrays, targets, "labelled")


def _target_name(head: Head) -> str:
    return head.name + (f"{'|'.join(_BOX_PARTS)}" if head.HasField("detection") else "")


def _targets(head: Head, arrays: Sequence[NDArray[Any]], rows: int) -> NDArray[Any]:
    values = arrays[-1]
    came = len(values) if values.ndim else 0
    if came != rows:
        raise ModelLoadError(f"the targets for head '{head.name}' have {came} rows, the inputs {rows}")
    return _READERS[str(head.WhichOneof("kind"))](head, *arrays)


def _numbers(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    numbers = _floats(head, values).reshape(len(values), -1)
    names = getattr(head, str(head.WhichOneof("kind"))).targets
    if names and numbers.shape[1] != len(names):
        raise ModelLoadError(
            f"the targets for head '{head.name}' are {numbers.shape[1]} numbers a row; "
            f"give {len(names)}: {listed(names)}"
        )
    if not np.isfinite(numbers).all():
        raise ModelLoadError(f"the targets for head '{head.name}' hold NaN or infinities; leave these rows out")
    return numbers


def _classes(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    labels = _labels_of(head)
    if values.ndim == 2 and values.shape[1] == len(labels) > 1 and values.dtype.kind in "biuf":
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            raise ModelLoadError(
                f"the targets for head '{head.name}' have shape {values.shape}, but are not one-hot; give a single 1 "
                "in each row, or one label a row"
            )
        values = values.argmax(axis=1)
    if values.size != len(values):
        raise ModelLoadError(f"the targets for head '{head.name}' have shape {values.shape}; give one label a row")
    return _positions(head, values.ravel())


def _indicators(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    labels = _labels_of(head)
    if values.shape != (len(values), len(labels)) or not np.isin(values, (0, 1)).all():
        raise ModelLoadError(f"the targets for head '{head.name}' have to be 0 or 1, [rows, {len(labels)}]")
    return values.astype(np.int64)


def _anomalies(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    if values.size != len(values) or not np.isin(values, (0, 1)).all():
        raise ModelLoadError(f"the targets for head '{head.name}' have to be 0 or 1 (anomalous), [rows]")
    return values.reshape(len(values)).astype(np.int64)


def _class_maps(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    if head.segmentation.independent:
        labels = len(_labels_of(head))
        if values.ndim != 4 or values.shape[-1] != labels or not np.isin(values, (0, 1)).all():
            raise ModelLoadError(
                f"the targets for head '{head.name}' have to be 0 or 1, [rows, height, width, {labels}]"
            )
        return values.astype(np.int64)
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    return _positions(head, _of_shape(head, values, "[rows, height, width]"), may_ignore=True)


def _tags(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    return _positions(head, _of_shape(head, values, "[rows, steps]"), may_ignore=True)


def _texts(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    if values.size != len(values) or values.dtype.kind not in "OSU":
        raise ModelLoadError(f"the targets for head '{head.name}' have to be texts, [rows]")
    return np.array([str(_text(value)) for value in values.ravel().tolist()], object)


def _prototypes(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    if not head.embedding.HasField("prototypes"):
        raise ModelLoadError(f"head '{head.name}' has no prototypes, of which the nearest could be right; leave it out")
    return _classes(head, values)


def _points(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    points = len(head.keypoints.names)
    if values.shape != (len(values), points, 2):
        raise ModelLoadError(
            f"the targets for head '{head.name}' have shape {values.shape}; give x and y, [rows, {points}, 2]"
        )
    numbers = _floats(head, values)
    return np.where(np.isfinite(numbers).all(axis=-1, keepdims=True), numbers, np.nan)


def _true_boxes(head: Head, boxes: NDArray[Any], labels: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ModelLoadError(f"{head.name}_counts has to hold how many boxes each row has: integers from 0, [rows]")
    total = int(counts.sum())
    if boxes.shape != (total, 4) or labels.shape != (total,):
        raise ModelLoadError(
            f"{head.name}_counts adds up to {total}; {head.name}_boxes has shape {boxes.shape} and "
            f"{head.name}_labels {labels.shape}, give [{total}, 4] and [{total}]"
        )
    corners = _floats(head, boxes)
    # Not `>`: NaN has to fail.
    if not ((corners[:, :2] <= corners[:, 2:]).all() and np.isfinite(corners).all()):
        raise ModelLoadError(
            f"{head.name}_boxes holds left, top, right, bottom: give finite numbers, left <= right and top <= bottom"
        )
    targets = np.empty(total, BOX_DTYPE)
    targets["row"] = np.repeat(np.arange(len(counts)), counts)
    targets["box"] = corners
    targets["label"] = _positions(head, labels)
    return targets


_READERS: dict[str, Callable[..., NDArray[Any]]] = {
    "regression": _numbers,
    "quantile": _numbers,
    "count": _numbers,
    "mean_variance": _numbers,
    "binary": _classes,
    "multiclass": _classes,
    "ordinal": _classes,
    "multilabel": _indicators,
    "anomaly": _anomalies,
    "segmentation": _class_maps,
    "sequence_tags": _tags,
    "ctc": _texts,
    "embedding": _prototypes,
    "keypoints": _points,
    "detection": _true_boxes,
}


def _labels_of(head: Head) -> list[str]:
    if head.HasField("embedding"):
        return list(dict.fromkeys(head.embedding.prototypes.labels))
    return list(getattr(head, str(head.WhichOneof("kind"))).labels)


def _of_shape(head: Head, values: NDArray[Any], shape: str) -> NDArray[Any]:
    if values.ndim != shape.count(",") + 1:
        raise ModelLoadError(f"the targets for head '{head.name}' have shape {values.shape}; give {shape}")
    return values


def _floats(head: Head, values: NDArray[Any]) -> NDArray[Any]:
    try:
        # Not what numpy can make numbers of, such as dates and the real parts of complex ones.
        if values.dtype.kind in "biufOUS":
            return values.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise ModelLoadError(f"the targets for head '{head.name}' are no numbers; give them in its unit")


def _positions(head: Head, values: NDArray[Any], may_ignore: bool = False) -> NDArray[Any]:
    """Return the positions of labels, or of positions as they are; -1 for those that do not count."""
    labels = _labels_of(head)
    positions = {label: position for position, label in enumerate(labels)}
    try:
        distinct, inverse = np.unique(values, return_inverse=True)
    except TypeError:
        raise ModelLoadError(
            f"the targets for head '{head.name}' are of several types; give labels as texts, or their positions"
        ) from None
    found: list[int] = []
    for value in map(_text, distinct.tolist()):
        if may_ignore and value in (-1, ""):
            found.append(-1)
        elif isinstance(value, str) and value in positions:
            found.append(positions[value])
        elif isinstance(value, int | float) and value in range(len(labels)):
            found.append(int(value))
        else:
            raise ModelLoadError(
                f"the targets for head '{head.name}' hold {value!r}; give its labels ({listed(labels[:5])}"
                f"{', ...' if len(labels) > 5 else ''}) or their positions from 0 to {len(labels) - 1}"
            )
    return np.array(found, np.int64)[inverse].reshape(values.shape)


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
