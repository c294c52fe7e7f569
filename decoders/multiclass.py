"""Multiclass heads: one of several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import (
    against_rows,
    blank_invalid_rows,
    flat_positions,
    least_float32,
    log_probabilities,
    narrow,
    softmax,
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
from headgate.v1.columns import FloatArray, MulticlassColumns, TextArray

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
            kind.top_k or 1,
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
        """Return the log-odds of each label that an output gives, not calibrated: [rows, classes], float32 at least.

        Finite, or NaN in invalid rows.
        """
        return softmax_log_odds(self.as_logits(output))

    def _rows_together(self, outputs: Sequence[FloatArray]) -> int:
        return max(1, _BLOCK_ELEMENTS // len(self.labels))

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> MulticlassColumns:
        (output,) = outputs
        probabilities = self._probabilities(output)
        order = best_first(probabilities, min(options.top_k or self.top_k, len(self.labels)))
        scores = probabilities.take(flat_positions(order, len(self.labels)))
        best_scores = scores[:, 0]
        # Not so where it is NaN.
        valid = np.equal(best_scores, best_scores)
        labels = self.labels.take(order)
        indices = order.astype(np.int32)
        if np.count_nonzero(valid) < len(valid):
            labels[~valid] = ""
            indices[~valid] = -1
        level = self.sets.level(options)
        set_offsets, set_indices = self.sets.members(probabilities, level) if level else (None, None)
        groups = self.groups if options.include_groups else None
        return MulticlassColumns(
            labels,
            indices,
            scores,
            len(self.labels),
            valid,
            probabilities if options.include_probabilities else None,
            _entropies(probabilities) if options.include_entropy else None,
            _margins(probabilities) if options.include_margin else None,
            None if self.abstain_below is None else best_scores < self.abstain_below,
            set_offsets,
            None if set_indices is None else self.labels.take(set_indices),
            None if set_indices is None else set_indices.astype(np.int32),
            level,
            None if groups is None else groups.scores(probabilities),
            () if groups is None else groups.names,
        )

    def _probabilities(self, output: FloatArray) -> FloatArray:
        """Return calibrated probabilities, float32 [rows, classes]; rows without an answer are NaN throughout."""
        if self.calibrator is None:
            return self._of_softmax(output)
        reads_log_odds = self.calibrator.reads_log_odds
        probabilities = self.calibrator(self.log_odds(output) if reads_log_odds else self._of_softmax(output))
        sums = np.add.reduce(probabilities, 1)
        if np.count_nonzero(sums) < len(sums):
            # No label is possible by itself: all are alike, as in scikit-learn.
            probabilities[sums == 0] = 1
            sums[sums == 0] = len(self.labels)
        probabilities /= against_rows(sums)
        return narrow(probabilities)

    def _of_softmax(self, output: FloatArray) -> FloatArray:
        if self.logits or self.scale is not None:
            return softmax(self.as_logits(output), self.scale)
        probabilities = output.astype(np.float32)
        blank_invalid_rows(probabilities, finite=True)
        return probabilities


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
