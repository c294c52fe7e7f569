import dataclasses
import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, HeadError, decoder_for, detection
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    AnchorLevel,
    Anchors,
    DataType,
    DetectionHead,
    Head,
    TensorSpec,
)

from .test_suppression import iou

LABELS = ["cat", "dog", "bird"]
EVERYTHING = DecodeOptions(threshold=0)


def make_decoder(activation=ACTIVATION_LOGITS, candidates=-1, shapes=None, datatypes=("FP32", "FP32"), **fields):
    """A decoder of one output 'boxes', or of another one 'scores' too."""
    fields = {"labels": LABELS, "box_format": DetectionHead.BOX_FORMAT_XYXY} | fields
    kind = DetectionHead(**fields)
    units = len(kind.labels) + kind.objectness + kind.HasField("background")
    numbers = [4, units] if kind.scores_output else [4 + units]
    if shapes is None:
        shapes = [[-1, size, candidates] if kind.transposed else [-1, candidates, size] for size in numbers]
    specs = [
        TensorSpec(name=name, datatype=DataType.Value(f"DATA_TYPE_{datatype}"), shape=shape)
        for name, shape, datatype in zip(["boxes", "scores"], shapes, datatypes, strict=False)
    ]
    return decoder_for(Head(name="h", output="boxes", activation=activation, detection=kind), specs)


def arrange(boxes, scores, transposed=False, scores_output=""):
    """The outputs of a model that has these boxes [rows, candidates, 4] and scores [rows, candidates, units]."""
    outputs = {"boxes": boxes, "scores": scores} if scores_output else {"boxes": np.concatenate([boxes, scores], -1)}
    return {name: output.swapaxes(1, 2).copy() if transposed else output for name, output in outputs.items()}


def random_outputs(rows=3, candidates=60, units=3, seed=0, dtype="float32"):
    """Boxes in pixels that crowd, some beyond an image of 100 x 80, and logits."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 100, (6, 2))[rng.integers(6, size=(rows, candidates))]
    centres += rng.normal(scale=3, size=centres.shape)
    halves = rng.uniform(4, 20, centres.shape)
    logits = rng.normal(-1, 2, (rows, candidates, units))
    return np.concatenate([centres - halves, centres + halves], -1).astype(dtype), logits.astype(dtype)


def expected_row(boxes, scores, kind, logits=True):
    """One row's (box, label, score)s, best first, from what head.proto says, in loops and double precision."""
    found = []
    for candidate, (box, units) in enumerate(zip(boxes.astype(float), scores.astype(float), strict=True)):
        if kind.exclusive and logits:
            units = scipy.special.softmax(units)
        elif logits:
            units = scipy.special.expit(units)
        units = units.tolist()
        objectness = units.pop(0) if kind.objectness else 1
        if kind.HasField("background"):
            del units[kind.background]
        labels = [int(np.argmax(units))] if kind.exclusive else range(len(units))
        box = np.clip(box, 0, [100, 80, 100, 80])
        if box[0] < box[2] and box[1] < box[3]:
            found += [(-objectness * units[label], candidate, label, box) for label in labels]
    threshold = kind.score_threshold if kind.HasField("score_threshold") else 0.25
    iou_threshold = kind.iou_threshold if kind.HasField("iou_threshold") else 0.5
    kept = []
    for score, _, label, box in sorted(
        (entry for entry in found if -entry[0] >= threshold), key=lambda entry: entry[:3]
    ):
        rivals = [other for other, its, _ in kept if kind.class_agnostic or its == label]
        if all(iou(box, other) <= iou_threshold for other in rivals):
            kept.append((box, label, -score))
    return kept[: kind.max_detections or 100]


def assert_row(columns, row, expected, tolerance=1e-5):
    one = columns.rows(row, row + 1)
    assert one.indices.tolist() == [label for _, label, _ in expected]
    assert one.labels.tolist() == [LABELS[label] for _, label, _ in expected]
    np.testing.assert_allclose(one.scores, [score for _, _, score in expected], tolerance)
    boxes = np.reshape([box for box, _, _ in expected], (-1, 4))
    np.testing.assert_allclose(one.boxes, boxes, tolerance, 1e-3)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("scores_output", ["", "scores"])
