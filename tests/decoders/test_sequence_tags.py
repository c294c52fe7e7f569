import dataclasses

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    Calibration,
    DataType,
    Head,
    Prediction,
    SequenceTagsHead,
    TensorSpec,
)
from headgate.v1.columns import columns_from_prediction
from headgate.v1.encoding import prediction_encoder

BIO, BIOES = SequenceTagsHead.SCHEME_BIO, SequenceTagsHead.SCHEME_BIOES
BIO_LABELS = ["O", "B-x", "I-x", "B-y-z", "I-y-z", "PAD"]
BIOES_LABELS = ["PAD", "O", "S-alone", *[f"{prefix}-{name}" for prefix in "BIES" for name in "xy"]]


def make_decoder(labels, activation=ACTIVATION_LOGITS, steps=-1, mask=None, shape=None, head=None, **fields):
    """Make the decoder of an output `o` and a mask `m`, of which `mask` is the type and the shape."""
    kind = SequenceTagsHead(labels=labels, **{"mask_output": "m" if mask else ""} | fields)
    outputs = [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=shape or [-1, steps, len(labels)])]
    if mask:
        outputs.append(TensorSpec(name="m", datatype=mask[0], shape=mask[1]))
    return decoder_for(Head(name="h", output="o", activation=activation, sequence_tags=kind, **head or {}), outputs)


BOOLS = (DataType.DATA_TYPE_BOOL, [-1, -1])
DECODERS = [
    make_decoder(BIO_LABELS, scheme=BIO, padding_label="PAD", mask=BOOLS),
    make_decoder(BIOES_LABELS, ACTIVATION_PROBABILITIES, scheme=BIOES, padding_label="PAD", mask=BOOLS),
    make_decoder(["a", "b", "c"], mask=BOOLS),
]


def decode(decoder, output, mask=None):
    return decoder.decode({"o": output} | ({} if mask is None else {"m": mask}), DecodeOptions())


def spans_of(columns, row):
    own = columns.rows(row, row + 1)
    each = (own.span_starts, own.span_ends, own.span_labels, own.span_scores)
    return list(zip(*[column.tolist() for column in each], strict=True))


def conlleval(labels):
    """Yield (start, end, type) as conlleval.pl and seqeval find them: a state machine over one sentence."""
    before, type_before, start = "O", "", 0
    for position, label in enumerate([*labels, "O"]):
        prefix, _, name = label.partition("-")
        ends = before in "ES" or (before in "BI" and prefix in "BSO") or (before != "O" and name != type_before)
        begins = prefix in "BS" or (prefix in "IE" and before in "ESO") or (prefix != "O" and name != type_before)
        if ends and before != "O":
            yield start, position, type_before
        if begins:
            start = position
        before, type_before = prefix, name


@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (1, 1), (5, 30)])
def test_labels_agree_with_scipy(shape, dtype, activation):
    labels = [f"label {index}" for index in range(7)]
    output = np.random.default_rng(1).normal(scale=3, size=(*shape, 7)).astype(dtype)
    if activation == ACTIVATION_PROBABILITIES:
        output = scipy.special.softmax(output, axis=2)
    columns = decode(make_decoder(labels, activation), output)
    probabilities = output if activation == ACTIVATION_PROBABILITIES else scipy.special.softmax(output.astype(float), 2)
    np.testing.assert_array_equal(columns.offsets, np.arange(shape[0] + 1) * shape[1])
    np.testing.assert_array_equal(columns.indices, output.argmax(axis=2).ravel())
    np.testing.assert_array_equal(columns.labels, [labels[index] for index in columns.indices])
    np.testing.assert_allclose(columns.scores, probabilities.max(axis=2).ravel(), 5e-6)
    np.testing.assert_array_equal(columns.steps, np.tile(np.arange(shape[1]), shape[0]))
    assert columns.valid.tolist() == [True] * shape[0]
    assert (columns.scores.dtype, columns.indices.dtype, columns.steps.dtype) == (np.float32, np.int32, np.int32)
    assert columns.span_offsets is columns.span_starts is columns.span_ends is columns.span_labels is None


