"""The application: its endpoints, and how it answers when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

import headgate
from headgate.client import HeadgateError
from headgate.client.channel import TOO_LARGE
from headgate.server.errors import ServerError
from headgate.server.http.errors import HttpError, status_of
from headgate.server.http.gateway import PROBLEMS, Gateway, json_answer
from headgate.server.http.metrics import HttpMetrics
from headgate.server.http.open_inference import open_inference_routes
from headgate.server.http.predict import predict_routes
from headgate.server.http.repository import IndexRequest, RepositoryRequest, repository_routes
from headgate.server.http.requests import Deadline
from headgate.server.http.schemas import InferRequest, PredictRequest
from headgate.server.http.settings import LogSettings, TraceSettings, settings_routes
from headgate.server.http.shared_memory import CudaRegion, SystemRegion, shared_memory_routes
from headgate.v1 import GetStatisticsRequest, GetStatisticsResponse
from headgate.v1.text import printable

_log = logging.getLogger(__name__)

#: How long the server may take to say what it has done, or that it is ready.
_PROBE_TIMEOUT_S = 5.0
_CLIENT_GONE = 499
_REQUEST_TIMEOUT = 408
#: The most characters of an error, which may name what a client sent.
_MAX_ERROR = 2000
#: Bodies that endpoints read by themselves.
_BODIES = (
    CudaRegion,
    IndexRequest,
    InferRequest,
    LogSettings,
    PredictRequest,
    RepositoryRequest,
    SystemRegion,
    TraceSettings,
)


def make_app(gateway: Gateway, metrics: HttpMetrics) -> FastAPI:
    """Make the application; `metrics` are those that it shows."""
    app = FastAPIOffline(
        title="headgate",
        version=headgate.__version__,
        summary="Typed predictions, and raw tensors by the Open Inference Protocol.",
        docs_url="/docs",
        redoc_url=None,
    )
    for routes in (predict_routes, open_inference_routes, repository_routes, shared_memory_routes, settings_routes):
        app.include_router(routes(gateway))
    _add_operations(app, gateway, metrics)
    _add_error_handlers(app)
    app.add_middleware(_Finish)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def with_head(app: ASGIApp) -> ASGIApp:
    """Return an application that answers HEAD as it answers GET, which is what checks of links and of uptime ask.

    Its server leaves the bodies out.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)

    return answer


def _add_operations(app: FastAPI, gateway: Gateway, metrics: HttpMetrics) -> None:
    upstream = gateway.upstream

    @app.get("/healthz", tags=["Operations"], summary="Whether this process lives")
    async def healthz() -> Response:
        return json_answer({"live": True})

    @app.get("/readyz", tags=["Operations"], summary="Whether all models are ready", responses=PROBLEMS)
    async def readyz() -> Response:
        ready = (await upstream.protocol("ServerReady", Deadline(_PROBE_TIMEOUT_S))).ready
        if not ready:
            raise HttpError(503, "the server is not ready")
        return json_answer({"ready": True})

    @app.get("/metrics", tags=["Operations"], summary="What was done, for Prometheus", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        statistics: GetStatisticsResponse | None = None
        try:
            statistics = await upstream.predict("GetStatistics", GetStatisticsRequest(), Deadline(_PROBE_TIMEOUT_S))
        except (HeadgateError, ServerError) as error:
            _log.warning("the server does not tell its statistics: %s", error)
        return Response(metrics.render(statistics), media_type=CONTENT_TYPE_LATEST)


class _Finish:
    """Answers requests that are cancelled, which happens when the time to finish them is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            answer = _problem(503, "the server is shutting down; the request was not finished")
            await answer(scope, receive, send)


def _problem(status: int, message: str) -> Response:
    return json_answer({"error": printable(" ".join(message.split()))[:_MAX_ERROR]}, status)


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(HttpError)
    async def http_error(request: Request, error: HttpError) -> Response:
        response = _problem(error.status, str(error))
        if error.status == _REQUEST_TIMEOUT:
            response.headers["Connection"] = "close"
        return response

    @app.exception_handler(HeadgateError)
    async def upstream_error(request: Request, error: HeadgateError) -> Response:
        if TOO_LARGE in error.details:
            return _problem(413, f"the request is larger than this server takes (--max-message-mb): {error.details}")
        return _problem(status_of(error.code), error.details)

    @app.exception_handler(ServerError)
    async def server_error(request: Request, error: ServerError) -> Response:
        return _problem(status_of(error.code), str(error))

    @app.exception_handler(HTTPException)
    async def routing_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            message = f"there is nothing at {request.url.path}; /docs lists what there is"
        else:
            message = f"{request.url.path}: {error.detail}"
        response = _problem(error.status_code, message)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return _problem(_CLIENT_GONE, "the client has gone")

    # The server behind this one logs it.
    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return _problem(500, "the request could not be handled; the server's log says why")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the application, the bodies that endpoints read by themselves included."""
    if app.openapi_schema is None:
        described = FastAPI.openapi(app)
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        for schema in _BODIES:
            own = schema.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= own.pop("$defs", {}) | {schema.__name__: own}
    return app.openapi_schema or {}