@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize(
    "scoring",
    [
        {},
        {"objectness": True, "score_threshold": 0.1},
        {"background": 0},
        {"background": 1, "exclusive": True},
        {"background": 3, "exclusive": True, "iou_threshold": 1},
        {"exclusive": True, "class_agnostic": True, "iou_threshold": 0.3},
        {"class_agnostic": True, "max_detections": 5},
        {"score_threshold": 0, "iou_threshold": 0, "max_detections": 4},
    ],
)
def test_boxes_are_those_of_the_definition(scoring, logits, scores_output, transposed):
    layout = {"transposed": transposed, "scores_output": scores_output}
    boxes, scores = random_outputs(units=3 + bool({"objectness", "background"} & set(scoring)))
    if not logits:
        scores = (scipy.special.softmax(scores, -1) if "exclusive" in scoring else scipy.special.expit(scores)).astype(
            "float32"
        )
    activation = ACTIVATION_LOGITS if logits else ACTIVATION_PROBABILITIES
    decoder = make_decoder(activation, image_width=100, image_height=80, **scoring, **layout)
    columns = decoder.decode(arrange(boxes, scores, **layout), DecodeOptions())
    assert columns.valid.all()
    assert columns.offsets[-1] == len(columns.boxes) > 3
    for row in range(3):
        assert_row(columns, row, expected_row(boxes[row], scores[row], DetectionHead(**scoring), logits))
    types = [getattr(columns, name).dtype for name in ("offsets", "boxes", "indices", "scores")]
    assert types == [np.int64, np.float32, np.int32, np.float32]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions(dtype):
    boxes, scores = random_outputs(dtype=dtype, seed=5)
    decoder = make_decoder(image_width=100, image_height=80)
    columns = decoder.decode(arrange(boxes, scores), DecodeOptions())
    for row in range(3):
        assert_row(columns, row, expected_row(boxes[row], scores[row], DetectionHead()))


@pytest.mark.slow
def test_tensorflow_says_the_same():
    tensorflow = pytest.importorskip("tensorflow")
    boxes, scores = random_outputs(candidates=300, seed=2)
    scores = scipy.special.expit(scores)
    columns = make_decoder(ACTIVATION_PROBABILITIES, max_detections=40).decode(arrange(boxes, scores), DecodeOptions())
    expected = tensorflow.image.combined_non_max_suppression(
        boxes[:, :, None, [1, 0, 3, 2]], scores, 300, 40, 0.5, 0.25, clip_boxes=False
    )
    assert np.diff(columns.offsets).tolist() == expected.valid_detections.numpy().tolist()
    for row, count in enumerate(expected.valid_detections):
        one = columns.rows(row, row + 1)
        np.testing.assert_array_equal(one.boxes[:, [1, 0, 3, 2]], expected.nmsed_boxes[row, :count])
        np.testing.assert_array_equal(one.scores, expected.nmsed_scores[row, :count])
        np.testing.assert_array_equal(one.indices, expected.nmsed_classes[row, :count])


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_coordinates_are_those_asked_for(relative, asked):
    boxes, scores = random_outputs()
    size = np.array([100, 80, 100, 80], np.float32)
    decoder = make_decoder(image_width=100, image_height=80, relative=relative)
    outputs = arrange(boxes / size if relative else boxes, scores)
    columns = decoder.decode(outputs, DecodeOptions(relative_coordinates=asked))
    pixels = make_decoder(image_width=100, image_height=80).decode(arrange(boxes, scores), DecodeOptions())
    assert columns.relative == asked
    np.testing.assert_allclose(columns.boxes, pixels.boxes / size if asked else pixels.boxes, 1e-4, 1e-4)
    assert columns.boxes.min() >= 0
    assert (columns.boxes <= (1 if asked else size)).all()


