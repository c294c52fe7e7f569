import numpy as np
import onnx
import onnxruntime
import pytest

from headgate.exporter.errors import ModelLoadError
from headgate.exporter.model_files import (
    DATA_FILE,
    MODEL_FILE,
    add_metadata,
    copy_with_metadata,
    read_metadata,
    size_of,
    weight_bytes,
    write_model,
)
from headgate.server.errors import StartupError
from headgate.server.session import Session


@pytest.fixture
def model(rng):
    """y = x @ w, with 16 KB of weights."""
    w = rng.standard_normal((4, 1000)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "m",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 1000])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)


def run(path, x):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize(("single_file_bytes", "files"), [(16_000, {MODEL_FILE}), (15_999, {MODEL_FILE, DATA_FILE})])
def test_weights_too_large_for_one_file_get_a_file_of_their_own(single_file_bytes, files, model, tmp_path):
    w = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    assert weight_bytes(model) == 16_000
    path = write_model(model, tmp_path, single_file_bytes)
    assert {file.name for file in tmp_path.iterdir()} == files
    assert size_of(path) == sum(file.stat().st_size for file in tmp_path.iterdir()) >= 16_000
    add_metadata(path, "key", "välue")
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(run(path, x), w, rtol=1e-6)
    # By the server's own way in, and as the onnx library reads it.
    session = Session(path, "CPUExecutionProvider", intra_op_threads=1)
    assert session.metadata == {"key": "välue"}
    np.testing.assert_allclose(session.run([x])[0], w, rtol=1e-6)
    loaded = onnx.load(path)
    onnx.checker.check_model(loaded, full_check=True)
    assert [(entry.key, entry.value) for entry in loaded.metadata_props] == [("key", "välue")]


def test_metadata_is_added_to_what_is_there(model, tmp_path):
    model.metadata_props.add(key="first", value="1")
    path = write_model(model, tmp_path)
    add_metadata(path, "second", "2")
    assert [(entry.key, entry.value) for entry in onnx.load(path).metadata_props] == [("first", "1"), ("second", "2")]


def test_a_weight_file_that_is_cut_short_or_gone_does_not_load(model, tmp_path):
    path = write_model(model, tmp_path, single_file_bytes=0)
    weights = tmp_path / DATA_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(StartupError, match="cannot be loaded by onnxruntime"):
        Session(path, "CPUExecutionProvider", intra_op_threads=1)
    weights.unlink()
    with pytest.raises(StartupError, match=r"weights in 'model\.onnx\.data', which is no file in its folder"):
        Session(path, "CPUExecutionProvider", intra_op_threads=1)


def test_metadata_is_read_without_the_weights(model, tmp_path):
    path = write_model(model, tmp_path)
    assert read_metadata(path, "key") is None
    add_metadata(path, "other", "1")
    add_metadata(path, "key", "välue")
    assert read_metadata(path, "key") == "välue"


def test_a_copy_with_other_metadata_is_else_the_same(model, tmp_path):
    model.metadata_props.add(key="first", value="1")
    path = write_model(model, tmp_path)
    before = path.read_bytes()
    add_metadata(path, "key", "old")
    with_old = path.read_bytes()
    copy = tmp_path / "copy.onnx"
    copy_with_metadata(path, copy, "key", "new")
    assert copy.read_bytes().startswith(before)
    assert [(entry.key, entry.value) for entry in onnx.load(copy).metadata_props] == [("first", "1"), ("key", "new")]
    add_metadata(copy, "key", "twice")
    copy_with_metadata(copy, path, "key", "old")
    assert path.read_bytes() == with_old


@pytest.mark.parametrize("content", [b"no ONNX file", b"\x3a\xff\x01", b"\x08\xff", b"\x08" + 11 * b"\xff"])
def test_metadata_of_other_files(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match="is no ONNX file"):
        read_metadata(path, "key")


def test_metadata_that_is_none(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x72\x05\xff\xff\xff\xff\xff")
    with pytest.raises(ModelLoadError, match="is no ONNX file"):
        read_metadata(path, "key")
