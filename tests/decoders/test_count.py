import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOG,
    ACTIVATION_LOGITS,
    Calibration,
    Conformal,
    ConformalLevel,
    CountHead,
    DataType,
    Head,
    TensorSpec,
)

LEVEL = ConformalLevel(level=0.9, quantiles=[2])
CALIBRATION = Calibration(conformal=Conformal(method=Conformal.METHOD_ABSOLUTE, levels=[LEVEL]))


def decode(output, activation=ACTIVATION_LINEAR, **fields):
    head = Head(
        name="h",
        output="o",
        activation=activation,
        calibration=CALIBRATION,
        confidence_level=0.9,
        count=CountHead(**fields),
    )
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *output.shape[1:]])
    return decoder_for(head, [spec]).decode({"o": output}, DecodeOptions())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 1), (1, 1), (64, 3)], ids=str)
def test_rates_pass_and_logarithms_are_inverted_in_double_precision(shape, dtype):
    rates = np.random.default_rng(1).gamma(2, size=shape).astype(dtype)
    np.testing.assert_array_equal(decode(rates).means, rates.astype(float))
    logarithms = np.log(rates)
    columns = decode(logarithms, ACTIVATION_LOG)
    assert columns.means.dtype == np.float64
    np.testing.assert_allclose(columns.means, np.exp(logarithms.astype(float)), 1e-14)


def test_names_and_units_come_along():
    columns = decode(np.ones((1, 2), np.float32), targets=["cars", "bikes"], units=["1/h"])
    assert (columns.target_names, columns.units) == (("cars", "bikes"), ("1/h",))


def test_rates_below_zero_are_invalid():
    columns = decode(np.array([[1, -1e-6], [0, -0.0], [np.nan, 2], [-np.inf, 2]], np.float32))
    assert columns.valid.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(columns.means, [[np.nan] * 2, [0, 0], [np.nan] * 2, [np.nan] * 2])
    np.testing.assert_array_equal(np.isnan(columns.lower), np.isnan(columns.means))
    np.testing.assert_array_equal(np.isnan(columns.upper), np.isnan(columns.means))


def test_logarithms_may_be_negative_and_infinite():
    columns = decode(np.array([[-3], [-np.inf], [np.inf], [1000]], np.float32), ACTIVATION_LOG)
    np.testing.assert_allclose(columns.means, [[np.exp(-3)], [0], [np.inf], [np.inf]])
    assert columns.valid.all()


def test_intervals_end_at_zero():
    columns = decode(np.array([[0], [1.5], [3], [np.inf]]))
    assert columns.lower.tolist() == [[0], [0], [1], [np.inf]]
    assert columns.upper.tolist() == [[2], [3.5], [5], [np.inf]]


@given(
    hnp.arrays(np.float32, (4, 2), elements=st.floats(width=32)),
    st.sampled_from([ACTIVATION_LINEAR, ACTIVATION_LOG]),
)
def test_answers_are_never_negative(output, activation):
    columns = decode(output, activation)
    wrong = np.isnan(output) | ((output < 0) & (activation == ACTIVATION_LINEAR))
    np.testing.assert_array_equal(columns.valid, ~wrong.any(axis=1))
    assert (columns.lower[columns.valid] >= 0).all()
    assert (columns.lower <= columns.means)[columns.valid].all()
    assert (columns.means <= columns.upper)[columns.valid].all()


def test_rates_are_no_logits():
    with pytest.raises(HeadError, match=r"ACTIVATION_LINEAR or ACTIVATION_LOG$"):
        decode(np.ones((1, 2)), ACTIVATION_LOGITS)