def test_without_a_size_coordinates_are_the_models():
    boxes = np.array([[[-0.5, 0.25, 1.5, 0.5]]], np.float32)
    outputs = arrange(boxes, np.full((1, 1, 3), 9, np.float32))
    pixels, fractions = make_decoder(class_agnostic=True), make_decoder(relative=True, class_agnostic=True)
    for asked in (False, True):
        options = DecodeOptions(relative_coordinates=asked)
        fractions.check(options)
        columns = fractions.decode(outputs, options)
        assert (columns.relative, columns.boxes.tolist()) == (True, [[0, 0.25, 1, 0.5]])
    columns = pixels.decode(outputs, DecodeOptions())
    assert (columns.relative, columns.boxes.tolist()) == (False, boxes[0].tolist())
    with pytest.raises(ValueError, match="cannot give relative coordinates: the image's size is not known"):
        pixels.check(DecodeOptions(relative_coordinates=True))


ANCHORS = np.array([[0, 0, 10, 10], [20, 20, 40, 30]], "<f4")


@pytest.mark.parametrize(
    ("fields", "box", "expected"),
    [
        ({"box_format": "BOX_FORMAT_XYWH"}, [1, 2, 3, 4], [1, 2, 4, 6]),
        ({"box_format": "BOX_FORMAT_CXCYWH"}, [10, 10, 4, 6], [8, 7, 12, 13]),
        ({"box_format": "BOX_FORMAT_YXYX"}, [1, 2, 3, 4], [2, 1, 4, 3]),
        (
            {"box_format": "BOX_FORMAT_ANCHOR_DELTAS", "anchors": Anchors(boxes=ANCHORS.tobytes())},
            [0.1, -0.5, 0, np.log(2)],
            [22, 10, 42, 30],
        ),
        (
            {
                "box_format": "BOX_FORMAT_ANCHOR_DELTAS",
                "anchors": Anchors(boxes=ANCHORS.tobytes()),
                "variances": [0.1, 0.1, 0.2, 0.2],
            },
            [1, -5, 0, np.log(2) * 5],
            [22, 10, 42, 30],
        ),
        (
            {
                "box_format": "BOX_FORMAT_ANCHOR_DELTAS",
                "anchors": Anchors(levels=[AnchorLevel(stride=50, sizes=[20], ratios=[1])]),
                "image_width": 100,
                "image_height": 50,
            },
            [0, 0, 0, np.log(2)],
            [65, 5, 85, 45],
        ),
        (
            {
                "box_format": "BOX_FORMAT_POINT_DISTANCES",
                "grids": [50],
                "image_width": 100,
                "image_height": 50,
            },
            [0.5, 0.25, 0.125, 0.375],
            [50, 12.5, 81.25, 43.75],
        ),
        (
            {
                "box_format": "BOX_FORMAT_GRID_OFFSETS",
                "grids": [100, 64],
                "image_width": 64,
                "image_height": 64,
            },
            [0.5, 0.5, np.log(0.25), np.log(0.5)],
            [24, 16, 40, 48],
        ),
    ],
)
def test_box_formats(fields, box, expected):
    """The second of two candidates, of which the first has no score."""
    outputs = {"boxes": np.array([[[1, 1, 1, 1], box]], np.float32), "scores": np.array([[[-9], [9]]], np.float32)}
    decoder = make_decoder(labels=["cat"], scores_output="scores", **fields)
    columns = decoder.decode(outputs, DecodeOptions())
    np.testing.assert_allclose(columns.boxes, [expected], 1e-5)


def test_made_anchors_of_relative_coordinates_are_relative():
    anchors = Anchors(levels=[AnchorLevel(stride=50, sizes=[20], ratios=[1])])
    fields = {"box_format": "BOX_FORMAT_ANCHOR_DELTAS", "image_width": 100, "image_height": 50, "labels": ["cat"]}
    outputs = {"boxes": np.array([[[0.5, 0, 0, 0, 9], [0, 0, 0, 0, -9]]], np.float32)}
    for relative in (False, True):
        columns = make_decoder(anchors=anchors, relative=relative, **fields).decode(outputs, DecodeOptions())
        np.testing.assert_allclose(columns.boxes, [[25, 15, 45, 35]], 1e-5)


