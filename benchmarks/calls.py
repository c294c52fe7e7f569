"""What is measured: calls to the servers, and what a right answer to each is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headgate.benchmarks import echo
from headgate.benchmarks.bodies import infer_request
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.models import INPUT, LABELS, LAYERS, mlp_logits
from headgate.foreign.open_inference import ModelInferResponse, ModelStreamInferResponse
from headgate.v1 import PredictRequest, PredictResponse, StreamPredictResponse
from headgate.v1.tensors import tensor_from_numpy

MODEL = "mlp"
_FEATURES = np.linspace(-1, 1, LAYERS[0], dtype=np.float32)[np.newaxis]
_LOGITS = mlp_logits(_FEATURES)


@dataclass(frozen=True, slots=True)
class Case:
    """One call to one server.

    Attributes:
        server: which of the servers that `headgate.benchmarks.suite` starts.
        name: of the call, for people.
        is_right: tells whether a serialised answer is the right one.
    """

    server: str
    name: str
    call: Call
    is_right: Callable[[bytes], bool]


def cases() -> list[Case]:
    """Return all that is measured. The echoes get, and give back, the request of ModelInfer."""
    request = PredictRequest(model=MODEL, inputs=[tensor_from_numpy(_FEATURES, INPUT)])
    infer, predict = infer_request(request).SerializeToString(), request.SerializeToString()
    inference, prediction = "/inference.GRPCInferenceService", "/headgate.v1.PredictionService"

    def is_infer(answer: bytes) -> bool:
        return _holds_logits(ModelInferResponse.FromString(answer))

    def is_stream_infer(answer: bytes) -> bool:
        return _holds_logits(ModelStreamInferResponse.FromString(answer).infer_response)

    def is_predict(answer: bytes) -> bool:
        return _holds_label(PredictResponse.FromString(answer))

    def is_stream_predict(answer: bytes) -> bool:
        return _holds_label(StreamPredictResponse.FromString(answer).response)

    return [
        Case("headgate", "ModelInfer", Call(f"{inference}/ModelInfer", infer, False), is_infer),
        Case("headgate", "ModelStreamInfer", Call(f"{inference}/ModelStreamInfer", infer, True), is_stream_infer),
        Case("headgate", "Predict", Call(f"{prediction}/Predict", predict, False), is_predict),
        Case("headgate", "StreamPredict", Call(f"{prediction}/StreamPredict", predict, True), is_stream_predict),
        Case("no polling", "ModelInfer", Call(f"{inference}/ModelInfer", infer, False), is_infer),
        *(
            Case(server, name, Call(path, infer, is_stream), infer.__eq__)
            for server in ("transport echo", "grpc.aio echo")
            for name, path, is_stream in (("unary", echo.UNARY, False), ("stream", echo.STREAM, True))
        ),
    ]


def _holds_logits(response: ModelInferResponse) -> bool:
    raw = response.raw_output_contents
    return len(raw) == 1 and np.allclose(np.frombuffer(raw[0], "<f4"), _LOGITS[0], atol=1e-5)


def _holds_label(response: PredictResponse) -> bool:
    labels = [list(prediction.multiclass.labels) for prediction in response.predictions]
    return labels == [[LABELS[_LOGITS.argmax()]]]