@pytest.mark.parametrize(("labels", "scheme"), [(BIO_LABELS, BIO), (BIOES_LABELS, BIOES)], ids=["BIO", "BIOES"])
@given(data=st.data())
def test_spans_are_those_of_conlleval(labels, scheme, data):
    shape = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 12))
    tags = data.draw(hnp.arrays(np.intp, shape, elements=st.integers(0, len(labels) - 1)))
    mask = data.draw(hnp.arrays(np.bool_, shape))
    scores = data.draw(hnp.arrays(np.float32, shape, elements=st.floats(0.5, 1, width=16)))
    output = np.where(np.eye(len(labels))[tags] > 0, scores[..., None], 0).astype(np.float32)
    decoder = make_decoder(labels, ACTIVATION_PROBABILITIES, scheme=scheme, padding_label="PAD", mask=BOOLS)
    columns = decode(decoder, output, mask)
    for row in range(shape[0]):
        steps = [step for step in range(shape[1]) if mask[row, step] and labels[tags[row, step]] != "PAD"]
        assert columns.rows(row, row + 1).steps.tolist() == steps
        assert columns.rows(row, row + 1).labels.tolist() == [labels[tags[row, step]] for step in steps]
        expected = [
            (steps[start], steps[end - 1] + 1, name, np.float32(np.mean(scores[row, steps[start:end]], dtype=float)))
            for start, end, name in conlleval([labels[tags[row, step]] for step in steps])
        ]
        assert spans_of(columns, row) == expected


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-x I-x O B-x", [(0, 2, "x"), (3, 4, "x")]),
        ("B-x B-x", [(0, 1, "x"), (1, 2, "x")]),
        ("O I-x I-x", [(1, 3, "x")]),
        ("B-x I-y-z I-y-z", [(0, 1, "x"), (1, 3, "y-z")]),
        ("B-x PAD I-x", [(0, 3, "x")]),
        ("PAD O PAD", []),
    ],
)
def test_spans(tags, spans):
    output = np.eye(len(BIO_LABELS))[[[BIO_LABELS.index(tag) for tag in tags.split()]]]
    columns = decode(make_decoder(BIO_LABELS, ACTIVATION_PROBABILITIES, scheme=BIO, padding_label="PAD"), output)
    assert spans_of(columns, 0) == [(*span, 1.0) for span in spans]


def test_spans_do_not_reach_into_the_next_row():
    output = np.eye(3)[[[1, 2], [2, 2]]]
    columns = decode(make_decoder(["O", "B-x", "I-x"], ACTIVATION_PROBABILITIES, scheme=BIO), output)
    assert columns.span_offsets.tolist() == [0, 1, 2]
    assert columns.span_starts.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"])
def test_masks_of_any_type(dtype):
    decoder = make_decoder(["a", "b"], steps=3, mask=(DataType.DATA_TYPE_FP32, [-1, 3]))
    mask = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], dtype)
    output = np.zeros((3, 3, 2), np.float32)
    output[mask == 0] = np.nan
    columns = decode(decoder, output, mask)
    assert columns.valid.tolist() == [True] * 3
    assert columns.offsets.tolist() == [0, 2, 2, 4]
    assert columns.steps.tolist() == [0, 2, 0, 1]


def test_a_mask_of_nan_makes_the_row_invalid():
    decoder = make_decoder(["a", "b"], mask=(DataType.DATA_TYPE_FP32, [-1, -1]))
    columns = decode(decoder, np.zeros((2, 2, 2), np.float32), np.float32([[1, np.nan], [1, 1]]))
    assert (columns.valid.tolist(), columns.offsets.tolist()) == ([False, True], [0, 0, 2])


def test_a_mask_of_other_rows_is_refused():
    with pytest.raises(ValueError, match=r"^head 'h' reads as many rows of each output: 'o' has 2, 'm' has 1; "):
        decode(DECODERS[2], np.zeros((2, 3, 3), np.float32), np.ones((1, 3), bool))


def test_a_mask_of_other_steps_is_refused():
    with pytest.raises(ValueError, match=r"^head 'h' reads \[2,3\] steps and a mask \[2,4\]; they must be alike$"):
        decode(DECODERS[2], np.zeros((2, 3, 3), np.float32), np.ones((2, 4), bool))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
def test_invalid_rows_have_no_steps(activation, bad):
    output = np.zeros((3, 2, 3), np.float32)
    output[1, 1, 2] = bad
    columns = decode(make_decoder(["O", "B-x", "I-x"], activation, scheme=BIO), output)
    assert columns.valid.tolist() == [True, False, True]
    assert columns.offsets.tolist() == [0, 2, 2, 4]
    assert columns.span_offsets.tolist() == [0, 0, 0, 0]


def test_no_label_is_possible():
    assert decode(make_decoder(["a", "b"]), np.full((1, 2, 2), -np.inf, np.float32)).valid.tolist() == [False]


@st.composite
def batches(draw):
    decoder = draw(st.sampled_from(DECODERS))
    shape = draw(st.integers(0, 5)), draw(st.integers(0, 6))
    elements = st.sampled_from([0, -0.0, 1, np.nan, np.inf, -np.inf]) | st.floats(-9, 9, width=16)
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    output = draw(hnp.arrays(dtype, (*shape, len(decoder.labels)), elements=elements))
    return decoder, output, draw(hnp.arrays(np.bool_, shape))


def assert_same(columns, expected):
    for field in dataclasses.fields(columns):
        np.testing.assert_array_equal(getattr(columns, field.name), getattr(expected, field.name), field.name)


