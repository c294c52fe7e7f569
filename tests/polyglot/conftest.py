"""A live server, and what every client of `examples/clients` has to do with it.

    <program> [--timeout-ms N] HOST:PORT MODEL < rows.json

asks a model with a single FP32 input [batch, n] about a JSON array of rows: once with `Predict` for all rows, then with
`StreamPredict`, a message a row. The deadline holds for each of the two calls. It prints a line a row for each head of
a response, tab-separated, with six decimals, and names heads of other kinds on stderr:

    unary|stream  <head>  <row>  <label>  <score>     multiclass: the best label; binary: the decision, the probability
    unary|stream  <head>  <row>  <value>  <unit>      regression

The first error of a call, or of one message of the stream, ends it. What it says on stderr, and its exit code:

    2  bad input: <message>                       INVALID_ARGUMENT, NOT_FOUND
    3  overloaded, try again later: <message>     RESOURCE_EXHAUSTED, UNAVAILABLE
    4  deadline: <message>                        DEADLINE_EXCEEDED
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import onnx.parser
import pytest
from onnx import helper

from headgate.benchmarks.servers import running
from headgate.client import Client
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    BinaryHead,
    DataType,
    GetModelRequest,
    Head,
    MulticlassHead,
    MultilabelHead,
    PredictRequest,
    RegressionHead,
    Signature,
    Tensor,
    TensorSpec,
)
from headgate.v1.columns import BinaryColumns, MulticlassColumns, RegressionColumns
from headgate.v1.prediction_service_pb2_grpc import PredictionServiceStub
from headgate.v1.signatures import METADATA_KEY, signature_to_json

ROOT = Path(__file__).parents[2]
BUILD_S, PROBE_S, RUN_S = 1200, 60, 60

VALUE = "g (float[batch,1] x) => (float[batch,1] y) { y = Identity(x) }"
GRAPHS = {
    "patients": "g (float[batch,4] x) => (float[batch,3] a, float[batch,1] b, float[batch,1] c, float[batch,2] d)"
    "<float[4,7] w = {1,0,0,1,2,0,1, 0,1,0,2,0,1,0, 0,0,1,0,3,1,1, 0,0,0,1,0,0,1}, int64[4] parts = {3,1,1,2}>"
    "{ y = MatMul(x, w)  a, b, c, d = Split<axis=1>(y, parts) }",
    "crowded": VALUE,
    "bursts": VALUE,
    # Takes about 50 us of a processor for each step of the row with the most.
    "busy": "g (float[batch,1] x) => (float[batch,1] y) <int64[2] size = {160,160}, float zero = {0}> {"
    " zeros = ConstantOfShape(size)  eye = EyeLike(zeros)"
    " top = ReduceMax<keepdims=0>(x)  most = Cast<to=7>(top)  yes = Constant<value = bool {1}>()"
    " last = Loop(most, yes, eye) <body = b (int64 i, bool go_on, float[160,160] m) => (bool again, float[160,160] n)"
    " { again = Identity(go_on) n = MatMul(m, eye) }>"
    " corner = ReduceMax<keepdims=0>(last)  nothing = Mul(corner, zero)  y = Add(x, nothing) }",
}
VALUE_HEAD = Head(name="value", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead(units=["s"]))
HEADS = {
    "patients": [
        Head(
            name="ward",
            output="a",
            activation=ACTIVATION_LOGITS,
            multiclass=MulticlassHead(labels=["cardiology", "intensive care", "Überwachung"], top_k=2),
        ),
        Head(
            name="finding",
            output="b",
            activation=ACTIVATION_LOGITS,
            binary=BinaryHead(labels=["benign", "malignant"], threshold=0.3),
        ),
        Head(name="dose", output="c", activation=ACTIVATION_LINEAR, regression=RegressionHead(units=["mg/dl"])),
        Head(
            name="symptoms",
            output="d",
            activation=ACTIVATION_LOGITS,
            multilabel=MultilabelHead(labels=["fever", "cough"]),
        ),
    ]
}
# A request waits for the rest of its batch, for half of the time that its deadline leaves, and nobody may wait with it.
ONE_WAITS = """
[batching]
max_batch_size = 3
max_queue_size = 1
max_queue_delay_us = 3_600_000_000
[execution]
mode = "threads"
"""
CONFIGS = {
    "patients": "",
    "crowded": ONE_WAITS,
    "bursts": ONE_WAITS,
    "busy": '[batching]\nmax_batch_size = 1\n[execution]\nmode = "threads"\nintra_op_threads = 1\n',
}


@pytest.fixture(scope="session")
def polyglot_server(tmp_path_factory):
    """A server of GRAPHS: its `address`, host:port, and a `stub` for it. A request to `crowded` waits all the time."""
    repository = tmp_path_factory.mktemp("models")
    for name, graph in GRAPHS.items():
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {graph}')
        features = 4 if name == "patients" else 1
        x = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, features])
        signature = Signature(schema_version=1, inputs=[x], heads=HEADS.get(name, [VALUE_HEAD]))
        helper.set_model_props(model, {METADATA_KEY: signature_to_json(signature)})
        path = repository / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(model.SerializeToString())
        (repository / name / "config.toml").write_text(CONFIGS[name])
    with (
        running("headgate.cli", "serve", str(repository), "--port", "0") as process,
        grpc.insecure_channel(f"127.0.0.1:{process.port}") as channel,
    ):
        stub = PredictionServiceStub(channel)
        stub.GetModel(GetModelRequest(name="crowded"), timeout=RUN_S)
        waiting = stub.Predict.future(PredictRequest(model="crowded", inputs=[Tensor(floats=[1])]))
        # Calls of one connection reach the server in the order in which they began.
        stub.GetModel(GetModelRequest(name="crowded"), timeout=RUN_S)
        yield SimpleNamespace(address=f"127.0.0.1:{process.port}", stub=stub)
        assert not waiting.done()


@pytest.fixture(scope="session")
def build_client(tmp_path_factory):
    """Build a client in a copy of its folder: `build_client("go", ["go", "build"], registry=["go", "list", ...])`.

    Returns the folder. `protoc` is on the path. What `tools` names, and what the commands begin with, has to be
    installed; a build that fails is a failure, unless `registry`, a command that asks the registry for something that
    is there, fails too.
    """
    root = tmp_path_factory.mktemp("polyglot")
    shutil.copytree(ROOT / "proto", root / "proto", ignore=shutil.ignore_patterns("*.py*"))
    protoc = root / "bin" / "protoc"
    protoc.parent.mkdir()
    protoc.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o755)
    environment = os.environ | {"PATH": f"{protoc.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(command, folder, timeout_s):
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )

    def succeeds(command):
        try:
            # Not in the client's folder, whose files may be what is wrong.
            return run(command, root, PROBE_S).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def build(language, *commands, tools=(), registry=None):
        for tool in [*tools, *(command[0] for command in commands)]:
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        folder = root / "examples" / "clients" / language
        outputs = shutil.ignore_patterns("build", "node_modules", "stubs", "target")
        shutil.copytree(ROOT / "examples" / "clients" / language, folder, ignore=outputs)
        for command in commands:
            done = run(command, folder, BUILD_S)
            if done.returncode == 0:
                continue
            if registry and not succeeds(registry):
                pytest.skip(f"the registry of {registry[0]} cannot be reached")
            pytest.fail(f"{' '.join(map(str, command))}\n{done.stdout}", pytrace=False)
        return folder

    return build


def ask(command, address, model, rows, *options):
    return subprocess.run(
        [*map(str, command), *options, address, model],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_S,
    )


def answer_lines(call, predictions, first_row=0):
    """Return what a client prints about what the Python client got."""
    lines = []
    for head, columns in predictions.items():
        match columns:
            case MulticlassColumns() | BinaryColumns():
                scores = columns.scores if isinstance(columns, MulticlassColumns) else columns.probabilities
                answers = [f"{label}\t{score:.6f}" for label, score in zip(columns.labels, scores, strict=True)]
            case RegressionColumns():
                answers = [f"{value:.6f}\t{columns.units[0]}" for value in columns.values[:, 0]]
            case _:
                continue
        lines += [f"{call}\t{head}\t{row}\t{answer}" for row, answer in enumerate(answers, first_row)]
    return lines


def assert_fails(done, code, beginning, message=""):
    """Assert that a client ended with an exit code and said why on stderr, in one line."""
    assert done.returncode == code, done
    (line,) = [line for line in done.stderr.splitlines() if line.startswith(beginning)]
    assert message in line


def refusal(server, model, rows):
    """Return what the server says about a request that it refuses."""
    tensor = Tensor(shape=np.shape(rows), floats=np.ravel(rows))
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Predict(PredictRequest(model=model, inputs=[tensor]), timeout=RUN_S)
    return caught.value.details()


def check_answers(command, server):
    # Numbers of few bits, so that sums are exact and do not depend on which rows run together.
    rows = (np.random.default_rng(3).integers(-200, 200, size=(100, 4)) / 64).tolist()
    with Client(server.address) as client:
        expected = answer_lines("unary", client.predict("patients", rows))
        for i, predictions in enumerate(client.stream_predict("patients", ([row] for row in rows))):
            expected += answer_lines("stream", predictions, i)
    done = ask(command, server.address, "patients", rows)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == expected
    # A kind that it does not print.
    assert "symptoms" in done.stderr


def check_wrong_number_of_features(command, server):
    rows = [[1.5, 2.0, 3.0], [4.0, 5.0, 6.0]]
    done = ask(command, server.address, "patients", rows)
    assert_fails(done, 2, "bad input: ", refusal(server, "patients", rows))
    assert done.stdout == ""


def check_unknown_model(command, server):
    done = ask(command, server.address, "patient", [[1.0, 2.0, 3.0, 4.0]])
    assert_fails(done, 2, "bad input: ", refusal(server, "patient", [[1.0, 2.0, 3.0, 4.0]]))
    assert done.stdout == ""


def check_overload(command, server):
    done = ask(command, server.address, "crowded", [[1.0]])
    assert_fails(done, 3, "overloaded, try again later: ", "the queue is full")
    assert done.stdout == ""


def check_overload_within_a_stream(command, server):
    rows = [[0.25], [0.5], [0.75]]
    with Client(server.address) as client:
        predictions = client.predict("bursts", rows)
        first = answer_lines("stream", client.predict("bursts", rows))[0]
    # Together they fill a batch; of single ones, the first waits and the others are refused.
    done = ask(command, server.address, "bursts", rows, "--timeout-ms", "2000")
    assert_fails(done, 3, "overloaded, try again later: ", "the queue is full")
    assert done.stdout.splitlines() == [*answer_lines("unary", predictions), first]


def check_nobody_listens(command, server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = ask(command, f"127.0.0.1:{taken.getsockname()[1]}", "patients", [[1.0, 2.0, 3.0, 4.0]])
    assert_fails(done, 3, "overloaded, try again later: ")
    assert done.stdout == ""


def check_deadline(command, server):
    # Some 100 s of work, in parts; those that are left when the time is over are not run.
    done = ask(command, server.address, "busy", [[2000.0]] * 1000, "--timeout-ms", "1000")
    assert_fails(done, 4, "deadline: ")
    assert done.stdout == ""


CHECKS = [
    check_answers,
    check_wrong_number_of_features,
    check_unknown_model,
    check_overload,
    check_overload_within_a_stream,
    check_nobody_listens,
    check_deadline,
]


@pytest.fixture(params=CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def check_client(request, polyglot_server):
    """Check one of the things that a client has to do: `check_client(["java", "-jar", "predict.jar"])`."""
    return lambda command: request.param(command, polyglot_server)
