import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    Calibration,
    Conformal,
    ConformalLevel,
    DataType,
    Head,
    RegressionHead,
    TargetScaling,
    TensorSpec,
)


def decode(output, calibration=None, confidence_level=0, **fields):
    head = Head(
        name="h",
        output="o",
        activation=ACTIVATION_LINEAR,
        calibration=calibration,
        confidence_level=confidence_level,
        regression=RegressionHead(**fields),
    )
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *output.shape[1:]])
    return decoder_for(head, [spec]).decode({"o": output}, DecodeOptions())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 1), (1, 1), (3, 2), (64, 10)], ids=str)
def test_unscaled_values_pass(shape, dtype):
    output = np.random.default_rng(1).normal(size=shape).astype(dtype)
    columns = decode(output)
    assert columns.values.dtype == np.float64
    np.testing.assert_array_equal(columns.values, output.astype(float))
    assert columns.valid.all()


@pytest.mark.parametrize("log1p", [False, True])
@pytest.mark.parametrize("targets", [1, 4])
def test_scaling_is_undone_as_scikit_learn_undoes_it(targets, log1p):
    y = np.random.default_rng(2).gamma(2, 50, size=(64, targets))
    scaler = StandardScaler().fit(np.log1p(y) if log1p else y)
    output = scaler.transform(np.log1p(y) if log1p else y)
    columns = decode(output, scaling=TargetScaling(mean=scaler.mean_, scale=scaler.scale_, log1p=log1p))
    np.testing.assert_allclose(columns.values, y, 1e-12)


def test_one_mean_and_one_scale_serve_all_targets():
    columns = decode(np.array([[1, 2]], np.float32), scaling=TargetScaling(mean=[10], scale=[-3]))
    assert columns.values.tolist() == [[7, 4]]


def test_scaling_is_undone_in_double_precision():
    columns = decode(np.array([[0.5]], np.float16), scaling=TargetScaling(mean=[1e9], scale=[0.1]))
    assert columns.values.tolist() == [[0.5 * 0.1 + 1e9]]


def test_names_and_units_come_along():
    columns = decode(np.zeros((1, 2), np.float32), targets=["a", "b"], units=["kg"])
    assert (columns.target_names, columns.units) == (("a", "b"), ("kg",))


def test_a_row_with_nan_is_invalid_in_all_targets_and_infinities_pass():
    output = np.array([[1, np.nan], [np.inf, -np.inf], [3, 4]], np.float32)
    columns = decode(output, scaling=TargetScaling(mean=[1], scale=[-2]))
    np.testing.assert_array_equal(columns.values, [[np.nan, np.nan], [-np.inf, np.inf], [-5, -7]])
    assert columns.valid.tolist() == [False, True, True]


def test_infinities_pass_through_log1p():
    columns = decode(np.array([[-np.inf], [np.inf], [1e4]], np.float32), scaling=TargetScaling(log1p=True))
    assert columns.values.tolist() == [[-1], [np.inf], [np.inf]]


def calibrated(**quantiles):
    """Calibration of intervals of level 0.9."""
    level = ConformalLevel(level=0.9, **quantiles)
    return Calibration(conformal=Conformal(method=Conformal.METHOD_ABSOLUTE, levels=[level]))


@pytest.mark.parametrize("log1p", [False, True])
def test_intervals_are_in_the_unit_of_the_targets(log1p):
    output = np.random.default_rng(3).normal(size=(16, 2))
    scaling = TargetScaling(mean=[4, 5], scale=[-2, 0.5], log1p=log1p)
    columns = decode(output, calibration=calibrated(quantiles=[10, 0.25]), confidence_level=0.9, scaling=scaling)
    y = output * [-2, 0.5] + [4, 5]
    y = np.exp(y) - 1 if log1p else y
    margins = np.array([10, 0.25])
    np.testing.assert_allclose(columns.lower, y - margins, 1e-9)
    np.testing.assert_allclose(columns.upper, y + margins, 1e-9)


def test_invalid_rows_have_no_interval_and_infinities_have_infinite_ends():
    output = np.array([[1, np.nan], [np.inf, -np.inf]], np.float32)
    columns = decode(output, calibration=calibrated(quantiles=[2]), confidence_level=0.9)
    for ends in (columns.lower, columns.upper):
        np.testing.assert_array_equal(ends, [[np.nan, np.nan], [np.inf, -np.inf]])
