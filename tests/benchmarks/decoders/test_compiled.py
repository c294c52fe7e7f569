"""Without numba the same kernels run as plain Python."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headgate.benchmarks.decoders import classification
from headgate.benchmarks.decoders.classification import _calibration
from headgate.benchmarks.decoders.compiled import compiled
from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import (
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    Conformal,
    DataType,
    Head,
    MulticlassHead,
    TensorSpec,
)

NAN, INF = np.nan, np.inf
CURVES = [{"inputs": [0, 1], "outputs": [0, last]} for last in (1, *[0] * 9)]


def decoder_of(calibration, activation=ACTIVATION_LOGITS, **fields):
    labels = MulticlassHead(labels=map(str, range(10)))
    head = Head(name="h", output="o", activation=activation, multiclass=labels, calibration=calibration, **fields)
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 10])])


def decoder_of_calibrated_sets():
    fields = classification._sets(Conformal.METHOD_APS)
    fields["calibration"].MergeFrom(_calibration("METHOD_PLATT", slopes=[2] * 10, intercepts=[0] * 10))
    return decoder_of(**fields)


DECODERS = {
    name: classification._decoder_of(*classification._heads()[name])
    for name in (*classification.SLOW, "multiclass, 10 logits, LAC sets")
} | {
    "only zeros but for the first label": decoder_of(_calibration("METHOD_ISOTONIC", curves=CURVES)),
    "zeros for many log-odds": decoder_of(
        _calibration("METHOD_PLATT", slopes=[9, -9] * 5, intercepts=[-800] * 10),
    ),
    "sets of what is calibrated": decoder_of_calibrated_sets(),
}


@pytest.fixture(params=DECODERS)
def decoder(request):
    return DECODERS[request.param]


def assert_same(decoder, logits, **asked):
    (name,), options = decoder.reads, DecodeOptions(**asked)
    expected, columns = (each.decode({name: logits}, options) for each in (decoder, compiled(decoder)))
    for field in fields(expected):
        other, own = getattr(expected, field.name), getattr(columns, field.name)
        if isinstance(other, np.ndarray):
            assert (own.dtype, own.shape) == (other.dtype, other.shape), field.name
            if own.dtype == np.float32:
                # A few roundings, and those of the least that float32 has.
                np.testing.assert_allclose(own, other, 2e-6, 1e-37, err_msg=field.name)
                continue
        np.testing.assert_array_equal(own, other, field.name)
    return columns


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("rows", [0, 1, 140])
def test_random_rows(decoder, rows, dtype):
    logits = np.random.default_rng(3).normal(scale=3, size=(rows, len(decoder.labels))).astype(dtype)
    columns = assert_same(decoder, logits)
    assert len(columns) == rows
    assert columns.valid.all()


@pytest.mark.parametrize("top_k", [1, 3, 5000])
def test_as_many_as_asked_for(decoder, top_k):
    assert_same(decoder, np.random.default_rng(4).normal(size=(3, len(decoder.labels))).astype(np.float32), top_k=top_k)


@pytest.mark.parametrize(
    ("row", "valid"),
    [
        ([0] * 10, True),
        ([-0.0, 0] * 5, True),
        ([1, 5, 5, 1, 5, 1, 1, 5, 5, 1], True),
        ([1e30, -1e30] * 5, True),
        ([-INF, 3, -INF, 3, 1, 1, -INF, 1, 1, 1], True),
        ([-INF] * 9 + [2], True),
        ([-INF] * 10, False),
        ([0] * 9 + [INF], False),
        ([NAN] + [0] * 9, False),
        ([0] * 9 + [NAN], False),
        ([NAN] * 10, False),
        ([INF, NAN, -INF, 0, 1] * 2, False),
    ],
)
def test_edges(decoder, row, valid):
    # Beside a row that has an answer, which must keep it.
    both = np.array([np.resize(each, len(decoder.labels)) for each in (row, range(10))], np.float32)
    for logits in both[:1], both, both[::-1]:
        columns = assert_same(decoder, logits, top_k=4)
        assert sorted(columns.valid.tolist()) == sorted([valid, True][: len(logits)])


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.just(10)),
        elements=st.sampled_from([NAN, INF, -INF, -1e30, -100, -2, -0.0, 0, 1, 100, 1e30]),
    ),
    st.sampled_from([each for each in DECODERS.values() if len(each.labels) == 10]),
    st.integers(0, 10),
)
def test_any_rows(logits, decoder, top_k):
    assert_same(decoder, logits, top_k=top_k)


@pytest.mark.parametrize("column", ["probabilities", "entropies", "margins"])
def test_what_no_kernel_gives(decoder, column):
    asked = {"probabilities": "include_probabilities", "entropies": "include_entropy", "margins": "include_margin"}
    columns = assert_same(decoder, np.zeros((2, len(decoder.labels)), np.float32), **{asked[column]: True})
    assert getattr(columns, column) is not None


def test_no_sets_where_none_are_asked_for():
    decoder = DECODERS["multiclass, 10 logits, APS sets"]
    logits = np.random.default_rng(5).normal(size=(4, 10)).astype(np.float32)
    assert assert_same(decoder, logits, confidence_level=0).set_offsets is None
    assert assert_same(decoder, logits).set_offsets[-1] > 4


@pytest.mark.parametrize(
    "decoder",
    [
        decoder_of(None, ACTIVATION_PROBABILITIES),
        decoder_of(_calibration("METHOD_TEMPERATURE", temperatures=[2])),
        decoder_of(_calibration("METHOD_PLATT", slopes=[0, 1] * 5, intercepts=[0] * 10)),
    ],
)
def test_heads_without_a_kernel(decoder):
    with pytest.raises(ValueError, match=r"^head 'h' has no kernel; "):
        compiled(decoder)


def test_they_are_compiled_where_numba_is_installed(decoder):
    pytest.importorskip("numba")
    assert_same(decoder, np.ones((1, len(decoder.labels)), np.float32), confidence_level=0)
    assert compiled(decoder).kernel.nopython_signatures
