import numpy as np
import pytest
import sklearn.preprocessing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from headgate.decoders import DecodeOptions, HeadError, decoder_for, embedding
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    Calibration,
    DataType,
    EmbeddingHead,
    Head,
    Prediction,
    Prototypes,
    TensorSpec,
)
from headgate.v1.columns import columns_from_prediction
from headgate.v1.encoding import prediction_encoder


def stored(vectors, labels=None):
    vectors = np.asarray(vectors, "<f4")
    return Prototypes(labels=labels or [f"label {index}" for index in range(len(vectors))], vectors=vectors.tobytes())


def make_decoder(shape=(-1, 3), activation=ACTIVATION_LINEAR, head=None, **fields):
    head = Head(name="h", output="o", activation=activation, embedding=EmbeddingHead(**fields), **head or {})
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=shape)])


def decode(output, top_k=0, half_precision=False, head_top_k=0, **fields):
    options = DecodeOptions(top_k=top_k, half_precision=half_precision)
    return make_decoder([-1, output.shape[1]], top_k=head_top_k, **fields).decode({"o": output}, options)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 128)])
def test_vectors_agree_with_scikit_learn(shape, dtype, normalize):
    output = np.random.default_rng(1).normal(scale=20, size=shape).astype(dtype)
    expected = output.astype(float)
    if normalize and len(output):
        expected = sklearn.preprocessing.normalize(expected)
    columns = decode(output, normalize=normalize)
    assert columns.vectors.dtype == np.float32
    np.testing.assert_allclose(columns.vectors, expected, 1e-6)
    assert columns.valid.tolist() == [True] * shape[0]
    assert columns.half_vectors is columns.labels is columns.indices is columns.similarities is None
    halves = decode(output, normalize=normalize, half_precision=True)
    assert halves.vectors is None
    assert halves.half_vectors.dtype == np.float16
    np.testing.assert_array_equal(halves.half_vectors, columns.vectors.astype(np.float16))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("k", [1, 5, 200])
@pytest.mark.parametrize("prototypes", [1, 30, 200])
def test_the_nearest_agree_with_scikit_learn(prototypes, k, normalize):
    rng = np.random.default_rng(2)
    vectors = rng.normal(scale=9, size=(prototypes, 16)).astype(np.float32)
    output = rng.normal(size=(20, 16)).astype(np.float32)
    columns = decode(output, normalize=normalize, prototypes=stored(vectors), top_k=k)
    k = min(k, prototypes)
    distances, indices = NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors).kneighbors(output)
    np.testing.assert_array_equal(columns.indices, indices)
    np.testing.assert_allclose(columns.similarities, 1 - distances, 1e-5, 1e-6)
    np.testing.assert_array_equal(columns.labels, np.char.add("label ", indices.astype(str)))
    assert (columns.indices.dtype, columns.similarities.dtype) == (np.int32, np.float32)


def test_ties_give_the_prototype_that_stands_first():
    output = np.float32([[2, 0.1, 0], [0.3, 0.4, 0.5]])
    prototypes = stored([[1, 2, 3], [0.3, 0, 0], [7, 0, 0], [1, 2, 3]], ["a", "b", "c", "a"])
    assert decode(output, 4, prototypes=prototypes).indices.tolist() == [[1, 2, 0, 3], [0, 3, 1, 2]]


@pytest.mark.parametrize(("head_top_k", "top_k", "k"), [(0, 0, 1), (2, 0, 2), (2, 1, 1), (2, 3, 3), (0, 9, 4)])
def test_the_request_overrules_the_top_k_of_the_head(head_top_k, top_k, k):
    columns = decode(np.ones((2, 4), np.float32), top_k=top_k, prototypes=stored(np.eye(4)), head_top_k=head_top_k)
    assert columns.indices.tolist() == [list(range(k))] * 2


@given(
    hnp.arrays(np.float32, (3, 4), elements=st.floats(-(2.0**120), 2.0**120, width=32)),
    hnp.arrays(np.float32, (5, 4), elements=st.floats(-(2.0**120), 2.0**120, width=32)),
)
def test_similarities_are_cosines(output, vectors):
    vectors[~vectors.any(axis=1)] = 1
    columns = decode(output, 5, prototypes=stored(vectors))
    found = columns.similarities[columns.valid]
    assert ((found >= -1) & (found <= 1)).all()
    assert (np.diff(found) <= 0).all()
    expected = 1 - cdist(output[columns.valid].astype(float), vectors.astype(float), "cosine")
    np.testing.assert_allclose(found, np.take_along_axis(expected, columns.indices[columns.valid], 1), 1e-5, 1e-6)


