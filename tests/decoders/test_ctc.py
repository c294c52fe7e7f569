import dataclasses
import itertools
from collections import defaultdict

import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.decoders import DecodeOptions, HeadError, ctc, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    Calibration,
    CtcHead,
    DataType,
    Head,
    Prediction,
    TensorSpec,
)
from headgate.v1.columns import columns_from_prediction
from headgate.v1.encoding import prediction_encoder


def make_decoder(labels, activation=ACTIVATION_LOGITS, shape=None, lengths=None, head=None, **fields):
    """Make the decoder of an output `o` and lengths `n`, of which `lengths` is the shape."""
    kind = CtcHead(labels=labels, **{"lengths_output": "n" if lengths else ""} | fields)
    outputs = [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=shape or [-1, -1, len(labels)])]
    if lengths:
        outputs.append(TensorSpec(name="n", datatype=DataType.DATA_TYPE_INT64, shape=lengths))
    return decoder_for(Head(name="h", output="o", activation=activation, ctc=kind, **head or {}), outputs)


DECODERS = [
    make_decoder(["a", "b", ""], lengths=[-1]),
    make_decoder(["a", "b", ""], lengths=[-1], beam_width=3, top_k=2),
    make_decoder(["", "a", "b", "c"], ACTIVATION_PROBABILITIES, lengths=[-1], beam_width=40, top_k=40, blank=0),
]


def decode(decoder, output, lengths=None, top_k=0):
    return decoder.decode({"o": output} | ({} if lengths is None else {"n": lengths}), DecodeOptions(top_k=top_k))


def log_softmax(logits):
    return scipy.special.log_softmax(logits.astype(float), axis=-1)


def tokens_of(columns, row, rank):
    start, stop = columns.token_offsets[row * columns.texts.shape[1] + rank :][:2]
    return tuple(columns.tokens[start:stop].tolist())


def texts_of(columns, row):
    """The tokens and log probabilities of the possible texts of a row, best first."""
    values = columns.log_probabilities[row]
    return [(tokens_of(columns, row, rank), value) for rank, value in enumerate(values) if value > -np.inf]


def every_text(log_probabilities, blank):
    """The log probability of each text: the sum over all alignments of [steps, units]."""
    steps, units = log_probabilities.shape
    texts = defaultdict(lambda: -np.inf)
    for alignment in itertools.product(range(units), repeat=steps):
        text = tuple(unit for unit, _ in itertools.groupby(alignment) if unit != blank)
        texts[text] = np.logaddexp(texts[text], log_probabilities[range(steps), alignment].sum())
    return texts


def naive_search(log_probabilities, blank, width):
    """Prefix beam search as it is written down: of each prefix what ends in blank, and what ends in its last symbol."""
    beam = {(): (0.0, -np.inf)}
    for step in log_probabilities:
        found = defaultdict(lambda: [-np.inf, -np.inf])
        for prefix, (in_blank, in_symbol) in beam.items():
            total = np.logaddexp(in_blank, in_symbol)
            for unit, value in enumerate(step):
                if unit == blank:
                    found[prefix][0] = np.logaddexp(found[prefix][0], total + value)
                    continue
                if prefix[-1:] == (unit,):
                    found[prefix][1] = np.logaddexp(found[prefix][1], in_symbol + value)
                longer = (*prefix, unit)
                gained = (in_blank if prefix[-1:] == (unit,) else total) + value
                found[longer][1] = np.logaddexp(found[longer][1], gained)
        beam = dict(sorted(found.items(), key=lambda each: -np.logaddexp(*each[1]))[:width])
    return [(prefix, np.logaddexp(*value)) for prefix, value in beam.items() if np.logaddexp(*value) > -np.inf]


def assert_texts(found, expected):
    assert [text for text, _ in found] == [text for text, _ in expected]
    np.testing.assert_allclose([value for _, value in found], [value for _, value in expected], 1e-5, 1e-5)


@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("blank", [0, 1, None])
@pytest.mark.parametrize(("steps", "units"), [(1, 2), (4, 2), (5, 3), (4, 4)])
def test_a_wide_beam_finds_every_text(steps, units, blank, dtype, activation):
    output = np.random.default_rng(steps).normal(scale=2, size=(2, steps, units)).astype(dtype)
    if activation == ACTIVATION_PROBABILITIES:
        output = scipy.special.softmax(output, axis=2)
    labels = [str(unit) for unit in range(units)]
    columns = decode(make_decoder(labels, activation, blank=blank, beam_width=300, top_k=300), output)
    values = np.log(output.astype(float)) if activation == ACTIVATION_PROBABILITIES else log_softmax(output)
    for row in range(2):
        expected = every_text(values[row], units - 1 if blank is None else blank)
        found = dict(texts_of(columns, row))
        assert set(found) == set(expected)
        np.testing.assert_allclose([found[text] for text in expected], list(expected.values()), 1e-4, 1e-5)
        assert (np.diff(columns.log_probabilities[row][: len(expected)]) <= 0).all()
        if activation == ACTIVATION_LOGITS:
            assert np.exp(np.logaddexp.reduce(columns.log_probabilities[row])) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("scale", [0.3, 1, 4])
