import math

import pytest

from headgate.decoders import DecodeOptions


def test_equal_options_are_one_key():
    assert len({DecodeOptions(top_k=3, threshold=0.2), DecodeOptions(top_k=3, threshold=0.2), DecodeOptions()}) == 2


@pytest.mark.parametrize("threshold", [None, 0, 0.5, 1])
def test_thresholds_in_range_pass(threshold):
    assert DecodeOptions(threshold=threshold).threshold == threshold


@pytest.mark.parametrize("threshold", [-0.1, 1.000001, math.nan, math.inf])
def test_thresholds_out_of_range_are_refused(threshold):
    with pytest.raises(ValueError, match=rf"^threshold is {threshold}; give a number in 0\.\.1"):
        DecodeOptions(threshold=threshold)


def test_negative_top_k_is_refused():
    with pytest.raises(ValueError, match=r"^top_k is -1; give a positive number"):
        DecodeOptions(top_k=-1)
