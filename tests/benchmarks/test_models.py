import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from headgate.benchmarks.models import HEAD, IMAGE, INPUT, LABELS, OUTPUT, mlp_logits, write_cnn, write_mlp
from headgate.decoders import DecodeOptions, decoder_for
from headgate.v1.signatures import METADATA_KEY, signature_from_json


@pytest.fixture
def path(tmp_path):
    return write_mlp(tmp_path, "small")


@pytest.fixture
def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_lies_in_the_repository(tmp_path, path):
    assert path == tmp_path / "small" / "1" / "model.onnx"
    onnx.checker.check_model(path, full_check=True)


@pytest.mark.parametrize("rows", [1, 7])
def test_computes_what_numpy_computes(session, rows):
    features = np.random.default_rng(1).normal(size=(rows, 10)).astype(np.float32)
    (logits,) = session.run([OUTPUT], {INPUT: features})
    np.testing.assert_allclose(logits, mlp_logits(features), rtol=1e-4, atol=1e-4)
    assert logits.shape == (rows, 3)


def test_carries_a_signature_that_decodes(session):
    signature = signature_from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    (head,) = signature.heads
    assert (head.name, head.output) == (HEAD, OUTPUT)
    assert [spec.name for spec in signature.inputs] == [spec.name for spec in session.get_inputs()]
    assert [list(spec.shape) for spec in signature.inputs] == [[-1, 10]]
    columns = decoder_for(head, signature.outputs).decode({OUTPUT: np.array([[0, 5, 1]], np.float32)}, DecodeOptions())
    assert list(columns.labels) == [LABELS[1]]


def test_is_always_the_same(path, tmp_path):
    assert write_mlp(tmp_path / "again", "small").read_bytes() == path.read_bytes()


def test_cnn(tmp_path):
    path = write_cnn(tmp_path, "images")
    assert path == tmp_path / "images" / "1" / "model.onnx"
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(1).normal(size=(5, *IMAGE)).astype(np.float32)
    (logits,) = session.run([OUTPUT], {INPUT: images})
    assert logits.shape == (5, len(LABELS))
    (alone,) = session.run([OUTPUT], {INPUT: images[3:4]})
    np.testing.assert_allclose(alone, logits[3:4], rtol=1e-4, atol=1e-5)
    signature = signature_from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert [list(spec.shape) for spec in signature.inputs] == [[-1, *IMAGE]]
    # The evaluator of the onnx package computes the same.
    (expected,) = ReferenceEvaluator(onnx.load(path)).run([OUTPUT], {INPUT: images})
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