@pytest.mark.parametrize(("width", "units"), [(2, 3), (5, 3), (7, 12), (16, 30), (40, 5)])
def test_the_search_is_the_naive_one(width, units, scale):
    output = np.random.default_rng(width).normal(scale=scale, size=(3, 25, units))
    columns = decode(make_decoder(map(str, range(units)), shape=output.shape, beam_width=width, top_k=width), output)
    for row in range(3):
        assert_texts(texts_of(columns, row), naive_search(log_softmax(output)[row], units - 1, width))


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(2, 4)), elements=st.floats(-4, 0)), st.data())
def test_searches_that_lose_and_find_prefixes_again(values, data):
    # Distinct in all sums, so that no tie decides who stays.
    values += np.random.default_rng(0).normal(scale=0.1, size=values.shape)
    impossible = data.draw(hnp.arrays(np.bool_, values.shape))
    impossible[:, -1] &= ~impossible.all(axis=1)
    values[impossible] = -np.inf
    width = data.draw(st.integers(2, 6))
    decoder = make_decoder(map(str, range(values.shape[1])), shape=[-1, -1, values.shape[1]], beam_width=width)
    columns = decode(decoder, values[None], top_k=width)
    assert_texts(texts_of(columns, 0), naive_search(log_softmax(values), values.shape[1] - 1, width))


@pytest.fixture(scope="module")
def recognised():
    """Outputs [rows, steps, units] as a trained model gives them, mostly sure of itself, and lengths."""
    rng = np.random.default_rng(9)
    output = rng.normal(scale=2, size=(6, 40, 12)).astype(np.float32)
    sure = rng.integers(0, 12, (6, 40)).repeat(2, axis=1)[:, :40]
    output[np.arange(6)[:, None], np.arange(40), sure] += 6
    return output, np.array([40, 31, 7, 3, 5, 22])


def dense_texts(decoded, rows):
    """Decoded texts of TensorFlow or Keras, [rows, steps] filled up with -1, as tuples."""
    decoded = np.asarray(decoded)
    decoded = np.concatenate([decoded, np.full((rows - len(decoded), decoded.shape[1]), -1)])
    return [tuple(unit for unit in row if unit >= 0) for row in decoded.tolist()]


@pytest.mark.slow
def test_keras_and_tensorflow_find_the_same(recognised):
    keras, tf = pytest.importorskip("keras"), pytest.importorskip("tensorflow")
    output, lengths = recognised
    labels = list(map(str, range(12)))
    values = log_softmax(output).astype(np.float32)
    by_step, lengths_32 = values.transpose(1, 0, 2), lengths.astype(np.int32)

    greedy = decode(make_decoder(labels, lengths=[-1]), output, lengths)
    (theirs,), negative_sums = tf.nn.ctc_greedy_decoder(by_step, lengths_32)
    assert [tokens_of(greedy, row, 0) for row in range(6)] == dense_texts(tf.sparse.to_dense(theirs, -1), 6)
    np.testing.assert_allclose(greedy.log_probabilities, -negative_sums.numpy(), 1e-5, 1e-5)
    decoded, _ = keras.ops.ctc_decode(output, lengths_32, strategy="greedy", mask_index=11)
    assert [tokens_of(greedy, row, 0) for row in range(6)] == dense_texts(decoded[0], 6)

    beam = decode(make_decoder(labels, lengths=[-1], beam_width=50), output, lengths)
    (best,), _ = tf.nn.ctc_beam_search_decoder(by_step, lengths_32, beam_width=50, top_paths=1)
    assert [tokens_of(beam, row, 0) for row in range(6)] == dense_texts(tf.sparse.to_dense(best, -1), 6)
    keras_beam = {"strategy": "beam_search", "beam_width": 50, "mask_index": 11}
    decoded, _ = keras.ops.ctc_decode(output, lengths_32, **keras_beam, top_paths=1)
    assert [tokens_of(beam, row, 0) for row in range(6)] == dense_texts(decoded[0], 6)

    # TensorFlow does not lose quite the same prefixes, so that probabilities are the same only where none is lost.
    wide = decode(make_decoder(labels[:4], beam_width=500, top_k=20), output[:, :5, :4])
    paths, log_probabilities = tf.nn.ctc_beam_search_decoder(by_step[:5, :, :4], [5] * 6, beam_width=500, top_paths=20)
    theirs = [dense_texts(tf.sparse.to_dense(path, -1), 6) for path in paths]
    for row in range(6):
        assert_texts(
            texts_of(wide, row), list(zip([each[row] for each in theirs], log_probabilities[row], strict=True))
        )


