"""The dialect `inference.GRPCInferenceService`: raw tensors by the Open Inference Protocol, as Triton speaks it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import parse, read_id
from headgate.server.dialects.open_inference_models import describe_config, describe_metadata, describe_statistics
from headgate.server.dialects.open_inference_outputs import RegionRenderer, read_outputs, renderer_of
from headgate.server.dialects.open_inference_parameters import read_region, read_request_parameters
from headgate.server.dialects.open_inference_tensors import parse_infer_request, read_tensors
from headgate.server.dialects.request_cache import PreparedRequest, RequestCache
from headgate.server.errors import InvalidArgumentError, NotFoundError, ServerError
from headgate.server.model import LoadedModel
from headgate.server.repository import ModelEntry, ModelRepository
from headgate.server.shared_memory import SharedMemory
from headgate.server.totals import STATISTICS_TIMEOUT_S, sum_of
from headgate.server.transport import Call, Method, MethodKind
from headgate.server.transport.base import status_details

SERVICE = oip.SERVICE
#: What this server has beyond the six calls of the specification; clients turn features on by these names.
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)


class OpenInferenceDialect:
    """GRPCInferenceService on a model repository."""

    def __init__(self, repository: ModelRepository, server_version: str, memory: SharedMemory | None = None) -> None:
        """Take the models, and the shared memory that requests may name; without, none is allowed."""
        self._repository = repository
        self._memory = memory or SharedMemory()
        self._server_version = server_version
        self._requests = RequestCache(functools.partial(self._prepare, streamed=False), repository)
        self._stream_requests = RequestCache(functools.partial(self._prepare, streamed=True), repository)

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        handlers = {
            "ServerLive": Method(self._server_live),
            "ServerReady": Method(self._server_ready),
            "ModelReady": Method(self._model_ready),
            "ServerMetadata": Method(self._server_metadata),
            "ModelMetadata": Method(self._model_metadata),
            "ModelConfig": Method(self._model_config),
            "ModelStatistics": Method(
                self._model_statistics, merge=sum_of(oip.ModelStatisticsResponse), merge_timeout_s=STATISTICS_TIMEOUT_S
            ),
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
        extensions = [*EXTENSIONS]
        if self._memory.allowed:
            extensions.append("system_shared_memory")
        if self._memory.allows_cuda:
            extensions.append("cuda_shared_memory")
        response = oip.ServerMetadataResponse(name="headgate", version=self._server_version, extensions=extensions)
        call.reply(response.SerializeToString())

    def _model_metadata(self, call: Call) -> None:
        model = self._model(parse(oip.ModelMetadataRequest, call.request))
        versions = [entry.version for entry in self._repository.versions(model.name) if entry.model is not None]
        call.reply(describe_metadata(model, versions).SerializeToString())

    def _model_config(self, call: Call) -> None:
        request = parse(oip.ModelConfigRequest, call.request)
        model = self._model(request)
        # Which versions are served may have changed since it was loaded.
        config = describe_config(model, self._entry(request).config.versions)
        call.reply(oip.ModelConfigResponse(config=config).SerializeToString())

    def _model_statistics(self, call: Call) -> None:
        request = parse(oip.ModelStatisticsRequest, call.request)
        if request.name and request.version:
            entries = [self._entry(request)]
        else:
            entries = self._repository.versions(request.name) if request.name else list(self._repository)
        statistics = [describe_statistics(model) for entry in entries if (model := entry.model) is not None]
        call.reply(oip.ModelStatisticsResponse(model_stats=statistics).SerializeToString())

    def _model_infer(self, call: Call) -> None:
        self._requests.submit(call)

    def _model_stream_infer(self, call: Call) -> None:
        self._stream_requests.submit(call)

    def _prepare(self, request: bytes, streamed: bool) -> PreparedRequest:
        message, raw = parse_infer_request(request)
        model = self._repository.model(message.model_name, _read_version(message.model_version))
        priority, timeout_us = read_request_parameters(message.parameters) if message.parameters else (0, 0)
        batching = model.config.batching
        tensors = read_tensors(message, raw, self._memory, len(model.session.inputs) + 1)
        inputs, rows, group = model.inputs.bind(tensors)
        outputs = read_outputs(message, self._memory, len(model.session.outputs)) if message.outputs else ()
        renderer = renderer_of(model, outputs, streamed, rows)
        return PreparedRequest(
            model,
            inputs,
            rows,
            group,
            renderer,
            message.id,
            batching.priority(priority),
            batching.queue_timeout_s(timeout_us),
            not (isinstance(renderer, RegionRenderer) or any(map(read_region, message.inputs))),
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


def _render_error(call: Call, error: ServerError) -> bytes | None:
    # Triton's clients can ask for the error's status, which ends the stream.
    if call.metadata("triton_grpc_error") == "true":
        return None
    answer = {"id": read_id(oip.ModelInferRequest, call.request)}
    response = oip.ModelStreamInferResponse(error_message=status_details(error), infer_response=answer)
    return bytes(response.SerializeToString())