def test_objects_of_the_same_place_and_score_come_in_the_order_of_candidates_and_labels():
    boxes = np.array([[[0, 0, 4, 4], [8, 0, 12, 4], [0, 0, 4, 4]]], np.float32)
    for transposed in (False, True):
        outputs = arrange(boxes, np.zeros((1, 3, 3), np.float32), transposed)
        columns = make_decoder(transposed=transposed).decode(outputs, DecodeOptions())
        assert columns.indices.tolist() == [0, 1, 2, 0, 1, 2]
        assert columns.boxes[:, 0].tolist() == [0, 0, 0, 8, 8, 8]
        columns = make_decoder(transposed=transposed, iou_threshold=1).decode(outputs, DecodeOptions(top_k=8))
        assert columns.boxes[:, 0].tolist() == [0, 0, 0, 8, 8, 8, 0, 0]


def test_boxes_without_a_finite_area_are_left_out():
    boxes = np.array([[[0, 0, 4, 0], [4, 0, 0, 4], [200, 0, 300, 4], [1, 2, 3, 4]]], np.float32)
    columns = make_decoder(image_width=100, image_height=80).decode(
        arrange(boxes, np.full((1, 4, 3), 9, np.float32)), DecodeOptions(top_k=1)
    )
    assert columns.boxes.tolist() == [[1, 2, 3, 4]]
    anchors = Anchors(boxes=ANCHORS.tobytes())
    decoder = make_decoder(anchors=anchors, box_format="BOX_FORMAT_ANCHOR_DELTAS", image_width=100, image_height=80)
    outputs = arrange(np.array([[[0, 0, 100, 0], [0, 0, 0, 0]]], np.float32), np.full((1, 2, 3), 9, np.float32))
    columns = decoder.decode(outputs, DecodeOptions())
    assert columns.valid.all()
    assert columns.boxes.tolist() == [[20, 20, 40, 30]] * 3


def test_no_more_than_the_best_are_compared():
    columns = 100
    corner = np.stack(np.divmod(np.arange(5000), columns), -1).astype(np.float32) * 2
    outputs = arrange(np.hstack([corner, corner + 1])[None], np.linspace(0.5, 1, 5000, dtype="f")[None, :, None])
    decoder = make_decoder(ACTIVATION_PROBABILITIES, labels=["cat"], max_detections=4096)
    found = decoder.decode(outputs, DecodeOptions(top_k=9999))
    np.testing.assert_array_equal(found.scores, outputs["boxes"][0, :, 4][:-4097:-1])


def test_of_equal_scores_the_first_candidates_are_compared():
    scores = np.random.default_rng(3).choice(np.float32([0.5, 0.6, 0.7]), (3, 6000))
    left = np.arange(6000, dtype=np.float32) * 2
    boxes = np.stack([left, left * 0, left + 1, left * 0 + 1], -1)[None].repeat(3, axis=0)
    decoder = make_decoder(ACTIVATION_PROBABILITIES, labels=["cat"], iou_threshold=1)
    found = decoder.decode(arrange(boxes, scores[:, :, None]), DecodeOptions(top_k=2**32 - 1))
    for row in range(3):
        expected = np.argsort(-scores[row], kind="stable")[:4096]
        np.testing.assert_array_equal(found.rows(row, row + 1).boxes, boxes[row, expected])


