"""Detection heads: boxes around things."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.boxes import BoxCoder
from headgate.decoders.candidates import CandidateFilter, Found
from headgate.decoders.decoder import DecodeError, Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_names,
    check_output,
    check_thresholds,
    check_uncalibrated,
)
from headgate.decoders.options import DecodeOptions
from headgate.decoders.pictures import image_size_of
from headgate.decoders.suppression import suppress
from headgate.v1 import Head, TensorSpec
from headgate.v1.columns import BoolArray, DetectionColumns, FloatArray, TextArray
from headgate.v1.tensors import format_shape, format_spec

#: How many boxes of a row are compared with each other at most: those of the best scores.
MAX_COMPARED = 4096

# A threshold of 0 makes a candidate of each score, which takes some fifty bytes.
_SCORES_TOGETHER = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class DetectionDecoder(Decoder):
    """Takes the candidates whose scores reach a threshold, and of those that lie on each other the best.

    Attributes:
        labels: str [labels].
        candidates: finds candidates by their scores.
        coder: reads their boxes.
        transposed: whether the outputs are [rows, units, candidates].
        relative: whether the model's coordinates are fractions of the image's sides.
        image_size: (width, height) in pixels; None where it is not known.
        score_threshold: applied unless the request has its own.
        iou_threshold: of boxes that overlap more only the best stays; 1 keeps all.
        class_agnostic: whether boxes of different labels suppress each other.
        max_detections: how many boxes a row unless the request says otherwise.
    """

    labels: TextArray
    candidates: CandidateFilter
    coder: BoxCoder
    transposed: bool
    relative: bool
    image_size: tuple[int, int] | None
    score_threshold: float
    iou_threshold: float
    class_agnostic: bool
    max_detections: int

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> DetectionDecoder:
        """Make the decoder of a detection head; raises HeadError."""
        kind = head.detection
        check_activation(head, PROBABILISTIC)
        check_uncalibrated(head)
        check_names(head, "detection.labels", kind.labels, max(1, len(kind.labels)), "a box has one")
        score_threshold = kind.score_threshold if kind.HasField("score_threshold") else 0.25
        check_thresholds(head, "detection.score_threshold", [score_threshold])
        iou_threshold = kind.iou_threshold if kind.HasField("iou_threshold") else 0.5
        check_thresholds(head, "detection.iou_threshold", [iou_threshold])
        if kind.max_detections > MAX_COMPARED:
            problem = f"is {kind.max_detections}; give at most {MAX_COMPARED}"
            raise HeadError(head.name, "detection.max_detections", problem)
        image_size = image_size_of(head)
        candidates = CandidateFilter.from_head(head)
        coder = BoxCoder.from_head(head, image_size)
        return cls(
            head.name,
            _reads(head, outputs, -1 if coder.references is None else len(coder.references)),
            np.array(list(kind.labels), object),
            candidates,
            coder,
            kind.transposed,
            kind.relative,
            image_size,
            score_threshold,
            iou_threshold,
            kind.class_agnostic,
            kind.max_detections or 100,
        )

    def check(self, options: DecodeOptions) -> None:
        """Raise ValueError where relative coordinates are asked for and the image's size is not known."""
        if options.relative_coordinates and not (self.relative or self.image_size):
            raise ValueError(
                f"head '{self.head}' cannot give relative coordinates: the image's size is not known; ask for pixels"
            )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> DetectionColumns:
        boxes, scores = self._boxes_and_scores(outputs)
        threshold = self.score_threshold if options.threshold is None else options.threshold
        limit = options.top_k or self.max_detections
        found = self.candidates.find(scores, threshold, self.transposed)
        valid = np.logical_and.reduce(np.isfinite(boxes), axis=(1, 2))
        valid[found.invalid_rows] = False
        found = _best(found, valid)
        corners, kept = self._corners(boxes, found)
        if self.iou_threshold < 1:
            groups = found.rows if self.class_agnostic else found.rows * len(self.labels) + found.labels
            kept = kept[suppress(corners.take(kept, axis=0), groups.take(kept), self.iou_threshold, limit)]
        kept = kept[_ranks(found.rows.take(kept)) < limit]
        found, corners = found.take(kept), corners.take(kept, axis=0)
        relative = self.relative
        if self.image_size is not None and options.relative_coordinates != relative:
            relative = options.relative_coordinates
            scale = np.array(self.image_size * 2, np.float32)
            corners = corners / scale if relative else corners * scale
        return DetectionColumns(
            found.rows.searchsorted(np.arange(len(valid) + 1)),
            corners,
            self.labels.take(found.labels),
            found.labels.astype(np.int32),
            found.scores,
            valid,
            relative,
        )

    def _rows_together(self, outputs: Sequence[FloatArray]) -> int:
        scores: tuple[int, ...] = outputs[-1].shape[1:]
        return max(1, _SCORES_TOGETHER // max(1, math.prod(scores)))

    def _boxes_and_scores(self, outputs: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Return views [rows, candidates, 4] and [rows, candidates, units], or with the last two axes exchanged."""
        if len(outputs) == 1:
            (output,) = outputs
            return (output[:, :4], output[:, 4:]) if self.transposed else (output[:, :, :4], output[:, :, 4:])
        boxes, scores = outputs
        axis = 2 if self.transposed else 1
        if boxes.shape[axis] != scores.shape[axis]:
            raise DecodeError(
                f"head '{self.head}' reads scores for {boxes.shape[axis]} boxes, these are for {scores.shape[axis]}"
            )
        return boxes, scores

    def _corners(self, boxes: FloatArray, found: Found) -> tuple[FloatArray, NDArray[np.intp]]:
        """Return the boxes of candidates, clipped to the image where its sides are known, and which have an area."""
        if self.transposed:
            boxes = boxes.swapaxes(1, 2)
        corners = self.coder.corners(boxes[found.rows, found.candidates], found.candidates)
        # Before clipping, which would make them of the image's size.
        has_area = np.logical_and.reduce(np.isfinite(corners), axis=1)
        limits = (1, 1) if self.relative else self.image_size
        if limits is not None:
            np.clip(corners, 0, np.array(limits * 2, np.float32), out=corners)
        sides = corners[:, 2:] - corners[:, :2]
        has_area &= (sides[:, 0] > 0) & (sides[:, 1] > 0) & (sides[:, 0] * sides[:, 1] < np.inf)
        return corners, np.flatnonzero(has_area)


def _best(found: Found, valid: BoolArray) -> Found:
    """Return the candidates of each valid row by their scores, the best first, as many as are compared at most."""
    if np.count_nonzero(valid) < len(valid):
        found = found.take(np.flatnonzero(valid[found.rows]))
    if len(found.rows) > MAX_COMPARED:
        found = found.take(np.flatnonzero(_may_be_compared(found, len(valid))))
    found = found.take(np.lexsort((-found.scores, found.rows)))
    if len(found.rows) > MAX_COMPARED:
        found = found.take(np.flatnonzero(_ranks(found.rows) < MAX_COMPARED))
    return found


def _may_be_compared(found: Found, rows: int) -> BoolArray:
    """Return which candidates have one of the best scores of their row: to sort the others would take long."""
    may_be = np.ones(len(found.rows), np.bool_)
    bounds = found.rows.searchsorted(np.arange(rows + 1))
    for row in np.flatnonzero(np.diff(bounds) > MAX_COMPARED):
        own = slice(bounds[row], bounds[row + 1])
        scores = found.scores[own]
        may_be[own] = scores >= np.partition(scores, -MAX_COMPARED)[-MAX_COMPARED]
    return may_be


def _ranks(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each entry among those of its row; rows ascend."""
    ranks: NDArray[np.int64] = np.arange(len(rows)) - rows.searchsorted(rows)
    return ranks


def _reads(head: Head, outputs: Mapping[str, TensorSpec], boxes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the outputs that are read, by name.

    Args:
        head: the head.
        outputs: the model's outputs by name.
        boxes: how many candidates the head knows of; -1 for any number.
    """
    kind = head.detection
    axis = 1 if kind.transposed else 2

    def shape(numbers: int) -> tuple[int, ...]:
        return (-1, numbers, boxes) if kind.transposed else (-1, boxes, numbers)

    units = len(kind.labels) + kind.objectness + kind.HasField("background")
    reads: dict[str, tuple[int, ...]] = {}
    wanted = [("output", head.output, 4 if kind.scores_output else 4 + units)]
    if kind.scores_output:
        wanted.append(("detection.scores_output", kind.scores_output, units))
    for field, name, numbers in wanted:
        spec = outputs.get(name, TensorSpec())
        if numbers != 4 and name not in reads and len(spec.shape) == 3 and spec.shape[axis] not in (-1, numbers):
            reason = f"so {format_shape(shape(numbers))} is read; '{name}' is {format_spec(spec)}"
            raise HeadError(head.name, "detection.labels", f"has {len(kind.labels)} entries, {reason}")
        check_output(head, field, name, outputs, shape(numbers), kinds="f")
        if boxes < 0:
            boxes = spec.shape[3 - axis]
        reads[name] = shape(numbers)
    return reads
