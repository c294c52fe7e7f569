import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    AbstainBand,
    BinaryHead,
    DataType,
    Head,
    TensorSpec,
)

LABELS = ["benign", "malignant"]


def decode(output, units, activation=ACTIVATION_LOGITS, options=DecodeOptions(), **fields):  # noqa: B008
    head = Head(name="h", output="o", activation=activation, binary=BinaryHead(labels=LABELS, **fields))
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *output.shape[1:]])
    return decoder_for(head, [spec]).decode({"o": output}, options)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [0, 1, 3, 64])
@pytest.mark.parametrize("units", [1, 2])
def test_logits_agree_with_scipy(units, rows, dtype, positive):
    output = np.random.default_rng(3).normal(scale=4, size=(rows, units)).astype(dtype)
    columns = decode(output, units, positive_label=LABELS[positive])
    exact = output.astype(float)
    margin = exact[:, 1] - exact[:, 0] if units == 2 else exact[:, 0]
    expected = scipy.special.expit(margin if positive else -margin)
    assert columns.probabilities.dtype == np.float32
    np.testing.assert_allclose(columns.probabilities, expected, 5e-6)
    np.testing.assert_array_equal(columns.positives, columns.probabilities >= 0.5)
    assert columns.labels.tolist() == [LABELS[positive if p >= 0.5 else 1 - positive] for p in columns.probabilities]
    assert (columns.positive_label, columns.threshold) == (LABELS[positive], 0.5)
    assert columns.valid.all()


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("units", [1, 2])
def test_probabilities_are_taken_as_they_are(units, positive):
    output = np.array([[0.25, 0.125], [0.75, 0.5]], np.float16)[:, -units:]
    columns = decode(output, units, ACTIVATION_PROBABILITIES, positive_label=LABELS[positive])
    expected = [1 - 0.125, 1 - 0.5] if (units, positive) == (1, 0) else output[:, -1 if positive else 0].tolist()
    assert columns.probabilities.tolist() == expected


def test_decisions_agree_with_scikit_learn():
    x, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    logits = model.decision_function(x)
    for threshold in (0.1, 0.5, 0.9):
        columns = decode(logits, 1, options=DecodeOptions(threshold=threshold))
        np.testing.assert_allclose(columns.probabilities, model.predict_proba(x)[:, 1], 1e-6, 1e-30)
        decided = FixedThresholdClassifier(model, threshold=threshold, response_method="predict_proba").fit(x, y)
        np.testing.assert_array_equal(columns.positives, decided.predict(x) == 1)


def test_the_request_overrules_the_threshold_of_the_head():
    probability = np.array([[0.4]], np.float32)
    assert decode(probability, 1, ACTIVATION_PROBABILITIES, threshold=0.3).labels.tolist() == ["malignant"]
    columns = decode(probability, 1, ACTIVATION_PROBABILITIES, DecodeOptions(threshold=0.6), threshold=0.3)
    assert (columns.labels.tolist(), columns.threshold) == (["benign"], 0.6)


def test_a_threshold_of_0_in_the_head_is_not_the_default():
    columns = decode(np.array([[0.0]], np.float32), 1, ACTIVATION_PROBABILITIES, threshold=0)
    assert (columns.positives.tolist(), columns.threshold) == ([True], 0)


@given(st.floats(0, 1, width=32), st.floats(0, 1))
def test_decisions_are_what_a_client_finds_who_compares(probability, threshold):
    columns = decode(np.float32([probability]), 1, ACTIVATION_PROBABILITIES, DecodeOptions(threshold=threshold))
    assert columns.positives.tolist() == [float(columns.probabilities[0]) >= columns.threshold]


@given(st.lists(st.floats(-30, 30, width=32)), st.floats(0, 1), st.floats(0, 1))
def test_decisions_are_monotone_in_the_threshold(logits, one, other):
    low, high = (
        decode(np.float32(logits), 1, options=DecodeOptions(threshold=threshold)).positives
        for threshold in sorted([one, other])
    )
    assert (low >= high).all()


def test_the_other_label_keeps_its_digits_far_from_0():
    columns = decode(np.array([40], np.float32), 1, positive_label="benign")
    np.testing.assert_allclose(columns.probabilities, scipy.special.expit(-40.0), 1e-6)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([[-np.inf], [np.inf]], [0, 1]),
        ([[-np.inf, 0], [0, -np.inf], [-3e38, 3e38]], [1, 0, 1]),
    ],
    ids=["sigmoid", "softmax"],
)
def test_infinite_logits(output, expected):
    output = np.array(output, np.float32)
    columns = decode(output, output.shape[1])
    assert columns.probabilities.tolist() == expected
    assert columns.valid.all()


@pytest.mark.parametrize("row", [[np.nan], [np.nan, 0], [0, np.nan], [np.inf, 0], [-np.inf, -np.inf]], ids=str)
def test_invalid_rows(row):
    columns = decode(np.array([row, [1] * len(row)], np.float32), len(row), options=DecodeOptions(threshold=0))
    assert columns.valid.tolist() == [False, True]
    assert columns.labels.tolist() == ["", "malignant"]
    assert columns.positives.tolist() == [False, True]
    assert np.isnan(columns.probabilities).tolist() == [True, False]


BAND = AbstainBand(lower=0.25, upper=0.75)


def test_no_label_is_decided_for_within_the_abstain_band():
    output = np.array([0.1, 0.25, 0.5, 0.74, 0.75, 0.9, np.nan], np.float32)
    columns = decode(output, 1, ACTIVATION_PROBABILITIES, abstain=BAND)
    assert columns.abstained.tolist() == [False, True, True, True, False, False, False]
    assert columns.labels.tolist() == ["benign", "", "", "", "malignant", "malignant", ""]
    assert columns.positives.tolist() == [False] * 4 + [True, True, False]
    assert columns.valid.tolist() == [True] * 6 + [False]


def test_a_threshold_of_the_request_is_always_decided_by():
    output = np.array([0.4, 0.5, 0.6], np.float32)
    columns = decode(output, 1, ACTIVATION_PROBABILITIES, DecodeOptions(threshold=0.5), abstain=BAND)
    assert columns.abstained.tolist() == [False] * 3
    assert columns.labels.tolist() == ["benign", "malignant", "malignant"]


def test_a_head_without_a_band_does_not_say_whether_it_abstained():
    assert decode(np.zeros(2, np.float32), 1).abstained is None


@given(st.floats(0, 1, width=32), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_abstaining_is_what_a_client_finds_who_compares(probability, ends):
    lower, threshold, upper = sorted(ends)
    columns = decode(
        np.float32([probability]),
        1,
        ACTIVATION_PROBABILITIES,
        threshold=threshold,
        abstain=AbstainBand(lower=lower, upper=upper),
    )
    assert columns.abstained[0] == (lower <= probability < upper)
    assert columns.positives[0] == (probability >= upper)


@pytest.mark.parametrize("band", [(0.6, 0.7), (0.2, 0.4), (-0.1, 0.6), (0.4, 1.1), (0.7, 0.3), (np.nan, 0.6)], ids=str)
def test_bands_that_do_not_hold_the_threshold_are_refused(band):
    with pytest.raises(HeadError, match=r"^head 'h': binary.abstain is from .*0.5$"):
        decode(np.zeros(2, np.float32), 1, abstain=AbstainBand(lower=band[0], upper=band[1]))
