"""Multilabel heads: any number of labels, each decided on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import (
    blank_invalid_rows,
    least_float32,
    log_odds,
    narrow,
    row_starts,
    sigmoid,
    wide,
)
from headgate.decoders.calibration import Calibrator, calibrator_of
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    check_activation,
    check_calibration,
    check_count,
    check_names,
    check_thresholds,
    describe_units,
    units_of,
)
from headgate.decoders.options import DecodeOptions
from headgate.v1 import ACTIVATION_LOGITS, Head, TensorSpec
from headgate.v1.columns import FloatArray, MultilabelColumns, TextArray


@dataclass(frozen=True, slots=True, eq=False)
class MultilabelDecoder(Decoder):
    """Compares each label's probability with its threshold, as reported: in float32.

    Attributes:
        labels: str [classes].
        thresholds: float64 [classes], applied unless the request has its own.
        least_positive: float32 [1, classes], the least that reach the thresholds.
        logits: whether the output holds logits rather than probabilities.
        calibrator: of each label's probability; None: the model's own stand.
    """

    labels: TextArray
    thresholds: FloatArray
    least_positive: NDArray[np.float32]
    logits: bool
    calibrator: Calibrator | None

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> MultilabelDecoder:
        """Make the decoder of a multilabel head; raises HeadError."""
        kind = head.multilabel
        check_activation(head, PROBABILISTIC)
        check_calibration(head, "probabilities", "thresholds")
        units = units_of(head, outputs)
        check_names(head, "multilabel.labels", kind.labels, units, describe_units(head, units))
        check_count(head, "multilabel.thresholds", kind.thresholds, units)
        check_thresholds(head, "multilabel.thresholds", kind.thresholds)
        thresholds = np.full(units, kind.thresholds or 0.5)
        # Every answer carries this one array.
        thresholds.setflags(write=False)
        return cls(
            head.name,
            {head.output: (-1, units)},
            np.array(list(kind.labels), object),
            thresholds,
            least_float32(thresholds[None]),
            head.activation == ACTIVATION_LOGITS,
            calibrator_of(head, units),
        )

    def log_odds(self, output: FloatArray) -> FloatArray:
        """Return the log-odds of each label that an output gives, not calibrated: [rows, labels], float32 at least."""
        return wide(output) if self.logits else log_odds(output)

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> MultilabelColumns:
        (output,) = outputs
        classes = len(self.labels)
        probabilities = self._probabilities(output)
        valid = blank_invalid_rows(probabilities, finite=True)
        thresholds, least_positive = self.thresholds, self.least_positive
        if options.threshold is not None:
            thresholds = np.full(classes, options.threshold, np.float64)
            least_positive = least_float32(np.array(options.threshold))
        (entries,) = (probabilities >= least_positive).ravel().nonzero()
        indices = entries % classes
        return MultilabelColumns(
            entries.searchsorted(row_starts(len(probabilities) + 1, classes)),
            self.labels.take(indices),
            indices.astype(np.int32),
            probabilities.take(entries),
            valid,
            thresholds,
            probabilities if options.include_probabilities else None,
        )

    def _probabilities(self, output: FloatArray) -> FloatArray:
        if self.calibrator is not None and self.calibrator.reads_log_odds:
            return narrow(self.calibrator(self.log_odds(output)))
        probabilities = sigmoid(output) if self.logits else output.astype(np.float32)
        if self.calibrator is None:
            return probabilities
        if not self.logits:
            # Curves make numbers of infinities.
            blank_invalid_rows(probabilities, finite=True)
        return narrow(self.calibrator(probabilities))
