import numpy as np
import pytest
from onnx import TensorProto, helper

from headgate.server.errors import StartupError
from headgate.server.external_data import check_external_data
from headgate.server.session import Session


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret").write_bytes(np.ones(4, np.float32).tobytes())
    (tmp_path / "m" / "1").mkdir(parents=True)
    return tmp_path / "m" / "1"


def weights(location):
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def write(folder, nodes, initializers=()):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def write_sum(folder, location):
    return write(folder, [helper.make_node("Add", ["x", "w"], ["y"])], [weights(location)])


def test_weights_beside_the_model(folder):
    (folder / "model.onnx.data").write_bytes(np.ones(4, np.float32).tobytes())
    session = Session(write_sum(folder, "model.onnx.data"), "CPUExecutionProvider", intra_op_threads=1)
    assert session.run([np.zeros((1, 4), np.float32)])[0].tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("location", ["../../secret", "{root}/secret", "link", "gone", "*/_ORT_MEM_ADDR_/*", "."])
def test_weights_elsewhere_are_refused(folder, location):
    root = folder.parent.parent
    (folder / "link").symlink_to(root / "secret")
    path = write_sum(folder, location.format(root=root))
    with pytest.raises(StartupError, match="which is no file in its folder; put that file beside the model"):
        Session(path, "CPUExecutionProvider", intra_op_threads=1)


def test_a_version_may_be_a_link_as_a_whole(folder):
    (folder / "model.onnx.data").write_bytes(np.ones(4, np.float32).tobytes())
    write_sum(folder, "model.onnx.data")
    link = folder.parent / "2"
    link.symlink_to(folder)
    check_external_data(link / "model.onnx")


def test_weights_within_nodes_and_graphs_inside_of_them(folder):
    constant = helper.make_node("Constant", [], ["c"], value=weights("../../secret"))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [4])])
    path = write(folder, [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)])
    with pytest.raises(StartupError, match="secret"):
        check_external_data(path)


def test_what_is_no_onnx_file(folder):
    (folder / "model.onnx").write_bytes(b"location")
    with pytest.raises(StartupError, match="is no ONNX file"):
        check_external_data(folder / "model.onnx")
