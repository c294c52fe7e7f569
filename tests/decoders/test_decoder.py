"""What holds for the decoders of all kinds."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    DataType,
    Head,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TargetScaling,
    TensorSpec,
)

LABELS = ["a", "b", "c"]
PAIR = BinaryHead(labels=["no", "yes"], positive_label="no")
SCALED = RegressionHead(scaling=TargetScaling(mean=[1, 2, 3], scale=[2], log1p=True))
HEADS = [
    (3, {"activation": ACTIVATION_LINEAR, "regression": SCALED}),
    *[
        (units, {"activation": activation} | kind)
        for activation in (ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES)
        for units, kind in (
            (1, {"binary": PAIR}),
            (2, {"binary": PAIR}),
            (3, {"multiclass": MulticlassHead(labels=LABELS, top_k=2)}),
            (3, {"multilabel": MultilabelHead(labels=LABELS, thresholds=[0.5, 0.2, 0.9])}),
        )
    ],
]


def make_decoder(units, **fields):
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, units])
    return decoder_for(Head(name="h", output="o", **fields), [spec])


def units_of(decoder):
    return decoder.reads["o"][1]


DECODERS = [make_decoder(units, **fields) for units, fields in HEADS]
EVERYTHING = DecodeOptions(include_probabilities=True, include_entropy=True, include_margin=True)


@pytest.fixture(params=DECODERS, ids=lambda decoder: f"{type(decoder).__name__}-{units_of(decoder)}")
def decoder(request):
    return request.param


@st.composite
def batches(draw):
    """A decoder and a batch of any float type, with NaN, infinities and ties."""
    decoder = draw(st.sampled_from(DECODERS))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    elements = st.sampled_from([0, -0.0, 1, 0.5, -3, 40, np.nan, np.inf, -np.inf]) | st.floats(-9, 9, width=16)
    return decoder, draw(hnp.arrays(dtype, (draw(st.integers(0, 6)), units_of(decoder)), elements=elements))


def assert_same(columns, expected):
    assert type(columns) is type(expected)
    for field in dataclasses.fields(columns):
        np.testing.assert_array_equal(getattr(columns, field.name), getattr(expected, field.name), field.name)


def arrays_of(columns):
    values = [getattr(columns, field.name) for field in dataclasses.fields(columns)]
    return [value for value in values if isinstance(value, np.ndarray)]


@given(batches())
def test_rows_one_by_one_are_as_rows_together(batch):
    decoder, output = batch
    together = decoder.decode({"o": output}, EVERYTHING)
    assert len(together) == len(output)
    for row in range(len(output)):
        assert_same(decoder.decode({"o": output[row : row + 1]}, EVERYTHING), together.rows(row, row + 1))


@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_many_classes_one_by_one_are_as_together(classes):
    kind = MulticlassHead(labels=map(str, range(classes)), top_k=5)
    decoder = make_decoder(classes, activation=ACTIVATION_LOGITS, multiclass=kind)
    output = np.random.default_rng(6).normal(size=(64, classes)).astype(np.float32)
    together = decoder.decode({"o": output}, EVERYTHING)
    for row in range(64):
        assert_same(decoder.decode({"o": output[row : row + 1]}, EVERYTHING), together.rows(row, row + 1))


@given(batches(), st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_the_answer(batch, random):
    decoder, output = batch
    order = random.sample(range(len(output)), len(output))
    columns, permuted = decoder.decode({"o": output}, EVERYTHING), decoder.decode({"o": output[order]}, EVERYTHING)
    for place, row in enumerate(order):
        assert_same(permuted.rows(place, place + 1), columns.rows(row, row + 1))


@given(batches())
def test_the_output_stays_as_it_is_and_is_not_shared(batch):
    decoder, output = batch
    before = output.copy()
    columns = decoder.decode({"o": output}, EVERYTHING)
    np.testing.assert_array_equal(output, before)
    assert not any(np.shares_memory(array, output) for array in arrays_of(columns))


@given(batches())
def test_rows_with_nan_and_only_impossible_logits_are_invalid(batch):
    decoder, output = batch
    expected = ~np.isnan(output).any(axis=1)
    if getattr(decoder, "logits", False) and ("Multiclass" in type(decoder).__name__ or units_of(decoder) == 2):
        expected &= ~np.isposinf(output).any(axis=1) & ~np.isneginf(output).all(axis=1)
    np.testing.assert_array_equal(decoder.decode({"o": output}, EVERYTHING).valid, expected)


def test_read_only_outputs_are_decoded(decoder):
    output = np.full((2, units_of(decoder)), np.nan, np.float32)
    output.setflags(write=False)
    assert decoder.decode({"o": output}, EVERYTHING).valid.tolist() == [False, False]


def test_floating_point_traps_of_the_caller_stay_shut(decoder):
    output = np.array([[np.nan], [np.inf], [-np.inf], [1e308], [-1e308], [1e-308]]).repeat(units_of(decoder), axis=1)
    with np.errstate(all="raise"):
        decoder.decode({"o": output}, EVERYTHING)


def test_one_unit_may_come_without_its_dimension():
    one_unit = [decoder for decoder in DECODERS if units_of(decoder) == 1]
    assert one_unit
    output = np.array([0.2, 0.9, np.nan], np.float32)
    for decoder in one_unit:
        assert_same(decoder.decode({"o": output}, EVERYTHING), decoder.decode({"o": output[:, None]}, EVERYTHING))


@pytest.mark.parametrize("shape", ["[]", "[3]", "[3,4]", "[4,0]", "[2,3,1]", "[2,1,3]"])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"^head 'h' reads output 'o' of shape \[batch,3\], ") as caught:
        DECODERS[0].decode({"o": np.zeros(json.loads(shape), np.float32)}, DecodeOptions())
    assert str(caught.value).endswith(f", this one has {shape}")


@pytest.mark.parametrize("dtype", ["complex64", "object"])
def test_wrong_types_are_refused(decoder, dtype):
    with pytest.raises(ValueError, match=f"^head 'h' reads numbers, output 'o' holds {dtype}$"):
        decoder.decode({"o": np.zeros((2, units_of(decoder)), dtype)}, DecodeOptions())


def test_decoders_are_frozen(decoder):
    with pytest.raises(dataclasses.FrozenInstanceError):
        decoder.head = "other"
