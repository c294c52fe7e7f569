"""Non-maximum suppression: of boxes that lie on each other only the best stays."""

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns import BoolArray, FloatArray


def suppress(boxes: FloatArray, groups: NDArray[np.integer], iou_threshold: float, limit: int) -> BoolArray:
    """Return which boxes stay: the best of each group, then the best of those that do not overlap it, and so on.

    A box falls where its intersection over union with a better one that stays is greater than the threshold. All groups
    (such as the labels of all rows) go through a round together, which keeps the best box of each that is left and
    compares the others of the group with it.

    Args:
        boxes: float32 [n, 4]: left, top, right, bottom, the best first; each with an area.
        groups: [n]; boxes of different groups do not see each other.
        iou_threshold: in 0..1.
        limit: how many boxes of a group stay at most.

    >>> boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [9, 0, 12, 4], [0, 0, 4, 3]], np.float32)
    >>> suppress(boxes, np.array([7, 7, 7, 8]), 0.5, 100).tolist()
    [True, False, True, True]
    """
    places = groups.argsort(kind="stable")
    groups = groups[places]
    corners = boxes[places].T
    # With left and top negated, sides of intersections take a minimum and a sum. And of intersections and areas,
    # common > threshold * (area + area - common) is common * (1 + threshold) > threshold * area + threshold * area.
    columns = np.empty((5, len(places)), np.float32)
    np.negative(corners[:2], out=columns[:2])
    columns[2:4] = corners[2:]
    np.multiply(corners[2] - corners[0], corners[3] - corners[1], out=columns[4])
    columns[4] *= iou_threshold

    kept = np.zeros(len(places), np.bool_)
    for _ in range(limit):
        if not len(places):
            break
        is_best = np.empty(len(places), np.bool_)
        is_best[0] = True
        np.not_equal(groups[1:], groups[:-1], out=is_best[1:])
        starts = np.flatnonzero(is_best)
        kept[places[starts]] = True
        best = columns[:, :1] if len(starts) == 1 else columns[:, starts.repeat(np.diff(starts, append=len(places)))]
        common = np.minimum(columns[:4], best[:4])
        sides = common[:2] + common[2:]
        np.maximum(sides, 0, out=sides)
        stays = sides[0] * sides[1] * (1 + iou_threshold) <= columns[4] + best[4]
        stays[starts] = False
        left = np.flatnonzero(stays)
        columns, groups, places = columns.take(left, axis=1), groups.take(left), places.take(left)
    return kept
