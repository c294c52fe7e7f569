import hashlib

import numpy as np
import pytest

from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import (
    ACTIVATION_PROBABILITIES,
    DataType,
    GoldenExamples,
    Head,
    PredictOptions,
    TensorSpec,
)
from headgate.v1.columns import columns_from_prediction
from headgate.v1.golden import golden_from_bytes, golden_to_bytes
from headgate.v1.tensors import numpy_from_tensor


@pytest.fixture
def letters():
    """The columns of a multiclass head for two rows."""
    head = Head(name="letter", output="o", activation=ACTIVATION_PROBABILITIES, multiclass={"labels": "abc"})
    decoder = decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3])])
    return decoder.decode({"o": np.array([[0.1, 0.2, 0.7], [1, 0, 0]], np.float32)}, DecodeOptions())


@pytest.fixture
def content(letters):
    return golden_to_bytes(
        {"x": np.array([[1.5], [2.5]], np.float32), "word": np.array([["a"], ["ż\0"]], object)},
        {"o": np.array([[0.1, 0.2, 0.7], [1, 0, 0]], np.float32), "n": np.array([1, 2])},
        PredictOptions(include_probabilities=True),
        {"letter": letters},
    )


def test_round_trip(content):
    golden = golden_from_bytes(content, hashlib.sha256(content).hexdigest())
    arrays = {tensor.name: numpy_from_tensor(tensor) for tensor in (*golden.request.inputs, *golden.outputs)}
    assert arrays["x"].tolist() == [[1.5], [2.5]]
    assert arrays["word"].tolist() == [["a"], ["ż\0"]]
    assert arrays["n"].tolist() == [1, 2]
    columns = columns_from_prediction(golden.response.predictions[0], golden.response.rows)
    assert columns.labels.tolist() == ["c", "a"]


def test_other_bytes_are_refused(content):
    with pytest.raises(ValueError, match="it is damaged, or belongs to another export"):
        golden_from_bytes(content + b"\0", hashlib.sha256(content).hexdigest())
    for cut in (1, 20, len(content) // 2, len(content) - 1):
        with pytest.raises(ValueError, match=r"golden examples|has \S+ elements"):
            golden_from_bytes(content[:cut])
    with pytest.raises(ValueError, match="no golden examples of one number of rows"):
        golden_from_bytes(b"")


def test_tensors_that_contradict_themselves_are_refused(content):
    golden = GoldenExamples.FromString(content)
    golden.request.inputs[0].shape[0] = 3
    with pytest.raises(ValueError, match=r"tensor 'x' of shape \[3,1\] has 2 elements"):
        golden_from_bytes(golden.SerializeToString())
    golden.request.inputs[0].datatype = 99
    with pytest.raises(ValueError, match="tensor 'x' is of the type 99, which is not known"):
        golden_from_bytes(golden.SerializeToString())