@given(hnp.arrays(np.int64, st.tuples(st.integers(0, 4), st.integers(0, 9), st.just(3)), elements=st.integers(-9, 9)))
def test_greedy_is_the_best_alignment(output):
    columns = decode(make_decoder(["a", "b", ""], separator="-"), output.astype(np.float32))
    assert columns.texts.shape == columns.log_probabilities.shape == (len(output), 1)
    for row, values in enumerate(log_softmax(output)):
        best = [unit for unit, _ in itertools.groupby(values.argmax(axis=1)) if unit != 2]
        assert tokens_of(columns, row, 0) == tuple(best)
        assert columns.texts[row, 0] == "-".join("ab"[unit] for unit in best)
        assert columns.log_probabilities[row, 0] == pytest.approx(values.max(axis=1).sum(), rel=1e-5, abs=1e-5)


def test_texts():
    spoken = np.eye(4)[[[1, 1, 0, 1, 2, 3, 3]]]
    decoder = make_decoder(
        ["", "ma", "mi", "a"], ACTIVATION_PROBABILITIES, blank=0, separator=" ", beam_width=4, top_k=2
    )
    columns = decode(decoder, spoken)
    assert columns.texts.tolist() == [["ma ma mi a", ""]]
    assert columns.log_probabilities.tolist() == [[0, -np.inf]]
    assert (columns.tokens.tolist(), columns.token_offsets.tolist()) == ([1, 1, 2, 3], [0, 4, 4])
    assert (columns.tokens.dtype, columns.token_offsets.dtype) == (np.int32, np.int64)
    assert columns.log_probabilities.dtype == np.float32


@pytest.mark.parametrize(("head_top_k", "top_k", "k"), [(0, 0, 1), (3, 0, 3), (3, 2, 2), (2, 3, 3), (0, 99, 5)])
def test_the_request_overrules_the_top_k_of_the_head(head_top_k, top_k, k):
    output = np.random.default_rng(2).normal(size=(2, 6, 4))
    decoder = make_decoder("abcd", beam_width=5, top_k=head_top_k)
    columns, all_texts = decode(decoder, output, top_k=top_k), decode(decoder, output, top_k=5)
    assert columns.texts.tolist() == all_texts.texts[:, :k].tolist()
    assert decode(make_decoder("abcd"), output, top_k=3).texts.shape == (2, 1)