@given(batches(), st.randoms(use_true_random=False))
def test_rows_have_nothing_to_do_with_each_other(batch, random):
    decoder, output, mask = batch
    order = random.sample(range(len(output)), len(output))
    together, permuted = decode(decoder, output, mask), decode(decoder, output[order], mask[order])
    for place, row in enumerate(order):
        alone = decode(decoder, output[row : row + 1], mask[row : row + 1])
        assert_same(together.rows(row, row + 1), alone)
        assert_same(permuted.rows(place, place + 1), alone)


@given(batches())
def test_the_outputs_stay_as_they_are_and_are_not_shared(batch):
    decoder, output, mask = batch
    before = output.copy(), mask.copy()
    columns = decode(decoder, output, mask)
    np.testing.assert_array_equal(output, before[0])
    np.testing.assert_array_equal(mask, before[1])
    arrays = [getattr(columns, field.name) for field in dataclasses.fields(columns)]
    assert not any(np.shares_memory(array, each) for array in arrays if array is not None for each in (output, mask))
    assert np.isfinite(columns.scores).all()


@given(batches())
def test_columns_cross_the_wire(batch):
    decoder, output, mask = batch
    columns = decode(decoder, output, mask)
    prediction = Prediction.FromString(prediction_encoder("h", columns)(0, len(columns)))
    # Of no rows nobody can tell whether there were spans.
    if len(columns):
        assert_same(columns_from_prediction(prediction, len(columns)), columns)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"activation": ACTIVATION_LINEAR}, "activation"),
        ({"head": {"calibration": Calibration()}}, "calibration"),
        ({"head": {"confidence_level": 0.9}}, "confidence_level"),
        ({"shape": [-1, 3]}, "output"),
        ({"shape": [-1, 4, -1]}, "output"),
        ({"shape": [-1, 4, 0]}, "output"),
        ({"labels": ["O", "B-x"], "shape": [-1, 4, 3]}, "sequence_tags.labels"),
        ({"labels": ["O", "B-x", "B-x"]}, "sequence_tags.labels"),
        ({"labels": ["O", "B-x", ""]}, "sequence_tags.labels"),
        ({"padding_label": "PAD"}, "sequence_tags.padding_label"),
        ({"scheme": BIO, "padding_label": "O"}, "sequence_tags.padding_label"),
        ({"mask": (DataType.DATA_TYPE_BOOL, [-1])}, "sequence_tags.mask_output"),
        ({"mask": (DataType.DATA_TYPE_BOOL, [-1, -1, 1])}, "sequence_tags.mask_output"),
        ({"steps": 5, "mask": (DataType.DATA_TYPE_BOOL, [-1, 6])}, "sequence_tags.mask_output"),
        ({"mask": (DataType.DATA_TYPE_STRING, [-1, -1])}, "sequence_tags.mask_output"),
        ({"mask_output": "other"}, "sequence_tags.mask_output"),
        ({"mask_output": "o"}, "sequence_tags.mask_output"),
        ({"scheme": 7}, "sequence_tags.scheme"),
        ({"scheme": BIO, "labels": ["O", "x"]}, "sequence_tags.labels"),
        ({"scheme": BIO, "labels": ["O", "B-"]}, "sequence_tags.labels"),
        ({"scheme": BIO, "labels": ["O", "B"]}, "sequence_tags.labels"),
        ({"scheme": BIO, "labels": ["O", "-x"]}, "sequence_tags.labels"),
        ({"scheme": BIO, "labels": ["O", "S-x"]}, "sequence_tags.labels"),
        ({"scheme": BIO, "labels": ["O", "I-x"]}, "sequence_tags.labels"),
        ({"scheme": BIO, "labels": ["O", "I-x", "B-y"]}, "sequence_tags.labels"),
        ({"scheme": BIOES, "labels": ["O", "B-x", "I-x"]}, "sequence_tags.labels"),
        ({"scheme": BIOES, "labels": ["O", "B-x"]}, "sequence_tags.labels"),
        ({"scheme": BIOES, "labels": ["O", "S-x", "E-x"]}, "sequence_tags.labels"),
    ],
)
def test_errors_name_the_field(settings, field):
    with pytest.raises(HeadError) as caught:
        make_decoder(**{"labels": ["O", "B-x", "I-x"]} | settings)
    assert (caught.value.head, caught.value.field) == ("h", field)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "labels"),
    [
        (BIO, ["B-x"]),
        (BIO, ["O", "B-x", "B-y", "I-y"]),
        (BIOES, ["O", "S-x", "B-y", "E-y"]),
        (BIOES, BIOES_LABELS[1:]),
    ],
)
def test_sound_schemes_pass(scheme, labels):
    assert make_decoder(labels, scheme=scheme).reads == {"o": (-1, -1, len(labels))}
