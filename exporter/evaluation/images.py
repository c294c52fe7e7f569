"""Scores of segmentation and keypoints heads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions
from headgate.exporter.evaluation.decisions import matrices, nan_mean
from headgate.exporter.evaluation.results import Matrix, Scores, Table
from headgate.exporter.evaluation.scorer import Decode, Scorer
from headgate.v1 import MaskEncoding
from headgate.v1.columns import BoolArray, FloatArray, KeypointsColumns, SegmentationColumns

#: Of the larger side of the box around a row's points (https://doi.org/10.1109/TPAMI.2012.261).
_PCK_PARTS = (0.05, 0.1, 0.2)


class SegmentationScorer(Scorer):
    """Scores segmentation heads by intersection over union; the pixels of invalid rows have no label.

    A label that neither targets nor predictions have has no part in the mean.
    """

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64]) -> None:
        assert isinstance(columns, SegmentationColumns)
        labels = len(columns.labels)
        if self.kind.independent:
            self._check_shape(targets, (len(columns), columns.height, columns.width, labels))
            options = DecodeOptions(
                threshold=self.options.threshold, mask_encoding=MaskEncoding.MASK_ENCODING_RUN_LENGTHS
            )
            predicted, truth = masks_of(decode(options)), targets.astype(bool)
            axes = (0, 1, 2)
            overlaps, unions = (predicted & truth).sum(axis=axes), (predicted | truth).sum(axis=axes)
            self._keep(overlaps=overlaps[None], unions=unions[None])
            return
        self._check_shape(targets, (len(columns), columns.height, columns.width))
        assert columns.class_maps is not None
        classes = np.where(columns.valid[:, None, None], columns.class_maps, labels)
        counted = targets >= 0
        pairs = targets[counted] * (labels + 1) + classes[counted]
        counts = np.bincount(pairs, minlength=labels * (labels + 1)).reshape(labels, labels + 1)
        sums = counts.sum(axis=1) + counts[:, :labels].sum(axis=0)
        overlaps = np.diagonal(counts)
        self._keep(counts=counts[None], overlaps=overlaps[None], unions=(sums - overlaps)[None])

    def _scores(self) -> Scores:
        labels = list(self.kind.labels)
        overlaps, unions = self._all("overlaps").sum(axis=0), self._all("unions").sum(axis=0)
        ious = np.divide(overlaps, unions, out=np.full(len(labels), np.nan), where=unions > 0)
        found = {"mean_iou": nan_mean(ious)}
        figures: list[Matrix] = []
        if "counts" in self._kept:
            counts = self._all("counts").sum(axis=0)
            found["pixel_accuracy"] = float(overlaps.sum() / counts.sum()) if counts.any() else np.nan
            figures = matrices("Confusion matrix of pixels", labels, counts)
        lines = [(label, float(iou)) for label, iou in zip(labels, ious, strict=True)]
        return Scores(found, [Table("labels", ("label", "iou"), lines)], figures)


class KeypointsScorer(Scorer):
    """Scores keypoints heads by distance, and by PCK: the part of points that are near enough to the true ones.

    Near enough is a part of the larger side of the box around the row's true points; rows of fewer than two have no
    part in it. The points of invalid rows are not near, and have no distance.
    """

    def _add(self, columns: Any, decode: Decode, targets: FloatArray) -> None:
        assert isinstance(columns, KeypointsColumns)
        self._check_shape(targets, columns.points.shape)
        counted = np.logical_and.reduce(np.isfinite(targets), axis=2)
        lowest = np.where(counted[..., None], targets, np.inf).min(axis=1, initial=np.inf)
        highest = np.where(counted[..., None], targets, -np.inf).max(axis=1, initial=-np.inf)
        sizes = np.where(counted.sum(axis=1) > 1, (highest - lowest).max(axis=1), np.nan)
        self._keep(distances=np.linalg.norm(columns.points - targets, axis=2), counted=counted, sizes=sizes)

    def _scores(self) -> Scores:
        distances, counted, sizes = self._all("distances"), self._all("counted"), self._all("sizes")
        found = {"mean_distance": _mean(distances, counted & np.isfinite(distances))}
        measured = counted & np.isfinite(sizes)[:, None]
        near = {part: distances <= part * sizes[:, None] for part in _PCK_PARTS}
        found |= {f"pck_{part}": _mean(hits, measured) for part, hits in near.items()}
        lines = [
            (
                name,
                _mean(distances[:, point], counted[:, point] & np.isfinite(distances[:, point])),
                *(_mean(hits[:, point], measured[:, point]) for hits in near.values()),
            )
            for point, name in enumerate(self.kind.names)
        ]
        header = ("point", "mean_distance", *(f"pck_{part}" for part in near))
        return Scores(found, [Table("points", header, lines)])


def masks_of(columns: Any) -> BoolArray:
    """Return the masks that runs describe: bool [rows, height, width, labels]; False throughout in invalid rows."""
    assert isinstance(columns, SegmentationColumns)
    assert columns.run_offsets is not None
    assert columns.runs is not None
    shape = (np.count_nonzero(columns.valid), len(columns.labels), columns.width, columns.height)
    masks = np.zeros((len(columns), *shape[1:]), np.bool_)
    firsts = np.repeat(columns.run_offsets[:-1], np.diff(columns.run_offsets))
    has_label = (np.arange(columns.run_offsets[-1]) - firsts) % 2 == 1
    masks[columns.valid] = np.repeat(has_label, columns.runs).reshape(shape)
    return masks.transpose(0, 3, 2, 1)


def _mean(values: NDArray[Any], where: BoolArray) -> float:
    return float(values[where].mean()) if where.any() else np.nan
