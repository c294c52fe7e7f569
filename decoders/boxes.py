"""Box formats, and the anchors and grids that boxes are told against."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.decoders.heads import HeadError, enum_name
from headgate.v1 import AnchorLevel, DetectionHead, Head
from headgate.v1.columns import FloatArray

_GRIDDED = (DetectionHead.BOX_FORMAT_POINT_DISTANCES, DetectionHead.BOX_FORMAT_GRID_OFFSETS)
# Few numbers of a head can ask for any number of cells: so many need some hundred MB while they are made.
_MAX_GRIDS, _MAX_CANDIDATES = 100, 1 << 22
# As Python's numbers: numpy would round what is compared with its own to float32.
_LEAST, _GREATEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class BoxCoder:
    """Reads boxes of one format.

    Attributes:
        box_format: a value of the enum `DetectionHead.BoxFormat`.
        references: float32 [candidates, 4], what deltas, distances and offsets are told against: centre x, centre y,
            width, height. None for other formats.
        variances: float32 [4], what deltas are multiplied by.
    """

    box_format: int
    references: FloatArray | None = None
    variances: FloatArray | None = None

    @classmethod
    def from_head(cls, head: Head, image_size: tuple[int, int] | None) -> BoxCoder:
        """Make the coder of a detection head that looks at images of a size; raises HeadError."""
        kind = head.detection
        formats = DetectionHead.BoxFormat
        if kind.box_format not in formats.values() or not kind.box_format:
            problem = f"is {enum_name(formats, kind.box_format)}; give one of {', '.join(formats.keys()[1:])}"
            raise HeadError(head.name, "detection.box_format", problem)
        if kind.box_format == DetectionHead.BOX_FORMAT_ANCHOR_DELTAS:
            _check_unset(head, "grids")
            if len(kind.variances) not in (0, 4):
                raise HeadError(head.name, "detection.variances", f"has {len(kind.variances)} entries; give none or 4")
            _check_positive(head, "variances", kind.variances)
            variances = np.array(kind.variances, np.float32) if kind.variances else None
            return cls(kind.box_format, _anchors(head, image_size), variances)
        _check_unset(head, "anchors", "variances")
        if kind.box_format not in _GRIDDED:
            _check_unset(head, "grids")
            return cls(kind.box_format)
        _check_unset(head, "relative")
        if not kind.grids:
            problem = f"is empty, {formats.Name(kind.box_format)} needs the grids' strides; give them"
            raise HeadError(head.name, "detection.grids", problem)
        _check_positive(head, "grids", kind.grids)
        size = _checked_size(head, image_size, "grids", [(stride, 1) for stride in kind.grids])
        offset = 0.5 if kind.box_format == DetectionHead.BOX_FORMAT_POINT_DISTANCES else 0
        return cls(kind.box_format, grid_references(size, kind.grids, offset))

    def corners(self, boxes: FloatArray, candidates: NDArray[np.integer]) -> FloatArray:
        """Return boxes as float32 [n, 4], a new array: left, top, right, bottom.

        Args:
            boxes: [n, 4], in the model's format.
            candidates: [n], which of the references each is told against.

        >>> BoxCoder(DetectionHead.BOX_FORMAT_CXCYWH).corners(np.array([[5, 5, 4, 2]]), np.array([0])).tolist()
        [[3.0, 4.0, 7.0, 6.0]]
        """
        boxes = boxes.astype(np.float32)
        if self.box_format == DetectionHead.BOX_FORMAT_XYXY:
            return boxes
        if self.box_format == DetectionHead.BOX_FORMAT_YXYX:
            return boxes[:, [1, 0, 3, 2]]
        first, second = boxes[:, :2], boxes[:, 2:]
        if self.box_format == DetectionHead.BOX_FORMAT_XYWH:
            second += first
            return boxes
        if self.references is not None:
            references = self.references.take(candidates, axis=0)
            centres, sides = references[:, :2], references[:, 2:]
            if self.box_format == DetectionHead.BOX_FORMAT_POINT_DISTANCES:
                return np.concatenate([centres - first * sides, centres + second * sides], axis=1)
            if self.variances is not None:
                boxes *= self.variances
            first *= sides
            first += centres
            np.exp(second, out=second)
            second *= sides
        halves = second / 2
        return np.concatenate([first - halves, first + halves], axis=1)


def grid_cells(size: tuple[int, int], stride: int) -> NDArray[np.int64]:
    """Return (column, row) of the cells of a grid over an image, row by row: [cells, 2].

    Args:
        size: (width, height) of the image, in pixels; the last cells may reach beyond it.
        stride: the side of a cell, in pixels.

    >>> grid_cells((5, 4), 2).tolist()
    [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    """
    columns, rows = _grid_sides(size, stride)
    return np.stack([np.tile(np.arange(columns), rows), np.arange(rows).repeat(columns)], axis=1)


def grid_references(size: tuple[int, int], strides: Sequence[int], offset: float) -> FloatArray:
    """Return the points of grids, one grid after another, as squares of their stride: float32 [points, 4].

    Args:
        size: (width, height) of the image, in pixels.
        strides: of the grids, in pixels.
        offset: of the points in their cells: 0.5 for the centres, 0 for the top left corners.
    """
    points = [np.insert((grid_cells(size, stride) + offset) * stride, [2, 2], stride, axis=1) for stride in strides]
    return np.concatenate(points).astype(np.float32)


def make_anchors(size: tuple[int, int], levels: Sequence[AnchorLevel]) -> FloatArray:
    """Return anchors around the centres of cells, in the order that `Anchors.levels` says: float32 [anchors, 4].

    Args:
        size: (width, height) of the image, in pixels.
        levels: what is made.

    Returns:
        Centre x, centre y, width, height, in pixels.

    >>> make_anchors((8, 8), [AnchorLevel(stride=8, sizes=[2, 4], ratios=[1, 4])]).tolist()
    [[4.0, 4.0, 2.0, 2.0], [4.0, 4.0, 1.0, 4.0], [4.0, 4.0, 4.0, 4.0], [4.0, 4.0, 2.0, 8.0]]
    """
    anchors = []
    for level in levels:
        centres = (grid_cells(size, level.stride) + 0.5) * level.stride
        sizes, roots = np.array(level.sizes)[:, None], np.sqrt(level.ratios)
        sides = np.stack([sizes / roots, sizes * roots], axis=-1).reshape(-1, 2)
        anchors.append(np.hstack([centres.repeat(len(sides), axis=0), np.tile(sides, (len(centres), 1))]))
    return np.concatenate(anchors).astype(np.float32)


def centred(corners: ArrayLike) -> FloatArray:
    """Return boxes [n, 4] of left, top, right, bottom as centre x, centre y, width, height: float32.

    >>> centred([[2, 2, 6, 4]]).tolist()
    [[4.0, 3.0, 4.0, 2.0]]
    """
    corners = np.asarray(corners, np.float64)
    first, second = corners[:, :2], corners[:, 2:]
    return np.hstack([(first + second) / 2, second - first]).astype(np.float32)


def _anchors(head: Head, image_size: tuple[int, int] | None) -> FloatArray:
    """Return the head's anchors in the model's coordinates: centre x, centre y, width, height."""
    kind = head.detection
    if bool(kind.anchors.boxes) == bool(kind.anchors.levels):
        came = "has boxes and levels; give one of them" if kind.anchors.levels else "is empty; give boxes or levels"
        raise HeadError(head.name, "detection.anchors", came)
    # What float32 cannot hold is found afterwards.
    with np.errstate(all="ignore"):
        anchors = _given_anchors(head) if kind.anchors.boxes else _made_anchors(head, image_size)
    if not (np.isfinite(anchors).all() and (anchors[:, 2:] > 0).all()):
        field, advice = ("boxes", "left < right, top < bottom") if kind.anchors.boxes else ("levels", "other sizes")
        problem = f"holds a box without an area, or beyond float32; give {advice}"
        raise HeadError(head.name, f"detection.anchors.{field}", problem)
    return anchors


def _given_anchors(head: Head) -> FloatArray:
    data = head.detection.anchors.boxes
    if len(data) % 16:
        problem = f"has {len(data)} bytes; give 16 for each box, 4 numbers of float32"
        raise HeadError(head.name, "detection.anchors.boxes", problem)
    return centred(np.frombuffer(data, "<f4").reshape(-1, 4))


def _made_anchors(head: Head, image_size: tuple[int, int] | None) -> FloatArray:
    kind = head.detection
    for level in kind.anchors.levels:
        for field, numbers in (("stride", [level.stride]), ("sizes", level.sizes), ("ratios", level.ratios)):
            if not numbers:
                raise HeadError(head.name, f"detection.anchors.levels.{field}", "is empty; give one number at least")
            _check_positive(head, f"anchors.levels.{field}", numbers)
    grids = [(level.stride, len(level.sizes) * len(level.ratios)) for level in kind.anchors.levels]
    size = _checked_size(head, image_size, "anchors.levels", grids)
    anchors = make_anchors(size, kind.anchors.levels)
    if kind.relative:
        anchors /= np.array(size * 2, np.float32)
    return anchors


def _grid_sides(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return how many columns and rows of cells a grid over an image has."""
    width, height = size
    return math.ceil(width / stride), math.ceil(height / stride)


def _checked_size(
    head: Head, image_size: tuple[int, int] | None, field: str, grids: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Return the image's size, over which grids of a stride and of a number of boxes a cell lie; raises HeadError."""
    if image_size is None:
        raise HeadError(head.name, "detection.image_width", f"is 0, detection.{field} needs the image's size; give it")
    if len(grids) > _MAX_GRIDS:
        raise HeadError(head.name, f"detection.{field}", f"has {len(grids)} entries; give at most {_MAX_GRIDS}")
    count = sum(math.prod(_grid_sides(image_size, stride)) * boxes for stride, boxes in grids)
    if count > _MAX_CANDIDATES:
        width, height = image_size
        problem = f"makes {count} boxes on an image of {width} x {height}; give what makes at most {_MAX_CANDIDATES}"
        raise HeadError(head.name, f"detection.{field}", problem)
    return image_size


def _check_unset(head: Head, *fields: str) -> None:
    kind = head.detection
    set_fields = {field.name for field, _ in kind.ListFields()}
    for field in fields:
        if field in set_fields:
            box_format = DetectionHead.BoxFormat.Name(kind.box_format)
            raise HeadError(head.name, f"detection.{field}", f"is set, {box_format} has none; leave it out")


def _check_positive(head: Head, field: str, numbers: Collection[float]) -> None:
    for number in numbers:
        if not _LEAST <= number <= _GREATEST:
            raise HeadError(head.name, f"detection.{field}", f"holds {number:g}; give positive numbers of float32")
