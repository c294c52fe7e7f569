import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import percentileofscore

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOGITS, AnomalyHead, DataType, Head, TensorSpec


def make(shape=(), activation=ACTIVATION_LINEAR, **fields):
    head = Head(name="h", output="o", activation=activation, anomaly=AnomalyHead(**fields))
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *shape])])


def decode(scores, **fields):
    return make(**fields).decode({"o": np.asarray(scores)}, DecodeOptions())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_scores_pass(shape, dtype):
    scores = np.array([0.5, -3, np.inf, np.nan], dtype)
    columns = make(shape).decode({"o": scores.reshape(-1, *shape)}, DecodeOptions())
    assert columns.scores.dtype == np.float32
    np.testing.assert_array_equal(columns.scores, scores.astype(np.float32))
    assert columns.valid.tolist() == [True, True, True, False]
    assert (columns.anomalous, columns.percentiles) == (None, None)
    assert np.isnan(columns.threshold)


@pytest.mark.parametrize(("lower_is_anomalous", "anomalous"), [(False, [0, 0, 1, 1, 1, 0]), (True, [1, 1, 1, 0, 0, 0])])
def test_scores_at_the_threshold_are_anomalous(lower_is_anomalous, anomalous):
    scores = [-np.inf, -1, 2, 2.5, np.inf, np.nan]
    columns = decode(scores, threshold=2, lower_is_anomalous=lower_is_anomalous)
    assert columns.anomalous.tolist() == list(map(bool, anomalous))
    assert columns.threshold == 2


def test_a_threshold_of_zero_is_one():
    assert decode([0.5, -0.5], threshold=0).anomalous.tolist() == [True, False]


@pytest.mark.parametrize("lower_is_anomalous", [False, True])
def test_scores_are_compared_as_a_client_compares_them(lower_is_anomalous):
    threshold = 0.1
    columns = decode(np.array([0.1, 0.1 - 1e-12, 0.1 + 1e-12]), threshold=0.1, lower_is_anomalous=lower_is_anomalous)
    expected = [score <= threshold if lower_is_anomalous else score >= threshold for score in columns.scores.tolist()]
    assert columns.anomalous.tolist() == expected


@pytest.mark.parametrize("lower_is_anomalous", [False, True])
def test_percentiles_are_parts_of_held_out_data(lower_is_anomalous):
    held_out = np.random.default_rng(1).gamma(2, size=501)
    quantiles = np.quantile(held_out, np.linspace(0, 1, 101))
    scores = np.random.default_rng(2).gamma(2, size=200)
    columns = decode(scores, score_quantiles=quantiles, lower_is_anomalous=lower_is_anomalous)
    up_to = percentileofscore(held_out, scores)
    np.testing.assert_allclose(columns.percentiles, 100 - up_to if lower_is_anomalous else up_to, atol=1)
    assert columns.percentiles.dtype == np.float32


@pytest.mark.parametrize(
    ("lower_is_anomalous", "percentiles"),
    [(False, [0, 0, 12.5, 25, 75, 87.5, 100, 100, 100]), (True, [100, 100, 87.5, 75, 25, 12.5, 0, 0, 0])],
)
def test_percentiles_between_and_beyond_the_quantiles(lower_is_anomalous, percentiles):
    quantiles = [1, 2, 4, 5, 9]
    scores = [-np.inf, 1, 1.5, 2, 5, 7, 9, 10, np.inf]
    columns = decode(scores, score_quantiles=quantiles, lower_is_anomalous=lower_is_anomalous)
    np.testing.assert_allclose(columns.percentiles, percentiles)


@pytest.mark.parametrize("lower_is_anomalous", [False, True])
def test_data_of_the_same_score_is_as_usual(lower_is_anomalous):
    held_out = np.array([1, 2, 2, 2, 3])
    columns = decode([2.0], score_quantiles=held_out, lower_is_anomalous=lower_is_anomalous)
    # Of the quantiles at 0, 25, 50, 75 and 100 % those up to 75 % are as usual or more.
    assert columns.percentiles.tolist() == [75]
    columns = decode([2.0, 1.0, 3.0], score_quantiles=[2] * 4, lower_is_anomalous=lower_is_anomalous)
    assert columns.percentiles.tolist() == ([100, 100, 0] if lower_is_anomalous else [100, 0, 100])


@given(
    hnp.arrays(np.float64, st.integers(2, 9), elements=st.integers(-3, 3) | st.floats(-4, 4)),
    hnp.arrays(np.float32, 6, elements=st.integers(-4, 4) | st.floats(width=32)),
    st.booleans(),
)
@example(np.array([-1e-308, 1e-308]), np.array([0, 0, -1, -1, 1, 1], np.float32), False)
def test_more_unusual_scores_have_higher_percentiles(held_out, scores, lower_is_anomalous):
    columns = decode(scores, score_quantiles=np.sort(held_out), lower_is_anomalous=lower_is_anomalous)
    valid = ~np.isnan(scores)
    np.testing.assert_array_equal(columns.valid, valid)
    np.testing.assert_array_equal(np.isnan(columns.percentiles), ~valid)
    order = np.argsort(-scores[valid] if lower_is_anomalous else scores[valid])
    ranked = columns.percentiles[valid][order]
    assert (ranked[:-1] <= ranked[1:]).all()
    assert ((ranked >= 0) & (ranked <= 100)).all()


@given(hnp.arrays(np.float32, 6, elements=st.floats(width=32)), st.floats(-9, 9), st.floats(0, 9), st.booleans())
def test_decisions_are_monotone_in_the_threshold(scores, threshold, more, lower_is_anomalous):
    low, high = (
        decode(scores, threshold=at, lower_is_anomalous=lower_is_anomalous).anomalous
        for at in (threshold, threshold + more)
    )
    assert (low <= high).all() if lower_is_anomalous else (low >= high).all()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"shape": (2,)}, "output"),
        ({"shape": (1, 1)}, "output"),
        ({"activation": ACTIVATION_LOGITS}, "activation"),
        ({"threshold": np.nan}, "anomaly.threshold"),
        ({"threshold": np.inf}, "anomaly.threshold"),
        ({"score_quantiles": [1]}, "anomaly.score_quantiles"),
        ({"score_quantiles": [2, 1]}, "anomaly.score_quantiles"),
        ({"score_quantiles": [1, np.nan]}, "anomaly.score_quantiles"),
        ({"reconstructed_input": "x"}, "anomaly.reconstructed_input"),
        ({"reconstruction_error": AnomalyHead.RECONSTRUCTION_ERROR_SQUARED}, "anomaly.reconstructed_input"),
        ({"reconstructed_input": "x", "reconstruction_error": 77}, "anomaly.reconstruction_error"),
    ],
)
def test_contradictions_are_refused(fields, field):
    with pytest.raises(HeadError) as caught:
        make(**fields)
    assert caught.value.field == field
