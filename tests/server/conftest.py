"""Small ONNX models made for these tests, in repositories and behind servers; and schedulers without either."""

import logging
import math
from types import SimpleNamespace

import grpc
import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import helper

from headgate.foreign import open_inference as oip
from headgate.server import BatchingConfig, Server, ServerSettings
from headgate.server.batch_runner import BatchRunner
from headgate.server.inference import InferenceRequest
from headgate.server.inputs import GivenTensor, ModelInputs
from headgate.server.statistics import Statistics
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    DataType,
    Head,
    ListModelsResponse,
    MulticlassHead,
    PredictResponse,
    RegressionHead,
    Signature,
    StreamPredictResponse,
    TensorSpec,
)
from headgate.v1.signatures import METADATA_KEY, signature_to_json

from .fakes import RENDERER, FakeCall, FakeSession

ELEMENT_TYPES = {
    "bool": np.bool_,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "float16": np.float16,
    "float": np.float32,
    "double": np.float64,
}
#: Graphs as onnx.parser reads them.
GRAPHS = {
    # Four features, three classes; the class with the largest of the first three features wins.
    "iris": "g (float[batch,4] x) => (float[batch,3] logits) <float[4,3] w = {1,0,0, 0,1,0, 0,0,1, 0,0,0}>"
    "{ logits = MatMul(x, w) }",
    "price": "g (float[batch,2] x) => (float[batch,1] y) <float[2,1] w = {1, 10}> { y = MatMul(x, w) }",
    "tumor": "g (float[batch,1] x) => (float[batch] p) <int64[1] last = {1}> { s = Sigmoid(x) p = Squeeze(s, last) }",
    "sums": "g (float[batch,2] a, int32[batch,1] b) => (float[batch,3] y)"
    "{ c = Cast<to=1>(b) y = Concat<axis=1>(a, c) }",
    "text": "g (string[batch,1] x) => (string[batch,1] y) { y = Identity(x) }",
    "scalars": "g (float[batch] x) => (float[batch] y) { y = Identity(x) }",
    "lengths": "g (float[batch,n] x) => (float[batch] y) <int64[1] last = {1}> { y = ReduceSum<keepdims=0>(x, last) }",
    "twins": "g (float[batch,2] x) => (float[batch,2] same, float[batch,1] total) <int64[1] last = {1}>"
    "{ same = Identity(x) total = ReduceSum<keepdims=1>(x, last) }",
    # Fails for a row that is not in 0..3, as embeddings do.
    "lookup": "g (int64[batch,1] x) => (float[batch,1] y) <float[4] table = {0, 10, 20, 30}> { y = Gather(table, x) }",
    # Takes about 50 us of a processor for each step of the row with the most.
    "busy": "g (int64[batch,1] steps) => (float[batch,1] y) <int64[2] size = {160,160}, float zero = {0}> {"
    " zeros = ConstantOfShape(size)  eye = EyeLike(zeros)"
    " most = ReduceMax<keepdims=0>(steps)  yes = Constant<value = bool {1}>()"
    " last = Loop(most, yes, eye) <body = b (int64 i, bool go_on, float[160,160] m) => (bool again, float[160,160] n)"
    " { again = Identity(go_on) n = MatMul(m, eye) }>"
    " corner = ReduceMax<keepdims=0>(last)  nothing = Mul(corner, zero)"
    " number = Cast<to=1>(steps)  y = Add(number, nothing) }",
} | {
    "same_bfloat16": "g (bfloat16[batch,3] x) => (bfloat16[batch,3] y) { y = Identity(x) }",
    "wide": "g (float[batch,n] x) => (float[batch,n] y) { y = Identity(x) }",
} | {
    f"same_{name}": f"g ({name}[batch,3] x) => ({name}[batch,3] y) {{ y = Identity(x) }}" for name in ELEMENT_TYPES
}  # fmt: skip
HEADS = {
    "iris": [
        Head(
            name="species",
            output="logits",
            activation=ACTIVATION_LOGITS,
            multiclass=MulticlassHead(labels=["setosa", "versicolor", "virginica"]),
        )
    ],
    "price": [
        Head(name="price", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead(units=["EUR"])),
    ],
    "tumor": [
        Head(
            name="finding",
            output="p",
            activation=ACTIVATION_PROBABILITIES,
            binary=BinaryHead(labels=["benign", "malignant"], threshold=0.3),
        )
    ],
    "sums": [Head(name="parts", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead())],
    "twins": [
        Head(name="total", output="total", activation=ACTIVATION_LINEAR, regression=RegressionHead()),
        Head(name="pair", output="same", activation=ACTIVATION_LINEAR, regression=RegressionHead()),
    ],
    "lookup": [Head(name="entry", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead())],
}


