import itertools

import numpy as np
import pytest

from headgate.decoders.boxes import BoxCoder, centred, grid_references, make_anchors
from headgate.v1 import AnchorLevel, DetectionHead

SIZE = 20, 13


def random_corners(count):
    rng = np.random.default_rng(7)
    first = rng.uniform(-5, 50, (count, 2))
    return np.hstack([first, first + rng.uniform(0.5, 30, (count, 2))])


def encode(box_format, corners, references, variances):
    """Encode boxes one by one, from what head.proto says of each format."""
    encoded = []
    for (left, top, right, bottom), (x, y, width, height) in zip(corners, references, strict=True):
        wide, high = right - left, bottom - top
        centre_x, centre_y = left + wide / 2, top + high / 2
        match box_format:
            case "XYXY":
                box = left, top, right, bottom
            case "XYWH":
                box = left, top, wide, high
            case "CXCYWH":
                box = centre_x, centre_y, wide, high
            case "YXYX":
                box = top, left, bottom, right
            case "POINT_DISTANCES":
                box = (x - left) / width, (y - top) / height, (right - x) / width, (bottom - y) / height
            case "ANCHOR_DELTAS" | "GRID_OFFSETS":
                deltas = (centre_x - x) / width, (centre_y - y) / height, np.log(wide / width), np.log(high / height)
                box = np.array(deltas) / variances
        encoded.append(box)
    return np.array(encoded)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "box_format", [name.removeprefix("BOX_FORMAT_") for name in DetectionHead.BoxFormat.keys()[1:]]
)
def test_boxes_of_all_formats_come_back(box_format, dtype):
    corners = random_corners(50)
    candidates = np.random.default_rng(1).integers(9, size=50)
    references = centred(random_corners(9))
    variances = np.array([0.1, 0.2, 0.3, 0.4]) if box_format == "ANCHOR_DELTAS" else np.ones(4)
    coder = BoxCoder(
        DetectionHead.BoxFormat.Value(f"BOX_FORMAT_{box_format}"),
        references if box_format in ("POINT_DISTANCES", "ANCHOR_DELTAS", "GRID_OFFSETS") else None,
        variances.astype(np.float32) if box_format == "ANCHOR_DELTAS" else None,
    )
    boxes = encode(box_format, corners, references[candidates].astype(float), variances).astype(dtype)
    before = boxes.copy()
    decoded = coder.corners(boxes, candidates)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, corners, 1e-4, 1e-4)
    np.testing.assert_array_equal(boxes, before)
    assert not np.shares_memory(decoded, boxes)


@pytest.mark.parametrize("offset", [0, 0.5])
def test_points_go_grid_after_grid_and_row_by_row(offset):
    expected = [
        [(x + offset) * stride, (y + offset) * stride, stride, stride]
        for stride, columns, rows in ((8, 3, 2), (4, 5, 4))
        for y, x in itertools.product(range(rows), range(columns))
    ]
    assert grid_references(SIZE, [8, 4], offset).tolist() == expected


def test_anchors_go_level_after_level_cell_after_cell_and_size_after_size():
    levels = [AnchorLevel(stride=8, sizes=[8, 11], ratios=[0.5, 1, 2]), AnchorLevel(stride=16, sizes=[30], ratios=[4])]
    expected = [
        [(x + 0.5) * level.stride, (y + 0.5) * level.stride, (size**2 / ratio) ** 0.5, (size**2 * ratio) ** 0.5]
        for level, columns, rows in zip(levels, (3, 2), (2, 1), strict=True)
        for y, x, size, ratio in itertools.product(range(rows), range(columns), level.sizes, level.ratios)
    ]
    np.testing.assert_allclose(make_anchors(SIZE, levels), expected, 1e-6)
