import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.preprocessing import RobustScaler

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOG,
    Calibration,
    Conformal,
    ConformalLevel,
    DataType,
    Head,
    QuantileHead,
    TargetScaling,
    TensorSpec,
)

LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]


def make(shape, activation=ACTIVATION_LINEAR, calibration=None, confidence_level=0, **fields):
    head = Head(
        name="h",
        output="o",
        activation=activation,
        calibration=calibration,
        confidence_level=confidence_level,
        quantile=QuantileHead(**{"levels": LEVELS} | fields),
    )
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *shape])])


def decode(output, level=None, **fields):
    return make(output.shape[1:], **fields).decode({"o": output}, DecodeOptions(confidence_level=level))


def widened(level, *quantiles, **between):
    entry = ConformalLevel(level=level, quantiles=quantiles, **between)
    return Calibration(conformal=Conformal(method=Conformal.METHOD_CQR, levels=[entry]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 5), (4, 5), (0, 2, 5), (4, 2, 5)], ids=str)
def test_crossing_quantiles_are_put_in_order(shape, dtype):
    output = np.random.default_rng(1).normal(size=shape).astype(dtype)
    columns = decode(output, targets=["a", "b"][: output[0].size // 5] if len(output) else [])
    assert columns.values.dtype == np.float64
    assert columns.values.shape == (len(output), 1 if output.ndim == 2 else 2, 5)
    for row, got in zip(output, columns.values, strict=True):
        assert got.tolist() == [sorted(map(float, target)) for target in row.reshape(-1, 5)]
    assert columns.levels.tolist() == LEVELS
    assert columns.valid.all()


@pytest.mark.parametrize("log1p", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_scaling_is_undone_before_sorting(sign, log1p):
    y = np.sort(np.random.default_rng(2).gamma(2, 50, (32, 2, 5)), axis=2)
    transformed = np.log1p(y) if log1p else y
    scaler = RobustScaler().fit(transformed.swapaxes(1, 2).reshape(-1, 2))
    scale = sign * scaler.scale_
    output = (transformed - scaler.center_[:, None]) / scale[:, None]
    columns = decode(output, scaling=TargetScaling(mean=scaler.center_, scale=scale, log1p=log1p))
    np.testing.assert_allclose(columns.values, y, 1e-9)


@pytest.mark.parametrize(
    "levels", [[0.5], [0.1, 0.5], [0.5, 0.9], [0.2, 0.7], [0.1, 0.4, 0.6, 0.9], [0.3, 0.49, 0.8, 0.9], LEVELS], ids=str
)
def test_medians_are_interpolated(levels):
    output = np.sort(np.random.default_rng(3).normal(size=(8, len(levels))), axis=1)
    columns = decode(output, levels=levels)
    np.testing.assert_allclose(columns.medians, [[np.interp(0.5, levels, row)] for row in output], 1e-12)


@pytest.mark.parametrize("levels", [[0.1, 0.4], [0.6, 0.9], [0.49], [0.51]], ids=str)
def test_medians_beyond_the_levels_are_not_known(levels):
    columns = decode(np.zeros((2, len(levels))), levels=levels)
    assert np.isnan(columns.medians).all()
    assert columns.valid.all()


def test_one_level_needs_no_axis():
    columns = decode(np.array([1.0, np.nan]), levels=[0.5])
    np.testing.assert_array_equal(columns.values, [[[1]], [[np.nan]]])
    np.testing.assert_array_equal(columns.medians, [[1], [np.nan]])


def test_without_calibration_intervals_lie_between_levels_that_add_up_to_one():
    output = np.array([[5.0, 1, 3, 2, 4]])
    wide, narrow = decode(output, 0.9), decode(output, 0.5)
    assert (wide.lower.tolist(), wide.upper.tolist(), wide.confidence_level) == ([[1]], [[5]], 0.9)
    assert (narrow.lower.tolist(), narrow.upper.tolist(), narrow.confidence_level) == ([[2]], [[4]], 0.5)
    assert decode(output, confidence_level=0.5).confidence_level == 0.5
    with pytest.raises(ValueError, match=r"level 0.8") as caught:
        decode(output, 0.8)
    assert str(caught.value) == "head 'h' has no intervals of confidence level 0.8; give 0.5, 0.9, or 0 for none"


@given(st.lists(st.integers(1, 99), min_size=1, max_size=12, unique=True))
def test_any_two_levels_that_add_up_to_one_make_an_interval(percentages):
    levels = sorted(percentages)
    pairs = {(high - low) / 100 for low, high in itertools.combinations(levels, 2) if low + high == 100}
    decoder = make([len(levels)], levels=[level / 100 for level in levels])
    output = np.array([levels], float)
    for low in range(1, 50):
        options = DecodeOptions(confidence_level=(100 - 2 * low) / 100)
        if options.confidence_level in pairs:
            columns = decoder.decode({"o": output}, options)
            assert (columns.lower.item(), columns.upper.item()) == (low, 100 - low)
        else:
            with pytest.raises(ValueError, match="has no intervals"):
                decoder.check(options)


def test_thousands_of_levels():
    levels = np.linspace(0, 1, 10_001)[1:-1]
    decoder = make([len(levels)], levels=levels)
    columns = decoder.decode({"o": levels[None]}, DecodeOptions(confidence_level=0.9))
    np.testing.assert_allclose([columns.lower.item(), columns.upper.item()], [0.05, 0.95])


def test_without_two_such_levels_there_are_no_intervals():
    with pytest.raises(ValueError, match=r"level 0.5") as caught:
        decode(np.zeros((1, 2)), 0.5, levels=[0.25, 0.5])
    assert str(caught.value) == "head 'h' has no intervals of confidence level 0.5; it was calibrated for none; give 0"


@pytest.mark.parametrize(
    ("calibration", "ends"),
    [
        (widened(0.9, 0.5), (0.5, 5.5)),
        (widened(0.9, -0.5), (1.5, 4.5)),
        (widened(0.9, 0.5, lower_quantile=0.25, upper_quantile=0.75), (1.5, 4.5)),
        (widened(0.8, 0, lower_quantile=0.05, upper_quantile=0.5), (1, 3)),
        # They would cross in the middle.
        (widened(0.9, -3), (3, 3)),
    ],
)
def test_calibration_widens_or_narrows_what_lies_between_two_quantiles(calibration, ends):
    level = calibration.conformal.levels[0].level
    columns = decode(np.array([[1.0, 2, 3, 4, 5]]), level, calibration=calibration)
    assert (columns.lower.item(), columns.upper.item(), columns.confidence_level) == (*ends, level)


def test_calibration_is_in_the_unit_of_the_targets_and_one_a_target():
    output = np.tile(np.arange(5.0), (3, 2, 1))
    scaling = TargetScaling(mean=[100], scale=[10, -1])
    columns = decode(output, 0.9, calibration=widened(0.9, 1, 2), scaling=scaling)
    assert columns.lower.tolist() == [[99, 94]] * 3
    assert columns.upper.tolist() == [[141, 102]] * 3


@given(
    hnp.arrays(
        np.float32,
        (3, 2, 5),
        elements=st.sampled_from([0, 1, -1, np.inf, -np.inf, np.nan]) | st.floats(-9, 9, width=32),
    ),
    st.sampled_from([None, 1, -1, -20, 1e3]),
)
def test_quantiles_ascend_and_intervals_do_not_cross(output, margin):
    calibration = None if margin is None else widened(0.9, margin)
    columns = decode(output, 0.9, calibration=calibration, scaling=TargetScaling(scale=[-2, 1], mean=[1]))
    np.testing.assert_array_equal(columns.valid, ~np.isnan(output).any(axis=(1, 2)))
    values = columns.values[columns.valid]
    assert (values[..., :-1] <= values[..., 1:]).all()
    assert (columns.lower <= columns.upper)[columns.valid].all()
    for column in (columns.values, columns.medians, columns.lower, columns.upper):
        assert np.isnan(column[~columns.valid]).all()


@pytest.mark.parametrize(
    ("shape", "fields", "field"),
    [
        ([4], {}, "quantile.levels"),
        ([5, 2], {}, "quantile.levels"),
        ([0], {"levels": []}, "output"),
        ([-1], {}, "output"),
        ([-1, 5], {}, "output"),
        ([2, 2, 5], {}, "output"),
        ([2], {"levels": [0.5, 0.1]}, "quantile.levels"),
        ([2], {"levels": [0.5, 0.5]}, "quantile.levels"),
        ([2], {"levels": [0, 0.5]}, "quantile.levels"),
        ([2], {"levels": [0.5, 1]}, "quantile.levels"),
        ([2], {"levels": [0.5, float("nan")]}, "quantile.levels"),
        ([5], {"activation": ACTIVATION_LOG}, "activation"),
        ([5], {"confidence_level": 0.8}, "confidence_level"),
        ([2, 5], {"targets": ["a"]}, "quantile.targets"),
        # The model gives 0.1- and 0.5-quantiles of -y, which are 0.9- and 0.5-quantiles of y.
        ([2], {"levels": [0.1, 0.5], "scaling": TargetScaling(scale=[-1])}, "quantile.scaling.scale"),
        ([5], {"calibration": widened(0.8, 1)}, "calibration.conformal.levels"),
        ([5], {"calibration": widened(0.9, 1, lower_quantile=0.05)}, "calibration.conformal.levels"),
        (
            [5],
            {"calibration": widened(0.9, 1, lower_quantile=0.95, upper_quantile=0.05)},
            "calibration.conformal.levels",
        ),
    ],
)
def test_contradictions_are_refused(shape, fields, field):
    with pytest.raises(HeadError) as caught:
        make(shape, **fields)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
