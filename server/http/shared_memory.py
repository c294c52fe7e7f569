"""Triton's shared memory extensions, of the system and of CUDA devices: regions, by the names that requests use."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.server.http.gateway import PROBLEMS, Gateway, body_of, decode_base64, json_answer
from headgate.server.http.messages import plain
from headgate.server.http.schemas import Int64, ProtocolSchema, Uint64


class SystemRegion(ProtocolSchema):
    """A region of system shared memory."""

    key: str = Field(description="Its name, as `shm_open` has it.")
    offset: Uint64 = 0
    byte_size: Uint64


class CudaHandle(ProtocolSchema):
    """A cudaIpcMemHandle_t, in base64."""

    b64: str


class CudaRegion(ProtocolSchema):
    """A region of a CUDA device's memory."""

    raw_handle: CudaHandle
    device_id: Int64 = 0
    byte_size: Uint64


def shared_memory_routes(gateway: Gateway) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter()
    router.include_router(_routes(gateway, "System", SystemRegion))
    router.include_router(_routes(gateway, "Cuda", CudaRegion))
    return router


def _routes(gateway: Gateway, kind: str, schema: type[SystemRegion] | type[CudaRegion]) -> APIRouter:
    router = APIRouter(tags=[f"{kind} shared memory"], responses=PROBLEMS)
    path, upstream = f"/v2/{kind.lower()}sharedmemory", gateway.upstream

    async def status(request: Request, name: str = "") -> Response:
        answer = await upstream.protocol(f"{kind}SharedMemoryStatus", gateway.deadline(request), name=name)
        return json_answer([plain(region, with_defaults=True) for _, region in sorted(answer.regions.items())])

    async def register(request: Request, name: str) -> Response:
        deadline = gateway.deadline(request)
        fields = (await gateway.read(request, deadline, schema)).model_dump()
        if "raw_handle" in fields:
            fields["raw_handle"] = decode_base64(fields["raw_handle"]["b64"], "raw_handle")
        return json_answer(plain(await upstream.protocol(f"{kind}SharedMemoryRegister", deadline, name=name, **fields)))

    async def unregister(request: Request, name: str = "") -> Response:
        deadline = gateway.deadline(request)
        return json_answer(plain(await upstream.protocol(f"{kind}SharedMemoryUnregister", deadline, name=name)))

    async def status_of_all(request: Request) -> Response:
        return await status(request)

    async def unregister_all(request: Request) -> Response:
        return await unregister(request)

    region = f"{path}/region/{{name}}"
    router.get(f"{path}/status", summary="All regions")(status_of_all)
    router.get(f"{region}/status", summary="A region")(status)
    router.post(f"{region}/register", summary="Register a region", openapi_extra=body_of(schema))(register)
    router.post(f"{path}/unregister", summary="Unregister all regions")(unregister_all)
    router.post(f"{region}/unregister", summary="Unregister a region")(unregister)
    return router
