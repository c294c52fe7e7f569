"""Which intervals heads of numbers have, and how the level is chosen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    AnomalyHead,
    Calibration,
    Conformal,
    ConformalLevel,
    CountHead,
    DataType,
    Head,
    MeanVarianceHead,
    ProbabilityCalibration,
    QuantileHead,
    RegressionHead,
    TensorSpec,
    ThresholdChoice,
)

METHODS = {
    "regression": Conformal.METHOD_ABSOLUTE,
    "count": Conformal.METHOD_ABSOLUTE,
    "mean_variance": Conformal.METHOD_SCALED,
    "quantile": Conformal.METHOD_CQR,
}
KINDS = {
    "regression": RegressionHead(),
    "count": CountHead(),
    "mean_variance": MeanVarianceHead(spread=MeanVarianceHead.SPREAD_STANDARD_DEVIATION),
    "quantile": QuantileHead(levels=[0.05, 0.1, 0.9, 0.95]),
    "anomaly": AnomalyHead(),
}
SHAPES = {
    "regression": [-1, 2],
    "count": [-1, 2],
    "mean_variance": [-1, 4],
    "quantile": [-1, 2, 4],
    "anomaly": [-1, 1],
}
LEVELS = [ConformalLevel(level=0.8, quantiles=[1]), ConformalLevel(level=0.9, quantiles=[2, 3])]


@pytest.fixture(params=METHODS)
def kind(request):
    return request.param


def make(kind, calibration=None, **fields):
    head = Head(name="h", output="o", activation=ACTIVATION_LINEAR, calibration=calibration, **{kind: KINDS[kind]})
    head.MergeFrom(Head(**fields))
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=SHAPES[kind])])


def calibrated(kind, levels=LEVELS, **fields):
    return make(kind, Calibration(conformal=Conformal(method=METHODS[kind], rows=99, levels=levels)), **fields)


def answer(decoder, level):
    output = np.linspace(10, 11, math.prod(decoder.reads["o"][1:]), dtype=np.float32)
    options = DecodeOptions(confidence_level=level)
    decoder.check(options)
    return decoder.decode({"o": output.reshape(1, *decoder.reads["o"][1:])}, options)


def error(kind, calibration=None, **fields):
    with pytest.raises(HeadError) as caught:
        make(kind, calibration, **fields)
    return caught.value.field, caught.value.problem


def test_a_request_chooses_the_level(kind):
    decoder = calibrated(kind)
    narrow, wide = answer(decoder, 0.8), answer(decoder, 0.9)
    assert (narrow.confidence_level, wide.confidence_level) == (0.8, 0.9)
    assert (narrow.lower > wide.lower).all()
    assert (narrow.upper < wide.upper).all()


@pytest.mark.parametrize("level", [0.9, np.float32(0.9), 1 - 0.1, 0.9 + 1e-9])
def test_levels_are_the_same_within_rounding(kind, level):
    assert answer(calibrated(kind), float(level)).confidence_level == 0.9


def test_the_head_chooses_the_level_where_the_request_does_not(kind):
    assert answer(calibrated(kind, confidence_level=0.8), None).confidence_level == 0.8
    assert answer(calibrated(kind, confidence_level=0.8), 0.9).confidence_level == 0.9


@pytest.mark.parametrize(("level", "fields"), [(None, {}), (0, {}), (0, {"confidence_level": 0.9})])
def test_no_level_gives_no_intervals(kind, level, fields):
    columns = answer(calibrated(kind, **fields), level)
    assert (columns.lower, columns.upper, columns.confidence_level) == (None, None, 0)


def test_levels_that_were_not_calibrated_are_refused(kind):
    decoder = calibrated(kind)
    for refused in (decoder.check, lambda options: decoder.decode({"o": np.ones((1, *SHAPES[kind][1:]))}, options)):
        with pytest.raises(ValueError, match=r"level 0.95") as caught:
            refused(DecodeOptions(confidence_level=0.95))
        assert str(caught.value) == "head 'h' has no intervals of confidence level 0.95; give 0.8, 0.9, or 0 for none"


@pytest.mark.parametrize("kind", ["regression", "count"])
def test_without_calibration_there_are_none(kind):
    with pytest.raises(ValueError, match=r"level 0.9") as caught:
        make(kind).check(DecodeOptions(confidence_level=0.9))
    assert str(caught.value) == "head 'h' has no intervals of confidence level 0.9; it was calibrated for none; give 0"


@pytest.mark.parametrize("level", [0.95, math.nan, 1, -0.5])
def test_a_level_of_the_head_that_it_does_not_have_is_refused(kind, level):
    conformal = Conformal(method=METHODS[kind], levels=LEVELS)
    field, _ = error(kind, Calibration(conformal=conformal), confidence_level=level)
    assert field == "confidence_level"


def test_quantiles_are_one_or_one_a_target(kind):
    columns, narrow = answer(calibrated(kind), 0.9), answer(calibrated(kind), 0.8)
    widths, narrow_widths = columns.upper - columns.lower, narrow.upper - narrow.lower
    if kind == "quantile":
        # (value of 0.95 + 2) - (value of 0.05 - 2), and so on.
        np.testing.assert_allclose(widths, [[3 / 7 + 4, 3 / 7 + 6]], 1e-6)
        np.testing.assert_allclose(narrow_widths, [[1 / 7 + 2, 1 / 7 + 2]], 1e-6)
    else:
        deviations = columns.standard_deviations if kind == "mean_variance" else 1
        np.testing.assert_allclose(widths, 2 * np.array([[2, 3]]) * deviations)
        np.testing.assert_allclose(narrow_widths, 2 * np.array([[1, 1]]) * deviations)


@pytest.mark.parametrize(
    ("levels", "field", "problem"),
    [
        ([], "levels", "is empty; give one level or more"),
        ([(0.9, [1]), (0.8, [1])], "levels", "holds 0.8 after 0.9; give ascending ones in 0..1"),
        ([(0.9, [1]), (0.9, [1])], "levels", "holds 0.9 after 0.9; give ascending ones in 0..1"),
        ([(0, [1])], "levels", "holds 0 after 0; give ascending ones in 0..1"),
        ([(1, [1])], "levels", "holds 1 after 0; give ascending ones in 0..1"),
        ([(math.nan, [1])], "levels", "holds nan after 0; give ascending ones in 0..1"),
        ([(0.9, [])], "levels.quantiles", "has 0 entries at level 0.9; give one or 2"),
        ([(0.9, [1, 2, 3])], "levels.quantiles", "has 3 entries at level 0.9; give one or 2"),
        ([(0.9, [1, math.inf])], "levels.quantiles", "holds inf; give finite numbers"),
    ],
)
def test_calibrations_that_contradict_themselves_are_refused(kind, levels, field, problem):
    entries = [ConformalLevel(level=level, quantiles=quantiles) for level, quantiles in levels]
    calibration = Calibration(conformal=Conformal(method=METHODS[kind], levels=entries))
    assert error(kind, calibration) == (f"calibration.conformal.{field}", problem)


@pytest.mark.parametrize("kind", ["regression", "count", "mean_variance"])
def test_only_between_quantiles_a_margin_may_be_negative(kind):
    field, problem = error(
        kind,
        Calibration(conformal=Conformal(method=METHODS[kind], levels=[ConformalLevel(level=0.9, quantiles=[-1])])),
    )
    assert (field, problem) == ("calibration.conformal.levels.quantiles", "holds -1; give 0 or more")


@pytest.mark.parametrize("kind", ["regression", "count", "mean_variance"])
def test_only_quantile_heads_widen_quantiles(kind):
    entry = ConformalLevel(level=0.9, quantiles=[1], lower_quantile=0.05, upper_quantile=0.95)
    field, _ = error(kind, Calibration(conformal=Conformal(method=METHODS[kind], levels=[entry])))
    assert field == "calibration.conformal.levels.lower_quantile"


@pytest.mark.parametrize("method", [0, 77, *Conformal.Method.values()])
def test_methods_of_other_kinds_are_refused(kind, method):
    if method == METHODS[kind]:
        return
    field, problem = error(kind, Calibration(conformal=Conformal(method=method, levels=LEVELS)))
    assert field == "calibration.conformal.method"
    assert problem.endswith(f"a {kind} head needs {Conformal.Method.Name(METHODS[kind])}")


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_no_probabilities(kind):
    field, _ = error(kind, Calibration(probabilities=ProbabilityCalibration()))
    assert field == "calibration.probabilities"


def test_thresholds_are_chosen_for_anomaly_heads_alone(kind):
    calibration = Calibration(thresholds=[ThresholdChoice(criterion="percentile:99")])
    make("anomaly", calibration)
    assert error(kind, calibration)[0] == "calibration.thresholds"


def test_scores_have_no_intervals():
    conformal = Conformal(method=Conformal.METHOD_ABSOLUTE, levels=LEVELS)
    assert error("anomaly", Calibration(conformal=conformal))[0] == "calibration.conformal"
    assert error("anomaly", confidence_level=0.9) == ("confidence_level", "is 0.9, an anomaly head has none; give 0")


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_gaussian_has_intervals_of_any_level(level):
    columns = answer(make("mean_variance"), level)
    # Not norm.interval, whose upper end is infinite next to 1.
    half = columns.standard_deviations * stats.norm.isf((1 - level) / 2)
    np.testing.assert_allclose((columns.lower, columns.upper), (columns.means - half, columns.means + half), 1e-9)
    assert columns.confidence_level == level


def test_the_level_of_a_gaussian_head_may_be_any():
    assert answer(make("mean_variance", confidence_level=0.683), None).confidence_level == 0.683
    assert error("mean_variance", confidence_level=1)[0] == "confidence_level"
