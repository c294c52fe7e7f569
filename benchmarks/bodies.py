"""Requests to a model, from random or given inputs, as `headgate.v1` and the Open Inference Protocol have them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import OK, UNKNOWN
from headgate.benchmarks.http2 import Call
from headgate.client import Inputs
from headgate.client.requests import build_request
from headgate.foreign.open_inference import ModelInferRequest, ModelStreamInferResponse
from headgate.v1 import (
    DataType,
    GetModelResponse,
    InputMeaning,
    PredictRequest,
    Signature,
    StreamPredictResponse,
    Tensor,
    TensorSpec,
)
from headgate.v1.tensors import (
    NUMPY_DTYPES,
    convert,
    data_type_name,
    format_spec,
    number_kind,
    tensor_from_numpy,
)

#: How many different requests are sent in turn, and how large they may be together.
_BODIES = 16
_MAX_BYTES = 64 * 2**20
_WORDS = ("alpha", "beta", "gamma", "delta", "epsilon")


def random_inputs(
    specs: Sequence[TensorSpec],
    rows: int,
    shapes: Mapping[str, Sequence[int]],
    meanings: Iterable[InputMeaning] = (),
) -> dict[str, NDArray[Any]]:
    """Draw inputs for enough different requests.

    Floats are normally distributed, uint8 covers its whole range (images), text is one of a few words; all other
    integers are 0 or 1, which every lookup table has. Where a vocabulary is known, values are drawn from that.

    Args:
        specs: what the model takes.
        rows: of each request.
        shapes: of one row, by the input's name, where the model leaves sizes free.
        meanings: what the signature says of the inputs.

    Raises:
        BenchmarkError: a size is free and not given, or given otherwise than the model has it.
    """
    names = sorted(spec.name for spec in specs)
    odd = shapes.keys() - set(names)
    if odd:
        raise BenchmarkError(f"--shape names '{min(odd)}'; the model's inputs are {', '.join(names)}")
    sizes = {spec.name: _row_shape(spec, shapes.get(spec.name)) for spec in specs}
    row_bytes = sum(int(np.prod(sizes[spec.name])) * NUMPY_DTYPES[spec.datatype].itemsize for spec in specs)
    count = max(1, min(_BODIES, _MAX_BYTES // max(1, rows * row_bytes)))
    rng = np.random.default_rng(0)
    known = {meaning.input: list(meaning.vocabulary.strings or meaning.vocabulary.integers) for meaning in meanings}
    return {
        spec.name: _draw(spec.datatype, (count * rows, *sizes[spec.name]), rng, known.get(spec.name)) for spec in specs
    }


def predict_requests(signature: Signature, model: str, version: int, inputs: Inputs, rows: int) -> list[PredictRequest]:
    """Make requests of so many rows of the inputs each, in turn; where there are fewer, they are repeated.

    Raises:
        InvalidRequestError: the inputs do not fit the signature.
        BenchmarkError: they have no rows, or not the same number of them.
    """
    whole = build_request(GetModelResponse(signature=signature), model, version, inputs, {})
    arrays = {tensor.name: _array(tensor) for tensor in whole.inputs}
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise BenchmarkError(f"the inputs have {sorted(lengths)} rows; give each the same number of rows, at least 1")
    (length,) = lengths
    whole_bytes = max(1, whole.ByteSize())
    limit = max(1, _MAX_BYTES * length // (whole_bytes * rows))
    count = min(-(-length // rows), limit, 64)
    requests = []
    for start in range(0, count * rows, rows):
        indices = np.arange(start, start + rows) % length
        tensors = [tensor_from_numpy(array[indices], name) for name, array in arrays.items()]
        requests.append(PredictRequest(model=model, version=version, inputs=tensors))
    return requests


def infer_request(request: PredictRequest) -> Any:
    """Make the ModelInferRequest that asks for the same."""
    result = ModelInferRequest(model_name=request.model, model_version=str(request.version or ""))
    for tensor in request.inputs:
        is_text = tensor.datatype == DataType.DATA_TYPE_STRING
        name = "BYTES" if is_text else data_type_name(tensor.datatype)
        result.inputs.add(name=tensor.name, datatype=name, shape=tensor.shape)
        elements = (text.encode() for text in tensor.strings)
        raw = b"".join(struct.pack("<I", len(element)) + element for element in elements) if is_text else tensor.raw
        result.raw_input_contents.append(raw)
    return result


def make_call(requests: Sequence[PredictRequest], *, raw: bool, stream: bool, timeout_s: float | None = None) -> Call:
    """Make the call that sends requests in turn: Predict, or ModelInfer for raw tensors; unary, or over streams."""
    first, *others = [bytes((infer_request(request) if raw else request).SerializeToString()) for request in requests]
    if raw:
        path = f"/inference.GRPCInferenceService/Model{'Stream' if stream else ''}Infer"
    else:
        path = f"/headgate.v1.PredictionService/{'Stream' if stream else ''}Predict"
    status_of = (stream_infer_status if raw else stream_predict_status) if stream else None
    return Call(path, first, stream, tuple(others), timeout_s, status_of)


def stream_predict_status(answer: bytes) -> int:
    """Return the gRPC status in a serialised StreamPredictResponse."""
    # The field of a response comes first; anything else is parsed.
    if answer[:1] == b"\x0a":
        return OK
    return int(StreamPredictResponse.FromString(answer).error.code)


def stream_infer_status(answer: bytes) -> int:
    """Return OK, or UNKNOWN for an error: a ModelStreamInferResponse has a message, but no code."""
    if answer[:1] == b"\x12":
        return OK
    return UNKNOWN if ModelStreamInferResponse.FromString(answer).error_message else OK


def _row_shape(spec: TensorSpec, given: Sequence[int] | None) -> tuple[int, ...]:
    row = tuple(spec.shape[1:])
    if given is None:
        if min(row, default=1) < 0:
            raise BenchmarkError(
                f"input '{spec.name}' ({format_spec(spec)}) has sizes that the model leaves free; "
                f"give those of a row: --shape {spec.name}={','.join(str(max(size, 1)) for size in row)}"
            )
        return row
    if len(given) != len(row) or any(size not in (-1, chosen) for size, chosen in zip(row, given, strict=True)):
        shape = ",".join(map(str, given))
        raise BenchmarkError(f"--shape {spec.name}={shape} does not fit a row of {format_spec(spec)}")
    return tuple(given)


def _draw(
    datatype: DataType, shape: tuple[int, ...], rng: np.random.Generator, known: Sequence[object] | None
) -> NDArray[Any]:
    dtype = NUMPY_DTYPES[datatype]
    if known:
        return rng.choice(np.array(known, dtype), shape)
    if number_kind(datatype) == "f":
        return convert(rng.standard_normal(shape, np.float32), dtype)[0]
    if dtype.kind == "O":
        return rng.choice(np.array(_WORDS, object), shape)
    return rng.integers(0, 256 if dtype == np.uint8 else 2, shape).astype(dtype)


def _array(tensor: Tensor) -> NDArray[Any]:
    if tensor.datatype == DataType.DATA_TYPE_STRING:
        return np.array(tensor.strings, object).reshape(tensor.shape)
    return np.frombuffer(tensor.raw, NUMPY_DTYPES[tensor.datatype]).reshape(tensor.shape)
