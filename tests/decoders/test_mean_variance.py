import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats
from sklearn.preprocessing import StandardScaler

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOG,
    Calibration,
    Conformal,
    ConformalLevel,
    DataType,
    Head,
    MeanVarianceHead,
    TargetScaling,
    TensorSpec,
)

#: From standard deviations to what a model may give for them.
SPREADS = {
    MeanVarianceHead.SPREAD_VARIANCE: np.square,
    MeanVarianceHead.SPREAD_LOG_VARIANCE: lambda deviations: 2 * np.log(deviations),
    MeanVarianceHead.SPREAD_STANDARD_DEVIATION: np.positive,
    MeanVarianceHead.SPREAD_LOG_STANDARD_DEVIATION: np.log,
    MeanVarianceHead.SPREAD_SOFTPLUS_STANDARD_DEVIATION: lambda deviations: np.log(special.expm1(deviations)),
}
DEVIATION = MeanVarianceHead.SPREAD_STANDARD_DEVIATION
BY_90_PERCENT = DecodeOptions(confidence_level=0.9)


def make(outputs, activation=ACTIVATION_LINEAR, calibration=None, datatypes="FP32 FP32", **fields):
    specs = [
        TensorSpec(name=name, datatype=DataType.Value(f"DATA_TYPE_{datatype}"), shape=[-1, *output.shape[1:]])
        for (name, output), datatype in zip(outputs.items(), datatypes.split(), strict=False)
    ]
    kind = MeanVarianceHead(**{"spread": DEVIATION} | fields)
    return decoder_for(
        Head(name="h", output="o", activation=activation, calibration=calibration, mean_variance=kind), specs
    )


def decode(output, options=BY_90_PERCENT, **fields):
    return make({"o": output}, **fields).decode({"o": output}, options)


