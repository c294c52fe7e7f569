"""CTC heads: a sequence of symbols from a score for each step, and one for none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import wide
from headgate.decoders.decoder import DecodeError, Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_different,
    check_output,
    check_size,
    check_uncalibrated,
    describe_units,
)
from headgate.decoders.options import DecodeOptions
from headgate.decoders.prefix_beam import prefix_beam_search
from headgate.decoders.sequences import sequence_shape
from headgate.v1 import ACTIVATION_LOGITS, Head, TensorSpec
from headgate.v1.columns import CtcColumns, FloatArray, TextArray
from headgate.v1.tensors import text_array

# A step compares each prefix with each other, and all steps' prefixes are remembered, in some thirty bytes each.
_MAX_BEAM_WIDTH, _MAX_PREFIXES, _PREFIXES_TOGETHER = 1 << 10, 1 << 23, 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class CtcDecoder(Decoder):
    """Takes the best unit of each step, or searches for the texts that are most probable over all their alignments.

    Rows are invalid, too, whose length is negative or more than there are steps, and those that allow no text.

    Attributes:
        labels: str [units].
        blank: the unit of the blank.
        separator: what stands between symbols in texts.
        beam_width: how many prefixes the search keeps; 1: the best unit of each step.
        top_k: how many texts a row unless the request says otherwise.
        logits: whether the output holds logits rather than probabilities.
    """

    labels: TextArray
    blank: int
    separator: str
    beam_width: int
    top_k: int
    logits: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> CtcDecoder:
        """Make the decoder of a CTC head; raises HeadError."""
        kind = head.ctc
        check_activation(head, PROBABILISTIC)
        check_uncalibrated(head)
        shape = sequence_shape(head, outputs)
        reads: dict[str, tuple[int, ...]] = {head.output: shape}
        units = shape[2]
        if units < 2:
            raise HeadError(head.name, "output", f"'{head.output}' has 1 unit; a ctc head reads a blank and symbols")
        check_size(head, "ctc.labels", kind.labels, units, describe_units(head, units))
        blank = kind.blank if kind.HasField("blank") else units - 1
        if blank >= units:
            raise HeadError(head.name, "ctc.blank", f"is {blank}, {describe_units(head, units)}; give 0 to {units - 1}")
        check_different(head, "ctc.labels", [label for unit, label in enumerate(kind.labels) if unit != blank])
        beam_width = kind.beam_width or 1
        if beam_width > _MAX_BEAM_WIDTH:
            raise HeadError(head.name, "ctc.beam_width", f"is {beam_width}; give at most {_MAX_BEAM_WIDTH}")
        if beam_width > 1 and beam_width * shape[1] > _MAX_PREFIXES:
            problem = f"is {beam_width}, too much for the {shape[1]} steps of output '{head.output}'; give less"
            raise HeadError(head.name, "ctc.beam_width", problem)
        if kind.top_k > beam_width:
            problem = f"is {kind.top_k}, and beam_width {kind.beam_width} finds no more than {beam_width}; give less"
            raise HeadError(head.name, "ctc.top_k", problem)
        if kind.lengths_output:
            check_output(head, "ctc.lengths_output", kind.lengths_output, outputs, [-1], [-1, 1])
            reads[kind.lengths_output] = (-1, 1)
        return cls(
            head.name,
            reads,
            text_array(kind.labels),
            blank,
            kind.separator,
            beam_width,
            kind.top_k or 1,
            head.activation == ACTIVATION_LOGITS,
        )

    def _rows_together(self, outputs: Sequence[NDArray[Any]]) -> int:
        rows, steps = int(outputs[0].shape[0]), int(outputs[0].shape[1])
        if self.beam_width == 1:
            return rows
        if self.beam_width * steps > _MAX_PREFIXES:
            raise DecodeError(
                f"head '{self.head}' reads {steps} steps, too many for a beam_width of {self.beam_width}; send at most "
                f"{_MAX_PREFIXES // self.beam_width} steps"
            )
        return max(1, _PREFIXES_TOGETHER // (self.beam_width * max(self.beam_width, steps)))

    def _decode(self, outputs: Sequence[NDArray[Any]], options: DecodeOptions) -> CtcColumns:
        output, *lengths = outputs
        logarithms = _log_softmax(output) if self.logits else np.log(wide(output))
        rows, steps, units = logarithms.shape
        # Stands for steps that are not read: it changes neither texts nor what they are worth.
        blank_for_sure = np.where(np.arange(units) == self.blank, 0, -np.inf)
        valid = np.ones(rows, np.bool_)
        for length in lengths:
            logarithms[np.arange(steps) >= length] = blank_for_sure
            valid = ((length >= 0) & (length <= steps))[:, 0]
        valid &= (logarithms < np.inf).all(axis=(1, 2))
        logarithms[~valid] = blank_for_sure
        if self.beam_width == 1:
            totals, emitted = self._greedy(logarithms)
        else:
            totals, emitted = self._search(logarithms, min(options.top_k or self.top_k, self.beam_width))
        valid &= totals[:, 0] > -np.inf
        totals[~valid], emitted[~valid] = np.nan, self.blank
        shown = emitted != self.blank
        offsets = np.append(0, np.cumsum(np.count_nonzero(shown, axis=2)))
        tokens = emitted[shown]
        symbols = self.labels.take(tokens).tolist()
        texts = [self.separator.join(symbols[start:stop]) for start, stop in pairwise(offsets.tolist())]
        return CtcColumns(
            text_array(texts).reshape(totals.shape),
            totals.astype(np.float32),
            offsets,
            tokens.astype(np.int32),
            valid,
        )

    def _greedy(self, logarithms: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
        """Return the best alignment of each row, [rows, 1], and what steps add, [rows, 1, steps]: a unit, or blank."""
        best = logarithms.argmax(axis=2)
        totals = np.take_along_axis(logarithms, best[:, :, None], axis=2).sum(axis=1, dtype=np.float64)
        emitted = best.copy()
        emitted[:, 1:][best[:, 1:] == best[:, :-1]] = self.blank
        return totals, emitted[:, None]

    def _search(self, logarithms: FloatArray, k: int) -> tuple[FloatArray, NDArray[np.intp]]:
        """Return the best texts of each row, [rows, k], and what steps add, [rows, k, steps]: a unit, or blank."""
        units = np.arange(logarithms.shape[2])
        symbols = np.delete(units, self.blank)
        totals, added = prefix_beam_search(logarithms[:, :, self.blank], logarithms[:, :, symbols], self.beam_width, k)
        # Nothing is -1, the last.
        return totals, np.append(symbols, self.blank).take(added)


def _log_softmax(logits: FloatArray) -> FloatArray:
    """Return x - ln(sum(exp(x))) along the last axis, a new array; NaN throughout where softmax would be."""
    logits = wide(logits)
    values: FloatArray = logits - logits.max(axis=-1, keepdims=True)
    values -= np.log(np.exp(values).sum(axis=-1, keepdims=True))
    return values
