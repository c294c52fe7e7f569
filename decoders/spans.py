"""Spans from labels that say where each one begins and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns import BoolArray, TextArray
from headgate.v1.tensors import text_array

Positions = NDArray[np.intp]


class Spans(NamedTuple):
    """Spans of labels that stand one after another.

    Attributes:
        types: intp [spans], positions in the scheme's types.
        first: intp [spans], the position of the first label.
        last: intp [spans], the position of the last one.
        labels: intp [sum of lengths], the positions of all labels of spans.
        starts: intp [spans], where each span begins in `labels`.
    """

    types: Positions
    first: Positions
    last: Positions
    labels: Positions
    starts: Positions


@dataclass(frozen=True, slots=True, eq=False)
class SpanScheme:
    """What each label means for spans: "B-x" begins one of x, "I-x" goes on, "E-x" ends it, "S-x" is one of its own.

    Labels that do not fit together are read as conlleval and seqeval do: "I-x" or "E-x" begins a span where there is
    none of x to go on with.

    Attributes:
        types: str [types], what stands behind "B-".
        type_of: intp [units], the position in `types`; -1 for labels outside of spans.
        begins: bool [units], whether a span begins at the label whatever stands before it.
        ends: bool [units], whether a span ends at the label whatever stands behind it.
    """

    types: TextArray
    type_of: Positions
    begins: BoolArray
    ends: BoolArray

    @classmethod
    def of(cls, labels: Sequence[str]) -> SpanScheme:
        """Read the labels of a scheme; those without "-" are outside of spans."""
        parts = [label.partition("-") for label in labels]
        types = sorted({name for _, _, name in parts if name})
        numbers = {name: number for number, name in enumerate(types)}
        type_of = [numbers.get(name, -1) for _, _, name in parts]
        begins, ends = ([prefix in prefixes for prefix, _, _ in parts] for prefixes in ("BS", "ES"))
        return cls(text_array(types), np.array(type_of, np.intp), np.array(begins), np.array(ends))

    def find(self, labels: Positions, sequences: Positions) -> Spans:
        """Find the spans in sequences that stand one after another.

        Args:
            labels: intp [steps], the number of each label.
            sequences: intp [steps], the number of the sequence that it belongs to; no span reaches across.

        >>> scheme = SpanScheme.of(["O", "B-x", "I-x", "I-y"])
        >>> spans = scheme.find(np.array([1, 2, 0, 3, 2, 1]), np.array([0, 0, 0, 0, 0, 0]))
        >>> spans.first.tolist(), spans.last.tolist(), scheme.types.take(spans.types).tolist()
        ([0, 3, 4, 5], [1, 3, 4, 5], ['x', 'y', 'x', 'x'])
        """
        types = self.type_of.take(labels)
        begins = self.begins.take(labels)
        begins[:1] = True
        begins[1:] |= self.ends.take(labels[:-1]) | (types[1:] != types[:-1]) | (sequences[1:] != sequences[:-1])
        inside = np.flatnonzero(types >= 0)
        starts = np.flatnonzero(begins.take(inside))
        first = inside.take(starts)
        # A span is without gaps: what stands before the start of the next, among labels of spans, is its last label.
        last = inside.take(np.append(starts[1:], len(inside)) - 1) if len(starts) else first
        return Spans(types.take(first), first, last, inside, starts)