@pytest.mark.parametrize("half_precision", [False, True])
@pytest.mark.parametrize("bad", [[np.nan, 1, 1], [np.inf, 1, 1], [1, -np.inf, 1], [0, 0, 0], [1e300, 0, 0]], ids=str)
def test_invalid_rows(bad, half_precision):
    output = np.array([[1, 2, 3], bad, [0, 2, 0]])
    columns = decode(output, 2, half_precision, normalize=True, prototypes=stored(np.eye(3)))
    vectors = columns.half_vectors if half_precision else columns.vectors
    assert columns.valid.tolist() == [True, False, True]
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]
    assert columns.labels[1].tolist() == ["", ""]
    assert columns.indices[1].tolist() == [-1, -1]
    assert np.isnan(columns.similarities).all(axis=1).tolist() == [False, True, False]


def test_a_vector_without_direction_is_one_unless_a_direction_is_needed():
    zero = np.zeros((1, 3), np.float32)
    assert decode(zero).valid.tolist() == [True]
    assert decode(zero).vectors.tolist() == [[0, 0, 0]]
    assert decode(zero, normalize=True).valid.tolist() == [False]
    assert decode(zero, prototypes=stored(np.eye(3))).valid.tolist() == [False]


@pytest.mark.parametrize(("number", "fits"), [(65504, True), (-65519, True), (65520, False), (-1e6, False)])
def test_numbers_beyond_the_range_of_float16(number, fits):
    output = np.float32([[number, 1]])
    assert decode(output).valid.tolist() == [True]
    columns = decode(output, half_precision=True, prototypes=stored(np.eye(2)))
    assert columns.valid.tolist() == [fits]
    assert (columns.labels[0, 0] != "") == fits
    assert decode(output, half_precision=True, normalize=True).valid.tolist() == [True]


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
def test_rows_one_by_one_are_as_rows_together_whatever_the_matrix_product_does(rows):
    rng = np.random.default_rng(rows)
    output = rng.normal(size=(rows, 100)).astype(np.float32)
    decoder = make_decoder([-1, 100], prototypes=stored(rng.normal(size=(333, 100))), top_k=9)
    together = decoder.decode({"o": output}, DecodeOptions())
    for row in range(rows):
        alone = decoder.decode({"o": output[row : row + 1]}, DecodeOptions())
        np.testing.assert_array_equal(alone.indices[0], together.indices[row])
        np.testing.assert_array_equal(alone.similarities[0], together.similarities[row])


def test_many_rows_are_compared_in_parts(monkeypatch):
    output = np.random.default_rng(4).normal(size=(9, 3)).astype(np.float32)
    output[5] = np.nan
    fields = {"prototypes": stored(np.eye(3)), "top_k": 2**32 - 1}
    expected = decode(output, **fields)
    for limit in (0, 7, 9):
        monkeypatch.setattr(embedding, "_COSINES_TOGETHER", limit)
        columns = decode(output, **fields)
        for name in ("valid", "vectors", "labels", "indices", "similarities"):
            np.testing.assert_array_equal(getattr(columns, name), getattr(expected, name), name)


@pytest.mark.parametrize("half_precision", [False, True])
@pytest.mark.parametrize("prototypes", [None, stored(np.eye(3))], ids=["raw", "prototypes"])
def test_columns_cross_the_wire(prototypes, half_precision):
    columns = decode(np.float32([[1, 2, 3], [0, np.nan, 0]]), 2, half_precision, prototypes=prototypes)
    read = columns_from_prediction(Prediction.FromString(prediction_encoder("h", columns)(0, 2)), 2)
    for name in ("valid", "vectors", "half_vectors", "labels", "indices", "similarities"):
        np.testing.assert_array_equal(getattr(read, name), getattr(columns, name), name)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"activation": ACTIVATION_LOGITS}, "activation"),
        ({"head": {"calibration": Calibration()}}, "calibration"),
        ({"head": {"confidence_level": 0.9}}, "confidence_level"),
        ({"shape": [-1, -1]}, "output"),
        ({"shape": [-1, 3, 3]}, "output"),
        ({"top_k": 2}, "embedding.top_k"),
        ({"prototypes": Prototypes()}, "embedding.prototypes.labels"),
        ({"prototypes": stored(np.eye(3), ["a", "", "b"])}, "embedding.prototypes.labels"),
        ({"prototypes": stored(np.eye(3), ["a", "b"])}, "embedding.prototypes.vectors"),
        ({"prototypes": stored(np.eye(4))}, "embedding.prototypes.vectors"),
        ({"prototypes": Prototypes(labels=["a"])}, "embedding.prototypes.vectors"),
        ({"prototypes": stored([[1, 2, 3], [0, 0, 0]])}, "embedding.prototypes.vectors"),
        ({"prototypes": stored([[1, 2, 3], [np.nan, 0, 0]])}, "embedding.prototypes.vectors"),
        ({"prototypes": stored([[1, 2, 3], [np.inf, 0, 0]])}, "embedding.prototypes.vectors"),
        # A signalling NaN.
        ({"prototypes": stored(np.full((1, 3), 0x7FA00000, "<u4").view("<f4"))}, "embedding.prototypes.vectors"),
    ],
)
def test_errors_name_the_field(settings, field):
    with pytest.raises(HeadError) as caught:
        make_decoder(**settings)
    assert (caught.value.head, caught.value.field) == ("h", field)
    assert "\n" not in str(caught.value)
