"""Golden examples: a request and what Keras answers to it, in a file beside the model (see golden.proto)."""

import hashlib
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from headgate.v1.columns import Columns
from headgate.v1.encoding import prediction_encoder
from headgate.v1.golden_pb2 import GoldenExamples
from headgate.v1.prediction_pb2 import Prediction
from headgate.v1.prediction_service_pb2 import PredictOptions, PredictRequest, PredictResponse
from headgate.v1.tensors import numpy_from_tensor, tensor_from_numpy

GOLDEN_FILE = "golden.binpb"


def golden_to_bytes(
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    options: PredictOptions,
    predictions: Mapping[str, Columns],
) -> bytes:
    """Write golden examples.

    Args:
        inputs: by name, `[rows, ...]`.
        outputs: Keras' own, by name, `[rows, ...]`.
        options: what was asked of the decoders.
        predictions: what they made of the outputs, by head.
    """
    rows = len(next(iter(inputs.values())))
    return GoldenExamples(
        request=PredictRequest(
            inputs=[tensor_from_numpy(array, name) for name, array in inputs.items()], options=options
        ),
        outputs=[tensor_from_numpy(array, name) for name, array in outputs.items()],
        response=PredictResponse(
            rows=rows,
            predictions=[
                Prediction.FromString(prediction_encoder(head, columns)(0, rows))
                for head, columns in predictions.items()
            ],
        ),
    ).SerializeToString(deterministic=True)


def golden_from_bytes(content: bytes, sha256: str = "") -> GoldenExamples:
    """Read what `golden_to_bytes` wrote.

    Args:
        content: of the file.
        sha256: what the model's signature says of it, in hexadecimal; empty where it says nothing.

    Raises:
        ValueError: these are no golden examples, or others than the model was exported with.

    >>> golden_from_bytes(b"no message")
    Traceback (most recent call last):
    ...
    ValueError: it holds no golden examples
    """
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("it is damaged, or belongs to another export: its SHA-256 is not the one in the signature")
    try:
        golden = GoldenExamples.FromString(content)
    except DecodeError as error:
        raise ValueError("it holds no golden examples") from error
    rows = golden.response.rows
    tensors = [*golden.request.inputs, *golden.outputs]
    if not rows or not golden.outputs or any(len(numpy_from_tensor(tensor)) != rows for tensor in tensors):
        raise ValueError("it holds no golden examples of one number of rows")
    return golden
