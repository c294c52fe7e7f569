"""Ordinal heads: one of several labels in an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.decoders.activations import all_true, blank_invalid_rows, flat_positions, wide_sigmoid
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_names,
    check_uncalibrated,
    describe_units,
    enum_name,
    units_of,
)
from headgate.decoders.options import DecodeOptions
from headgate.v1 import ACTIVATION_LOGITS, Head, OrdinalHead, TensorSpec
from headgate.v1.columns import FloatArray, OrdinalColumns, TextArray

_HALF = np.array(0.5)


@dataclass(frozen=True, slots=True, eq=False)
class OrdinalDecoder(Decoder):
    """Turns the probabilities of going further into one of each label, in float64.

    Attributes:
        labels: str [classes], from the lowest to the highest.
        conditional: whether each unit says how probable it is to go further once its label is reached.
        falling: whether units say how probable it is not to go further.
        logits: whether the output holds logits rather than probabilities.
    """

    labels: TextArray
    conditional: bool
    falling: bool
    logits: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> OrdinalDecoder:
        """Make the decoder of an ordinal head; raises HeadError."""
        kind = head.ordinal
        check_activation(head, PROBABILISTIC)
        check_uncalibrated(head)
        units = units_of(head, outputs)
        reason = f"{describe_units(head, units)}, one less than labels"
        check_names(head, "ordinal.labels", kind.labels, units + 1, reason)
        if kind.form == OrdinalHead.FORM_UNSPECIFIED or kind.form not in OrdinalHead.Form.values():
            known = ", ".join(OrdinalHead.Form.keys()[1:])
            raise HeadError(head.name, "ordinal.form", f"is {enum_name(OrdinalHead.Form, kind.form)}; give {known}")
        labels = np.array(list(kind.labels), object)
        return cls(
            head.name,
            {head.output: (-1, units)},
            labels,
            kind.form == OrdinalHead.FORM_CONDITIONAL,
            kind.form == OrdinalHead.FORM_CUMULATIVE,
            head.activation == ACTIVATION_LOGITS,
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> OrdinalColumns:
        (output,) = outputs
        # The probability that each label is exceeded, with one that always is before the first.
        exceeded = np.zeros((len(output), len(self.labels) + 1))
        exceeded[:, 0] = 1
        combine = np.multiply if self.conditional else np.minimum
        combine.accumulate(self._units(output), axis=1, out=exceeded[:, 1:-1])
        beyond = exceeded[:, 1:]
        probabilities = exceeded[:, :-1] - beyond
        # The cumulative probability reaches 0.5 at the first label that is exceeded with no more.
        ranks = (beyond <= _HALF).argmax(1)
        scores = probabilities.take(flat_positions(ranks, len(self.labels)))
        expected_ranks = np.add.reduce(beyond, axis=1)
        labels = self.labels.take(ranks)
        # Not so where it is NaN.
        valid = np.equal(expected_ranks, expected_ranks)
        if not all_true(valid):
            labels[~valid] = ""
            ranks[~valid] = -1
            scores[~valid] = probabilities[~valid] = np.nan
        return OrdinalColumns(
            labels,
            ranks.astype(np.int32),
            scores.astype(np.float32),
            expected_ranks.astype(np.float32),
            len(self.labels),
            valid,
            probabilities.astype(np.float32) if options.include_probabilities else None,
        )

    def _units(self, output: FloatArray) -> FloatArray:
        """Return the probability that each unit gives for going further, float64 [rows, units]."""
        values = output.astype(np.float64)
        if self.logits:
            return wide_sigmoid(-values if self.falling else values)
        blank_invalid_rows(values, finite=True)
        inside = np.minimum(np.maximum(values, 0), 1)
        return 1 - inside if self.falling else inside
