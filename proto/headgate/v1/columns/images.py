"""Columns of heads that look at pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns.layout import (
    BoolArray,
    Columns,
    FloatArray,
    IntArray,
    OffsetArray,
    Offsets,
    PerRow,
    Ragged,
    TextArray,
)


@dataclass(slots=True)
class SegmentationColumns(Columns):
    """A label for each pixel.

    Attributes:
        height, width: of the maps.
        labels: the head's labels.
        areas: float32 [rows, labels], the part of the pixels that has each label; NaN in invalid rows.
        valid: bool [rows]; False where the model gave NaN for a pixel, or logits from which no probabilities follow.
        class_maps: uint8 (uint16 where there are more than 256 numbers) [rows, height, width], positions in `labels`;
            where labels may overlap, the best one, and `len(labels)` for none. None unless asked for. 0 throughout in
            invalid rows.
        run_offsets: int64 [rows * labels + 1]; the mask of label j in row i has the runs [i * labels + j] to
            [i * labels + j + 1]. None unless asked for.
        runs: uint32 [run_offsets[-1]], lengths of runs without and with the label in turn, column by column.
    """

    height: int
    width: int
    labels: tuple[str, ...]
    areas: Annotated[FloatArray, PerRow(np.float32, "labels")]
    valid: BoolArray
    class_maps: Annotated[
        NDArray[np.unsignedinteger[Any]] | None, PerRow(np.uint8, "height", "width", as_bytes=True)
    ] = None
    run_offsets: Annotated[OffsetArray | None, Offsets("run_counts", "labels", ragged=("runs",))] = None
    runs: Annotated[NDArray[np.uint32] | None, Ragged(np.uint32)] = None


@dataclass(slots=True)
class DetectionColumns(Columns):
    """Boxes with labels, any number a row; the best score of a row first.

    Attributes:
        offsets: int64 [rows + 1]; row i owns the entries offsets[i] to offsets[i + 1] of the next four.
        boxes: float32 [offsets[-1], 4]: left, top, right, bottom.
        labels: str [offsets[-1]].
        indices: int32 [offsets[-1]], the position in the head's labels.
        scores: float32 [offsets[-1]], probabilities.
        valid: bool [rows]; False where the model gave NaN. Such rows have no boxes.
        relative: whether boxes are fractions of the image's sides rather than pixels of the model's input.
    """

    offsets: Annotated[OffsetArray, Offsets("counts", ragged=("boxes", "labels", "indices", "scores"))]
    boxes: Annotated[FloatArray, Ragged(np.float32, 4)]
    labels: Annotated[TextArray, Ragged(object)]
    indices: Annotated[IntArray, Ragged(np.int32)]
    scores: Annotated[FloatArray, Ragged(np.float32)]
    valid: BoolArray
    relative: bool = False


@dataclass(slots=True)
class KeypointsColumns(Columns):
    """Points with names.

    Attributes:
        points: float32 [rows, names, 2]: x and y.
        names: one a point.
        valid: bool [rows]; False where the model gave NaN or an infinity for a point.
        relative: whether points are fractions of the image's sides rather than pixels of the model's input.
        scores: float32 [rows, names]; None for coordinates without.
    """

    points: Annotated[FloatArray, PerRow(np.float32, "names", 2)]
    names: tuple[str, ...]
    valid: BoolArray
    relative: bool = False
    scores: Annotated[FloatArray | None, PerRow(np.float32, "names")] = None
