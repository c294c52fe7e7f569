"""Scores of sequence tags and CTC heads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import Decoder
from headgate.decoders.sequence_tags import SequenceTagsDecoder
from headgate.exporter.evaluation.results import Scores, Table
from headgate.exporter.evaluation.scorer import Decode, EvaluationSettings, Scorer
from headgate.v1 import Head
from headgate.v1.columns import CtcColumns, SequenceTagsColumns

#: What was said of a step that the answer leaves out.
_LEFT_OUT = -2


class SequenceTagsScorer(Scorer):
    """Scores the labels of steps, and the spans: right are those of the same steps and label.

    Steps whose target is -1, or the label of padding, do not count, and do not interrupt spans. Steps that an answer
    leaves out are wrong.
    """

    def __init__(self, head: Head, decoder: Decoder, settings: EvaluationSettings) -> None:
        super().__init__(head, decoder, settings)
        assert isinstance(decoder, SequenceTagsDecoder)
        self._padding, self._scheme = decoder.padding, decoder.scheme

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64]) -> None:
        assert isinstance(columns, SequenceTagsColumns)
        rows = np.repeat(np.arange(len(columns)), np.diff(columns.offsets))
        if len(targets) != len(columns) or targets.shape[1] <= columns.steps.max(initial=0):
            raise ValueError(
                f"the targets for head '{self.head.name}' have shape {list(targets.shape)}, its answers "
                f"{len(columns)} rows of {columns.steps.max(initial=0) + 1} steps or more; give the same"
            )
        predicted = np.full(targets.shape, _LEFT_OUT, np.int64)
        predicted[rows, columns.steps] = columns.indices
        counted = (targets >= 0) & (targets != self._padding)
        self._keep(targets=targets[counted], predicted=predicted[counted])
        if self._scheme is not None:
            true, found = (self._spans(labels, counted) for labels in (targets, predicted))
            both = np.intersect1d(true, found)
            types = len(self._scheme.types)
            # The type is the last digit of each number.
            self._keep(
                **{
                    name: np.bincount(spans % types, minlength=types)[None]
                    for name, spans in (("true", true), ("found", found), ("both", both))
                }
            )

    def _spans(self, labels: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return a number for each span, made of its row, its first and last step, and its type."""
        assert self._scheme is not None
        rows, steps = np.nonzero(counted & (labels >= 0))
        spans = self._scheme.find(labels[rows, steps], rows)
        first, last = steps[spans.first], steps[spans.last]
        size = labels.shape[1]
        numbers: NDArray[np.int64] = (rows[spans.first] * size + first) * size + last
        return numbers * len(self._scheme.types) + spans.types

    def _scores(self) -> Scores:
        targets, predicted = self._all("targets"), self._all("predicted")
        found = {"token_accuracy": float((targets == predicted).mean()) if len(targets) else np.nan}
        if self._scheme is None:
            return Scores(found)
        true, said, both = (self._all(name).sum(axis=0) for name in ("true", "found", "both"))
        names = ("span_precision", "span_recall", "span_f1")
        found |= dict(zip(names, _precision_recall_f1(both.sum(), said.sum(), true.sum()), strict=True))
        each = zip(self._scheme.types, both, said, true, strict=True)
        lines = [(name, *_precision_recall_f1(*counts), int(counts[2])) for name, *counts in each]
        return Scores(found, [Table("spans", ("label", "precision", "recall", "f1", "spans"), lines)])


class CtcScorer(Scorer):
    """Scores the best text of each row; where it is invalid, all of its letters are wrong."""

    def _add(self, columns: Any, decode: Decode, targets: NDArray[Any]) -> None:
        assert isinstance(columns, CtcColumns)
        texts = columns.texts[:, 0]
        self._keep(
            edits=np.array([edit_distance(*pair) for pair in zip(texts, targets, strict=True)], np.int64),
            letters=np.array([len(target) for target in targets], np.int64),
            exact=(texts == targets) & columns.valid,
        )

    def _scores(self) -> Scores:
        letters = self._all("letters").sum()
        rate = float(self._all("edits").sum() / letters) if letters else np.nan
        return Scores({"character_error_rate": rate, "exact_match": float(self._all("exact").mean())})


def edit_distance(first: str, second: str) -> int:
    """Return how many letters have to be replaced, left out or put in (Levenshtein).

    >>> edit_distance("kitten", "sitting")
    3
    """
    letters = np.array(list(second), object)
    steps = np.arange(len(second) + 1)
    distances = steps
    for letter in first:
        found = distances + 1
        found[1:] = np.minimum(found[1:], distances[:-1] + (letters != letter))
        # Letters put in after the best way to any shorter part.
        distances = np.minimum.accumulate(found - steps) + steps
    return int(distances[-1])


def _precision_recall_f1(both: int, said: int, true: int) -> tuple[float, float, float]:
    return float(both / max(said, 1)), float(both / max(true, 1)), float(2 * both / max(said + true, 1))
