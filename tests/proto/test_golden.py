import dataclasses
import hashlib

import numpy as np
import pytest

from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    DataType,
    GoldenExamples,
    Head,
    MulticlassHead,
    MultilabelHead,
    PredictOptions,
    RegressionHead,
    TensorSpec,
)
from headgate.v1.columns import columns_from_prediction
from headgate.v1.columns.comparison import changed_rows
from headgate.v1.golden import golden_from_bytes, golden_to_bytes
from headgate.v1.tensors import numpy_from_tensor

KINDS = {
    "regression": (ACTIVATION_LINEAR, RegressionHead(), 2),
    "binary": (ACTIVATION_PROBABILITIES, BinaryHead(labels=["no", "yes"]), 1),
    "multiclass": (ACTIVATION_LOGITS, MulticlassHead(labels=["a", "b", "c"]), 3),
    "multilabel": (ACTIVATION_PROBABILITIES, MultilabelHead(labels=["x", "y"]), 2),
}


def decode(kind, *rows):
    activation, message, units = KINDS[kind]
    spec = TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP32, shape=[-1, units])
    decoder = decoder_for(Head(name=kind, output="o", activation=activation, **{kind: message}), [spec])
    return decoder.decode({"o": np.array(rows, np.float32)}, DecodeOptions(include_probabilities=True))


@pytest.fixture
def content():
    return golden_to_bytes(
        {"x": np.array([[1.5], [2.5]], np.float32), "word": np.array([["a"], ["ż\0"]], object)},
        {"o": np.array([[0.1, 0.2, 0.7], [1, 0, 0]], np.float32), "n": np.array([1, 2])},
        PredictOptions(include_probabilities=True),
        {"multiclass": decode("multiclass", [0.1, 0.2, 0.7], [1, 0, 0])},
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


@pytest.mark.parametrize(
    ("kind", "rows", "other", "changed"),
    [
        ("regression", ([1, 2], [3, np.nan]), ([1, 2], [3, np.nan]), []),
        ("regression", ([1, 2], [3, 4]), ([1, 2.00001], [3, 4.1]), [1]),
        ("binary", ([0.3], [0.7]), ([0.3], [0.4]), [1]),
        ("binary", ([0.5],), ([0.49999997],), []),
        ("multiclass", ([0, 1, 2], [2, 1, 0]), ([0, 1, 2], [1, 2, 0]), [1]),
        ("multiclass", ([1, 1, 0],), ([1, 1.0000001, 0],), []),
        ("multilabel", ([0.9, 0.1], [0.1, 0.1]), ([0.9, 0.1], [0.9, 0.1]), [1]),
        ("multilabel", ([0.5, 0.1],), ([0.49999997, 0.1],), []),
    ],
)
def test_rows_that_say_another_thing(kind, rows, other, changed):
    assert changed_rows(decode(kind, *rows), decode(kind, *other)) == changed


def test_labels_in_another_order_are_noticed():
    columns = decode("multiclass", [0, 1, 2], [2, 1, 0])
    renamed = dataclasses.replace(columns, top_labels=columns.top_labels[::-1])
    assert changed_rows(columns, renamed) == [0, 1]
    assert changed_rows(columns, decode("regression", [0, 0], [0, 0])) == [0, 1]
