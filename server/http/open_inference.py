"""The Open Inference Protocol's REST form: health, what models take and have done, and inference."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from headgate.server.errors import InvalidArgumentError
from headgate.server.http.gateway import JSON_LENGTH, PROBLEMS, Gateway, Target, add_model_route, body_of, json_answer
from headgate.server.http.messages import plain
from headgate.server.http.requests import while_connected
from headgate.server.http.schemas import InferAnswer, InferRequest
from headgate.server.http.tensors import read_infer_request, write_infer_answer

#: What Triton answers where the specification wants any 4xx.
_NOT_READY = 400


def open_inference_routes(gateway: Gateway) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["Open Inference Protocol"], responses=PROBLEMS)

    async def ask(method: str, request: Request, of: Target | None = None) -> Any:
        fields = {} if of is None else {"name": of.model, "version": of.version}
        return await gateway.upstream.protocol(method, gateway.deadline(request), **fields)

    async def model_metadata(request: Request, of: Target) -> Response:
        return json_answer(plain(await ask("ModelMetadata", request, of)))

    async def model_ready(request: Request, of: Target) -> Response:
        return _state("ready", (await ask("ModelReady", request, of)).ready)

    async def model_config(request: Request, of: Target) -> Response:
        return json_answer(plain((await ask("ModelConfig", request, of)).config, with_defaults=True))

    async def model_statistics(request: Request, of: Target) -> Response:
        return json_answer(plain(await ask("ModelStatistics", request, of), with_defaults=True))

    async def infer(request: Request, of: Target) -> Response:
        deadline = gateway.deadline(request)
        body = await gateway.body(request, deadline)
        json_length = _json_length(request)
        gateway.check_json(len(body) if json_length is None else min(json_length, len(body)))
        message, is_binary = read_infer_request(body, json_length)
        message.model_name, message.model_version = of.model, of.version
        response = await while_connected(request, gateway.upstream.infer(message, deadline))
        return gateway.answer(request, *write_infer_answer(response, is_binary))

    # Routes are tried in turn: the busiest comes first, and `stats` is to be no model's name.
    add_model_route(
        router,
        "POST",
        "/infer",
        infer,
        summary="Raw tensors for raw tensors",
        description=f"JSON, or JSON followed by binary tensors: the header `{JSON_LENGTH}` tells its length.",
        responses={200: {"model": InferAnswer}},
        openapi_extra=body_of(InferRequest, binary=True),
    )

    @router.get("/v2/health/live", summary="Whether the server lives")
    async def server_live(request: Request) -> Response:
        return _state("live", (await ask("ServerLive", request)).live)

    @router.get("/v2/health/ready", summary="Whether all models are ready")
    async def server_ready(request: Request) -> Response:
        return _state("ready", (await ask("ServerReady", request)).ready)

    @router.get("/v2", summary="The server and its extensions")
    async def server_metadata(request: Request) -> Response:
        return json_answer(plain(await ask("ServerMetadata", request)))

    @router.get("/v2/models/stats", summary="What all models have done")
    async def all_statistics(request: Request) -> Response:
        return json_answer(plain(await ask("ModelStatistics", request), with_defaults=True))

    add_model_route(router, "GET", "", model_metadata, summary="What a model takes and gives")
    add_model_route(router, "GET", "/ready", model_ready, summary="Whether a model is ready")
    add_model_route(router, "GET", "/config", model_config, summary="How a model is served")
    add_model_route(router, "GET", "/stats", model_statistics, summary="What a model has done")
    return router


def _state(name: str, value: bool) -> Response:
    return json_answer({name: value}, 200 if value else _NOT_READY)


def _json_length(request: Request) -> int | None:
    value = request.headers.get(JSON_LENGTH)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise InvalidArgumentError(f"the header {JSON_LENGTH} is '{value}'; give the number of bytes of the JSON")
    return int(value)
