"""Which of a detector's candidates have scores that are worth a look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import blank_invalid_rows, sigmoid, softmax
from headgate.decoders.heads import HeadError
from headgate.v1 import ACTIVATION_LOGITS, Head
from headgate.v1.columns import FloatArray

_ALL_TRUE = np.ones(8, np.bool_).view(np.uint64)[0]


class Found(NamedTuple):
    """Candidates with a label and a score, in the order of rows, candidates, labels; and rows that hold no numbers.

    Attributes:
        rows, candidates, labels: int64 [n].
        scores: float32 [n], probabilities.
        invalid_rows: rows with NaN, and such as no probabilities follow from; any number of times each.
    """

    rows: NDArray[np.int64]
    candidates: NDArray[np.int64]
    labels: NDArray[np.int64]
    scores: FloatArray
    invalid_rows: NDArray[np.int64]

    def take(self, places: NDArray[np.intp]) -> Found:
        """Return some of the candidates."""
        rows, candidates, labels, scores, invalid_rows = self
        return Found(rows.take(places), candidates.take(places), labels.take(places), scores.take(places), invalid_rows)


@dataclass(frozen=True, slots=True)
class CandidateFilter:
    """Finds the candidates whose scores reach a threshold, and computes probabilities of these alone.

    Attributes:
        logits: whether scores are logits.
        exclusive: whether one label excludes the others: a candidate has its best label alone.
        objectness: whether the first unit multiplies the others.
        unlabelled: the unit that is no label: that of the objectness, or of the background; None without.
    """

    logits: bool
    exclusive: bool
    objectness: bool
    unlabelled: int | None

    @classmethod
    def from_head(cls, head: Head) -> CandidateFilter:
        """Make the filter of a detection head; raises HeadError."""
        kind = head.detection
        background = kind.background if kind.HasField("background") else None
        if kind.objectness and (kind.exclusive or background is not None):
            other = "exclusive" if kind.exclusive else "background"
            raise HeadError(head.name, "detection.objectness", f"is set beside {other}; leave one of them out")
        units = len(kind.labels) + (background is not None)
        if background is not None and background >= units:
            problem = f"is {background}, the scores have {units} units with it; give at most {units - 1}"
            raise HeadError(head.name, "detection.background", problem)
        if kind.exclusive and units == 1:
            problem = "is set, there is nothing that the only unit excludes; set background, or leave it out"
            raise HeadError(head.name, "detection.exclusive", problem)
        logits = head.activation == ACTIVATION_LOGITS
        return cls(logits, kind.exclusive, kind.objectness, 0 if kind.objectness else background)

    def find(self, scores: FloatArray, threshold: float, transposed: bool) -> Found:
        """Return the candidates with scores of at least the threshold, compared as reported: in float32.

        Args:
            scores: [rows, candidates, units].
            threshold: in 0..1.
            transposed: whether scores are [rows, units, candidates] instead.
        """
        if scores.dtype not in (np.float32, np.float64):
            # numpy compares float16 ten times slower than it converts it.
            scores = scores.astype(np.float32)
        if self.exclusive:
            found = self._find_exclusive(scores.swapaxes(1, 2) if transposed else scores)
        else:
            found = self._find_independent(scores, threshold, transposed)
        # As an array of float64: numpy would round a bare number to float32, a client that compares would not.
        found = found.take(np.flatnonzero(found.scores >= np.array([threshold])))
        if self.unlabelled is None:
            return found
        return found._replace(labels=found.labels - (found.labels > self.unlabelled))

    def _find_independent(self, scores: FloatArray, threshold: float, transposed: bool) -> Found:
        """Return what may reach the threshold; units for labels."""
        rows, *places = np.unravel_index(_not_below(scores, self._limit(threshold, scores.dtype)), scores.shape)
        units, candidates = places if transposed else reversed(places)
        probabilities = self._probabilities(scores[rows, *places])
        found = Found(rows, candidates, units, probabilities, rows[~np.isfinite(probabilities)])
        if transposed:
            found = found.take(np.lexsort((units, candidates, rows)))
        if self.unlabelled is not None:
            found = found.take(np.flatnonzero(found.labels != self.unlabelled))
        if self.objectness:
            first_unit = scores[:, 0] if transposed else scores[:, :, 0]
            found.scores[:] *= self._probabilities(first_unit[found.rows, found.candidates])
        return found

    def _find_exclusive(self, scores: FloatArray) -> Found:
        """Return each candidate with its best unit for a label."""
        rows, candidates, units = scores.shape
        flat = scores.reshape(rows * candidates, units)
        probabilities = softmax(flat) if self.logits else flat.astype(np.float32)
        blank_invalid_rows(probabilities, finite=True)
        if self.unlabelled is not None:
            probabilities[:, self.unlabelled] = -np.inf
        best = probabilities.argmax(axis=1)
        best_scores = np.take_along_axis(probabilities, best[:, None], axis=1)[:, 0]
        row_of, candidate_of = np.divmod(np.arange(rows * candidates), candidates)
        return Found(row_of, candidate_of, best, best_scores, row_of[np.isnan(best_scores)])

    def _probabilities(self, values: FloatArray) -> FloatArray:
        return sigmoid(values) if self.logits else values.astype(np.float32)

    def _limit(self, threshold: float, dtype: np.dtype[Any]) -> np.floating[Any]:
        """Return what no score is less than whose probability, as reported, reaches the threshold."""
        # Lower by more than what float32 rounds.
        limit = threshold * (1 - 1e-5)
        if self.logits:
            limit = math.log(limit) - math.log1p(-limit) if limit > 0 else -math.inf
        below: np.floating[Any] = np.nextafter(dtype.type(limit), dtype.type(-math.inf))
        return below


def _not_below(values: FloatArray, limit: np.floating[Any]) -> NDArray[np.intp]:
    """Return the positions, counted through the flattened array, of values that are not less than a limit; NaN is not.

    >>> _not_below(np.array([[1, 5], [np.nan, 0]]), np.float64(3)).tolist()
    [1, 2]
    """
    # Eight flags at a time: few values are found among many, and numpy's own nonzero is twice as slow there.
    below = np.empty(-(-values.size // 8) * 8, np.bool_)
    below[values.size :] = True
    np.less(values, limit, out=below[: values.size].reshape(values.shape))
    groups = np.flatnonzero(below.view(np.uint64) != _ALL_TRUE)
    group, place = np.nonzero(~below.reshape(-1, 8)[groups])
    return groups[group] * 8 + place