@pytest.mark.parametrize("beam_width", [1, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float64"])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_steps_beyond_the_length_are_not_read(dimensions, dtype, beam_width):
    output = np.random.default_rng(3).normal(size=(4, 9, 3))
    lengths = np.array([9, 0, 4, 1], dtype)
    read = output.copy()
    output[np.arange(9) >= lengths[:, None]] = np.nan
    decoder = make_decoder("ab-", lengths=[-1, 1][:dimensions], beam_width=beam_width)
    columns = decode(decoder, output, lengths.reshape([4, 1][:dimensions]))
    assert columns.valid.all()
    for row, length in enumerate(lengths.astype(int)):
        alone = decode(make_decoder("ab-", beam_width=beam_width), read[row : row + 1, :length])
        assert columns.rows(row, row + 1).texts.tolist() == alone.texts.tolist()
        np.testing.assert_array_equal(columns.log_probabilities[row], alone.log_probabilities[0])


def test_lengths_that_cannot_be_make_the_row_invalid():
    columns = decode(make_decoder("ab-", lengths=[-1]), np.zeros((4, 2, 3)), np.array([2, 3, -1, np.nan]))
    assert columns.valid.tolist() == [True, False, False, False]


@pytest.mark.parametrize("beam_width", [1, 4])
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize("step", [[np.nan, 0, 0], [0, np.inf, 0], [0, 0, np.inf], "impossible"], ids=str)
def test_invalid_rows(step, activation, beam_width):
    if step == "impossible":
        step = [0 if activation == ACTIVATION_PROBABILITIES else -np.inf] * 3
    output = np.full((3, 4, 3), 0.3)
    output[1, 2] = step
    columns = decode(make_decoder("ab-", activation, beam_width=beam_width, top_k=beam_width), output)
    assert columns.valid.tolist() == [True, False, True]
    assert np.isnan(columns.log_probabilities).all(axis=1).tolist() == [False, True, False]
    assert not columns.texts[1].any()
    assert {tokens_of(columns, 1, rank) for rank in range(beam_width)} == {()}


def test_many_rows_are_searched_in_parts(monkeypatch):
    decoder = make_decoder("abc-", lengths=[-1], beam_width=5, top_k=3)
    output = np.random.default_rng(6).normal(size=(9, 8, 4)).astype(np.float32)
    output[4, 2] = np.nan
    lengths = np.arange(9)
    expected = decode(decoder, output, lengths)
    for limit in (0, 2 * 5 * 8, 4 * 5 * 8):
        monkeypatch.setattr(ctc, "_PREFIXES_TOGETHER", limit)
        assert_same(decode(decoder, output, lengths), expected)


def test_a_search_over_too_many_steps_is_refused():
    output = np.broadcast_to(np.float32(0), (1, 2**19 + 1, 2))
    decoder = make_decoder("a-", beam_width=16)
    with pytest.raises(ValueError, match=r"reads 524289 steps, .* beam_width of 16; send at most 524288 steps$"):
        decode(decoder, output)
    assert decode(make_decoder("a-"), output).texts.tolist() == [["a"]]
    assert make_decoder("a-", shape=[-1, 2**40, 2]).reads == {"o": (-1, 2**40, 2)}


def test_lengths_of_other_rows_are_refused():
    with pytest.raises(ValueError, match=r"^head 'h' reads as many rows of each output: 'o' has 3, 'n' has 1; "):
        decode(DECODERS[0], np.zeros((3, 2, 3), np.float32), np.array([2]))


@st.composite
def batches(draw):
    decoder = draw(st.sampled_from(DECODERS))
    shape = draw(st.integers(0, 4)), draw(st.integers(0, 5)), len(decoder.labels)
    elements = st.sampled_from([0, -0.0, 1, np.nan, np.inf, -np.inf]) | st.floats(-9, 9, width=16)
    output = draw(hnp.arrays(draw(st.sampled_from([np.float16, np.float32, np.float64])), shape, elements=elements))
    return decoder, output, draw(hnp.arrays(np.int64, shape[0], elements=st.integers(-1, 6)))


def assert_same(columns, expected):
    for field in dataclasses.fields(columns):
        np.testing.assert_array_equal(getattr(columns, field.name), getattr(expected, field.name), field.name)


@given(batches(), st.randoms(use_true_random=False))
def test_rows_have_nothing_to_do_with_each_other(batch, random):
    decoder, output, lengths = batch
    order = random.sample(range(len(output)), len(output))
    together, permuted = decode(decoder, output, lengths), decode(decoder, output[order], lengths[order])
    for place, row in enumerate(order):
        alone = decode(decoder, output[row : row + 1], lengths[row : row + 1])
        assert_same(together.rows(row, row + 1), alone)
        assert_same(permuted.rows(place, place + 1), alone)


@given(batches())
def test_the_outputs_stay_as_they_are_and_columns_cross_the_wire(batch):
    decoder, output, lengths = batch
    before = output.copy(), lengths.copy()
    columns = decode(decoder, output, lengths)
    np.testing.assert_array_equal(output, before[0])
    np.testing.assert_array_equal(lengths, before[1])
    arrays = [getattr(columns, field.name) for field in dataclasses.fields(columns)]
    assert not any(np.shares_memory(array, each) for array in arrays for each in (output, lengths))
    prediction = Prediction.FromString(prediction_encoder("h", columns)(0, len(columns)))
    assert_same(columns_from_prediction(prediction, len(columns)), columns)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"activation": ACTIVATION_LINEAR}, "activation"),
        ({"head": {"calibration": Calibration()}}, "calibration"),
        ({"head": {"confidence_level": 0.9}}, "confidence_level"),
        ({"shape": [-1, 3]}, "output"),
        ({"shape": [-1, 4, -1]}, "output"),
        ({"labels": ["a"]}, "output"),
        ({"shape": [-1, -1, 4]}, "ctc.labels"),
        ({"labels": ["a", "a", ""]}, "ctc.labels"),
        ({"labels": ["", "a", ""]}, "ctc.labels"),
        ({"blank": 0}, "ctc.labels"),
        ({"blank": 3}, "ctc.blank"),
        ({"beam_width": 1025}, "ctc.beam_width"),
        ({"beam_width": 1024, "shape": [-1, 8193, 3]}, "ctc.beam_width"),
        ({"lengths_output": "o"}, "ctc.lengths_output"),
        ({"top_k": 2}, "ctc.top_k"),
        ({"beam_width": 4, "top_k": 5}, "ctc.top_k"),
        ({"lengths": [-1, 2]}, "ctc.lengths_output"),
        ({"lengths": [-1, 1, 1]}, "ctc.lengths_output"),
        ({"lengths_output": "other"}, "ctc.lengths_output"),
    ],
)
def test_errors_name_the_field(settings, field):
    with pytest.raises(HeadError) as caught:
        make_decoder(**{"labels": ["a", "b", ""]} | settings)
    assert (caught.value.head, caught.value.field) == ("h", field)
    assert "\n" not in str(caught.value)
