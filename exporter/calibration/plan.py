"""What is to be fitted on held-out data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headgate.exporter.calibration.thresholds import check_criterion, percentage
from headgate.exporter.errors import CalibrationError, listed
from headgate.v1 import Head

CalibrationMethod = Literal["auto", "temperature", "platt", "isotonic", "none"]
SetMethod = Literal["aps", "lac"]

#: The kinds of head that have thresholds to choose, probabilities to scale, sets of labels, and intervals.
_DECIDING = ("binary", "multilabel", "anomaly")
_PROBABLE = ("binary", "multiclass", "multilabel")
_WITH_SETS = ("multiclass",)
_WITH_LEVELS = ("regression", "count", "mean_variance", "quantile", *_WITH_SETS)


@dataclass(frozen=True)
class CalibrationPlan:
    """What is to be fitted, as `export_model` is asked for it.

    Attributes:
        method: how probabilities are scaled.
        criteria: what thresholds are chosen by: of the one head that has some, or by name of head.
        confidence_levels: of intervals and sets; None: those of 0.8, 0.9, 0.95 and 0.99 that the rows allow.
        prediction_sets: how sets of labels are made.

    Raises:
        CalibrationError: one of them is not known, or out of range.
    """

    method: CalibrationMethod = "auto"
    criteria: str | Mapping[str, str] | None = None
    confidence_levels: Sequence[float] | None = None
    prediction_sets: SetMethod = "aps"

    def __post_init__(self) -> None:
        if self.method not in get_args(CalibrationMethod):
            known = listed(get_args(CalibrationMethod))
            raise CalibrationError(f"calibration_method={self.method!r} is no method; give one of {known}")
        if self.prediction_sets not in get_args(SetMethod):
            raise CalibrationError(f"prediction_sets={self.prediction_sets!r} is no method; give 'aps' or 'lac'")
        for criterion in _values(self.criteria):
            check_criterion(criterion)
        levels = self.confidence_levels
        # As many digits as decoders tell levels apart by.
        if levels is not None and not (len(levels) and all(0.000001 <= level <= 0.999999 for level in levels)):
            raise CalibrationError(
                f"confidence_levels={levels!r} are no levels; give numbers between 0 and 1, such as 0.9"
            )

    def check_used(self, heads: Sequence[Head]) -> None:
        """Raise CalibrationError where something is asked for that none of the heads to be calibrated has.

        Args:
            heads: those that the held-out data has targets for.
        """
        kinds = {str(head.WhichOneof("kind")) for head in heads}
        for argument, is_given, of in (
            (f"calibration_method={self.method!r}", self.method not in ("auto", "none"), _PROBABLE),
            ("confidence_levels=", self.confidence_levels is not None, _WITH_LEVELS),
            (f"prediction_sets={self.prediction_sets!r}", self.prediction_sets != "aps", _WITH_SETS),
        ):
            if is_given and not kinds & set(of):
                raise CalibrationError(
                    f"{argument} is for heads of kind {listed(of, ' or ')}, and the calibration data has targets for "
                    f"{listed(sorted(kinds)) or 'none'}; leave it out"
                )

    def criteria_of(self, heads: Sequence[Head]) -> dict[str, str]:
        """Return the criterion of each head whose threshold is to be chosen.

        Raises:
            CalibrationError: it fits no head, several, or one whose threshold is given.
        """
        if self.criteria is None:
            return {}
        deciding = {head.name: head for head in heads if head.WhichOneof("kind") in _DECIDING}
        if isinstance(self.criteria, str):
            if len(deciding) != 1:
                there = f"the heads {listed(deciding)} have" if deciding else "no head has"
                raise CalibrationError(
                    f"choose_threshold={self.criteria!r} is for the only binary, multilabel or anomaly head, but "
                    f"{there} thresholds; give it by name of head"
                )
            criteria = dict.fromkeys(deciding, self.criteria)
        else:
            names = {head.output: name for name, head in deciding.items()} | {name: name for name in deciding}
            unknown = [name for name in self.criteria if name not in names]
            if unknown:
                raise CalibrationError(
                    f"choose_threshold= names '{unknown[0]}'; the heads with thresholds are "
                    f"{listed(deciding) or 'none'}"
                )
            criteria = {names[name]: criterion for name, criterion in self.criteria.items()}
        for name, criterion in criteria.items():
            _check(deciding[name], criterion)
        return criteria


def thresholds_of(head: Head) -> list[float]:
    """Return the thresholds that a head was given; none where it has those of its kind."""
    kind = str(head.WhichOneof("kind"))
    if kind not in _DECIDING:
        return []
    fields = getattr(head, kind)
    return list(fields.thresholds) if kind == "multilabel" else [fields.threshold] * fields.HasField("threshold")


def _values(criteria: str | Mapping[str, str] | None) -> list[str]:
    if criteria is None:
        return []
    return [criteria] if isinstance(criteria, str) else list(criteria.values())


def _check(head: Head, criterion: str) -> None:
    given = thresholds_of(head)
    if given:
        numbers = ", ".join(f"{threshold:g}" for threshold in given)
        raise CalibrationError(
            f"head '{head.name}' has the threshold {numbers}, and choose_threshold= is to choose one; give either"
        )
    if percentage(criterion) is not None and not head.HasField("anomaly"):
        raise CalibrationError(
            f"'{criterion}' is for anomaly heads, head '{head.name}' is {head.WhichOneof('kind')}; give another, such "
            "as 'f1'"
        )