@pytest.fixture
def gaussians():
    rng = np.random.default_rng(1)
    return rng.normal(size=(32, 3)), rng.gamma(2, size=(32, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spread", SPREADS, ids=MeanVarianceHead.Spread.Name)
def test_every_form_of_spread(spread, dtype, gaussians):
    means, deviations = gaussians
    outputs = {"o": means.astype(dtype), "other": SPREADS[spread](deviations).astype(dtype)}
    joined = decode(np.concatenate(list(outputs.values()), axis=1), spread=spread)
    apart = make(outputs, spread=spread, spread_output="other").decode(outputs, BY_90_PERCENT)
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    for columns in (joined, apart):
        assert columns.standard_deviations.dtype == columns.means.dtype == np.float64
        np.testing.assert_array_equal(columns.means, outputs["o"].astype(float))
        np.testing.assert_allclose(columns.standard_deviations, deviations, tolerance)
        lower, upper = stats.norm.interval(0.9, columns.means, columns.standard_deviations)
        np.testing.assert_allclose(columns.lower, lower, 1e-9)
        np.testing.assert_allclose(columns.upper, upper, 1e-9)
        assert columns.confidence_level == 0.9
        assert columns.valid.all()


def test_two_outputs_of_one_target_need_no_axis_for_it():
    outputs = {"o": np.array([1.0, 2.0]), "other": np.array([0.5, -1.0])}
    columns = make(outputs, spread_output="other").decode(outputs, DecodeOptions())
    assert columns.valid.tolist() == [True, False]
    np.testing.assert_array_equal(columns.means, [[1], [np.nan]])
    np.testing.assert_array_equal(columns.standard_deviations, [[0.5], [np.nan]])


@pytest.mark.parametrize("sign", [1, -1])
def test_scaling_is_undone_as_that_of_samples(sign, gaussians):
    means, deviations = gaussians
    scaler = StandardScaler().fit(np.random.default_rng(2).normal([10, 20, 30], [1, 2, 300], (50, 3)))
    scale = sign * scaler.scale_
    columns = decode(np.concatenate([means, deviations], axis=1), scaling=TargetScaling(mean=scaler.mean_, scale=scale))
    np.testing.assert_allclose(columns.means, means * scale + scaler.mean_)
    above = scaler.inverse_transform(means + deviations) - scaler.inverse_transform(means)
    np.testing.assert_allclose(columns.standard_deviations, above)
    assert (columns.lower < columns.upper).all()


def test_calibrated_intervals_are_so_many_standard_deviations(gaussians):
    means, deviations = gaussians
    levels = [ConformalLevel(level=0.9, quantiles=[3]), ConformalLevel(level=0.95, quantiles=[4, 5, 6])]
    calibration = Calibration(conformal=Conformal(method=Conformal.METHOD_SCALED, levels=levels))
    decoder = make({"o": np.empty((0, 6))}, calibration=calibration, scaling=TargetScaling(scale=[-10], mean=[7]))
    output = {"o": np.concatenate([means, deviations], axis=1)}
    for level, factor in ((0.9, 3), (0.95, [4, 5, 6])):
        columns = decoder.decode(output, DecodeOptions(confidence_level=level))
        np.testing.assert_allclose(columns.lower, 7 - 10 * means - 10 * deviations * factor)
        np.testing.assert_allclose(columns.upper, 7 - 10 * means + 10 * deviations * factor)
    with pytest.raises(ValueError, match=r"confidence level 0.5; give 0.9, 0.95, or 0 for none$"):
        decoder.check(DecodeOptions(confidence_level=0.5))


@given(st.sampled_from(list(SPREADS)), hnp.arrays(np.float32, (3, 4), elements=st.floats(width=32)))
def test_answers_are_gaussians_or_invalid(spread, output):
    columns = decode(output, spread=spread)
    with np.errstate(all="ignore"):
        spreads = output[:, 2:].astype(float)
        deviations = {
            MeanVarianceHead.SPREAD_VARIANCE: np.sqrt(spreads),
            MeanVarianceHead.SPREAD_LOG_VARIANCE: np.sqrt(np.exp(spreads)),
            MeanVarianceHead.SPREAD_STANDARD_DEVIATION: spreads,
            MeanVarianceHead.SPREAD_LOG_STANDARD_DEVIATION: np.exp(spreads),
            MeanVarianceHead.SPREAD_SOFTPLUS_STANDARD_DEVIATION: np.maximum(spreads, 0)
            + np.log1p(np.exp(-abs(spreads))),
        }[spread]
    sound = np.isfinite(output[:, :2]) & (deviations >= 0) & (spreads < np.inf)
    # exp(x) and sqrt(exp(2 x)) overflow at different places.
    clear = (spreads < 700) | (spreads == np.inf)
    rows = clear.all(axis=1)
    np.testing.assert_array_equal(columns.valid[rows], sound.all(axis=1)[rows])
    finite = np.isfinite(columns.means) & np.isfinite(columns.standard_deviations) & (columns.standard_deviations >= 0)
    np.testing.assert_array_equal(finite.all(axis=1), columns.valid)
    np.testing.assert_allclose(
        columns.standard_deviations[rows & columns.valid], deviations[rows & columns.valid], 1e-12
    )
    assert (columns.lower <= columns.upper)[columns.valid].all()
    for column in (columns.means, columns.standard_deviations, columns.lower, columns.upper):
        assert np.isnan(column[~columns.valid]).all()


@pytest.mark.parametrize(
    ("fields", "shapes", "field"),
    [
        ({"spread": 0}, {"o": (0, 2)}, "mean_variance.spread"),
        ({"spread": 77}, {"o": (0, 2)}, "mean_variance.spread"),
        ({"scaling": TargetScaling(log1p=True)}, {"o": (0, 2)}, "mean_variance.scaling.log1p"),
        ({"activation": ACTIVATION_LOG}, {"o": (0, 2)}, "activation"),
        ({}, {"o": (0, 3)}, "output"),
        ({}, {"o": (0,)}, "output"),
        ({}, {"o": (0, 2, 2)}, "output"),
        ({"spread_output": "p"}, {"o": (0, 2), "q": (0, 2)}, "mean_variance.spread_output"),
        ({"spread_output": "o"}, {"o": (0, 2)}, "mean_variance.spread_output"),
        ({"spread_output": "p"}, {"o": (0, 2), "p": (0, 3)}, "mean_variance.spread_output"),
        ({"spread_output": "p"}, {"o": (0, 2), "p": (0,)}, "mean_variance.spread_output"),
        (
            {"spread_output": "p", "datatypes": "FP32 INT8"},
            {"o": (0, 2), "p": (0, 2)},
            "mean_variance.spread_output",
        ),
        ({"spread_output": "p", "targets": ["a"]}, {"o": (0, 2), "p": (0, 2)}, "mean_variance.targets"),
    ],
)
def test_contradictions_are_refused(fields, shapes, field):
    with pytest.raises(HeadError) as caught:
        make({name: np.empty(shape) for name, shape in shapes.items()}, **fields)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
