import numpy as np
import onnx
import onnxruntime
import pytest

from headgate.exporter.model_files import DATA_FILE, MODEL_FILE, add_metadata, size_of, weight_bytes, write_model
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
