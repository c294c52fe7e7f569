"""Multiclass heads: one of several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import (
    all_true,
    blank_invalid_rows,
    flat_positions,
    least_float32,
    log_probabilities,
    normalized,
    softmax,
    softmax_exps,
    softmax_log_odds,
)
from headgate.decoders.calibration import Calibrator, calibrator_of
from headgate.decoders.decoder import Decoder
from headgate.decoders.groups import LabelGroups
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_calibration,
    check_names,
    check_thresholds,
    describe_units,
    units_of,
)
from headgate.decoders.options import DecodeOptions
from headgate.decoders.ranking import best_first
from headgate.decoders.sets import PredictionSets
from headgate.v1 import ACTIVATION_LOGITS, Head, ProbabilityCalibration, TensorSpec
from headgate.v1.columns import BoolArray, FloatArray, MulticlassColumns, TextArray

# Batches are decoded in blocks that stay in a processor's cache.
_BLOCK_ELEMENTS = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class MulticlassDecoder(Decoder):
    """Picks the best k labels of each row by their probabilities, as reported: in float32.

    Attributes:
        labels: str [classes].
        top_k: how many labels a row unless the request says otherwise.
        logits: whether the output holds logits rather than probabilities.
        scale: float32, what logits are multiplied by, the reciprocal of a temperature; None for 1.
        calibrator: of each label's probability, before all are divided by their sum; None: those of softmax stand.
        abstain_below: float32, the least score that is believed; None: all are.
        groups: None for a head without.
        sets: of labels, for the levels that the head was calibrated for.
    """

    labels: TextArray
    top_k: int
    logits: bool
    scale: NDArray[np.float32] | None
    calibrator: Calibrator | None
    abstain_below: NDArray[np.float32] | None
    groups: LabelGroups | None
    sets: PredictionSets

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> MulticlassDecoder:
        """Make the decoder of a multiclass head; raises HeadError."""
        kind = head.multiclass
        check_activation(head, PROBABILISTIC)
        check_calibration(head, "probabilities", "conformal")
        units = units_of(head, outputs)
        check_names(head, "multiclass.labels", kind.labels, units, describe_units(head, units))
        check_thresholds(head, "multiclass.abstain_below", [kind.abstain_below])
        if units == 1 and head.calibration.HasField("probabilities"):
            raise HeadError(head.name, "calibration.probabilities", "is set; the probability of a single label is 1")
        calibrator = calibrator_of(head, units)
        calibration = head.calibration.probabilities
        has_temperature = calibration.method == ProbabilityCalibration.METHOD_TEMPERATURE
        return cls(
            head.name,
            {head.output: (-1, units)},
            np.array(list(kind.labels), object),
            min(kind.top_k, units) or 1,
            head.activation == ACTIVATION_LOGITS,
            np.array(1 / calibration.temperatures[0], np.float32) if has_temperature else None,
            None if has_temperature else calibrator,
            least_float32(np.array(kind.abstain_below)) if kind.abstain_below else None,
            LabelGroups.from_head(head),
            PredictionSets.from_head(head),
        )

    def check(self, options: DecodeOptions) -> None:
        """Raise ValueError for a confidence level that the head was not calibrated for."""
        self.sets.level(options)

    def as_logits(self, output: FloatArray) -> FloatArray:
        """Return the logits that softmax and temperature are applied to: an output's, or ln p; [rows, classes]."""
        return output if self.logits else log_probabilities(output)

    def log_odds(self, output: FloatArray) -> FloatArray:
        """Return the log-odds of each label that an output gives, not calibrated: float64 [rows, classes].

        NaN in invalid rows; -inf only where a logit is.
        """
        return softmax_log_odds(self.as_logits(output))

    def _rows_together(self, outputs: Sequence[FloatArray]) -> int:
        return _BLOCK_ELEMENTS // len(self.labels) or 1

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> MulticlassColumns:
        (output,) = outputs
        probabilities, valid = self._probabilities(output)
        classes = len(self.labels)
        top_k = min(options.top_k, classes) if options.top_k else self.top_k
        level = self.sets.level(options)
        order = best_first(probabilities, classes if level and self.sets.adaptive else top_k)
        scores = probabilities.take(flat_positions(order, classes))
        set_offsets, set_indices = None, None
        if level:
            set_offsets, set_indices = self.sets.members(probabilities, valid, order, scores, level)
            order, scores = order[:, :top_k], scores[:, :top_k]
        labels = self.labels.take(order)
        indices = order.astype(np.int32)
        if not all_true(valid):
            labels[~valid] = ""
            indices[~valid] = -1
        groups = self.groups if options.include_groups else None
        return MulticlassColumns(
            labels,
            indices,
            scores,
            classes,
            valid,
            probabilities if options.include_probabilities else None,
            _entropies(probabilities) if options.include_entropy else None,
            _margins(probabilities) if options.include_margin else None,
            None if self.abstain_below is None else scores[:, 0] < self.abstain_below,
            set_offsets,
            None if set_indices is None else self.labels.take(set_indices),
            None if set_indices is None else set_indices.astype(np.int32),
            level,
            None if groups is None else groups.scores(probabilities),
            () if groups is None else groups.names,
        )

    def _probabilities(self, output: FloatArray) -> tuple[FloatArray, BoolArray]:
        """Return calibrated probabilities, float32 [rows, classes], and which rows have an answer; others are NaN."""
        calibrator = self.calibrator
        if calibrator is not None and calibrator.reads_log_odds:
            return normalized(calibrator(self.log_odds(output)))
        if self.logits or self.scale is not None:
            logits = self.as_logits(output)
            if calibrator is None:
                return normalized(softmax_exps(logits, self.scale))
            return normalized(calibrator(softmax(logits)))
        probabilities = output.astype(np.float32)
        valid = blank_invalid_rows(probabilities, finite=True)
        return (probabilities, valid) if calibrator is None else normalized(calibrator(probabilities))


def _entropies(probabilities: FloatArray) -> FloatArray:
    # 0 * ln 0 counts as 0: the smallest number stands in for 0 under the logarithm.
    logarithms = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    sums: FloatArray = np.add.reduce(probabilities * logarithms, axis=1)
    # Not -sums, which is -0 where one class has it all.
    return 0 - sums


def _margins(probabilities: FloatArray) -> FloatArray:
    if probabilities.shape[1] == 1:
        # NaN stays.
        return np.where(np.isnan(probabilities[:, 0]), np.float32(np.nan), np.float32(1))
    best_two: FloatArray = np.partition(probabilities, -2, axis=1)[:, -2:]
    return best_two[:, 1] - best_two[:, 0]
