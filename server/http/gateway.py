"""What all endpoints share: the server behind them, their limits, and the form of their answers."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from pydantic_core import to_json

from headgate.server.errors import InvalidArgumentError
from headgate.server.http.errors import HttpError
from headgate.server.http.requests import Deadline, pack, read_body
from headgate.server.http.schemas import Problem, parse
from headgate.server.http.upstream import Upstream
from headgate.server.transport.options import Compression

SchemaT = TypeVar("SchemaT", bound=BaseModel)

#: The header that says how many bytes of JSON come before binary tensors.
JSON_LENGTH = "Inference-Header-Content-Length"
#: For /openapi.json: what any endpoint can answer.
PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}


@dataclass(frozen=True, slots=True)
class Target:
    """The model that a path names; no version means the latest."""

    model: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The server that is asked, and the limits of requests.

    Attributes:
        timeout_s: how long a request may take that does not say.
        max_body_bytes: the largest body, packed or not.
        compression: how answers are compressed for clients that understand it.
    """

    upstream: Upstream
    timeout_s: float
    max_body_bytes: int
    compression: Compression = "none"

    def deadline(self, request: Request) -> Deadline:
        """Begin to count the time that a request has."""
        return Deadline.of(request.headers, self.timeout_s)

    async def body(self, request: Request, deadline: Deadline) -> bytes:
        """Return the body of a request, see `read_body`."""
        return await read_body(request, self.max_body_bytes, deadline)

    async def read(self, request: Request, deadline: Deadline, schema: type[SchemaT]) -> SchemaT:
        """Read a body of JSON; an empty one is that of an empty object."""
        body = await self.body(request, deadline)
        self.check_json(len(body))
        return parse(schema, body or b"{}")

    def check_json(self, length: int) -> None:
        """Refuse JSON that would hold all others up while it is read.

        Raises:
            HttpError: it is longer than a quarter of the largest body.
        """
        most = self.max_body_bytes // 4
        if length > most:
            raise HttpError(
                413,
                f"the JSON has {length} bytes, this server reads {most} (a quarter of --max-message-mb); send less at "
                "a time, or binary tensors",
            )

    def answer(self, request: Request, body: bytes, json_length: int | None = None) -> Response:
        """Make an answer of JSON, or of so much JSON and what follows it; compressed if that is wanted."""
        headers = {}
        if json_length is not None:
            headers[JSON_LENGTH] = str(json_length)
        if self.compression != "none" and _accepts(request, self.compression):
            body = pack(body, self.compression)
            headers["Content-Encoding"] = self.compression
        return Response(body, 200, headers, "application/json" if json_length is None else "application/octet-stream")


def _accepts(request: Request, encoding: Literal["gzip", "deflate"]) -> bool:
    accepted = request.headers.get("accept-encoding", "").lower().replace(" ", "").split(",")
    weights = dict(each.partition(";")[::2] for each in accepted)
    # "q=0" and "q=0.000" are a refusal.
    return encoding in weights and weights[encoding].rstrip("0.") != "q="


def json_answer(value: Any, status: int = 200) -> Response:
    """Make an answer of JSON."""
    return Response(to_json(value), status, media_type="application/json")


def decode_base64(text: str, name: str) -> bytes:
    """Read base64.

    Raises:
        InvalidArgumentError: it is none.
    """
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidArgumentError(f"'{name}' is no base64: {error}") from None


def body_of(schema: type[BaseModel], *, binary: bool = False) -> dict[str, Any]:
    """Describe the body that an endpoint reads by itself, for /openapi.json."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema.__name__}"}}}
    if binary:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    required = any(field.is_required() for field in schema.model_fields.values())
    return {"requestBody": {"content": content, "required": required}}


def add_model_route(
    router: APIRouter, method: str, path: str, answer: Callable[[Request, Target], Awaitable[Response]], **options: Any
) -> None:
    """Have requests about a model answered, on the two paths that name one: without its version, and with it."""

    async def of_latest(request: Request, model: str) -> Response:
        return await answer(request, Target(model))

    async def of_version(request: Request, model: str, version: str) -> Response:
        return await answer(request, Target(model, version))

    router.add_api_route(f"/v2/models/{{model}}{path}", of_latest, methods=[method], **options)
    router.add_api_route(f"/v2/models/{{model}}/versions/{{version}}{path}", of_version, methods=[method], **options)
