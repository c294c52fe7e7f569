import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import MultiLabelBinarizer

from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, DataType, Head, MultilabelHead, TensorSpec


def decode(output, activation=ACTIVATION_LOGITS, thresholds=(), **options):
    head = Head(name="h", output="o", activation=activation)
    head.multilabel.CopyFrom(MultilabelHead(labels=names(output.shape[1]), thresholds=thresholds))
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *output.shape[1:]])
    return decoder_for(head, [spec]).decode({"o": output}, DecodeOptions(**options))


def names(classes):
    return [f"label {index}" for index in range(classes)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [0, 1, 3, 64])
@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_logits_agree_with_scipy_and_scikit_learn(classes, rows, dtype):
    rng = np.random.default_rng(5)
    output = rng.normal(scale=3, size=(rows, classes)).astype(dtype)
    thresholds = rng.random(classes)
    columns = decode(output, thresholds=thresholds, include_probabilities=True)
    expected = scipy.special.expit(output.astype(float))

    assert len(columns) == rows
    assert columns.valid.all()
    np.testing.assert_allclose(columns.probabilities, expected, 1e-6)
    np.testing.assert_array_equal(columns.thresholds, thresholds)
    # Columns against scikit-learn's indicator matrix: which labels, at which row.
    binarizer = MultiLabelBinarizer(classes=names(classes)).fit([])
    indicator = binarizer.transform([columns.labels_of(row) for row in range(rows)]).reshape(rows, classes)
    np.testing.assert_array_equal(indicator, columns.probabilities >= thresholds)
    row_of, index = np.nonzero(indicator)
    np.testing.assert_array_equal(columns.indices, index)
    np.testing.assert_array_equal(columns.scores, columns.probabilities[row_of, index])
    np.testing.assert_array_equal(np.diff(columns.offsets), indicator.sum(axis=1))
    assert columns.offsets.tolist()[0] == 0
    types = [columns.offsets.dtype, columns.indices.dtype, columns.scores.dtype, columns.thresholds.dtype]
    assert types == [np.int64, np.int32, np.float32, np.float64]


@pytest.mark.parametrize(
    ("thresholds", "threshold", "applied"),
    [
        ([], None, [0.5] * 3),
        ([0.2], None, [0.2] * 3),
        ([0, 0.5, 1], None, [0, 0.5, 1]),
        ([0, 0.5, 1], 0.7, [0.7] * 3),
        ([], 1, [1] * 3),
    ],
)
def test_thresholds(thresholds, threshold, applied):
    output = np.array([[0.1, 0.5, 0.75]], np.float32)
    columns = decode(output, ACTIVATION_PROBABILITIES, thresholds, threshold=threshold)
    assert (columns.thresholds.tolist(), columns.thresholds.dtype) == (applied, np.float64)
    assert columns.indices.tolist() == np.flatnonzero(output[0] >= np.array(applied)).tolist()


def test_the_thresholds_of_the_head_cannot_be_changed_through_an_answer():
    columns = decode(np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match="read-only"):
        columns.thresholds[0] = 0.1


def test_what_was_not_asked_for_is_none():
    assert decode(np.zeros((2, 4), np.float32)).probabilities is None


@given(st.floats(0, 1, width=32), st.floats(0, 1))
def test_decisions_are_what_a_client_finds_who_compares(probability, threshold):
    columns = decode(np.float32([[probability]]), ACTIVATION_PROBABILITIES, [threshold])
    assert len(columns.labels) == (float(np.float32(probability)) >= columns.thresholds[0])


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 6)), elements=st.floats(width=32)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_decisions_are_monotone_in_the_threshold(logits, one, other):
    low, high = (decode(logits, threshold=threshold) for threshold in sorted([one, other]))
    for row in range(len(logits)):
        assert set(low.labels_of(row)) >= set(high.labels_of(row))


def test_infinite_logits_are_certain():
    columns = decode(np.array([[-np.inf, np.inf]], np.float32), include_probabilities=True)
    assert columns.probabilities.tolist() == [[0, 1]]
    assert columns.labels_of(0) == ["label 1"]


@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
def test_invalid_rows_have_no_labels(activation):
    output = np.array([[1, 1, 1], [1, np.nan, 1], [1, -5, 1]], np.float32)
    columns = decode(output, activation, threshold=0.001, include_probabilities=True)
    assert columns.valid.tolist() == [True, False, True]
    assert np.isnan(columns.probabilities).all(axis=1).tolist() == [False, True, False]
    assert columns.labels_of(0) == names(3)
    assert columns.labels_of(1) == []
    assert columns.labels_of(2)[-1] == "label 2"


def test_invalid_rows_have_no_labels_at_threshold_0():
    assert decode(np.array([[np.nan, 0]], np.float32), threshold=0).offsets.tolist() == [0, 0]
