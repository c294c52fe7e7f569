import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from headgate.exporter.errors import VerificationError
from headgate.exporter.proof.sessions import in_batches, open_session


def test_types_that_onnxruntime_lacks_an_operator_for():
    value = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["batch", 1, 4, 4]) for name in "xy"]
    node = helper.make_node("Conv", ["x", "W"], ["y"], name="wide/convolution")
    weights = numpy_helper.from_array(np.ones((1, 1, 1, 1)), "W")
    graph = helper.make_graph([node], "m", value[:1], value[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    with pytest.raises(VerificationError, match=r"no Conv for the types that node 'wide/convolution' .*float32"):
        open_session(model.SerializeToString())


@pytest.mark.parametrize(("row", "sizes"), [((4,), [32, 8]), ((64, 64, 3), [21, 19]), ((2**21,), [1] * 40)])
def test_large_rows_run_by_the_few(row, sizes):
    inputs = {"x": np.broadcast_to(np.float32(1), (40, *row)), "ids": np.arange(40)}
    batches = list(in_batches(inputs))
    assert [len(batch["x"]) for batch in batches] == sizes
    assert np.concatenate([batch["ids"] for batch in batches]).tolist() == list(range(40))
