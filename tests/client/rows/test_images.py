import dataclasses

import numpy as np
import pytest

from headgate.client.rows import describe_row, plain_rows
from headgate.v1.columns import KeypointsColumns, SegmentationColumns

VALID = np.array([True, False, True])
NAN = np.float32(np.nan)
SEGMENTATION = SegmentationColumns(
    2, 2, ("sky", "road"), np.array([[0.75, 0.25], [NAN, NAN], [0, 1]], np.float32), VALID
)
MAPS = np.array([[[0, 0], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], np.uint8)
RUN_OFFSETS = np.array([0, 3, 5, 5, 5, 6, 8])
RUNS = np.array([0, 3, 1, 3, 1, 4, 0, 4], np.uint32)
KEYPOINTS = KeypointsColumns(
    np.array([[[1.5, 2], [0.1, 4]], [[NAN] * 2] * 2, [[0, 0], [3, 3]]], np.float32), ("nose", "tail"), VALID
)


@pytest.mark.parametrize(
    ("columns", "extra"),
    [
        ({}, [{}, {}]),
        ({"class_maps": MAPS}, [{"class_map": [[0, 0], [0, 1]]}, {"class_map": [[1, 1], [1, 1]]}]),
        (
            {"run_offsets": RUN_OFFSETS, "runs": RUNS},
            [{"runs": {"sky": [0, 3, 1], "road": [3, 1]}}, {"runs": {"sky": [4], "road": [0, 4]}}],
        ),
    ],
)
def test_segmentation(columns, extra):
    first, invalid, last = plain_rows(dataclasses.replace(SEGMENTATION, **columns))
    assert invalid is None
    size = {"height": 2, "width": 2}
    assert first == {**size, "areas": {"sky": 0.75, "road": 0.25}, **extra[0]}
    assert last == {**size, "areas": {"sky": 0.0, "road": 1.0}, **extra[1]}
    assert describe_row(first) == "sky 75 %, road 25 %"
    assert describe_row(last) == "road 100 %"


def test_a_picture_without_labels():
    nothing = dataclasses.replace(SEGMENTATION, areas=np.zeros((3, 2), np.float32))
    assert describe_row(plain_rows(nothing)[0]) == "no label"


def test_keypoints():
    points = [{"name": "nose", "x": 1.5, "y": 2.0}, {"name": "tail", "x": 0.1, "y": 4.0}]
    first, invalid, _ = plain_rows(KEYPOINTS)
    assert (first, invalid) == ({"points": points, "relative": False}, None)
    assert describe_row(first) == "nose (1.5, 2), tail (0.1, 4)"


def test_keypoints_with_scores():
    scores = np.array([[0.9, 0.25], [NAN, NAN], [0, 1]], np.float32)
    first, _, _ = plain_rows(dataclasses.replace(KEYPOINTS, scores=scores, relative=True))
    assert [point["score"] for point in first["points"]] == [0.9, 0.25]
    assert first["relative"]
    assert describe_row(first) == "nose (1.5, 2) 0.9, tail (0.1, 4) 0.25"
