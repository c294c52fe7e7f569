import numpy as np
import pytest

from headgate.exporter.errors import ModelLoadError
from headgate.exporter.labelled_data import labelled_data
from headgate.v1 import DataType, Head, TensorSpec

X = TensorSpec(name="features", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2])
LABELS = ["setosa", "versicolor", "virginica"]
SPECIES = Head(name="species", output="out", multiclass={"labels": LABELS})
ILL = Head(name="ill", output="p", binary={"labels": ["no", "yes"]})
STAGE = Head(name="stage", output="o", ordinal={"labels": ["I", "II", "III"]})
TAGS = Head(name="tags", output="t", multilabel={"labels": ["a", "b"]})
PRICE = Head(name="price", output="z", regression={})
SIZES = Head(name="sizes", output="s", quantile={"targets": ["width", "height"]})
ODD = Head(name="odd", output="e", anomaly={})
WORDS = Head(name="words", output="w", sequence_tags={"labels": ["O", "B-x", "I-x"]})
PIXELS = Head(name="pixels", output="m", segmentation={"labels": ["sky", "sea"]})
LAYERS = Head(name="layers", output="m", segmentation={"labels": ["sky", "sea"], "independent": True})
JOINTS = Head(name="joints", output="k", keypoints={"names": ["left", "right"]})
THINGS = Head(name="things", output="d", detection={"labels": ["cat", "dog"]})
VECTOR = Head(name="vector", output="v", embedding={})
FACES = Head(name="faces", output="v", embedding={"prototypes": {"labels": ["bob", "ann", "bob"]}})
LINES = Head(name="lines", output="l", ctc={"labels": ["a", "b", ""]})
INPUTS = np.zeros((4, 2), np.float32)

TWO_BOXES = np.float32([[0, 0, 2, 2], [1, 1, 3, 4]])


def targets_of(head, **data):
    return labelled_data([X], [head], {"x": INPUTS, **data}).targets[head.name]


@pytest.mark.parametrize(
    "y",
    [
        [0, 2, 1, 2],
        [0.0, 2.0, 1.0, 2.0],
        ["setosa", "virginica", "versicolor", "virginica"],
        np.array([b"setosa", b"virginica", b"versicolor", b"virginica"]),
        [[0], [2], [1], [2]],
        np.eye(3)[[0, 2, 1, 2]],
    ],
)
@pytest.mark.parametrize("head", [SPECIES, Head(name="grade", output="out", ordinal={"labels": LABELS})])
def test_targets_of_classes_are_labels_or_positions_or_one_hot(head, y):
    assert targets_of(head, y=y).tolist() == [0, 2, 1, 2]


def test_labels_that_look_like_numbers_are_labels_only_as_text():
    digits = Head(name="digit", output="out", multiclass={"labels": ["1", "2", "0"]})
    assert targets_of(digits, y=["0", "1", "2", "2"]).tolist() == [2, 0, 1, 1]
    assert targets_of(digits, y=[0, 1, 2, 2]).tolist() == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("head", "y", "expected"),
    [
        (PRICE, [1, 2.5, 3, 4], [[1], [2.5], [3], [4]]),
        (SIZES, [[1, 2]] * 4, [[1, 2]] * 4),
        (ILL, [True, False, True, True], [1, 0, 1, 1]),
        (TAGS, [[1, 0], [True, False], [0, 0], [1, 1]], [[1, 0], [1, 0], [0, 0], [1, 1]]),
        (ODD, [True, False, False, False], [1, 0, 0, 0]),
        (WORDS, [["B-x", "O", ""]] * 4, [[1, 0, -1]] * 4),
        (WORDS, [[1, 0, -1]] * 4, [[1, 0, -1]] * 4),
        (PIXELS, np.full((4, 1, 2, 1), 1), [[[1, 1]]] * 4),
        (PIXELS, [[[1, -1]]] * 4, [[[1, -1]]] * 4),
        (LAYERS, np.ones((4, 1, 1, 2), bool), [[[[1, 1]]]] * 4),
        (FACES, ["ann", "bob", "ann", "ann"], [1, 0, 1, 1]),
    ],
)
def test_targets_of_each_kind(head, y, expected):
    found = targets_of(head, y=y)
    assert found.tolist() == expected
    assert found.dtype == (np.float64 if head in (PRICE, SIZES) else np.int64)


def test_points_that_are_not_there_do_not_count():
    found = targets_of(JOINTS, y=[[[1, 2], [np.nan, 4]]] * 4)
    np.testing.assert_array_equal(found, [[[1, 2], [np.nan, np.nan]]] * 4)


@pytest.mark.parametrize("prefix", ["things", "d", "y"])
def test_boxes_are_given_with_their_counts(prefix):
    parts = {"boxes": TWO_BOXES, "labels": ["dog", "cat"], "counts": [0, 1, 0, 1]}
    found = targets_of(THINGS, **{f"{prefix}_{part}": values for part, values in parts.items()})
    assert found["row"].tolist() == [1, 3]
    assert found["label"].tolist() == [1, 0]
    assert found["box"].tolist() == TWO_BOXES.tolist()


def test_several_heads_are_given_by_name_or_output():
    found = labelled_data([X], [SPECIES, PRICE], {"features": INPUTS, "species": [0, 1, 2, 0], "z": [1.0, 2, 3, 4]})
    assert {name: target.tolist() for name, target in found.targets.items()} == {
        "species": [0, 1, 2, 0],
        "price": [[1], [2], [3], [4]],
    }
    assert found.origin == "labelled"