def build_model(graph, heads=(), metadata=None):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {graph}')
    if heads:
        metadata = {METADATA_KEY: signature_to_json(Signature(schema_version=1, heads=heads))}
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(autouse=True)
def no_errors_in_the_log(caplog):
    """A test that makes the server log an error looks at it and then clears `caplog`."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


@pytest.fixture(scope="session")
def write_model():
    """Write a model into a repository: `write_model(folder, "iris")` one of GRAPHS, or any graph given as text."""

    def write(folder, name, graph=None, heads=None, *, version=1, config="", metadata=None):
        content = build_model(
            graph or GRAPHS[name], HEADS.get(name, []) if heads is None and graph is None else heads, metadata
        )
        path = folder / name / str(version)
        path.mkdir(parents=True)
        path.joinpath("model.onnx").write_bytes(content)
        if config:
            path.with_name("config.toml").write_text(config)
        return path / "model.onnx"

    return write


@pytest.fixture(scope="session")
def repository(tmp_path_factory, write_model):
    """A repository of all models: `lookup` and `busy` run on threads, the others inline."""
    folder = tmp_path_factory.mktemp("models")
    for name in GRAPHS:
        mode = "threads" if name in ("busy", "lookup") else "inline"
        write_model(folder, name, config=f'[execution]\nmode = "{mode}"\nintra_op_threads = 1\n')
    return folder


def start_servers():
    """Start servers that are stopped after the test, or the module: `serve(folder, drain_timeout_s=1)`."""
    servers = []

    def start(folder, **settings):
        server = Server(ServerSettings(repository=folder, port=0, **settings))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


serve = pytest.fixture(start_servers)
serve_for_module = pytest.fixture(start_servers, scope="module")


@pytest.fixture(scope="session")
def server(repository):
    running = Server(ServerSettings(repository=repository, port=0, max_message_bytes=1024 * 1024))
    running.start()
    yield running
    running.stop()


def calls_of(channel):
    """The methods of both dialects, by name; requests and answers are messages."""

    def method(kind, path, response):
        return getattr(channel, kind)(
            path, request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )  # fmt: skip

    infer = "/inference.GRPCInferenceService/"
    predict = "/headgate.v1.PredictionService/"
    return SimpleNamespace(
        channel=channel,
        predict=method("unary_unary", f"{predict}Predict", PredictResponse),
        stream_predict=method("stream_stream", f"{predict}StreamPredict", StreamPredictResponse),
        list_models=method("unary_unary", f"{predict}ListModels", ListModelsResponse),
        infer=method("unary_unary", f"{infer}ModelInfer", oip.ModelInferResponse),
        stream_infer=method("stream_stream", f"{infer}ModelStreamInfer", oip.ModelStreamInferResponse),
        metadata=method("unary_unary", f"{infer}ModelMetadata", oip.ModelMetadataResponse),
        statistics=method("unary_unary", f"{infer}ModelStatistics", oip.ModelStatisticsResponse),
    )


@pytest.fixture
def connect():
    """Connect to a server: the methods of both dialects."""
    channels = []

    def open_channel(server):
        # Channels to the same address otherwise share a connection, and tests with them.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        channels.append(grpc.insecure_channel(f"127.0.0.1:{server.port}", options))
        # Calls that begin before there is a connection reach the server in any order.
        channels[-1].unary_unary("/inference.GRPCInferenceService/ServerLive")(b"")
        return calls_of(channels[-1])

    yield open_channel
    for channel in channels:
        channel.close()


@pytest.fixture
def calls(server, connect):
    """The methods of the server with all models."""
    return connect(server)


@pytest.fixture
def refused():
    """Expect a call to fail: its code, and its message of one line."""

    def ask(method, request):
        with pytest.raises(grpc.RpcError) as caught:
            method(request)
        assert "\n" not in caught.value.details()
        return caught.value.code(), caught.value.details()

    return ask


@pytest.fixture
def infer_request():
    """Make a ModelInferRequest of arrays by input name, as raw contents."""

    def make(model, id="", **arrays):
        request = oip.ModelInferRequest(model_name=model, id=id)
        names = {np.dtype(dtype): name for name, dtype in OIP_NAMES.items()}
        for name, value in arrays.items():
            array = np.asarray(value)
            request.inputs.add(name=name, datatype=names[array.dtype], shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
        return request

    return make


OIP_NAMES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2",
    "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip


@pytest.fixture
def fake_session():
    return FakeSession()


@pytest.fixture
def make_scheduler(fake_session):
    """Make a scheduler; return what submits a request of some numbers to it, the scheduler, and its statistics."""
    schedulers = []

    def make_scheduler(kind, *instances, batch_rows=None, **batching):
        statistics = Statistics()
        spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 1])
        inputs = ModelInputs([spec])
        config = BatchingConfig(**batching)
        runner = BatchRunner(fake_session, inputs, statistics, "m/1")
        scheduler = kind(runner, config, batch_rows or config.max_batch_size, *instances)
        schedulers.append(scheduler)

        def submit(*numbers, deadline=math.inf, renderer=RENDERER, **queueing):
            call = FakeCall(deadline)
            tensor = GivenTensor("x", (len(numbers), 1), np.array(numbers, np.float32).tobytes())
            scheduler.submit(InferenceRequest(call, *inputs.bind([tensor]), renderer, **queueing))
            return call

        submit.scheduler = scheduler
        return submit, scheduler, statistics

    yield make_scheduler
    fake_session.gate.set()
    for scheduler in schedulers:
        scheduler.close()