def test_many_rows_are_decoded_in_parts_that_need_little_memory(monkeypatch):
    boxes, scores = random_outputs(rows=50, candidates=400)
    boxes[7, 3] = np.nan
    decoder = make_decoder(scores_output="scores", image_width=100, image_height=80)
    outputs = arrange(boxes, scores, scores_output="scores")
    peaks, answers = [], []
    for limit in (50, 3, 0):
        monkeypatch.setattr(detection, "_SCORES_TOGETHER", limit * scores[0].size)
        tracemalloc.start()
        answers.append(decoder.decode(outputs, DecodeOptions(threshold=0)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert_same(answers[1], answers[0])
    assert_same(answers[2], answers[0])
    assert max(peaks[1:]) < peaks[0] / 3


@pytest.mark.parametrize("iou_threshold", [0, 0.5])
def test_boxes_whose_area_float32_cannot_hold_are_left_out(iou_threshold):
    boxes = np.array([[[0, 0, 1e30, 1e30], [5, 5, 1e38, 6], [0, 0, 4, 4], [8, 0, 12, 4]]], np.float32)
    scores = np.array([9, 7, 8, 6], np.float32)[None, :, None]
    decoder = make_decoder(labels=["cat"], iou_threshold=iou_threshold)
    columns = decoder.decode(arrange(boxes, scores), DecodeOptions())
    assert columns.boxes.tolist() == boxes[0, [2, 1, 3]].tolist()


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("unit", [0, 2])
def test_probabilities_that_float32_cannot_hold_make_the_row_invalid(unit, bad, exclusive):
    boxes, scores = np.tile([0.0, 0, 4, 4], (2, 3, 1)), np.full((2, 3, 3), 0.3)
    scores[1, 2, unit] = bad
    decoder = make_decoder(ACTIVATION_PROBABILITIES, labels=LABELS[:2], background=2, exclusive=exclusive)
    columns = decoder.decode(arrange(boxes, scores), DecodeOptions())
    assert columns.valid.tolist() == [True, False]
    assert np.diff(columns.offsets).tolist() == [1 if exclusive else 2, 0]


numbers = st.sampled_from([0, 1, 0.5, -3, 40]) | st.floats(-9, 9, width=16)
wild_numbers = numbers | st.sampled_from([np.nan, np.inf, -np.inf])
DECODERS = [
    make_decoder(activation, labels=LABELS[:2], **fields)
    for activation in (ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES)
    for fields in (
        {"image_width": 8, "image_height": 4, "box_format": "BOX_FORMAT_XYWH", "background": 1},
        {"image_width": 8, "image_height": 4, "box_format": "BOX_FORMAT_CXCYWH", "objectness": True},
        {"box_format": "BOX_FORMAT_XYXY", "exclusive": True, "background": 2, "transposed": True},
        {
            "box_format": "BOX_FORMAT_ANCHOR_DELTAS",
            "anchors": Anchors(boxes=ANCHORS.repeat(2, 0).tobytes()),
            "class_agnostic": True,
            "background": 0,
            "transposed": True,
        },
    )
]
decoders = st.sampled_from(DECODERS)


@st.composite
def batches(draw, elements=wild_numbers):
    decoder = draw(decoders)
    sizes = [draw(st.integers(0, 4)), *({-1: 4}.get(size, size) for size in decoder.reads["boxes"][1:])]
    return decoder, draw(
        hnp.arrays(draw(st.sampled_from([np.float16, np.float32, np.float64])), sizes, elements=elements)
    )


def decode(decoder, output, **options):
    return decoder.decode({"boxes": output}, DecodeOptions(**options))


def assert_same(columns, expected):
    for field in dataclasses.fields(columns):
        np.testing.assert_array_equal(getattr(columns, field.name), getattr(expected, field.name), field.name)


@given(batches(), st.sampled_from([None, 0, 0.6, 1]))
def test_rows_one_by_one_are_as_rows_together(batch, threshold):
    decoder, output = batch
    together = decode(decoder, output, threshold=threshold)
    assert len(together) == len(output)
    for row in range(len(output)):
        one = decode(decoder, output[row : row + 1], threshold=threshold)
        assert_same(one, together.rows(row, row + 1))


@given(batches(), st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_the_answer(batch, random):
    decoder, output = batch
    order = random.sample(range(len(output)), len(output))
    columns, permuted = decode(decoder, output), decode(decoder, output[order])
    for place, row in enumerate(order):
        assert_same(permuted.rows(place, place + 1), columns.rows(row, row + 1))


@given(batches())
def test_the_output_stays_as_it_is_and_is_not_shared(batch):
    decoder, output = batch
    before = output.copy()
    output.setflags(write=False)
    columns = decode(decoder, output)
    np.testing.assert_array_equal(output, before)
    for field in dataclasses.fields(columns):
        assert not np.shares_memory(np.asarray(getattr(columns, field.name)), output)


@given(batches())
def test_what_is_no_number_makes_no_box(batch):
    decoder, output = batch
    columns = decode(decoder, output, threshold=0)
    axis = 1 if decoder.transposed else 2
    boxes, scores = np.split(output.astype(np.float64), [4], axis)
    expected = np.isfinite(boxes).all((1, 2)) & ~np.isnan(scores).any((1, 2))
    np.testing.assert_array_equal(columns.valid & ~expected, False)
    if not np.isinf(scores).any():
        np.testing.assert_array_equal(columns.valid, expected)
    np.testing.assert_array_equal(np.diff(columns.offsets)[~columns.valid], 0)
    assert np.isfinite(columns.boxes).all()
    assert np.isfinite(columns.scores).all()
    # Whether a row is valid does not hang on what is asked for.
    np.testing.assert_array_equal(decode(decoder, output, threshold=1).valid, columns.valid)


@given(batches(), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_leaves_the_best_boxes(batch, one, other):
    decoder, output = batch
    # Classes are filtered before objectness multiplies them, which nothing survives that is no probability.
    scores = output[:, 4:] if decoder.transposed else output[:, :, 4:]
    np.minimum(scores, 1, out=scores)
    low, high = (decode(decoder, output, threshold=threshold) for threshold in sorted([one, other]))
    for row in range(len(output)):
        many, few = low.rows(row, row + 1), high.rows(row, row + 1)
        assert (few.scores.astype(float) >= max(one, other)).all()
        count = np.count_nonzero(many.scores.astype(float) >= max(one, other))
        for name in ("boxes", "indices", "scores"):
            np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:count])


@given(batches(numbers), st.integers(1, 5))
def test_answers_are_best_first_and_apart(batch, top_k):
    decoder, output = batch
    columns = decode(decoder, output, threshold=0.3, top_k=top_k)
    for row in range(len(output)):
        one = columns.rows(row, row + 1)
        assert len(one.scores) <= top_k
        assert (np.diff(one.scores) <= 0).all()
        for first, second in itertools.combinations(range(len(one.boxes)), 2):
            if decoder.class_agnostic or one.indices[first] == one.indices[second]:
                assert iou(*one.boxes[[first, second]].astype(float)) <= 0.5 + 1e-6


@given(st.floats(0, 1, width=32), st.floats(0, 1))
def test_decisions_are_what_a_client_finds_who_compares(probability, threshold):
    output = np.array([[[0, 0, 1, 1, probability]]], np.float32)
    columns = decode(make_decoder(ACTIVATION_PROBABILITIES, labels=["cat"]), output, threshold=threshold)
    assert len(columns.scores) == (float(np.float32(probability)) >= threshold)


@given(st.floats(-30, 30, width=32), st.sampled_from(["float16", "float32", "float64"]))
def test_logits_reach_a_threshold_that_is_their_own_score(logit, dtype):
    output = np.array([[[0, 0, 1, 1, logit]]]).astype(dtype)
    decoder = make_decoder(labels=["cat"])
    (score,) = decode(decoder, output, threshold=0).scores.tolist()
    assert decode(decoder, output, threshold=score).scores.tolist() == [score]
    assert not len(decode(decoder, output, threshold=min(1, np.nextafter(score, 2))).scores) or score == 1


@pytest.mark.parametrize("scores_output", ["", "scores"])
def test_no_candidates_and_no_rows(scores_output):
    decoder = make_decoder(scores_output=scores_output)
    for rows, candidates in ((0, 5), (2, 0), (0, 0)):
        boxes, scores = random_outputs(rows, candidates)
        columns = decoder.decode(arrange(boxes, scores, scores_output=scores_output), DecodeOptions())
        assert (columns.offsets.tolist(), columns.boxes.shape) == ([0] * (rows + 1), (0, 4))
        assert columns.valid.tolist() == [True] * rows


def test_scores_for_other_boxes_are_refused():
    outputs = {"boxes": np.zeros((1, 5, 4), np.float32), "scores": np.zeros((1, 6, 3), np.float32)}
    with pytest.raises(ValueError, match=r"^head 'h' reads scores for 5 boxes, these are for 6$"):
        make_decoder(scores_output="scores").decode(outputs, DecodeOptions())


DELTAS = {"box_format": "BOX_FORMAT_ANCHOR_DELTAS"}
POINTS = {"box_format": "BOX_FORMAT_POINT_DISTANCES"}
SIZE = {"image_width": 8, "image_height": 8}
LEVEL = {"stride": 4, "sizes": [4], "ratios": [1]}


def flawed_level(**fields):
    return {**DELTAS, **SIZE, "anchors": Anchors(levels=[AnchorLevel(**(LEVEL | fields))])}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": ACTIVATION_LINEAR}, "activation is ACTIVATION_LINEAR, a detection head needs "),
        ({"labels": []}, "detection.labels has 0 entries, a box has one; give 1"),
        ({"labels": ["a", "a"]}, "detection.labels has 'a' 2 times; entries must differ"),
        ({"labels": ["a", ""]}, "detection.labels has an empty entry; give every entry a name"),
        (
            {"shapes": [[-1, 9, 8]]},
            "detection.labels has 3 entries, so [batch,any,7] is read; 'boxes' is FP32 [batch,9,8]",
        ),
        (
            {"shapes": [[-1, 9, 4], [-1, 9, 4]], "scores_output": "scores"},
            "detection.labels has 3 entries, so [batch,9,3] is read; 'scores' is FP32 [batch,9,4]",
        ),
        ({"shapes": [[-1, 7]]}, "output 'boxes' is FP32 [batch,7]; give floating point numbers [batch,any,7]"),
        (
            {"shapes": [[-1, 9, 5], [-1, 9, 3]], "scores_output": "scores"},
            "output 'boxes' is FP32 [batch,9,5]; give floating point numbers [batch,any,4]",
        ),
        (
            {"shapes": [[-1, 9, 4], [-1, 8, 3]], "scores_output": "scores"},
            "detection.scores_output 'scores' is FP32 [batch,8,3]; give floating point numbers [batch,9,3]",
        ),
        (
            {"datatypes": ["FP32", "INT32"], "scores_output": "scores"},
            "detection.scores_output 'scores' is INT32 [batch,any,3]; give floating point numbers [batch,any,3]",
        ),
        ({"scores_output": "z"}, "detection.scores_output is 'z'; the model's outputs are boxes, scores"),
        (
            {"scores_output": "boxes"},
            "detection.scores_output is 'boxes', which output names already; give another one, or none",
        ),
        ({"box_format": 0}, "detection.box_format is BOX_FORMAT_UNSPECIFIED; give one of BOX_FORMAT_XYXY, "),
        ({"box_format": 77}, "detection.box_format is 77; give one of BOX_FORMAT_XYXY, "),
        (
            {"objectness": True, "exclusive": True},
            "detection.objectness is set beside exclusive; leave one of them out",
        ),
        ({"objectness": True, "background": 0}, "detection.objectness is set beside background; leave one of them out"),
        ({"background": 4}, "detection.background is 4, the scores have 4 units with it; give at most 3"),
        ({"exclusive": True, "labels": ["a"]}, "detection.exclusive is set, there is nothing that the only unit "),
        ({"image_width": 8}, "detection.image_height is 0, the width is known; give both or none"),
        ({"score_threshold": 1.5}, "detection.score_threshold holds 1.5; give numbers in 0..1"),
        ({"iou_threshold": float("nan")}, "detection.iou_threshold holds nan; give numbers in 0..1"),
        ({"max_detections": 4097}, "detection.max_detections is 4097; give at most 4096"),
        ({"anchors": Anchors()}, "detection.anchors is set, BOX_FORMAT_XYXY has none; leave it out"),
        ({"grids": [8]}, "detection.grids is set, BOX_FORMAT_XYXY has none; leave it out"),
        ({"variances": [1] * 4}, "detection.variances is set, BOX_FORMAT_XYXY has none; leave it out"),
        ({**DELTAS, "grids": [8]}, "detection.grids is set, BOX_FORMAT_ANCHOR_DELTAS has none; leave it out"),
        ({**POINTS, "relative": True}, "detection.relative is set, BOX_FORMAT_POINT_DISTANCES has none; leave it out"),
        (POINTS, "detection.grids is empty, BOX_FORMAT_POINT_DISTANCES needs the grids' strides; give them"),
        ({**POINTS, "grids": [8]}, "detection.image_width is 0, detection.grids needs the image's size; give it"),
        ({**POINTS, **SIZE, "grids": [8, 0]}, "detection.grids holds 0; give positive numbers"),
        (
            {**POINTS, **SIZE, "grids": [8, 4], "candidates": 6},
            "output 'boxes' is FP32 [batch,6,7]; give floating point numbers [batch,5,7]",
        ),
        (DELTAS, "detection.anchors is empty; give boxes or levels"),
        (
            {**DELTAS, "anchors": Anchors(boxes=b"0", levels=[AnchorLevel()])},
            "detection.anchors has boxes and levels; give one of them",
        ),
        (
            {**DELTAS, "anchors": Anchors(boxes=bytes(15))},
            "detection.anchors.boxes has 15 bytes; give 16 for each box, 4 numbers of float32",
        ),
        (
            {**DELTAS, "anchors": Anchors(boxes=bytes(16))},
            "detection.anchors.boxes holds a box without an area, or beyond float32; give left < right, top < bottom",
        ),
        (
            {**DELTAS, "anchors": Anchors(boxes=np.array([0, 0, 1, np.nan], "<f4").tobytes())},
            "detection.anchors.boxes holds a box without an area, or beyond float32; give left < right, top < bottom",
        ),
        (
            {**DELTAS, "anchors": Anchors(levels=[AnchorLevel(**LEVEL)])},
            "detection.image_width is 0, detection.anchors.levels needs the image's size; give it",
        ),
        (flawed_level(stride=0), "detection.anchors.levels.stride holds 0; give positive numbers"),
        (flawed_level(sizes=[]), "detection.anchors.levels.sizes is empty; give one number at least"),
        (flawed_level(sizes=[float("inf")]), "detection.anchors.levels.sizes holds inf; give positive numbers"),
        (flawed_level(ratios=[-1]), "detection.anchors.levels.ratios holds -1; give positive numbers"),
        (
            flawed_level(sizes=[1e30], ratios=[1e-30]),
            "detection.anchors.levels holds a box without an area, or beyond float32; give other sizes",
        ),
        (
            {**DELTAS, **SIZE, "anchors": Anchors(levels=[AnchorLevel(**LEVEL)] * 101)},
            "detection.anchors.levels has 101 ",
        ),
        (
            flawed_level(sizes=[1] * 3000, ratios=[1] * 3000),
            "detection.anchors.levels makes 36000000 boxes on an image of 8 x 8; give what makes at most 4194304",
        ),
        ({**POINTS, **SIZE, "grids": [1] * 101}, "detection.grids has 101 entries; give at most 100"),
        (
            {**POINTS, "image_width": 2**32 - 1, "image_height": 2**32 - 1, "grids": [1]},
            "detection.grids makes 18446744065119617025 boxes on an image of 4294967295 x 4294967295; give what makes",
        ),
        ({**flawed_level(), "variances": [1, 1, 1, 1e300]}, "detection.variances holds 1e+300; give positive numbers"),
        (
            {**DELTAS, "anchors": Anchors(boxes=np.array([-3e38, 0, 3e38, 1], "<f4").tobytes())},
            "detection.anchors.boxes holds a box without an area, or beyond float32",
        ),
        ({**flawed_level(), "variances": [1]}, "detection.variances has 1 entries; give none or 4"),
        ({**flawed_level(), "variances": [1, 1, 1, 0]}, "detection.variances holds 0; give positive numbers"),
    ],
)
def test_wrong_heads_are_refused(fields, message):
    if "scores_output" in fields:
        fields = {"shapes": [[-1, -1, 4], [-1, -1, 3]]} | fields
    with pytest.raises(HeadError) as caught:
        make_decoder(**fields)
    assert str(caught.value).startswith(f"head 'h': {message}")
