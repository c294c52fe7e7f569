import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    Calibration,
    DataType,
    Head,
    OrdinalHead,
    TensorSpec,
)

EXCEEDANCE, CUMULATIVE, CONDITIONAL = OrdinalHead.Form.values()[1:]
FORMS = pytest.mark.parametrize("form", [EXCEEDANCE, CUMULATIVE, CONDITIONAL], ids=OrdinalHead.Form.keys()[1:])
EVERYTHING = DecodeOptions(include_probabilities=True)


def decoder_of(units, form, activation=ACTIVATION_LOGITS, labels=None, **fields):
    labels = [f"grade {rank}" for rank in range(units + 1)] if labels is None else labels
    head = Head(name="h", output="o", activation=activation, ordinal=OrdinalHead(labels=labels, form=form), **fields)
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, units])])


def decode(output, form, activation=ACTIVATION_LOGITS):
    return decoder_of(output.shape[1], form, activation).decode({"o": output}, EVERYTHING)


def units_of(probabilities, form):
    """What a head of a form would give for the probabilities of labels, from the definitions."""
    exceeded = 1 - np.cumsum(probabilities, axis=1)[:, :-1]
    if form == EXCEEDANCE:
        return exceeded
    if form == CUMULATIVE:
        return 1 - exceeded
    reached = np.hstack([np.ones((len(exceeded), 1)), exceeded[:, :-1]])
    return exceeded / reached


@FORMS
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", [2, 3, 7])
def test_probabilities_come_back(labels, dtype, activation, form):
    expected = np.random.default_rng(8).dirichlet(np.ones(labels), 50)
    units = units_of(expected, form)
    output = (scipy.special.logit(units) if activation == ACTIVATION_LOGITS else units).astype(dtype)
    columns = decode(output, form, activation)
    np.testing.assert_allclose(columns.probabilities, expected, 1e-5, 2e-6)
    np.testing.assert_allclose(columns.expected_ranks, expected @ np.arange(labels), 1e-5, 1e-6)
    ranks = (np.cumsum(expected, axis=1) >= 0.5).argmax(axis=1)
    np.testing.assert_array_equal(columns.ranks, ranks)
    np.testing.assert_array_equal(columns.labels, [f"grade {rank}" for rank in ranks])
    np.testing.assert_array_equal(columns.scores, columns.probabilities[np.arange(50), ranks])
    assert columns.valid.all()
    assert columns.classes == labels
    types = [columns.ranks, columns.scores, columns.expected_ranks, columns.probabilities]
    assert [array.dtype for array in types] == [np.int32, np.float32, np.float32, np.float32]


def test_ranks_are_those_of_coral_and_corn():
    logits = np.sort(np.random.default_rng(3).normal(scale=2, size=(200, 5)), axis=1)[:, ::-1].astype(np.float32)
    p = scipy.special.expit(logits.astype(float))
    # https://github.com/Raschka-research-group/coral-pytorch: levels above 0.5; CORN multiplies before.
    np.testing.assert_array_equal(decode(logits, EXCEEDANCE).ranks, (p > 0.5).sum(axis=1))
    np.testing.assert_array_equal(decode(logits, CONDITIONAL).ranks, (np.cumprod(p, axis=1) > 0.5).sum(axis=1))


def test_crossing_probabilities_are_repaired():
    columns = decode(np.array([[0.75, 0.25, 0.5]]), EXCEEDANCE, ACTIVATION_PROBABILITIES)
    assert columns.probabilities.tolist() == [[0.25, 0.5, 0, 0.25]]
    columns = decode(np.array([[0.25, 0.75, 0.5]]), CUMULATIVE, ACTIVATION_PROBABILITIES)
    assert columns.probabilities.tolist() == [[0.25, 0.5, 0, 0.25]]
    assert columns.labels.tolist() == ["grade 1"]


@FORMS
def test_a_cumulative_probability_of_one_half_is_enough(form):
    assert decode(np.zeros((1, 1)), form).ranks.tolist() == [0]
    assert decode(np.array([[0.5]]), form, ACTIVATION_PROBABILITIES).ranks.tolist() == [0]


@FORMS
@given(
    output=hnp.arrays(
        np.float32, st.tuples(st.integers(0, 4), st.integers(1, 5)), elements=st.floats(-90, 90, width=32)
    )
)
def test_any_logits_give_a_distribution(form, output):
    columns = decode(output, form)
    assert (columns.probabilities >= 0).all()
    np.testing.assert_allclose(columns.probabilities.sum(axis=1, dtype=float), 1, 1e-6)
    assert ((columns.expected_ranks >= 0) & (columns.expected_ranks <= output.shape[1])).all()
    cumulative = np.cumsum(columns.probabilities, axis=1, dtype=float)
    at_rank = cumulative[np.arange(len(output)), columns.ranks]
    assert (at_rank >= 0.5 - 1e-6).all()


@FORMS
@given(
    output=hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(-9, 9, width=32)),
    more=st.floats(0, 5),
)
def test_more_evidence_never_lowers_the_rank(form, output, more):
    higher = output - np.float32(more) if form == CUMULATIVE else output + np.float32(more)
    assert (decode(higher, form).ranks >= decode(output, form).ranks).all()


@FORMS
def test_infinite_logits_are_certain(form):
    output = np.array([[np.inf, np.inf], [-np.inf, -np.inf]])
    low, high = (1, 0) if form != CUMULATIVE else (0, 1)
    columns = decode(output, form)
    assert (columns.ranks[low], columns.ranks[high]) == (0, 2)
    assert columns.scores.tolist() == [1, 1]


@FORMS
@pytest.mark.parametrize(
    ("row", "activation"),
    [
        ([np.nan, 0], ACTIVATION_LOGITS),
        ([0.3, np.nan], ACTIVATION_LOGITS),
        ([0.3, np.nan], ACTIVATION_PROBABILITIES),
        ([np.inf, 0.3], ACTIVATION_PROBABILITIES),
        ([0.3, -np.inf], ACTIVATION_PROBABILITIES),
    ],
)
def test_invalid_rows(row, activation, form):
    columns = decode(np.array([row, [0.5, 0.5]]), form, activation)
    assert columns.valid.tolist() == [False, True]
    assert columns.labels[0] == ""
    assert columns.ranks[0] == -1
    for array in (columns.scores, columns.expected_ranks, columns.probabilities):
        assert np.isnan(array[0]).all()
        assert not np.isnan(array[1]).any()


def test_what_was_not_asked_for_is_none():
    decoder = decoder_of(2, EXCEEDANCE)
    assert decoder.decode({"o": np.zeros((2, 2))}, DecodeOptions()).probabilities is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"form": 0}, "ordinal.form"),
        ({"form": 77}, "ordinal.form"),
        ({"labels": ["a", "b"]}, "ordinal.labels"),
        ({"labels": ["a", "b", "a"]}, "ordinal.labels"),
        ({"labels": ["a", "b", ""]}, "ordinal.labels"),
        ({"activation": ACTIVATION_LINEAR}, "activation"),
        ({"units": -1}, "output"),
        ({"calibration": Calibration(rows=3)}, "calibration"),
        ({"confidence_level": 0.9}, "confidence_level"),
    ],
)
def test_errors_name_the_field(fields, field):
    with pytest.raises(HeadError) as caught:
        decoder_of(**{"units": 2, "form": EXCEEDANCE} | fields)
    assert caught.value.field == field
