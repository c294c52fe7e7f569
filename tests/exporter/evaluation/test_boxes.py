import numpy as np
import pytest

from headgate.exporter.evaluation.boxes import intersections_over_unions
from headgate.v1 import ACTIVATION_PROBABILITIES, Head

LABELS = ["cat", "dog", "cow"]
HEAD = Head(
    name="things",
    output="out",
    activation=ACTIVATION_PROBABILITIES,
    detection={"labels": LABELS, "box_format": "BOX_FORMAT_XYXY", "score_threshold": 0.3, "iou_threshold": 1},
)


def naive_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def naive_average_precision(found, true, threshold):
    """Take [(score, row, box)] and [(row, box)] of one label; go through the boxes of all rows, the best first."""
    taken, hits = set(), []
    for _, row, box in sorted(found, key=lambda one: -one[0]):
        overlaps = [(naive_iou(box, other), i) for i, (r, other) in enumerate(true) if r == row and i not in taken]
        best, which = max(overlaps, default=(0, None))
        hits.append(best >= threshold)
        if hits[-1]:
            taken.add(which)
    precisions = []
    for recall in np.arange(101) / 100:
        reached = [
            sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)) if sum(hits[: n + 1]) / len(true) >= recall - 1e-12
        ]
        precisions.append(max(reached, default=0))
    return np.mean(precisions)


def boxes_around(rng, rows, count):
    corners = rng.uniform(0, 60, (rows, count, 2))
    return np.concatenate([corners, corners + rng.uniform(5, 40, (rows, count, 2))], axis=2)


def test_mean_average_precision_is_that_of_its_definition(evaluate, table_of, rng):
    rows, count = 12, 8
    boxes = boxes_around(rng, rows, count)
    # The first boxes of each row are near true ones; no row has a cow.
    counts = rng.integers(0, 4, rows)
    true = [
        (row, boxes[row, i] + rng.normal(0, 2, 4), int(rng.integers(0, 2)))
        for row in range(rows)
        for i in range(counts[row])
    ]
    scores = np.zeros((rows, count, 3), np.float32)
    scores[np.arange(rows)[:, None], np.arange(count), rng.integers(0, 3, (rows, count))] = rng.random((rows, count))
    out = np.float32(np.concatenate([boxes, scores], axis=2))
    found = evaluate(
        HEAD, out, y_boxes=[box for _, box, _ in true], y_labels=[label for *_, label in true], y_counts=counts
    )
    expected = {}
    for label in range(2):
        answered = [
            (out[row, i, 4 + label], row, out[row, i, :4].astype(float))
            for row in range(rows)
            for i in range(count)
            if out[row, i, 4 + label] >= 0.3
        ]
        its = [(row, box) for row, box, one in true if one == label]
        expected[label] = [naive_average_precision(answered, its, t) for t in np.arange(0.5, 0.96, 0.05)]
    assert 0 < expected[0][0] < 1
    table = table_of(found, "labels")
    for label in range(2):
        assert table[LABELS[label]]["ap_50"] == pytest.approx(expected[label][0])
        assert table[LABELS[label]]["ap_50_95"] == pytest.approx(np.mean(expected[label]))
    assert np.isnan(table["cow"]["ap_50"])
    assert found.scores.metrics == {
        "map_50": pytest.approx(np.mean([each[0] for each in expected.values()])),
        "map_50_95": pytest.approx(np.mean(list(expected.values()))),
    }


def test_what_is_found_right_once_is_right_once(evaluate):
    box = [0, 0, 10, 10]
    out = np.float32([[[*box, 0.9, 0, 0], [*box, 0.8, 0, 0]], [[*box, np.nan, 0, 0], [*box, 0.8, 0, 0]]])
    found = evaluate(HEAD, out, y_boxes=[box, box], y_labels=["cat", "cat"], y_counts=[1, 1])
    assert found.invalid_rows == [1]
    # One of two is found, with precision 1: recalls 0, 0.01, ... 0.5 of 101.
    assert found.scores.metrics["map_50"] == pytest.approx(51 / 101)


def test_no_boxes_at_all(evaluate):
    out = np.zeros((2, 3, 7), np.float32)
    empty = evaluate(HEAD, out, y_boxes=np.zeros((0, 4)), y_labels=np.zeros(0, int), y_counts=[0, 0])
    assert np.isnan(empty.scores.metrics["map_50"])
    missed = evaluate(HEAD, out, y_boxes=[[0, 0, 1, 1]], y_labels=[1], y_counts=[0, 1])
    assert missed.scores.metrics["map_50"] == 0


def test_overlaps(rng):
    first, second = boxes_around(rng, 1, 5)[0], boxes_around(rng, 1, 4)[0]
    expected = [[naive_iou(a, b) for b in second] for a in first]
    np.testing.assert_allclose(intersections_over_unions(first, second), expected)
    assert intersections_over_unions(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]
