import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    Calibration,
    Conformal,
    ConformalLevel,
    DataType,
    Head,
    MulticlassHead,
    OrdinalHead,
    TensorSpec,
)

LAC, APS = Conformal.METHOD_LAC, Conformal.METHOD_APS


def decoder_of(classes, method=LAC, quantiles={0.9: 0.8}, confidence_level=0.0, **kind):  # noqa: B006
    levels = [ConformalLevel(level=level, quantiles=[quantile]) for level, quantile in quantiles.items()]
    kind = kind or {"multiclass": MulticlassHead(labels=[f"class {index}" for index in range(classes)])}
    head = Head(name="h", output="o", activation=ACTIVATION_PROBABILITIES, confidence_level=confidence_level, **kind)
    if levels:
        head.calibration.CopyFrom(Calibration(conformal=Conformal(method=method, levels=levels)))
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, classes])])


def sets_of(columns):
    return [part.tolist() for part in np.split(columns.set_indices, columns.set_offsets[1:-1])][: len(columns)]


def decode(output, method, quantile):
    decoder = decoder_of(output.shape[1], method, {0.9: quantile})
    return decoder.decode({"o": output}, DecodeOptions(confidence_level=0.9))


@pytest.mark.parametrize(
    ("method", "quantile", "expected"),
    [
        (LAC, 0.5, [[1], []]),
        (LAC, 0.75, [[1, 0], [2, 3, 0]]),
        (LAC, 0.4, [[], []]),
        (LAC, 1, [[1, 0, 2, 3], [2, 3, 0, 1]]),
        (APS, 0.5, [[1], [2, 3]]),
        (APS, 0.75, [[1, 0], [2, 3, 0]]),
        (APS, 0.625, [[1, 0], [2, 3]]),
        (APS, 0, [[1], [2]]),
        (APS, 1, [[1, 0, 2], [2, 3, 0, 1]]),
        (APS, 7, [[1, 0, 2, 3], [2, 3, 0, 1]]),
    ],
)
def test_sets(method, quantile, expected):
    output = np.array([[0.375, 0.5, 0.125, 0], [0.25, 0.125, 0.3125, 0.3125]], np.float32)
    columns = decode(output, method, quantile)
    assert sets_of(columns) == expected
    assert columns.set_labels.tolist() == [f"class {index}" for index in columns.set_indices]
    assert columns.confidence_level == 0.9
    assert (columns.set_offsets.dtype, columns.set_indices.dtype) == (np.int64, np.int32)


@st.composite
def batches(draw):
    shape = draw(st.integers(0, 4)), draw(st.integers(1, 6) | st.integers(65, 70))
    elements = st.sampled_from([0, 0.25, 0.5]) | st.floats(0, 1, width=32)
    return draw(hnp.arrays(np.float32, shape, elements=elements))


@given(batches(), st.floats(0, 1.5), st.sampled_from([LAC, APS]))
def test_sets_are_as_defined(output, quantile, method):
    for row, members in zip(output, sets_of(decode(output, method, quantile)), strict=True):
        by_probability = sorted(range(len(row)), key=lambda index: (-row[index], index))
        if method == LAC:
            expected = [index for index in by_probability if float(row[index]) >= 1 - quantile]
        else:
            total, expected = 0.0, []
            for index in by_probability:
                expected.append(index)
                total += float(row[index])
                if total >= quantile:
                    break
        assert members == expected


@given(batches(), st.floats(0, 1.5), st.floats(0, 1.5), st.sampled_from([LAC, APS]))
def test_greater_quantiles_give_greater_sets(output, one, other, method):
    small, great = (sets_of(decode(output, method, quantile)) for quantile in sorted([one, other]))
    assert all(set(few) <= set(many) for few, many in zip(small, great, strict=True))


@pytest.mark.parametrize("method", [LAC, APS])
def test_invalid_rows_have_no_sets(method):
    output = np.array([[0.5, 0.5], [np.nan, 0.5], [0.5, 0.5]], np.float32)
    columns = decode(output, method, 1)
    assert sets_of(columns) == [[0, 1], [], [0, 1]]


