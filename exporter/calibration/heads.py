"""Heads with what is fitted for them on held-out data."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray

from headgate.decoders import HeadError, decoder_for
from headgate.exporter.calibration.held_out import HeldOut, fingerprint
from headgate.exporter.calibration.labels import fit_binary, fit_multiclass, fit_multilabel
from headgate.exporter.calibration.numbers import fit_anomaly, fit_intervals
from headgate.exporter.calibration.plan import CalibrationPlan, thresholds_of
from headgate.exporter.errors import CalibrationError
from headgate.exporter.labelled_data import LabelledData
from headgate.exporter.proof.sessions import open_session, run_in_batches
from headgate.exporter.timestamps import utc_now
from headgate.v1 import Calibration, Head, TensorSpec

_CALIBRATED = ("binary", "multilabel", "multiclass", "regression", "count", "mean_variance", "quantile", "anomaly")


def calibrate_heads(
    path: Path,
    heads: Sequence[Head],
    outputs: Sequence[TensorSpec],
    data: LabelledData,
    plan: CalibrationPlan,
    progress: Callable[[str], None] = lambda part: None,
) -> tuple[list[Head], list[str]]:
    """Fit on what an exported model answers to held-out data.

    Args:
        path: the ONNX file as it will be served.
        heads: what its outputs mean.
        outputs: the model's.
        data: the held-out rows; heads without targets in it stay as they are, but for anomaly heads, whose rows are
            taken for usual ones then.
        plan: what is to be fitted.
        progress: called with what of the data has gone through the model, at each percent, and with each head that is
            fitted then.

    Returns:
        The heads, and notes for the user, one sentence each.

    Raises:
        CalibrationError: the data does not allow what is asked for, or has no targets for a head of which something is.
    """
    criteria = plan.criteria_of(heads)
    targets = {head.name: head_targets for head in heads if (head_targets := _targets_of(head, data)) is not None}
    # Others may be large, and all rows are kept.
    read = {name for head in heads if head.name in targets for name in decoder_for(_bare(head), outputs).reads}
    answers = run_in_batches(open_session(path), sorted(read), data.inputs, _each_percent(progress))
    provenance = Calibration(
        data_sha256=fingerprint(data),
        fitted_at=utc_now(),
        versions={"numpy": np.__version__, "scikit-learn": sklearn.__version__},
    )
    calibrated, notes = [], []
    for head in heads:
        if head.name not in targets:
            if head.name in criteria:
                raise CalibrationError(f"choose_threshold= needs targets for head '{head.name}'; give them")
            try:
                decoder_for(head, outputs)
            except HeadError as error:
                raise CalibrationError(f"{error}; the calibration data has no targets for it") from error
            calibrated.append(head)
            continue
        progress(f"head '{head.name}'")
        held_out = HeldOut(outputs, answers, targets[head.name])
        fitted, remarks = calibrate_head(head, held_out, plan, criteria.get(head.name))
        if fitted.HasField("calibration"):
            fitted.calibration.MergeFrom(provenance)
        calibrated.append(fitted)
        notes += remarks
    return calibrated, notes


def calibrate_head(
    head: Head, data: HeldOut, plan: CalibrationPlan, criterion: str | None = None
) -> tuple[Head, list[str]]:
    """Fit what there is to fit for one head.

    Args:
        head: any; a calibration that it has is replaced.
        data: held-out rows; those without a valid answer are left out, and a note says so.
        plan: what is to be fitted.
        criterion: what the head's threshold is chosen by; None: it stays.

    Returns:
        A new head, or the same where its kind has nothing to fit; and notes, one sentence each.

    Raises:
        CalibrationError: the rows do not allow what is asked for.
    """
    kind = head.WhichOneof("kind")
    if kind not in _CALIBRATED:
        return head, [f"head '{head.name}' is {kind}, a kind for which nothing is calibrated"]
    if kind == "quantile" and len(head.quantile.levels) < 2:
        return head, [f"head '{head.name}' has one quantile, of which no interval is made"]
    fitted, notes = _bare(head), []
    try:
        rows = len(data)
        data = data.valid_rows(fitted)
        if len(data) < rows:
            notes.append(
                f"head '{head.name}': the model gives no valid answer for {rows - len(data)} of {rows} rows of the "
                "calibration data, which are left out"
            )
        match kind:
            case "binary":
                notes += fit_binary(fitted, data, plan, criterion)
            case "multilabel":
                notes += fit_multilabel(fitted, data, plan, criterion)
            case "multiclass":
                notes += fit_multiclass(fitted, data, plan, head.confidence_level)
            case "anomaly":
                fit_anomaly(fitted, data, criterion)
            case _:
                fit_intervals(fitted, data, plan, head.confidence_level)
        fitted.calibration.rows = len(data)
        if criterion is None and fitted.calibration.HasField("probabilities") and thresholds_of(head):
            notes.append(f"head '{head.name}': its threshold is compared with calibrated probabilities from now on")
        decoder_for(fitted, data.outputs)
    except HeadError as error:
        raise CalibrationError(str(error)) from error
    except CalibrationError as error:
        raise CalibrationError(f"head '{head.name}': {error}") from error
    return fitted, notes


def _each_percent(progress: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return what tells how many rows are done, but no more often than anyone wants to know."""
    last = -1

    def rows_done(done: int, rows: int) -> None:
        nonlocal last
        percent = 100 * done // rows
        if percent > last:
            last = percent
            progress(f"{percent} % of {rows} rows")

    return rows_done


def _targets_of(head: Head, data: LabelledData) -> NDArray[Any] | None:
    if head.name not in data.targets and head.HasField("anomaly"):
        return np.zeros(len(next(iter(data.inputs.values()))), np.int64)
    return data.targets.get(head.name)


def _bare(head: Head) -> Head:
    """Return a copy without a calibration, and without a level that only a calibration gives it."""
    bare = Head()
    bare.CopyFrom(head)
    bare.ClearField("calibration")
    bare.ClearField("confidence_level")
    return bare
