"""Triton's trace and logging extensions: settings that can be read and changed."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.server.http.gateway import PROBLEMS, Gateway, body_of, json_answer
from headgate.server.http.schemas import SMALL, Schema
from headgate.server.http.tensors import plain_parameters

#: A list in JSON, however many values it has.
_LEVELS = "trace_level"
_KINDS = {bool: "bool_param", int: "uint32_param", str: "string_param"}


class TraceSettings(Schema, extra="allow"):
    """Settings by name: a text, or a list of texts; null for the default."""

    __pydantic_extra__: dict[str, str | Annotated[list[str], SMALL] | None]


class LogSettings(Schema, extra="allow"):
    """Settings by name."""

    __pydantic_extra__: dict[str, bool | Annotated[int, Field(ge=0, lt=2**32)] | str]


def settings_routes(gateway: Gateway) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["Settings"], responses=PROBLEMS)

    async def trace(request: Request, model: str = "") -> Response:
        deadline = gateway.deadline(request)
        given = (await gateway.read(request, deadline, TraceSettings)).__pydantic_extra__
        settings = {name: {"value": [value] if isinstance(value, str) else value} for name, value in given.items()}
        answer = await gateway.upstream.protocol("TraceSetting", deadline, settings=settings, model_name=model)
        return json_answer({name: _trace_value(name, each.value) for name, each in sorted(answer.settings.items())})

    async def trace_all(request: Request) -> Response:
        return await trace(request)

    async def log(request: Request) -> Response:
        deadline = gateway.deadline(request)
        given = (await gateway.read(request, deadline, LogSettings)).__pydantic_extra__
        settings = {name: {_KINDS[type(value)]: value} for name, value in given.items()}
        answer = await gateway.upstream.protocol("LogSettings", deadline, settings=settings)
        return json_answer(plain_parameters(dict(sorted(answer.settings.items()))))

    of_model = "/v2/models/{model}/trace/setting"
    router.get("/v2/trace/setting", summary="How requests are traced")(trace_all)
    router.post("/v2/trace/setting", summary="Change how requests are traced", openapi_extra=body_of(TraceSettings))(
        trace_all
    )
    router.get(of_model, summary="How requests to a model are traced")(trace)
    router.post(of_model, summary="Change how those of a model are traced", openapi_extra=body_of(TraceSettings))(trace)
    router.get("/v2/logging", summary="What the server logs")(log)
    router.post("/v2/logging", summary="Change what the server logs", openapi_extra=body_of(LogSettings))(log)
    return router


def _trace_value(name: str, values: Any) -> str | list[str]:
    return list(values) if name == _LEVELS or len(values) != 1 else values[0]