@pytest.mark.parametrize(
    ("head", "arrays", "message"),
    [
        (SPECIES, {"x": INPUTS}, "no targets beside the inputs 'features'; give targets for the heads 'species'"),
        (THINGS, {"x": INPUTS, "y": [0] * 4}, "give targets for the heads 'things_boxes|_labels|_counts'"),
        (SPECIES, {"x": INPUTS, "y": [0] * 4, "z": [0] * 4}, "has 'z' beside the inputs"),
        (SPECIES, {"inputs": INPUTS, "y": [0] * 4}, "arrays 'inputs', 'y', the model's inputs are 'features'"),
        (SPECIES, {"x": INPUTS, "y": [0, 1]}, "targets for head 'species' have 2 rows, the inputs 4"),
        (SPECIES, {"x": INPUTS, "y": 1}, "targets for head 'species' have 0 rows, the inputs 4"),
        (SPECIES, {"x": INPUTS, "y": [0, 1, 2, 3]}, "hold 3; give its labels .* or their positions from 0 to 2"),
        (SPECIES, {"x": INPUTS, "y": [0, 1, 2, -1]}, "hold -1; give its labels"),
        (SPECIES, {"x": INPUTS, "y": [0, 1, 2, 0.5]}, "hold 0.5; give its labels"),
        (SPECIES, {"x": INPUTS, "y": [[0, 1]] * 4}, r"have shape \(4, 2\); give one label a row"),
        (SPECIES, {"x": INPUTS, "y": ["setosa", "rose", "x", "x"]}, "hold 'rose'; give its labels"),
        (TAGS, {"x": INPUTS, "y": [0, 1, 1, 0]}, r"have to be 0 or 1, \[rows, 2\]"),
        (ODD, {"x": INPUTS, "y": [0, 1, 1, 2]}, r"have to be 0 or 1 \(anomalous\)"),
        (PRICE, {"x": INPUTS, "y": ["a"] * 4}, "are no numbers"),
        (PRICE, {"x": INPUTS, "y": [1, 2, np.nan, 3]}, "hold NaN or infinities"),
        (SIZES, {"x": INPUTS, "y": [1, 2, 3, 4]}, "are 1 numbers a row; give 2: 'width', 'height'"),
        (PIXELS, {"x": INPUTS, "y": [0, 1, 0, 1]}, r"have shape \(4,\); give \[rows, height, width\]"),
        (LAYERS, {"x": INPUTS, "y": np.zeros((4, 2, 2))}, r"have to be 0 or 1, \[rows, height, width, 2\]"),
        (WORDS, {"x": INPUTS, "y": [0, 1, 0, 1]}, r"have shape \(4,\); give \[rows, steps\]"),
        (JOINTS, {"x": INPUTS, "y": [[0, 1]] * 4}, r"give x and y, \[rows, 2, 2\]"),
        (THINGS, {"x": INPUTS, "y_boxes": TWO_BOXES, "y_labels": [0, 1], "y_counts": [1, 0, 0, 0]}, "adds up to 1"),
        (THINGS, {"x": INPUTS, "y_boxes": TWO_BOXES, "y_labels": [0, 1], "y_counts": [2, 0, 0, 0.5]}, "integers"),
        (THINGS, {"x": INPUTS, "y_boxes": -TWO_BOXES, "y_labels": [0, 1], "y_counts": [2, 0, 0, 0]}, "finite numbers"),
        (VECTOR, {"x": INPUTS, "y": [0, 1, 0, 1]}, "has no prototypes, of which the nearest could be right"),
        (FACES, {"x": INPUTS, "y": ["ann", "bob", "cid", "ann"]}, "hold 'cid'; give its labels"),
        (LINES, {"x": INPUTS, "y": [0, 1, 0, 1]}, r"have to be texts, \[rows\]"),
        # Hot nowhere, warm, and twice.
        (SPECIES, {"x": INPUTS, "y": np.zeros((4, 3))}, "are not one-hot; give a single 1 in each row"),
        (SPECIES, {"x": INPUTS, "y": np.full((4, 3), 1 / 3)}, "are not one-hot"),
        (SPECIES, {"x": INPUTS, "y": [[1, 1, 0]] * 4}, "are not one-hot"),
        (SPECIES, {"x": INPUTS, "y": [b"\xff"] * 4}, "hold '\ufffd'; give its labels"),
        (SPECIES, {"x": INPUTS, "y": [0, 1j, 0, 0]}, "hold 0j; give its labels"),
        (SPECIES, {"x": INPUTS, "y": np.array(["setosa", 1, None, 2], object)}, "are of several types"),
        (PRICE, {"x": INPUTS, "y": np.array([1, None, 2, 3], object)}, "hold NaN or infinities"),
        (PRICE, {"x": INPUTS, "y": np.array([1, {}, 2, 3], object)}, "are no numbers"),
        (PRICE, {"x": INPUTS, "y": np.array(["2020-01-01"] * 4, "M8[D]")}, "are no numbers"),
        (PRICE, {"x": INPUTS, "y": [1j] * 4}, "are no numbers"),
    ],
)
def test_data_that_does_not_fit(head, arrays, message):
    with pytest.raises(ModelLoadError, match=message):
        labelled_data([X], [head], arrays)


@pytest.mark.parametrize("y", [["ab", "", "a b", "bà"], np.array(["ab", "", "a b", "bà"], object)[:, None]])
def test_texts(y):
    assert targets_of(LINES, y=y).tolist() == ["ab", "", "a b", "bà"]
    assert targets_of(LINES, y=np.char.encode(np.asarray(y, str), "utf-8")).tolist() == ["ab", "", "a b", "bà"]
