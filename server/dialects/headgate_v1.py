"""The dialect `headgate.v1`: typed predictions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions, Decoder
from headgate.server.decoding import decode_outputs
from headgate.server.dialects.headgate_v1_statistics import describe_statistics
from headgate.server.dialects.messages import LARGE_BYTES, parse, parse_part, parse_without, read_id, read_numbers
from headgate.server.dialects.request_cache import PreparedRequest, RequestCache
from headgate.server.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, ServerError
from headgate.server.inference import InferenceRequest, Outputs
from headgate.server.inputs import GivenTensor, ListedElements, read_shape
from headgate.server.model import LoadedModel
from headgate.server.padding import own_outputs
from headgate.server.repository import ModelEntry, ModelRepository
from headgate.server.totals import STATISTICS_TIMEOUT_S, sum_of
from headgate.server.transport import Call, Method, MethodKind
from headgate.server.transport.base import status_details
from headgate.v1 import (
    GetModelRequest,
    GetModelResponse,
    GetStatisticsRequest,
    GetStatisticsResponse,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    PredictOptions,
    PredictRequest,
    PredictResponse,
    StreamError,
    StreamPredictResponse,
    Tensor,
)
from headgate.v1.encoding import VARINT, RowEncoder, delimited, encode_varint, prediction_encoder, tag_of
from headgate.v1.prediction_service_pb2 import DESCRIPTOR
from headgate.v1.tensors import NUMPY_DTYPES, text_array

_ELEMENT_FIELDS = ("raw", "floats", "ints", "strings")
_ID = tag_of(PredictResponse, "id")
_PREDICTIONS = tag_of(PredictResponse, "predictions")
_RESPONSE = tag_of(StreamPredictResponse, "response")
_ROWS = tag_of(PredictResponse, "rows", VARINT)
SERVICE = DESCRIPTOR.services_by_name["PredictionService"]


class HeadgateDialect:
    """PredictionService on a model repository."""

    def __init__(self, repository: ModelRepository, expired_calls: Callable[[], int] = lambda: 0) -> None:
        """Take the models, and what tells how many calls were refused unread since their deadline had passed."""
        self._repository = repository
        self._expired_calls = expired_calls
        self._requests = RequestCache(functools.partial(self._prepare, streamed=False), repository)
        self._stream_requests = RequestCache(functools.partial(self._prepare, streamed=True), repository)

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        return {
            f"/{SERVICE.full_name}/Predict": Method(self._predict),
            f"/{SERVICE.full_name}/StreamPredict": Method(
                self._stream_predict, MethodKind.ORDERED_STREAM, _render_error
            ),
            f"/{SERVICE.full_name}/GetModel": Method(self._get_model),
            f"/{SERVICE.full_name}/ListModels": Method(self._list_models),
            f"/{SERVICE.full_name}/GetStatistics": Method(
                self._get_statistics, merge=sum_of(GetStatisticsResponse), merge_timeout_s=STATISTICS_TIMEOUT_S
            ),
        }

    def _predict(self, call: Call) -> None:
        self._requests.submit(call)

    def _stream_predict(self, call: Call) -> None:
        self._stream_requests.submit(call)

    def _prepare(self, request: bytes, streamed: bool) -> PreparedRequest:
        message, tensors = _parse_predict_request(request)
        model = self._repository.model(message.model, message.version)
        if message.inputs_hash not in (0, model.inputs_hash):
            raise InvalidArgumentError(
                f"the inputs were made for another model than '{model.name}' version {model.version} is now; "
                "ask GetModel what it takes, and make them anew"
            )
        # Of more than the model has, these are enough to refuse them.
        given = [_read_tensor(tensor, raw) for tensor, raw in tensors[: len(model.inputs.inputs) + 1]]
        inputs, rows, group = model.inputs.bind(given)
        # Renderers are kept by their options, which must not be of any size.
        message.options.DiscardUnknownFields()
        renderer = model.renderer(PredictionRenderer, message.options.SerializeToString(), streamed)
        batching = model.config.batching
        return PreparedRequest(
            model,
            inputs,
            rows,
            group,
            renderer,
            message.id,
            batching.priority(message.priority),
            batching.queue_timeout_s(message.queue_timeout_us),
        )

    def _get_model(self, call: Call) -> None:
        request = parse(GetModelRequest, call.request)
        entry = self._repository.entry(request.name, request.version)
        response, model = GetModelResponse(model=_describe(entry)), entry.model
        if model is not None:
            response.signature.CopyFrom(model.signature)
            response.inputs_hash = model.inputs_hash
        call.reply(response.SerializeToString())

    def _list_models(self, call: Call) -> None:
        parse(ListModelsRequest, call.request)
        models = [_describe(entry) for entry in self._repository]
        call.reply(ListModelsResponse(models=models).SerializeToString())

    def _get_statistics(self, call: Call) -> None:
        parse(GetStatisticsRequest, call.request)
        statistics = [describe_statistics(entry) for entry in self._repository]
        response = GetStatisticsResponse(models=statistics, expired_calls=self._expired_calls())
        call.reply(response.SerializeToString())


class PredictionRenderer:
    """Decodes a batch once; writes each request's rows as a PredictResponse, in a StreamPredictResponse if streamed."""

    def __init__(self, model: LoadedModel, options: bytes, streamed: bool) -> None:
        """Choose heads and options, given as serialised PredictOptions.

        Raises:
            InvalidArgumentError: an option is out of its range, or a head is named twice.
            FailedPreconditionError: the model has no heads.
            NotFoundError: it has none of that name.
        """
        if not model.decoders:
            raise FailedPreconditionError(
                f"model '{model.name}' has no heads, so its outputs have no meaning to decode; ask for raw tensors by "
                "the Open Inference Protocol, or export it with `headgate export`"
            )
        chosen = PredictOptions.FromString(options)
        heads = chosen.heads
        unknown = [head for head in heads if head not in model.decoders]
        if unknown:
            known = ", ".join(f"'{head}'" for head in model.decoders)
            raise NotFoundError(f"model '{model.name}' has no head '{unknown[0]}'; it has {known}")
        if len(set(heads)) != len(heads):
            raise InvalidArgumentError(f"the options name {len(heads)} heads, some more than once; name each once")
        self._decoders = {head: found for head, found in model.decoders.items() if not heads or head in heads}
        self._options = _read_options(chosen, self._decoders.values())
        self._output_names = model.output_names
        read = {output for decoder in self._decoders.values() for output in decoder.reads}
        self._is_padded = any(self._output_names[axis.tensor] in read for axis, _ in model.inputs.padding.outputs)
        opening = PredictResponse(model=model.name, version=model.version)
        # The part of an answer that depends on nothing but its number of rows.
        self._opening = functools.lru_cache(maxsize=256)(
            lambda rows: opening.SerializeToString() + _ROWS + encode_varint(rows)
        )
        self._streamed = streamed

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request."""
        encoders = [] if self._is_padded else self._encoders(outputs)
        for request in requests:
            start, stop = request.start, request.stop
            if self._is_padded:
                encoders = self._encoders(own_outputs(outputs, request))
                start, stop = 0, request.rows
            parts: list[bytes | memoryview] = [self._opening(request.rows)]
            if request.id:
                parts += delimited(_ID, request.id.encode())
            for encode in encoders:
                parts += delimited(_PREDICTIONS, encode(start, stop))
            if self._streamed:
                parts[:0] = (_RESPONSE, encode_varint(sum(map(len, parts))))
            yield b"".join(parts)

    def _encoders(self, outputs: Outputs) -> list[RowEncoder]:
        return [
            prediction_encoder(head, decode_outputs(decoder, self._output_names, outputs, self._options))
            for head, decoder in self._decoders.items()
        ]


def _read_options(options: PredictOptions, decoders: Iterable[Decoder]) -> DecodeOptions:
    try:
        read = DecodeOptions(
            top_k=options.top_k,
            threshold=options.threshold if options.HasField("threshold") else None,
            include_probabilities=options.include_probabilities,
            include_entropy=options.include_entropy,
            include_margin=options.include_margin,
            confidence_level=options.confidence_level if options.HasField("confidence_level") else None,
            include_groups=options.include_groups,
            half_precision=options.half_precision,
            mask_encoding=options.mask_encoding,
            relative_coordinates=options.relative_coordinates,
        )
        for decoder in decoders:
            decoder.check(read)
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None
    return read


def _parse_predict_request(request: bytes) -> tuple[Any, list[tuple[Tensor, bytes | memoryview]]]:
    """Return a PredictRequest, and its inputs with their raw elements; those of a large one are views, not copies."""
    if len(request) >= LARGE_BYTES:
        parsed = parse_without(PredictRequest, request, PredictRequest.INPUTS_FIELD_NUMBER)
        if parsed is not None:
            message, inputs = parsed
            return message, [_parse_tensor(serialized) for serialized in inputs]
    message = parse(PredictRequest, request)
    return message, [(tensor, tensor.raw) for tensor in message.inputs]


def _parse_tensor(serialized: memoryview) -> tuple[Tensor, bytes | memoryview]:
    parsed = parse_without(Tensor, serialized, Tensor.RAW_FIELD_NUMBER)
    if parsed is None:
        tensor = parse_part(Tensor, serialized)
        return tensor, tensor.raw
    tensor, raw = parsed
    return tensor, raw[-1] if raw else b""


def _read_tensor(tensor: Tensor, raw: bytes | memoryview) -> GivenTensor:
    filled = [field for field in _ELEMENT_FIELDS if (raw if field == "raw" else getattr(tensor, field))]
    if len(filled) > 1:
        raise InvalidArgumentError(
            f"input '{tensor.name}' has elements in {' and '.join(filled)}; fill one of {', '.join(_ELEMENT_FIELDS)}"
        )
    if tensor.datatype and tensor.datatype not in NUMPY_DTYPES:
        raise InvalidArgumentError(f"input '{tensor.name}' has datatype {tensor.datatype}, which is none of DataType")
    shape = read_shape(tensor.name, tensor.shape) or None
    if not filled or filled == ["raw"]:
        return GivenTensor(tensor.name, shape, raw, tensor.datatype)
    (field,) = filled
    elements = ListedElements(len(getattr(tensor, field)), field == "strings", lambda: _read_elements(tensor, field))
    return GivenTensor(tensor.name, shape, elements)


def _read_elements(tensor: Tensor, field: str) -> NDArray[Any]:
    if field == "strings":
        return text_array(tensor.strings)
    return read_numbers(tensor, field, np.float32 if field == "floats" else np.int64)


def _render_error(call: Call, error: ServerError) -> bytes:
    request_id = read_id(PredictRequest, call.request)
    stream_error = StreamError(id=request_id, code=error.code.value[0], message=status_details(error))
    return StreamPredictResponse(error=stream_error).SerializeToString()


def _describe(entry: ModelEntry) -> Model:
    # Once: it may be unloaded meanwhile.
    model = entry.model
    return Model(
        name=entry.name,
        version=entry.version,
        state=f"STATE_{entry.state.name}",
        reason=entry.reason,
        provider=model.provider if model else "",
        max_batch_size=(model or entry).config.batching.max_batch_size,
    )
