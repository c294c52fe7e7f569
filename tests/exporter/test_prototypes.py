import numpy as np
import pytest

from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.prototypes import prototypes


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int64", "bool"])
def test_vectors_are_float32_little_endian(dtype):
    vectors = np.array([[1, 0, 1], [1, 1, 0]], dtype)
    made = prototypes(np.array([7, "b"], object), np.asfortranarray(vectors))
    assert list(made.labels) == ["7", "b"]
    np.testing.assert_array_equal(np.frombuffer(made.vectors, "<f4").reshape(2, 3), vectors)


@pytest.mark.parametrize(
    ("labels", "vectors", "problem"),
    [
        (["a"], [[1, 2], [3, 4]], r"1 labels and vectors of shape \[2, 2\] and type int64"),
        (["a", "b"], [1, 2], r"2 labels and vectors of shape \[2\]"),
        (["a"], [["1", "2"]], "type <U1"),
        (["a", "b"], [[1, 2], [1]], "^the vectors of prototypes are no array: .*; give one size to all$"),
        (["a", "b"], [[1, 2], [0, 0]], "'b' at 1 is not finite or has length 0"),
        (["a", "b"], [[np.nan, 2], [0, 1]], "'a' at 0 is not finite"),
        (["a"], [[1e39, 2]], "'a' at 0 is not finite"),
    ],
)
def test_what_is_no_prototype_is_refused(labels, vectors, problem):
    with pytest.raises(HeadInferenceError, match=problem):
        prototypes(labels, vectors)