@pytest.mark.parametrize("method", [LAC, APS])
def test_sets_of_held_out_digits_hold_the_truth_as_often_as_they_say(method):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(2).permutation(len(x))
    train, fit, test = np.split(order, [300, 1000])
    p = LogisticRegression(C=0.1).fit(x[train] / 16, y[train]).predict_proba(x / 16).astype(np.float32)
    truth = p[np.arange(len(y)), y].astype(float)
    # The score at which a row's set first holds the truth, and its split conformal quantile.
    scores = 1 - truth if method == LAC else np.where(p >= truth[:, None], p, 0).sum(axis=1, dtype=float)
    quantile = np.sort(scores[fit])[int(np.ceil(0.9 * (len(fit) + 1))) - 1]
    columns = decode(p[test], method, quantile)
    held = np.mean([label in members for label, members in zip(y[test], sets_of(columns), strict=True)])
    assert held > 0.9 - 0.03
    # The label with which APS gets there is one more than it needs.
    assert held < 0.9 + 0.03 or method == APS


def test_the_request_chooses_the_level():
    decoder = decoder_of(2, LAC, {0.8: 0.2, 0.9: 0.7}, confidence_level=0.8)
    output = {"o": np.array([[0.35, 0.65]], np.float32)}
    small, great = ([[]], 0.8), ([[1, 0]], 0.9)
    for level, expected in [(None, small), (0.8, small), (0.9, great), (1 - 0.1, great), (0.9000000001, great)]:
        options = DecodeOptions(confidence_level=level)
        decoder.check(options)
        columns = decoder.decode(output, options)
        assert (sets_of(columns), columns.confidence_level) == expected
    none = decoder.decode(output, DecodeOptions(confidence_level=0))
    assert (none.set_offsets, none.set_labels, none.set_indices, none.confidence_level) == (None, None, None, 0)


def test_no_level_no_sets():
    columns = decoder_of(2).decode({"o": np.zeros((1, 2), np.float32)}, DecodeOptions())
    assert columns.set_offsets is None


@pytest.mark.parametrize(
    ("quantiles", "message"),
    [
        ({0.8: 0.2, 0.95: 0.7}, "head 'h' has no sets of confidence level 0.9; give 0.8, 0.95, or 0 for none"),
        ({}, "head 'h' has no sets of confidence level 0.9; it was not calibrated for any, give 0"),
    ],
)
def test_levels_that_the_head_was_not_calibrated_for_are_refused(quantiles, message):
    with pytest.raises(ValueError, match="confidence level") as caught:
        decoder_of(2, LAC, quantiles).check(DecodeOptions(confidence_level=0.9))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"method": Conformal.METHOD_UNSPECIFIED}, "calibration.conformal.method"),
        ({"method": Conformal.METHOD_ABSOLUTE}, "calibration.conformal.method"),
        ({"method": 77}, "calibration.conformal.method"),
        ({"quantiles": {0.9: 0.2, 0.8: 0.1}}, "calibration.conformal.levels"),
        ({"quantiles": {0: 0.2}}, "calibration.conformal.levels"),
        ({"quantiles": {1: 0.2}}, "calibration.conformal.levels"),
        ({"quantiles": {0.9: np.nan}}, "calibration.conformal.levels.quantiles"),
        ({"quantiles": {0.9: -1}}, "calibration.conformal.levels.quantiles"),
        ({"confidence_level": 0.8}, "confidence_level"),
        ({"confidence_level": np.nan}, "confidence_level"),
        ({"confidence_level": 0.9, "quantiles": {}}, "confidence_level"),
        ({"binary": BinaryHead(labels=["a", "b"])}, "calibration.conformal"),
        ({"binary": BinaryHead(labels=["a", "b"]), "quantiles": {}, "confidence_level": 0.9}, "confidence_level"),
        ({"ordinal": OrdinalHead(labels=["a", "b", "c"], form="FORM_EXCEEDANCE")}, "calibration"),
    ],
)
def test_errors_name_the_field(fields, field):
    with pytest.raises(HeadError) as caught:
        decoder_of(2, **fields)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_level_needs_its_quantile():
    levels = [ConformalLevel(level=0.9)]
    head = Head(name="h", output="o", activation=ACTIVATION_PROBABILITIES, multiclass=MulticlassHead(labels=["a", "b"]))
    head.calibration.CopyFrom(Calibration(conformal=Conformal(method=LAC, levels=levels)))
    with pytest.raises(HeadError, match=r"^head 'h': calibration.conformal.levels.quantiles has 0 entries"):
        decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2])])
