"""Binary heads: one of two labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import (
    all_true,
    blank_invalid_rows,
    least_float32,
    log_odds,
    log_probabilities,
    narrow,
    sigmoid,
    wide,
)
from headgate.decoders.calibration import Calibrator, calibrator_of
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_calibration,
    check_names,
    check_thresholds,
    units_of,
)
from headgate.decoders.options import DecodeOptions
from headgate.v1 import ACTIVATION_LOGITS, BinaryHead, Head, TensorSpec
from headgate.v1.columns import BinaryColumns, FloatArray, TextArray

# From and to which probability neither label is decided for.
_Band = tuple[NDArray[np.float32], NDArray[np.float32]]
_NEVER: _Band = (np.array(1, np.float32), np.array(1, np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class BinaryDecoder(Decoder):
    """Compares the positive label's probability with a threshold, as reported: in float32.

    Attributes:
        labels: str [2], the negative label and the positive one.
        positive_class: 0 or 1, the position of the positive label in the head's labels.
        threshold: applied unless the request has its own.
        least_positive: the least float32 that reaches the threshold.
        abstain: the least float32 for which neither label is decided for, and the least above for which one is again;
            None: one always is.
        logits: whether the output holds logits rather than probabilities.
        calibrator: of the positive label's probability; None: the model's own stands.
    """

    labels: TextArray
    positive_class: int
    threshold: float
    least_positive: NDArray[np.float32]
    abstain: _Band | None
    logits: bool
    calibrator: Calibrator | None

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> BinaryDecoder:
        """Make the decoder of a binary head; raises HeadError."""
        kind = head.binary
        check_activation(head, PROBABILISTIC)
        check_calibration(head, "probabilities", "thresholds")
        units = units_of(head, outputs)
        if units > 2:
            raise HeadError(head.name, "output", f"'{head.output}' has {units} units, a binary head reads 1 or 2")
        check_names(head, "binary.labels", kind.labels, 2, "a binary head decides between two")
        if kind.positive_label and kind.positive_label not in kind.labels:
            choice = " or ".join(f"'{label}'" for label in kind.labels)
            raise HeadError(head.name, "binary.positive_label", f"is '{kind.positive_label}'; give {choice}")
        threshold = kind.threshold if kind.HasField("threshold") else 0.5
        check_thresholds(head, "binary.threshold", [threshold])
        positive_class = 0 if kind.positive_label == kind.labels[0] else 1
        return cls(
            head.name,
            {head.output: (-1, units)},
            np.array([kind.labels[1 - positive_class], kind.labels[positive_class]], object),
            positive_class,
            threshold,
            least_float32(np.array(threshold)),
            _abstain_band(head, kind, threshold),
            head.activation == ACTIVATION_LOGITS,
            calibrator_of(head, 1),
        )

    def log_odds(self, output: FloatArray) -> FloatArray:
        """Return the log-odds of the positive label that an output [rows, units] gives, not calibrated: [rows, 1].

        Float32 at least. NaN in invalid rows; infinite only where a logit is.
        """
        positive, negative = self.positive_class, 1 - self.positive_class
        if output.shape[1] == 1:
            values = wide(output) if self.logits else log_odds(output)
            return values if positive else -values
        logits = wide(output) if self.logits else log_probabilities(output)
        # Less the greater one, which is one of both: +inf gives NaN, and what both have in common does not matter.
        logits = logits - np.maximum(logits[:, :1], logits[:, 1:])
        return logits[:, positive : positive + 1] - logits[:, negative : negative + 1]

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> BinaryColumns:
        (output,) = outputs
        probabilities = self._probabilities(output)[:, 0]
        # Not so where it is NaN.
        valid = np.equal(probabilities, probabilities)
        threshold, least_positive = self.threshold, self.least_positive
        if options.threshold is not None:
            threshold = options.threshold
            least_positive = least_float32(np.array(threshold))
        positives = probabilities >= least_positive
        labels = self.labels.take(positives)
        abstained = None
        if self.abstain is not None:
            least, beyond = self.abstain if options.threshold is None else _NEVER
            abstained = (probabilities >= least) & (probabilities < beyond)
            labels[abstained] = ""
            positives &= ~abstained
        if not all_true(valid):
            labels[~valid] = ""
        return BinaryColumns(labels, probabilities, positives, valid, self.labels[1], threshold, abstained)

    def _probabilities(self, output: FloatArray) -> FloatArray:
        """Return the probabilities of the positive label, float32 [rows, 1]."""
        if self.calibrator is None:
            return self._own_probabilities(output)
        reads_log_odds = self.calibrator.reads_log_odds
        return narrow(self.calibrator(self.log_odds(output) if reads_log_odds else self._own_probabilities(output)))

    def _own_probabilities(self, output: FloatArray) -> FloatArray:
        if self.logits:
            # Not 1 - sigmoid(x), which has no digits left where x is large.
            return sigmoid(self.log_odds(output))
        probabilities = output.astype(np.float32)
        blank_invalid_rows(probabilities, finite=True)
        if output.shape[1] == 2:
            return probabilities[:, self.positive_class :][:, :1]
        return probabilities if self.positive_class else 1 - probabilities


def _abstain_band(head: Head, kind: BinaryHead, threshold: float) -> _Band | None:
    if not kind.HasField("abstain"):
        return None
    lower, upper = kind.abstain.lower, kind.abstain.upper
    if not 0 <= lower <= threshold <= upper <= 1:
        raise HeadError(
            head.name,
            "binary.abstain",
            f"is from {lower:g} to {upper:g}; give a band in 0..1 that holds the threshold, {threshold:g}",
        )
    return least_float32(np.array(lower)), least_float32(np.array(upper))
