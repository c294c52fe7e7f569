"""The dialect `inference.GRPCInferenceService`: raw tensors by the Open Inference Protocol, as Triton speaks it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import parse
from headgate.server.dialects.open_inference_models import describe_config, describe_metadata, describe_statistics
from headgate.server.dialects.open_inference_tensors import (
    TensorRenderer,
    parse_infer_request,
    read_tensors,
    refuse_shared_memory,
)
from headgate.server.dialects.request_cache import PreparedRequest, RequestCache
from headgate.server.errors import InvalidArgumentError, NotFoundError, ServerError, UnimplementedError
from headgate.server.model import LoadedModel
from headgate.server.repository import ModelEntry, ModelRepository
from headgate.server.transport import Call, Method, MethodKind

SERVICE = oip.SERVICE
#: What this server has beyond the six calls of the specification; clients turn features on by these names.
EXTENSIONS = ("model_configuration", "statistics", "binary_tensor_data", "parameters")


class OpenInferenceDialect:
    """GRPCInferenceService on a model repository."""

    def __init__(self, repository: ModelRepository, server_version: str) -> None:
        self._repository = repository
        self._server_version = server_version
        self._requests = RequestCache(functools.partial(self._prepare, streamed=False))
        self._stream_requests = RequestCache(functools.partial(self._prepare, streamed=True))

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        handlers = {
            "ServerLive": Method(self._server_live),
            "ServerReady": Method(self._server_ready),
            "ModelReady": Method(self._model_ready),
            "ServerMetadata": Method(self._server_metadata),
            "ModelMetadata": Method(self._model_metadata),
            "ModelConfig": Method(self._model_config),
            "ModelStatistics": Method(self._model_statistics),
            "ModelInfer": Method(self._model_infer),
            "ModelStreamInfer": Method(self._model_stream_infer, MethodKind.ORDERED_STREAM, _render_error),
        }
        return {f"/{SERVICE.full_name}/{name}": method for name, method in handlers.items()}

    def _server_live(self, call: Call) -> None:
        parse(oip.ServerLiveRequest, call.request)
        call.reply(oip.ServerLiveResponse(live=True).SerializeToString())

    def _server_ready(self, call: Call) -> None:
        parse(oip.ServerReadyRequest, call.request)
        call.reply(oip.ServerReadyResponse(ready=self._repository.is_ready).SerializeToString())

    def _model_ready(self, call: Call) -> None:
        request = parse(oip.ModelReadyRequest, call.request)
        try:
            ready = self._entry(request).model is not None
        except NotFoundError:
            ready = False
        call.reply(oip.ModelReadyResponse(ready=ready).SerializeToString())

    def _server_metadata(self, call: Call) -> None:
        parse(oip.ServerMetadataRequest, call.request)
        response = oip.ServerMetadataResponse(name="headgate", version=self._server_version, extensions=EXTENSIONS)
        call.reply(response.SerializeToString())

    def _model_metadata(self, call: Call) -> None:
        model = self._model(parse(oip.ModelMetadataRequest, call.request))
        call.reply(describe_metadata(model).SerializeToString())

    def _model_config(self, call: Call) -> None:
        model = self._model(parse(oip.ModelConfigRequest, call.request))
        call.reply(oip.ModelConfigResponse(config=describe_config(model)).SerializeToString())

    def _model_statistics(self, call: Call) -> None:
        request = parse(oip.ModelStatisticsRequest, call.request)
        entries = [self._entry(request)] if request.name else list(self._repository)
        statistics = [describe_statistics(entry.model) for entry in entries if entry.model]
        call.reply(oip.ModelStatisticsResponse(model_stats=statistics).SerializeToString())

    def _model_infer(self, call: Call) -> None:
        self._requests.prepare(call.request).submit(call)

    def _model_stream_infer(self, call: Call) -> None:
        self._stream_requests.prepare(call.request).submit(call)

    def _prepare(self, request: bytes, streamed: bool) -> PreparedRequest:
        message, raw = parse_infer_request(request)
        model = self._repository.model(message.model_name, _read_version(message.model_version))
        priority, timeout_us = _read_parameters(message.parameters) if message.parameters else (0, 0)
        batching = model.config.batching
        inputs, rows, group = model.inputs.bind(read_tensors(message, raw))
        outputs = _read_outputs(message.outputs) if message.outputs else ()
        renderer = model.renderer(TensorRenderer, outputs, streamed)
        return PreparedRequest(
            model,
            inputs,
            rows,
            group,
            renderer,
            message.id,
            batching.priority(priority),
            batching.queue_timeout_s(timeout_us),
        )

    def _entry(self, request: Any) -> ModelEntry:
        return self._repository.entry(request.name, _read_version(request.version))

    def _model(self, request: Any) -> LoadedModel:
        return self._repository.model(request.name, _read_version(request.version))


def _read_version(version: str) -> int:
    if not version:
        return 0
    if not re.fullmatch("[1-9][0-9]{0,18}", version):
        raise InvalidArgumentError(
            f"the model version is '{version}'; give a positive integer, or nothing for the latest"
        )
    return int(version)


def _read_outputs(outputs: Any) -> tuple[str, ...]:
    for output in outputs:
        if output.parameters:
            refuse_shared_memory(output.name, output.parameters)
            if "classification" in output.parameters:
                raise UnimplementedError(
                    "the classification extension is not served; headgate.v1.PredictionService answers with labels"
                )
    return tuple([output.name for output in outputs])


def _read_parameters(parameters: Any) -> tuple[int, int]:
    """Return the priority and the queue timeout in microseconds, 0 where there is none."""
    for key in parameters:
        if key.startswith("triton_") and key != "triton_enable_empty_final_response":
            raise InvalidArgumentError(f"parameter '{key}' is not known; names that begin with triton_ are reserved")
    return _read_count(parameters, "priority"), _read_count(parameters, "timeout")


def _read_count(parameters: Any, key: str) -> int:
    if key not in parameters:
        return 0
    # Clients send either kind.
    kind = parameters[key].WhichOneof("parameter_choice")
    value: Any = getattr(parameters[key], kind) if kind else None
    if kind not in ("int64_param", "uint64_param") or value < 0:
        raise InvalidArgumentError(f"parameter '{key}' is {value!r}; give a whole number, 0 or more")
    return int(value)


def _render_error(call: Call, error: ServerError) -> bytes:
    try:
        request_id = oip.ModelInferRequest.FromString(call.request).id
    except Exception:
        request_id = ""
    response = oip.ModelStreamInferResponse(error_message=str(error))
    response.infer_response.id = request_id
    return bytes(response.SerializeToString())
