"""What users may say of the scaling of targets."""

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.head_settings import field_value
from headgate.v1 import RegressionHead, TargetScaling

FIELD = RegressionHead.DESCRIPTOR.fields_by_name["scaling"]


def scaling_of(value):
    return field_value(FIELD, value, "output 'y': regression.")


@pytest.fixture
def targets():
    return np.random.default_rng(4).gamma(2, [1, 50, 0.1], size=(40, 3))


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        RobustScaler(),
        RobustScaler(with_centering=False, with_scaling=False),
        MinMaxScaler(),
        MinMaxScaler(feature_range=(-1, 3)),
    ],
    ids=str,
)
def test_fitted_scalers(scaler, targets):
    scaling = scaling_of(scaler.fit(targets))
    scaled = scaler.transform(targets)
    np.testing.assert_allclose(scaled * (scaling.scale or 1) + (scaling.mean or 0), targets, 1e-9, 1e-12)


def test_targets_that_were_all_the_same():
    scaling = scaling_of(MinMaxScaler().fit([[5.0], [5.0]]))
    assert (list(scaling.mean), list(scaling.scale)) == ([5], [1])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"min": 10, "max": 30}, TargetScaling(mean=[10], scale=[20])),
        ({"min": 10, "max": 30, "range": [-1, 1]}, TargetScaling(mean=[20], scale=[10])),
        (
            {"min": [0, 10], "max": np.array([1, 30]), "log1p": True},
            TargetScaling(mean=[0, 10], scale=[1, 20], log1p=True),
        ),
        ({"mean": 3, "scale": [2]}, TargetScaling(mean=[3], scale=[2])),
        (TargetScaling(mean=[3]), TargetScaling(mean=[3])),
    ],
)
def test_fields_and_ranges(value, expected):
    assert scaling_of(value) == expected


@pytest.mark.parametrize("given", [(0, 1), (-1, 1), (5, 2)])
def test_a_range_is_what_scikit_learn_takes_for_it(given, targets):
    ends = {"min": targets.min(axis=0), "max": targets.max(axis=0), "range": given}
    scaled = np.interp(targets[:, 1], [ends["min"][1], ends["max"][1]], given)
    scaling = scaling_of(ends)
    np.testing.assert_allclose(scaled * scaling.scale[1] + scaling.mean[1], targets[:, 1])


@pytest.mark.parametrize(
    "value",
    [
        {"min": 1},
        {"max": 1},
        {"min": 0, "max": "a"},
        {"min": 0, "max": 1, "range": [1, 1]},
        {"min": 0, "max": 1, "range": 2},
        {"min": 0, "max": 1, "mean": 2},
        {"min": [0, 1], "max": [1, 2, 3]},
    ],
)
def test_ranges_that_are_none(value):
    with pytest.raises(HeadInferenceError) as caught:
        scaling_of(value)
    assert str(caught.value).startswith(f"output 'y': regression.scaling is {value}; give {{'min': ..., 'max': ...}}, ")


@pytest.mark.parametrize("value", [MinMaxScaler(), 3, "standard"])
def test_what_scales_nothing_is_refused(value):
    with pytest.raises(HeadInferenceError, match=r"^output 'y': regression.scaling is .*fitted scikit-learn scaler"):
        scaling_of(value)
