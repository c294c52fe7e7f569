"""Binary heads: one of two labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.decoders.activations import blank_invalid_rows, sigmoid, softmax
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import PROBABILISTIC, HeadError, check_activation, check_names, check_thresholds, units_of
from headgate.decoders.options import DecodeOptions
from headgate.v1 import ACTIVATION_LOGITS, Head, TensorSpec
from headgate.v1.columns import BinaryColumns, FloatArray, TextArray


@dataclass(frozen=True, slots=True, eq=False)
class BinaryDecoder(Decoder):
    """Compares the positive label's probability with a threshold, as reported: in float32.

    Attributes:
        labels: str [2], the negative label and the positive one.
        positive_class: 0 or 1, the position of the positive label in the head's labels.
        threshold: applied unless the request has its own.
        logits: whether the output holds logits rather than probabilities.
    """

    labels: TextArray
    positive_class: int
    threshold: float
    logits: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> BinaryDecoder:
        """Make the decoder of a binary head; raises HeadError."""
        kind = head.binary
        check_activation(head, PROBABILISTIC)
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
        ordered = np.array([kind.labels[1 - positive_class], kind.labels[positive_class]], object)
        reads = {head.output: (-1, units)}
        return cls(head.name, reads, ordered, positive_class, threshold, head.activation == ACTIVATION_LOGITS)

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> BinaryColumns:
        (output,) = outputs
        both_or_one = self._probabilities(output)
        valid = blank_invalid_rows(both_or_one)
        probabilities = both_or_one[:, self.positive_class if both_or_one.shape[1] == 2 else 0]
        threshold = self.threshold if options.threshold is None else options.threshold
        # As an array of float64: numpy would round a bare number to float32, a client that compares would not.
        positives = probabilities >= np.array([threshold])
        labels = self.labels.take(positives)
        if np.count_nonzero(valid) < len(valid):
            labels[~valid] = ""
        return BinaryColumns(labels, probabilities, positives, valid, self.labels[1], threshold)

    def _probabilities(self, output: FloatArray) -> FloatArray:
        """Return the probabilities of both labels, [rows, 2], or of the positive one, [rows, 1]."""
        if output.shape[1] == 2:
            return softmax(output) if self.logits else output.astype(np.float32)
        if self.logits:
            # Not 1 - sigmoid(x), which has no digits left where x is large.
            return sigmoid(output if self.positive_class else -output)
        probabilities = output.astype(np.float32)
        return probabilities if self.positive_class else 1 - probabilities
