import numpy as np
import pytest

from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_PROBABILITIES, Head

LABELS = ["sky", "sea", "land"]


def segmentation(**kind):
    return Head(name="map", output="out", activation=ACTIVATION_PROBABILITIES, segmentation={"labels": LABELS, **kind})


def naive_ious(true, found):
    """Take the masks of each label, [rows, height, width, labels]."""
    both, either = (true & found).sum(axis=(0, 1, 2)), (true | found).sum(axis=(0, 1, 2))
    return both / np.where(either, either, np.nan)


def test_intersection_over_union_of_each_label(evaluate, table_of, rng):
    out, y = np.float32(rng.random((9, 4, 5, 3))), rng.integers(-1, 2, (9, 4, 5))
    out[..., 2] = 0
    found = evaluate(segmentation(), out, y=y)
    counted = (y >= 0)[..., None]
    masks = [np.arange(3) == classes[..., None] for classes in (y, out.argmax(axis=-1))]
    ious = naive_ious(*(mask & counted for mask in masks))
    assert found.scores.metrics["mean_iou"] == pytest.approx(np.nanmean(ious))
    assert found.scores.metrics["pixel_accuracy"] == pytest.approx((y == out.argmax(axis=-1))[y >= 0].mean())
    table = table_of(found, "labels")
    assert [table[label]["iou"] for label in LABELS] == pytest.approx(ious.tolist(), nan_ok=True)
    assert np.isnan(table["land"]["iou"])


def test_labels_that_overlap(evaluate, rng):
    out, y = np.float32(rng.random((9, 4, 5, 3))), rng.integers(0, 2, (9, 4, 5, 3))
    out[2, 1, 1, 1] = np.nan
    found = evaluate(segmentation(independent=True, thresholds=[0.3, 0.5, 0.7]), out, y=y)
    masks = out >= [0.3, 0.5, 0.7]
    masks[2] = False
    assert found.scores.metrics == {"mean_iou": pytest.approx(naive_ious(y.astype(bool), masks).mean())}


def test_pixels_of_invalid_rows_have_no_label(evaluate):
    out = np.float32(np.eye(3)[[[[0, 1]], [[0, 1]]]])
    out[1, 0, 0, 0] = np.nan
    found = evaluate(segmentation(), out, y=[[[0, 1]], [[0, 1]]])
    assert found.scores.metrics == {"mean_iou": 0.5, "pixel_accuracy": 0.5}


def test_keypoints(evaluate, table_of):
    head = Head(
        name="joints",
        output="out",
        activation=ACTIVATION_LINEAR,
        keypoints={"names": ["hand", "foot"], "form": "FORM_COORDINATES"},
    )
    y = np.array([[[0, 0], [0, 10]], [[0, 0], [np.nan, np.nan]], [[0, 0], [10, 0]]])
    out = np.float32([[[0.24, 0.32], [0, 13]], [[0, 2], [0, 0]], [[np.nan, 0], [0, 0]]])
    found = evaluate(head, out, y=y)
    # Distances 0.4, 3 and 2; the third row is invalid, and the second has no size.
    assert found.scores.metrics == {
        "mean_distance": pytest.approx((0.4 + 3 + 2) / 3),
        "pck_0.05": 0.25,
        "pck_0.1": 0.25,
        "pck_0.2": 0.25,
    }
    assert table_of(found, "points")["hand"]["pck_0.1"] == 0.5
