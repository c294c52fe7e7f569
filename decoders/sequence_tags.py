"""Sequence tags heads: a label for each step, and the spans that labels make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import wide
from headgate.decoders.decoder import DecodeError, Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_names,
    check_output,
    check_uncalibrated,
    describe_units,
    enum_name,
)
from headgate.decoders.options import DecodeOptions
from headgate.decoders.sequences import sequence_shape
from headgate.decoders.spans import SpanScheme
from headgate.v1 import ACTIVATION_LOGITS, Head, SequenceTagsHead, TensorSpec
from headgate.v1.columns import FloatArray, SequenceTagsColumns, TextArray
from headgate.v1.tensors import format_shape, text_array

#: By scheme: its prefixes, and without which others of the same type each is only half of a span.
_NEEDS = {
    SequenceTagsHead.SCHEME_BIO: {"B": "", "I": "B"},
    SequenceTagsHead.SCHEME_BIOES: {"B": "E", "I": "BE", "E": "B", "S": ""},
}


@dataclass(frozen=True, slots=True, eq=False)
class SequenceTagsDecoder(Decoder):
    """Picks the most probable label of each step, and joins labels to spans.

    Steps that are left out (those of padding, or masked) do not interrupt a span: "B-x", left out, "I-x" is one. So it
    is right for models that label the first piece of each word and mask the others.

    Attributes:
        labels: str [units].
        padding: the position of the label of steps that are left out; -1: none has it.
        scheme: None for labels that stand each for itself.
        logits: whether the output holds logits rather than probabilities.
    """

    labels: TextArray
    padding: int
    scheme: SpanScheme | None
    logits: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> SequenceTagsDecoder:
        """Make the decoder of a sequence tags head; raises HeadError."""
        kind = head.sequence_tags
        check_activation(head, PROBABILISTIC)
        check_uncalibrated(head)
        shape = sequence_shape(head, outputs)
        reads: dict[str, tuple[int, ...]] = {head.output: shape}
        labels = list(kind.labels)
        check_names(head, "sequence_tags.labels", labels, shape[2], describe_units(head, shape[2]))
        if kind.padding_label and kind.padding_label not in labels:
            problem = f"is '{kind.padding_label}'; give one of {', '.join(labels)}, or none"
            raise HeadError(head.name, "sequence_tags.padding_label", problem)
        if kind.mask_output:
            check_output(head, "sequence_tags.mask_output", kind.mask_output, outputs, shape[:2])
            reads[kind.mask_output] = shape[:2]
        scheme = SpanScheme.of(_in_scheme(head)) if kind.scheme else None
        padding = labels.index(kind.padding_label) if kind.padding_label else -1
        return cls(head.name, reads, text_array(labels), padding, scheme, head.activation == ACTIVATION_LOGITS)

    def _decode(self, outputs: Sequence[NDArray[Any]], options: DecodeOptions) -> SequenceTagsColumns:
        output, *masks = outputs
        real = np.ones(output.shape[:2], np.bool_)
        valid = np.ones(len(output), np.bool_)
        for mask in masks:
            if mask.shape != real.shape:
                raise DecodeError(
                    f"head '{self.head}' reads {format_shape(real.shape)} steps and a mask {format_shape(mask.shape)}; "
                    "they must be alike"
                )
            real = mask != 0
            valid = ~np.isnan(mask).any(axis=1)
        indices, scores = _best(output[real], self.logits)
        rows, steps = np.nonzero(real)
        valid[rows[~np.isfinite(scores)]] = False
        kept = np.flatnonzero(valid.take(rows) & (indices != self.padding))
        rows, steps, indices, scores = rows.take(kept), steps.take(kept), indices.take(kept), scores.take(kept)
        row_numbers = np.arange(len(output) + 1)
        columns = SequenceTagsColumns(
            rows.searchsorted(row_numbers),
            self.labels.take(indices),
            indices.astype(np.int32),
            scores,
            steps.astype(np.int32),
            valid,
        )
        if self.scheme is None:
            return columns
        spans = self.scheme.find(indices, rows)
        # In double precision, so that the sum hardly depends on its order.
        sums = np.add.reduceat(scores.take(spans.labels), spans.starts, dtype=np.float64)
        sizes = np.diff(spans.starts, append=len(spans.labels))
        return replace(
            columns,
            span_offsets=rows.take(spans.first).searchsorted(row_numbers),
            span_starts=columns.steps.take(spans.first),
            span_ends=columns.steps.take(spans.last) + 1,
            span_labels=self.scheme.types.take(spans.types),
            span_scores=(sums / sizes).astype(np.float32),
        )


def _best(steps: FloatArray, logits: bool) -> tuple[NDArray[np.intp], FloatArray]:
    """Return the best unit of each step of an array [steps, units], which is overwritten, and its probability.

    The probability is NaN or infinite where a step holds NaN or +inf, or logits that are -inf throughout.
    """
    steps = wide(steps)
    best = steps.argmax(axis=1)
    scores = np.take_along_axis(steps, best[:, None], axis=1)
    if logits:
        # The best unit's part of a softmax, which is exp(0) / sum(exp(x - best)).
        np.exp(np.subtract(steps, scores, out=steps), out=steps)
        scores = 1 / np.add.reduce(steps, axis=1, keepdims=True)
    return best, scores[:, 0].astype(np.float32, copy=False)


def _in_scheme(head: Head) -> list[str]:
    """Return the labels, "O" for that of padding; raises HeadError unless they are those of the head's scheme."""
    kind = head.sequence_tags
    needs = _NEEDS.get(kind.scheme)
    if needs is None:
        schemes = " or ".join(SequenceTagsHead.Scheme.Name(scheme) for scheme in _NEEDS)
        came = enum_name(SequenceTagsHead.Scheme, kind.scheme)
        raise HeadError(head.name, "sequence_tags.scheme", f"is {came}; give {schemes}, or none")
    if kind.padding_label == "O":
        problem = "is 'O', which ends spans; give padding a label of its own, or a mask_output"
        raise HeadError(head.name, "sequence_tags.padding_label", problem)
    labels = ["O" if label == kind.padding_label else label for label in kind.labels]
    known = set(labels)
    for label in labels:
        prefix, _, name = label.partition("-")
        if label != "O" and not (name and prefix in needs):
            forms = ", ".join(f"'{each}-...'" for each in needs)
            raise HeadError(head.name, "sequence_tags.labels", f"has '{label}'; give 'O', {forms}, as the scheme says")
        for other in needs.get(prefix, ""):
            if f"{other}-{name}" not in known:
                problem = f"has '{label}' without '{other}-{name}', which the scheme pairs it with"
                raise HeadError(head.name, "sequence_tags.labels", problem)
    return labels
