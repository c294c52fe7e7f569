import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, DataType, Head, MulticlassHead, TensorSpec

EVERYTHING = {"include_probabilities": True, "include_entropy": True, "include_margin": True}


def decode(output, activation=ACTIVATION_LOGITS, head_top_k=0, abstain_below=0, **options):
    labels = [f"class {index}" for index in range(output.shape[1])]
    kind = MulticlassHead(labels=labels, top_k=head_top_k, abstain_below=abstain_below)
    head = Head(name="h", output="o", activation=activation, multiclass=kind)
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *output.shape[1:]])
    return decoder_for(head, [spec]).decode({"o": output}, DecodeOptions(**options))


@pytest.mark.parametrize("top_k", [0, 1, 3, 5000])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [0, 1, 3, 64])
@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_logits_agree_with_scipy(classes, rows, dtype, top_k):
    output = np.random.default_rng(4).normal(scale=3, size=(rows, classes)).astype(dtype)
    columns = decode(output, top_k=top_k, **EVERYTHING)
    expected = scipy.special.softmax(output.astype(float), axis=1)
    best_first = -np.sort(-expected, axis=1)
    k = min(top_k or 1, classes)

    assert columns.top_labels.shape == columns.top_indices.shape == columns.top_scores.shape == (rows, k)
    assert columns.classes == classes
    assert columns.valid.tolist() == [True] * rows
    np.testing.assert_allclose(columns.probabilities, expected, 5e-6)
    np.testing.assert_allclose(columns.top_scores, best_first[:, :k], 5e-6)
    np.testing.assert_allclose(columns.entropies, scipy.special.entr(expected).sum(axis=1), 1e-5, 1e-6)
    runner_up = best_first[:, 1] if classes > 1 else 0
    np.testing.assert_allclose(columns.margins, best_first[:, 0] - runner_up, 1e-5, 1e-6)
    np.testing.assert_array_equal(columns.top_scores, np.take_along_axis(columns.probabilities, columns.top_indices, 1))
    np.testing.assert_array_equal(columns.top_labels, np.char.add("class ", columns.top_indices.astype(str)))
    for array in (columns.top_scores, columns.probabilities, columns.entropies, columns.margins):
        assert array.dtype == np.float32
    assert columns.top_indices.dtype == np.int32


def test_predictions_agree_with_scikit_learn():
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(x / 16, y)
    columns = decode(model.decision_function(x / 16), include_probabilities=True)
    np.testing.assert_array_equal(columns.indices, model.predict(x / 16))
    np.testing.assert_allclose(columns.probabilities, model.predict_proba(x / 16), 1e-5, 1e-30)


def test_probabilities_are_taken_as_they_are():
    output = np.array([[0.5, 0.25, 0.75]], np.float16)
    columns = decode(output, ACTIVATION_PROBABILITIES, include_probabilities=True)
    assert columns.probabilities.tolist() == [[0.5, 0.25, 0.75]]
    assert (columns.labels.tolist(), columns.scores.tolist()) == (["class 2"], [0.75])


@pytest.mark.parametrize(
    ("head_top_k", "top_k", "k"), [(0, 0, 1), (3, 0, 3), (3, 2, 2), (2, 3, 3), (9, 0, 4), (0, 9, 4)]
)
def test_the_request_overrules_the_top_k_of_the_head(head_top_k, top_k, k):
    columns = decode(np.zeros((2, 4), np.float32), head_top_k=head_top_k, top_k=top_k)
    assert columns.top_indices.tolist() == [list(range(k))] * 2


def test_what_was_not_asked_for_is_none():
    columns = decode(np.zeros((2, 4), np.float32))
    assert columns.probabilities is columns.entropies is columns.margins is None


def test_ties_at_the_last_place_give_the_lower_index():
    row = np.full(500, 0.25, np.float32)
    row[[499, 3]] = 0.5, 0.75
    columns = decode(np.stack([row, row[::-1]]), ACTIVATION_PROBABILITIES, top_k=4)
    assert columns.top_indices.tolist() == [[3, 499, 0, 1], [496, 0, 1, 2]]


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 30)), elements=st.floats(-200, 200, width=32))
)
def test_logits_give_a_distribution(logits):
    columns = decode(logits, **EVERYTHING)
    np.testing.assert_allclose(columns.probabilities.sum(axis=1, dtype=float), 1, 1e-5)
    assert (columns.scores == columns.probabilities.max(axis=1)).all()
    assert ((columns.margins >= 0) & (columns.margins <= 1)).all()
    assert ((columns.entropies >= -1e-6) & (columns.entropies <= np.log(logits.shape[1]) + 1e-5)).all()


def test_a_row_without_doubt_has_no_entropy():
    columns = decode(np.array([[0, -np.inf, -np.inf], [-500, 500, 0]], np.float32), **EVERYTHING)
    assert columns.probabilities.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert columns.margins.tolist() == [1, 1]
    assert columns.entropies.tolist() == [0, 0]
    assert not np.signbit(columns.entropies).any()


@pytest.mark.parametrize("top_k", [1, 2, 70])
@pytest.mark.parametrize("classes", [1, 2, 70])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_invalid_rows(bad, classes, top_k):
    output = np.zeros((3, classes), np.float32)
    output[1, -1] = bad
    columns = decode(output, top_k=top_k, **EVERYTHING)
    k = min(top_k, classes)
    assert columns.valid.tolist() == [True, False, True]
    assert columns.top_labels[1].tolist() == [""] * k
    assert columns.top_indices[1].tolist() == [-1] * k
    for array in (columns.top_scores, columns.probabilities, columns.entropies, columns.margins):
        assert np.isnan(array[1]).all()
        assert not np.isnan(array[[0, 2]]).any()
    assert columns.top_indices[[0, 2]].tolist() == [list(range(k))] * 2


def test_no_class_is_possible():
    assert decode(np.full((1, 3), -np.inf, np.float32)).valid.tolist() == [False]


@given(st.floats(0, 1, width=32), st.floats(0, 1, exclude_min=True))
def test_scores_below_what_is_believed_are_marked(score, abstain_below):
    output = np.array([[score, 0], [np.nan, 0]], np.float32)
    columns = decode(output, ACTIVATION_PROBABILITIES, abstain_below=abstain_below)
    assert columns.abstained.tolist() == [score < abstain_below, False]
    assert columns.labels.tolist() == ["class 0", ""]


def test_a_head_that_believes_all_scores_does_not_say_so():
    assert decode(np.zeros((2, 4), np.float32)).abstained is None


def test_large_batches_are_decoded_in_blocks():
    output = np.random.default_rng(9).normal(size=(300, 1000)).astype(np.float32)
    output[150] = np.nan
    together = decode(output, top_k=3, **EVERYTHING)
    parts = [decode(part, top_k=3, **EVERYTHING) for part in np.array_split(output, 7)]
    for name in ("top_labels", "top_indices", "top_scores", "valid", "probabilities", "entropies", "margins"):
        np.testing.assert_array_equal(getattr(together, name), np.concatenate([getattr(part, name) for part in parts]))
