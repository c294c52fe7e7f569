"""Masks as lengths of runs without and with a label in turn, column by column, as COCO's uncompressed counts.

The first run is one without the label, which may have no pixel; all runs of a mask add up to its pixels.
"""

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns import BoolArray, OffsetArray

Integers = NDArray[np.unsignedinteger]


def runs_of_classes(class_maps: Integers, labels: int) -> tuple[OffsetArray, NDArray[np.uint32]]:
    """Return how many runs the mask of each label has, [rows, labels], and all runs one after another.

    Args:
        class_maps: [rows, height, width], which label each pixel has.
        labels: how many there are.

    >>> counts, runs = runs_of_classes(np.array([[[0, 1, 1], [0, 0, 1]]], np.uint8), 2)
    >>> counts.tolist(), runs.tolist()
    ([[5, 4]], [0, 2, 1, 1, 2, 2, 1, 1, 2])
    """
    rows, height, width = class_maps.shape
    pixels = height * width
    columns = class_maps.transpose(0, 2, 1).reshape(rows, pixels)
    changes = np.ones((rows, pixels), np.bool_)
    np.not_equal(columns[:, 1:], columns[:, :-1], out=changes[:, 1:])
    begins = np.flatnonzero(changes)
    ends = np.append(begins[1:], columns.size)[: len(begins)]
    # From a position among the pixels of all rows to that of the same pixel among the masks of all labels.
    shifts = (begins // max(1, pixels) * (labels - 1) + columns.ravel()[begins]) * pixels
    return _runs(np.concatenate([begins + shifts, (ends + shifts)[ends % max(1, pixels) != 0]]), rows, labels, pixels)


def runs_of_masks(masks: BoolArray) -> tuple[OffsetArray, NDArray[np.uint32]]:
    """Return how many runs each mask has, [rows, labels], and all runs one after another.

    Args:
        masks: [rows, height, width, labels], whether each pixel has the label.

    >>> counts, runs = runs_of_masks(np.array([True, False]).reshape(1, 2, 1, 1))
    >>> counts.tolist(), runs.tolist()
    ([[3]], [0, 1, 1])
    """
    rows, height, width, labels = masks.shape
    columns = masks.transpose(0, 3, 2, 1).reshape(rows, labels, height * width)
    return _runs(np.flatnonzero(np.diff(columns, prepend=False)), *columns.shape)


def _runs(edges: NDArray[np.intp], rows: int, labels: int, pixels: int) -> tuple[OffsetArray, NDArray[np.uint32]]:
    """Cut all masks, laid out one after another, where they begin and where labels begin and end within them."""
    edges.sort()
    firsts = np.arange(rows * labels + 1) * pixels
    before = edges.searchsorted(firsts)
    runs = np.diff(np.insert(edges, before, firsts)).astype(np.uint32)
    return (np.diff(before) + 1).reshape(rows, labels), runs
