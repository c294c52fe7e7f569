"""What holds for the decoders of all kinds."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, decoder_for
from headgate.decoders.binary import BinaryDecoder
from headgate.decoders.multiclass import MulticlassDecoder
from headgate.decoders.multilabel import MultilabelDecoder
from headgate.decoders.ordinal import OrdinalDecoder
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOG,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    AbstainBand,
    AnomalyHead,
    BinaryHead,
    Calibration,
    Conformal,
    ConformalLevel,
    CountHead,
    DataType,
    EmbeddingHead,
    Head,
    IsotonicCurve,
    KeypointsHead,
    LabelGroup,
    MeanVarianceHead,
    MulticlassHead,
    MultilabelHead,
    OrdinalHead,
    ProbabilityCalibration,
    Prototypes,
    QuantileHead,
    RegressionHead,
    SegmentationHead,
    TargetScaling,
    TensorSpec,
)
from headgate.v1.columns.layout import layout_of

LABELS = ["a", "b", "c"]
PAIR = BinaryHead(labels=["no", "yes"], positive_label="no")
STORED = Prototypes(labels=["x", "y", "x"], vectors=np.float32([[1, 0, 0], [0, 2, 0], [1, 1, 1]]).tobytes())
SCALED = RegressionHead(scaling=TargetScaling(mean=[1, 2, 3], scale=[2], log1p=True))


def conformal(method, quantile=1.5):
    """The fields of a head that gives intervals, or sets of labels, to whoever asks for nothing else."""
    levels = [ConformalLevel(level=0.8, quantiles=[quantile])]
    return {"calibration": Calibration(conformal=Conformal(method=method, levels=levels)), "confidence_level": 0.8}


def calibrated(method, **numbers):
    """The fields of a head with calibrated probabilities."""
    return {"calibration": Calibration(probabilities=ProbabilityCalibration(method=method, **numbers))}


CURVES = [
    IsotonicCurve(inputs=[0.1, 0.2, 0.9], outputs=[0, 0.3, 0.8]),
    IsotonicCurve(inputs=[0, 1], outputs=[0.5, 0.5]),
    IsotonicCurve(inputs=[0.4], outputs=[0]),
]
TEMPERATURE = calibrated("METHOD_TEMPERATURE", temperatures=[3])
PLATT = calibrated("METHOD_PLATT", slopes=[0.5, 2, 1], intercepts=[1, 0, -1])
PLATT_OF_ONE = calibrated("METHOD_PLATT", slopes=[0.5], intercepts=[1])
ISOTONIC = calibrated("METHOD_ISOTONIC", curves=CURVES)
ISOTONIC_OF_ONE = calibrated("METHOD_ISOTONIC", curves=CURVES[:1])
ABSTAINING = BinaryHead(labels=["no", "yes"], abstain=AbstainBand(lower=0.3, upper=0.6))
GROUPED = MulticlassHead(
    labels=LABELS,
    top_k=2,
    abstain_below=0.7,
    groups=[LabelGroup(name="vowels", members=["a"]), LabelGroup(name="all", members=["c", "vowels", "b"])],
)
MULTILABEL = MultilabelHead(labels=LABELS, thresholds=[0.5, 0.2, 0.9])

#: The shape of a row, or the units where that is [units], and the fields of a head that reads one output.
HEADS = [
    (3, {"activation": ACTIVATION_LINEAR, "regression": SCALED}),
    *[
        (units, {"activation": activation} | conformal(method) | kind)
        for units, activation, method, kind in (
            (3, ACTIVATION_LINEAR, Conformal.METHOD_ABSOLUTE, {"regression": SCALED}),
            (2, ACTIVATION_LINEAR, Conformal.METHOD_ABSOLUTE, {"count": CountHead()}),
            (2, ACTIVATION_LOG, Conformal.METHOD_ABSOLUTE, {"count": CountHead()}),
            (3, ACTIVATION_LINEAR, Conformal.METHOD_CQR, {"quantile": QuantileHead(levels=[0.1, 0.4, 0.9])}),
            (
                4,
                ACTIVATION_LINEAR,
                Conformal.METHOD_SCALED,
                {"mean_variance": MeanVarianceHead(spread="SPREAD_VARIANCE")},
            ),
        )
    ],
    (1, {"activation": ACTIVATION_LINEAR, "anomaly": AnomalyHead(threshold=1, score_quantiles=[-3, 0, 0.5, 1])}),
    (3, {"activation": ACTIVATION_LINEAR, "embedding": EmbeddingHead(normalize=True, prototypes=STORED, top_k=2)}),
    (3, {"activation": ACTIVATION_LINEAR, "embedding": EmbeddingHead(prototypes=STORED)}),
    ((3, 2), {"activation": ACTIVATION_LINEAR, "keypoints": KeypointsHead(names=LABELS, form="FORM_COORDINATES")}),
    *[
        (units, {"activation": activation} | kind)
        for activation in (ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES)
        for units, kind in (
            (1, {"binary": PAIR}),
            (2, {"binary": PAIR}),
            *[
                (units, {"binary": ABSTAINING} | calibration)
                for units in (1, 2)
                for calibration in (TEMPERATURE, PLATT_OF_ONE, ISOTONIC_OF_ONE)
            ],
            (3, {"multiclass": MulticlassHead(labels=LABELS, top_k=2)}),
            (3, {"multiclass": GROUPED} | conformal(Conformal.METHOD_LAC, 0.6)),
            (3, {"multiclass": GROUPED} | conformal(Conformal.METHOD_APS, 0.8)),
            *[(3, {"multiclass": GROUPED} | calibration) for calibration in (TEMPERATURE, PLATT, ISOTONIC)],
            (3, {"multilabel": MULTILABEL}),
            *[(3, {"multilabel": MULTILABEL} | calibration) for calibration in (TEMPERATURE, PLATT, ISOTONIC)],
            *[(2, {"ordinal": OrdinalHead(labels=LABELS, form=form)}) for form in OrdinalHead.Form.keys()[1:]],
            ((2, 3, 3), {"segmentation": SegmentationHead(labels=LABELS, stride=2)}),
            ((3, 2, 3), {"segmentation": SegmentationHead(labels=LABELS, layout="PIXEL_LAYOUT_CHANNELS_FIRST")}),
            ((2, 3, 3), {"segmentation": SegmentationHead(labels=LABELS, independent=True)}),
            ((2, 3, 1), {"segmentation": SegmentationHead(labels=LABELS[:2])}),
            ((2, 3, 3), {"keypoints": KeypointsHead(names=LABELS, form="FORM_HEATMAPS", refine=True)}),
        )
    ],
]


def make_decoder(row, **fields):
    shape = row if isinstance(row, tuple) else (row,)
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *shape])
    return decoder_for(Head(name="h", output="o", **fields), [spec])


def row_shape_of(decoder):
    return decoder.reads["o"][1:]


DECODERS = [make_decoder(row, **fields) for row, fields in HEADS]
EVERYTHING = DecodeOptions(include_probabilities=True, include_entropy=True, include_margin=True, include_groups=True)


@pytest.fixture(params=DECODERS, ids=lambda decoder: f"{type(decoder).__name__}-{row_shape_of(decoder)}")
def decoder(request):
    return request.param


@st.composite
def batches(draw, decoders=DECODERS):
    """A decoder and a batch of any float type, with NaN, infinities and ties."""
    decoder = draw(st.sampled_from(decoders))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    elements = st.sampled_from([0, -0.0, 1, 0.5, -3, 40, np.nan, np.inf, -np.inf]) | st.floats(-9, 9, width=16)
    return decoder, draw(hnp.arrays(dtype, (draw(st.integers(0, 6)), *row_shape_of(decoder)), elements=elements))


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


@pytest.mark.parametrize("classes", [10, 100, 1000, 9000])
def test_many_classes_one_by_one_are_as_together(classes):
    kind = MulticlassHead(labels=map(str, range(classes)), top_k=5)
    decoder = make_decoder(classes, activation=ACTIVATION_LOGITS, multiclass=kind)
    output = np.random.default_rng(6).normal(size=(64, classes)).astype(np.float32)
    together = decoder.decode({"o": output}, EVERYTHING)
    for row in range(64):
        assert_same(decoder.decode({"o": output[row : row + 1]}, EVERYTHING), together.rows(row, row + 1))


@pytest.mark.parametrize("classes", [10, 100])
def test_order_in_memory_does_not_matter(classes):
    """Sums of rows whose entries stand apart are rounded otherwise."""
    kind = MulticlassHead(labels=map(str, range(classes)))
    decoder = make_decoder(classes, activation=ACTIVATION_LOGITS, multiclass=kind)
    output = np.random.default_rng(6).normal(size=(64, classes)).astype(np.float32)
    apart = np.repeat(output, 2, axis=1)[:, ::2]
    expected = decoder.decode({"o": output}, EVERYTHING)
    for other in (np.asfortranarray(output), apart, output.astype(">f4")):
        assert_same(decoder.decode({"o": other}, EVERYTHING), expected)


def test_whole_numbers_are_decoded_as_floating_point_numbers(decoder):
    output = np.random.default_rng(6).integers(0, 2, (3, *row_shape_of(decoder)))
    expected = decoder.decode({"o": output.astype(float)}, EVERYTHING)
    for dtype in ("int8", "int64", "bool"):
        assert_same(decoder.decode({"o": output.astype(dtype)}, EVERYTHING), expected)


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
    axes = tuple(range(1, output.ndim))
    expected = ~np.isnan(output).any(axis=axes)
    if isinstance(decoder, BinaryDecoder | MulticlassDecoder | MultilabelDecoder | OrdinalDecoder):
        if not decoder.logits:
            expected &= ~np.isinf(output).any(axis=axes)
        elif isinstance(decoder, MulticlassDecoder) or (isinstance(decoder, BinaryDecoder) and output.shape[1] == 2):
            expected &= ~np.isposinf(output).any(axis=1) & ~np.isneginf(output).all(axis=1)
    valid = decoder.decode({"o": output}, EVERYTHING).valid
    own = ("CountDecoder", "MeanVarianceDecoder", "EmbeddingDecoder", "SegmentationDecoder", "KeypointsDecoder")
    if type(decoder).__name__ in own:
        # What else is invalid for them, their own tests tell.
        expected &= valid
    np.testing.assert_array_equal(valid, expected)


@given(batches())
def test_invalid_rows_say_nothing(batch):
    decoder, output = batch
    columns = decoder.decode({"o": output}, EVERYTHING)
    for name in layout_of(type(columns)).per_row:
        column = getattr(columns, name)
        if column is not None:
            entries = column[~columns.valid].ravel().tolist()
            assert all(entry != entry or entry in ("", -1, False) for entry in entries), name


def sums_to_one(decoder):
    """Tell whether probabilities do; what a graph calls probabilities is taken as it is, unless it is calibrated."""
    is_made_here = isinstance(decoder, MulticlassDecoder) and (decoder.logits or decoder.calibrator is not None)
    return is_made_here or isinstance(decoder, OrdinalDecoder)


@given(batches([decoder for decoder in DECODERS if sums_to_one(decoder)]))
def test_probabilities_of_one_label_of_several_sum_to_one(batch):
    decoder, output = batch
    columns = decoder.decode({"o": output}, EVERYTHING)
    np.testing.assert_allclose(columns.probabilities[columns.valid].sum(axis=1, dtype=float), 1, 1e-5)


def test_read_only_outputs_are_decoded(decoder):
    output = np.full((2, *row_shape_of(decoder)), np.nan, np.float32)
    output.setflags(write=False)
    assert decoder.decode({"o": output}, EVERYTHING).valid.tolist() == [False, False]


def test_floating_point_traps_of_the_caller_stay_shut(decoder):
    rows = [np.full(row_shape_of(decoder), value) for value in (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-308)]
    with np.errstate(all="raise"):
        decoder.decode({"o": np.stack(rows)}, EVERYTHING)


def test_one_unit_may_come_without_its_dimension():
    one_unit = [decoder for decoder in DECODERS if row_shape_of(decoder) == (1,)]
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
        decoder.decode({"o": np.zeros((2, *row_shape_of(decoder)), dtype)}, DecodeOptions())


def test_decoders_are_frozen(decoder):
    with pytest.raises(dataclasses.FrozenInstanceError):
        decoder.head = "other"
