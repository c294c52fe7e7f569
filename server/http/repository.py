"""Triton's model repository extension: which models there are, load, unload."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.server.http.gateway import PROBLEMS, Gateway, body_of, decode_base64, json_answer
from headgate.server.http.messages import plain
from headgate.server.http.requests import while_connected
from headgate.server.http.schemas import SMALL, Int64, ProtocolSchema

_KINDS = {bool: "bool_param", int: "int64_param", str: "string_param"}


class IndexRequest(ProtocolSchema):
    """Which models to list."""

    ready: bool = Field(default=False, description="Only those that are ready.")


class RepositoryRequest(ProtocolSchema):
    """How to load or unload a model."""

    parameters: Annotated[dict[str, bool | Int64 | str], SMALL] = Field(default={})


def repository_routes(gateway: Gateway) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["Model repository"], responses=PROBLEMS)

    @router.post("/v2/repository/index", summary="The models that there are", openapi_extra=body_of(IndexRequest))
    async def index(request: Request) -> Response:
        deadline = gateway.deadline(request)
        asked = await gateway.read(request, deadline, IndexRequest)
        answer = await gateway.upstream.protocol("RepositoryIndex", deadline, ready=asked.ready)
        return json_answer([plain(model) for model in answer.models])

    async def change(method: str, request: Request, model: str) -> Response:
        deadline = gateway.deadline(request)
        asked = await gateway.read(request, deadline, RepositoryRequest)
        parameters = {name: _parameter(name, value) for name, value in asked.parameters.items()}
        changing = gateway.upstream.protocol(method, deadline, model_name=model, parameters=parameters)
        return json_answer(plain(await while_connected(request, changing)))

    @router.post(
        "/v2/repository/models/{model}/load",
        summary="Load a model as it lies in the repository",
        openapi_extra=body_of(RepositoryRequest),
    )
    async def load(request: Request, model: str) -> Response:
        return await change("RepositoryModelLoad", request, model)

    @router.post(
        "/v2/repository/models/{model}/unload", summary="Unload a model", openapi_extra=body_of(RepositoryRequest)
    )
    async def unload(request: Request, model: str) -> Response:
        return await change("RepositoryModelUnload", request, model)

    return router


def _parameter(name: str, value: bool | int | str) -> dict[str, Any]:
    if name.startswith("file:") and isinstance(value, str):
        return {"bytes_param": decode_base64(value, name)}
    return {_KINDS[type(value)]: value}
