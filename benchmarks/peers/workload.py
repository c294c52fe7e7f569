"""What the servers are asked: one row of a model, in the words of each protocol, and what a right answer is."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headgate.benchmarks import echo
from headgate.benchmarks.http1 import Post
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.models import IMAGE, INPUT, LAYERS, OUTPUT, write_cnn, write_mlp
from headgate.foreign.open_inference import ModelInferRequest, ModelInferResponse

#: What every model is called, in a repository of its own.
MODEL = "model"
#: The models by name: what writes each, and the shape of a row of its input.
MODELS: dict[str, tuple[Callable[[Path, str], Path], tuple[int, ...]]] = {
    "mlp": (write_mlp, (LAYERS[0],)),
    "cnn": (write_cnn, IMAGE),
}
_TOLERANCE = 1e-4
_PROBE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A model, rows for it, and what onnxruntime answers to them.

    Attributes:
        path: of the ONNX file, `model/1/model.onnx` in a model repository.
        features: float32 [rows, ...].
        logits: float32 [rows, 3].
    """

    path: Path
    features: NDArray[np.float32]
    logits: NDArray[np.float32]

    @property
    def repository(self) -> Path:
        return self.path.parents[2]


@dataclass(frozen=True, slots=True)
class Request:
    """A request, and how to tell whether the body of an answer to it is right."""

    call: Call | Post
    is_right: Callable[[bytes], bool]


def make_workload(name: str, directory: Path) -> Workload:
    """Write one of the models into a repository of its own under a directory."""
    write, row = MODELS[name]
    path = write(directory / name, MODEL)
    features = np.linspace(-1, 1, int(np.prod(row)), dtype=np.float32).reshape(1, *row)
    (logits,) = open_session(path).run([OUTPUT], {INPUT: features})
    return Workload(path, features, logits)


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open a model as all servers here do: with a single thread, for the single processor that they have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_inference(workload: Workload) -> Request:
    """`ModelInfer` of the Open Inference Protocol, with raw elements."""

    def is_right(answer: bytes) -> bool:
        raw = ModelInferResponse.FromString(answer).raw_output_contents
        return len(raw) == 1 and _holds_logits(workload, raw[0])

    return Request(Call("/inference.GRPCInferenceService/ModelInfer", _infer_request(workload), False), is_right)


def echo_unary(workload: Workload) -> Request:
    """The same message, to a server that gives it back."""
    message = _infer_request(workload)
    return Request(Call(echo.UNARY, message, False), message.__eq__)


def raw_http(workload: Workload) -> Request:
    """The elements, and nothing else, there and back."""
    post = Post("/inference", workload.features.tobytes(), "application/octet-stream")
    return Request(post, lambda answer: _holds_logits(workload, answer))


def json_http(workload: Workload) -> Request:
    """The elements as JSON, there and back."""

    def is_right(answer: bytes) -> bool:
        return bool(np.allclose(json.loads(answer)[OUTPUT], workload.logits, atol=_TOLERANCE))

    body = json.dumps({INPUT: workload.features.ravel().tolist()}).encode()
    return Request(Post("/predict", body, "application/json"), is_right)


def ask(call: Call | Post, port: int) -> bytes:
    """Make a call to a port of this machine with a client that was not written here; return the body of the answer.

    Raises:
        ConnectionError: no answer, or one that is an error; the message says which.
    """
    try:
        if isinstance(call, Call):
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                answer: bytes = channel.unary_unary(call.path)(call.request, timeout=_PROBE_TIMEOUT_S)
                return answer
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PROBE_TIMEOUT_S)
        connection.request("POST", call.path, call.body, {"Content-Type": call.content_type})
        response = connection.getresponse()
        body: bytes = response.read()
        connection.close()
    except grpc.RpcError as error:
        raise ConnectionError(f"{error.code().name}: {error.details()}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(str(error)) from error
    if response.status != http.HTTPStatus.OK:
        raise ConnectionError(f"{response.status} {response.reason}: {body[:200]!r}")
    return body


def _infer_request(workload: Workload) -> bytes:
    request = ModelInferRequest(model_name=MODEL, raw_input_contents=[workload.features.tobytes()])
    request.inputs.add(name=INPUT, datatype="FP32", shape=workload.features.shape)
    message: bytes = request.SerializeToString()
    return message


def _holds_logits(workload: Workload, raw: bytes) -> bool:
    return len(raw) == workload.logits.nbytes and np.allclose(
        np.frombuffer(raw, "<f4"), workload.logits.ravel(), atol=_TOLERANCE
    )
