"""Large tensors reach onnxruntime without a copy, whichever dialect they come by."""

import numpy as np
import pytest

from headgate.foreign import open_inference as oip
from headgate.server import ModelConfig
from headgate.server.dialects.headgate_v1 import HeadgateDialect
from headgate.server.dialects.open_inference import OpenInferenceDialect
from headgate.server.model_control import ModelControl
from headgate.server.repository import ModelRepository
from headgate.v1 import ACTIVATION_LINEAR, Head, PredictRequest, RegressionHead, Tensor

#: 4 MiB of float32.
SHAPE = (1, 1024, 1024)
GRAPH = (
    "g (float[batch,1024,1024] x) => (float[batch] y) <int64[2] sides = {1,2}> { y = ReduceSum<keepdims=0>(x, sides) }"
)
PAIR = (
    "g (float[batch,1024,1024] x, float[batch] b) => (float[batch] y) <int64[2] sides = {1,2}>"
    " { s = ReduceSum<keepdims=0>(x, sides) y = Add(s, b) }"
)


class FakeCall:
    deadline = float("inf")

    def __init__(self, request):
        self.request = request
        self.response = None

    def reply(self, response):
        self.response = response

    def fail(self, error):
        raise error


def infer(arrays, id):
    request = oip.ModelInferRequest(model_name="sum", id=id)
    for name, array in arrays.items():
        request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request.SerializeToString()


def predict(arrays, id):
    tensors = [Tensor(name=name, shape=array.shape, raw=array.tobytes()) for name, array in arrays.items()]
    return PredictRequest(model="sum", id=id, inputs=tensors).SerializeToString()


@pytest.mark.parametrize("id", ["", "with an id"])
@pytest.mark.parametrize("graph", [GRAPH, PAIR], ids=["one input", "two inputs"])
@pytest.mark.parametrize("dialect", ["open inference", "headgate"])
def test_large_tensor_is_not_copied(tmp_path, write_model, monkeypatch, dialect, graph, id):
    heads = [Head(name="y", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead())]
    write_model(tmp_path, "sum", graph, heads, config='[execution]\nmode = "inline"\n')
    repository = ModelRepository()
    ModelControl(repository, tmp_path, ModelConfig())
    (entry,) = repository
    model = repository.load(entry, "CPUExecutionProvider")
    ran = []
    run = model.session.run
    monkeypatch.setattr(model.session, "run", lambda inputs: ran.append(inputs) or run(inputs))
    if dialect == "headgate":
        handle = HeadgateDialect(repository).methods()["/headgate.v1.PredictionService/Predict"].handle
        make = predict
    else:
        handle = OpenInferenceDialect(repository, "0").methods()["/inference.GRPCInferenceService/ModelInfer"].handle
        make = infer
    arrays = {"x": np.ones(SHAPE, np.float32)}
    if graph is PAIR:
        arrays["b"] = np.ones(1, np.float32)
    # The third is recognised by those before it, where that is possible.
    for count in (1, 2, 3):
        call = FakeCall(make(arrays, id))
        handle(call)
        model.scheduler.run_ready()
        assert call.response is not None
        assert len(ran) == count
        assert np.shares_memory(np.frombuffer(call.request, np.uint8), ran[-1][0].view(np.uint8))
