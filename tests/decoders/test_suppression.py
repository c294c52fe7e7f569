import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders.suppression import suppress


def iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)


def greedy(boxes, groups, iou_threshold):
    """The definition: box after box, each against all that stay."""
    boxes = boxes.astype(float)
    kept = []
    for place in range(len(boxes)):
        rivals = [other for other in kept if groups[other] == groups[place]]
        if all(iou(boxes[place], boxes[other]) <= iou_threshold for other in rivals):
            kept.append(place)
    return kept


def random_boxes(rng, count):
    """Boxes that crowd in some places."""
    centres = rng.uniform(0, 100, (max(1, count // 8), 2))[rng.integers(max(1, count // 8), size=count)]
    centres += rng.normal(scale=3, size=(count, 2))
    halves = rng.uniform(5, 20, (count, 2))
    return np.hstack([centres - halves, centres + halves]).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 2, 30, 200])
@pytest.mark.parametrize("iou_threshold", [0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("groups", [1, 7, 1000])
def test_what_stays_is_what_the_definition_says(count, iou_threshold, groups):
    rng = np.random.default_rng([count, groups])
    boxes, group_of = random_boxes(rng, count), rng.integers(groups, size=count)
    kept = suppress(boxes, group_of, iou_threshold, count)
    assert np.flatnonzero(kept).tolist() == greedy(boxes, group_of, iou_threshold)


# Whole numbers: unions and intersections are exact, and often just at a threshold.
whole_boxes = hnp.arrays(np.int64, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 6)).map(
    lambda boxes: np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] + 1]).astype(np.float32)
)


@given(whole_boxes, st.sampled_from([0, 0.25, 0.5, 0.75]), st.randoms(use_true_random=False))
def test_boxes_on_a_lattice(boxes, iou_threshold, random):
    groups = np.array([random.randrange(2) for _ in boxes], np.int64)
    assert np.flatnonzero(suppress(boxes, groups, iou_threshold, 12)).tolist() == greedy(boxes, groups, iou_threshold)


@given(whole_boxes, st.integers(1, 4))
def test_a_limit_keeps_the_best_of_each_group(boxes, limit):
    groups = np.arange(len(boxes)) % 2
    everything = greedy(boxes, groups, 0.4)
    expected = [place for group in (0, 1) for place in [each for each in everything if each % 2 == group][:limit]]
    assert np.flatnonzero(suppress(boxes, groups, 0.4, limit)).tolist() == sorted(expected)


@pytest.mark.slow
def test_tensorflow_says_the_same():
    tensorflow = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(4)
    for _ in range(10):
        boxes = random_boxes(rng, 100)
        scores = np.sort(rng.random(100).astype(np.float32))[::-1]
        expected = tensorflow.image.non_max_suppression(boxes[:, [1, 0, 3, 2]], scores, 100, 0.45)
        assert np.flatnonzero(suppress(boxes, np.zeros(100, int), 0.45, 100)).tolist() == expected.numpy().tolist()
