"""The thresholds of a head, where each kind has them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from headgate.exporter.errors import EvaluationError, listed
from headgate.v1 import Head, ThresholdChoice

#: Kinds with one threshold: its field, and what it is unless it is given.
_SINGLE: dict[str, tuple[str, float | None]] = {
    "binary": ("threshold", 0.5),
    "anomaly": ("threshold", None),
    "detection": ("score_threshold", 0.25),
}
#: What each threshold of `thresholds` is, unless it is given.
_EACH = 0.5


@dataclass(frozen=True)
class Threshold:
    """A threshold that a head decides by.

    Attributes:
        head: its name.
        label: of a head with one for each label; else "".
        value: None: nothing is decided.
        origin: how it was chosen, or "given", or "default".
    """

    head: str
    label: str
    value: float | None
    origin: str


def thresholds_of(heads: Iterable[Head]) -> list[Threshold]:
    """Return the thresholds of heads; none for kinds that decide without.

    >>> thresholds_of([Head(name="ill", binary={"labels": ["no", "yes"]})])
    [Threshold(head='ill', label='', value=0.5, origin='default')]
    """
    return [threshold for head in heads for threshold in _thresholds(head)]


def set_threshold(head: Head, label: str, value: float, choice: ThresholdChoice | None = None) -> None:
    """Change a threshold; the head's decoder says whether it may be that.

    Args:
        head: it is changed.
        label: whose threshold; "" for all of the head.
        value: the threshold.
        choice: how it was chosen; None: it is given.

    Raises:
        EvaluationError: the head has no thresholds, or no such label.
    """
    known = thresholds_of([head])
    if not known:
        raise EvaluationError(f"head '{head.name}' is {head.WhichOneof('kind')}, which has no thresholds")
    if label:
        check_label(head, label)
    kind = _kind(head)
    if any(threshold.label for threshold in known):
        kind.thresholds[:] = [value if label in ("", one.label) else one.value for one in known]
    else:
        setattr(kind, _SINGLE[str(head.WhichOneof("kind"))][0], value)
    kept = [one for one in head.calibration.thresholds if label and one.label != label]
    del head.calibration.thresholds[:]
    head.calibration.thresholds.extend([*kept, *([choice] if choice is not None else [])])
    if not head.calibration.ByteSize():
        head.ClearField("calibration")


def check_label(head: Head, label: str) -> None:
    """Raise EvaluationError unless a head has a threshold of its own for a label."""
    labels = [threshold.label for threshold in thresholds_of([head])]
    if not label or label not in labels:
        there = f"the labels with thresholds are {listed(labels)}" if any(labels) else "it has one threshold"
        raise EvaluationError(f"head '{head.name}' has no threshold for '{label}'; {there}")


def _thresholds(head: Head) -> list[Threshold]:
    kind, name = _kind(head), head.WhichOneof("kind")
    choices = {choice.label: choice for choice in head.calibration.thresholds}
    if name in _SINGLE:
        field, default = _SINGLE[name]
        is_given = kind.HasField(field)
        return [_threshold(head, "", getattr(kind, field) if is_given else default, is_given, choices.get(""))]
    if name == "multilabel" or (name == "segmentation" and kind.independent):
        values: Sequence[float] = kind.thresholds or [_EACH]
        values = list(values) * len(kind.labels) if len(values) == 1 else list(values)
        return [
            _threshold(head, label, value, bool(kind.thresholds), choices.get(label))
            for label, value in zip(kind.labels, values, strict=True)
        ]
    return []


def _threshold(
    head: Head, label: str, value: float | None, is_given: bool, choice: ThresholdChoice | None
) -> Threshold:
    if choice is None:
        return Threshold(head.name, label, value, "given" if is_given else "default")
    on = choice.rows or head.calibration.rows
    # Of a percentile they are not known where no row is anomalous.
    known = f": precision {choice.precision:.4g}, recall {choice.recall:.4g}" if choice.recall else ""
    return Threshold(head.name, label, value, f"{choice.criterion}{known} on {on} rows")


def _kind(head: Head) -> Any:
    return getattr(head, str(head.WhichOneof("kind")))
