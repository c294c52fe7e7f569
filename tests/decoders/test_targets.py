"""Targets of all kinds of heads that have them."""

import math

import pytest

from headgate.decoders import HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    CountHead,
    DataType,
    Head,
    MeanVarianceHead,
    QuantileHead,
    RegressionHead,
    TargetScaling,
    TensorSpec,
)

KINDS = {
    "regression": (RegressionHead(), [-1, 2], "output 'o' has 2 units"),
    "count": (CountHead(), [-1, 2], "output 'o' has 2 units"),
    "quantile": (QuantileHead(levels=[0.1, 0.5, 0.9]), [-1, 2, 3], "output 'o' has 2 targets"),
    "mean_variance": (
        MeanVarianceHead(spread=MeanVarianceHead.SPREAD_VARIANCE),
        [-1, 4],
        "output 'o' has 4 units, 2 of them means",
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def make(kind, **fields):
    message, shape, _ = KINDS[kind]
    head = Head(name="h", output="o", activation=ACTIVATION_LINEAR, **{kind: message})
    getattr(head, kind).MergeFrom(type(message)(**fields))
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=shape)])


def test_names_and_units(kind):
    targets = make(kind, targets=["a", "b"], units=["kg"]).targets
    assert (targets.names, targets.units) == (("a", "b"), ("kg",))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"targets": ["a"]}, "targets has 1 entries, {reason}; give 2"),
        ({"targets": ["a", "a"]}, "targets has 'a' 2 times; entries must differ"),
        ({"targets": ["a", ""]}, "targets has an empty entry; give every entry a name"),
        ({"units": ["kg"] * 3}, "units has 3 entries, {reason}; give none, one or 2"),
    ],
)
def test_names_and_units_that_do_not_fit_are_refused(kind, fields, problem):
    with pytest.raises(HeadError) as caught:
        make(kind, **fields)
    assert str(caught.value) == f"head 'h': {kind}.{problem.format(reason=KINDS[kind][2])}"


@pytest.mark.parametrize(
    ("scaling", "problem"),
    [
        ({"mean": [1, 2, 3]}, "mean has 3 entries, {reason}; give none, one or 2"),
        ({"scale": [1] * 4}, "scale has 4 entries, {reason}; give none, one or 2"),
        ({"mean": [math.nan]}, "mean holds nan; give finite numbers"),
        ({"scale": [math.inf]}, "scale holds inf; give finite numbers"),
        ({"scale": [1, 0]}, "scale holds 0; a target cannot have been divided by it"),
    ],
)
@pytest.mark.parametrize("kind", ["regression", "quantile", "mean_variance"])
def test_scalings_that_do_not_fit_are_refused(kind, scaling, problem):
    with pytest.raises(HeadError) as caught:
        make(kind, scaling=TargetScaling(**scaling))
    assert str(caught.value) == f"head 'h': {kind}.scaling.{problem.format(reason=KINDS[kind][2])}"
