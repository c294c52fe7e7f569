"""Scores of detection heads: mean average precision as COCO defines it (https://cocodataset.org/#detection-eval)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.evaluation.decisions import DRAWN_LABELS, nan_mean
from headgate.exporter.evaluation.results import Chart, Scores, Series, Table
from headgate.exporter.evaluation.scorer import Decode, Scorer
from headgate.v1.columns import BoolArray, DetectionColumns, FloatArray, IntArray

#: 0.5, 0.55, ... 0.95.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)


class DetectionScorer(Scorer):
    """Scores detection heads on the boxes of their answers: none below the score threshold, at most as many as the head
    gives; the things in invalid rows are not found.
    """

    def _add(self, columns: Any, decode: Decode, targets: NDArray[Any]) -> None:
        assert isinstance(columns, DetectionColumns)
        rows = np.repeat(np.arange(len(columns)), np.diff(columns.offsets))
        for label in range(len(self.kind.labels)):
            found, true = columns.indices == label, targets["label"] == label
            hits = [
                match(columns.boxes[found & (rows == row)], targets["box"][true & (targets["row"] == row)])
                for row in np.union1d(rows[found], targets["row"][true])
            ]
            self._keep(**{f"scores {label}": columns.scores[found], f"true {label}": targets["label"][true]})
            self._keep(**{f"hits {label}": np.concatenate([np.zeros((0, len(IOU_THRESHOLDS)), bool), *hits])})

    def _scores(self) -> Scores:
        lines = []
        curves: list[Series] = []
        for label, name in enumerate(self.kind.labels):
            scores, hits, true = (self._all(f"{part} {label}") for part in ("scores", "hits", "true"))
            precisions = precisions_at_recalls(scores, hits, len(true))
            lines.append((name, float(precisions[0].mean()), float(precisions.mean()), len(true), len(scores)))
            if len(true) and len(curves) < DRAWN_LABELS:
                curves.append(Series(f"{name}, AP {precisions[0].mean():.3g}", _RECALLS, precisions[0], "curve"))
        found = {"map_50": nan_mean([line[1] for line in lines]), "map_50_95": nan_mean([line[2] for line in lines])}
        table = Table("labels", ("label", "ap_50", "ap_50_95", "boxes", "found"), lines)
        chart = Chart("Precision and recall at IoU 0.5", "recall", "precision", curves)
        return Scores(found, [table], [chart] if curves else [])


def match(found: FloatArray, true: FloatArray) -> BoolArray:
    """Return which boxes are right: bool [found, thresholds].

    A box takes the true box that it overlaps most, of those that no better one took; it is wrong if that is not enough.

    Args:
        found: [found, 4], the best score first.
        true: [true, 4].

    >>> match(np.array([[0, 0, 2, 2.0], [0, 0, 2, 2.0]]), np.array([[0, 0, 2, 2.0]]))[:, 0].tolist()
    [True, False]
    """
    hits = np.zeros((len(found), len(IOU_THRESHOLDS)), np.bool_)
    if not len(true):
        return hits
    overlaps = intersections_over_unions(found, true)
    for column, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(true), np.bool_)
        for row, overlap in enumerate(overlaps):
            # Of those that are alike COCO takes the last.
            best = len(true) - 1 - int(np.where(free, overlap, -1)[::-1].argmax())
            if free[best] and overlap[best] >= min(threshold, 1 - 1e-10):
                free[best], hits[row, column] = False, True
    return hits


def intersections_over_unions(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return how much boxes overlap: float64 [first, second]; 0 for boxes without an area."""
    first, second = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    overlaps = sides.clip(0).prod(axis=-1)
    unions = sum((boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (first, second)) - overlaps
    ratios: FloatArray = np.divide(overlaps, unions, out=np.zeros_like(overlaps), where=unions > 0)
    return ratios


def precisions_at_recalls(scores: FloatArray, hits: BoolArray, true: int) -> FloatArray:
    """Return the precision at 101 recalls from 0 to 1, for each threshold: [thresholds, 101].

    It is the best precision at that recall or more, 0 where the recall is not reached; NaN without true boxes.

    Args:
        scores: [found].
        hits: [found, thresholds], of `match`.
        true: how many true boxes there are.
    """
    if not true:
        return np.full((hits.shape[1], len(_RECALLS)), np.nan)
    hits = hits[np.argsort(-scores, kind="stable")]
    right: IntArray = hits.cumsum(axis=0)
    precisions = right / np.arange(1, len(hits) + 1)[:, None]
    # The best of what comes after; behind the end there is none.
    envelope = np.maximum.accumulate(precisions[::-1], axis=0)[::-1]
    envelope = np.concatenate([envelope, np.zeros((1, hits.shape[1]))])
    recalls = right / true
    places = [np.searchsorted(column, _RECALLS, side="left") for column in recalls.T]
    return np.stack([column[place] for column, place in zip(envelope.T, places, strict=True)])
