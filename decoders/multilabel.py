"""Multilabel heads: any number of labels, each decided on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.decoders.activations import blank_invalid_rows, sigmoid
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    check_activation,
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
        logits: whether the output holds logits rather than probabilities.
    """

    labels: TextArray
    thresholds: FloatArray
    logits: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> MultilabelDecoder:
        """Make the decoder of a multilabel head; raises HeadError."""
        kind = head.multilabel
        check_activation(head, PROBABILISTIC)
        units = units_of(head, outputs)
        check_names(head, "multilabel.labels", kind.labels, units, describe_units(head, units))
        check_count(head, "multilabel.thresholds", kind.thresholds, units)
        check_thresholds(head, "multilabel.thresholds", kind.thresholds)
        thresholds = np.full(units, kind.thresholds or 0.5)
        # Every answer carries this one array.
        thresholds.setflags(write=False)
        labels = np.array(list(kind.labels), object)
        return cls(head.name, {head.output: (-1, units)}, labels, thresholds, head.activation == ACTIVATION_LOGITS)

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> MultilabelColumns:
        (output,) = outputs
        probabilities = sigmoid(output) if self.logits else output.astype(np.float32)
        valid = blank_invalid_rows(probabilities)
        thresholds = (
            self.thresholds if options.threshold is None else np.full(len(self.labels), options.threshold, np.float64)
        )
        entries = np.flatnonzero(probabilities >= thresholds)
        indices = entries % len(self.labels)
        return MultilabelColumns(
            entries.searchsorted(np.arange(0, probabilities.size + len(self.labels), len(self.labels))),
            self.labels.take(indices),
            indices.astype(np.int32),
            probabilities.take(entries),
            valid,
            thresholds,
            probabilities if options.include_probabilities else None,
        )
