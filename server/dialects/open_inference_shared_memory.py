"""Triton's shared memory extensions of `inference.GRPCInferenceService`: the calls that register regions."""

from __future__ import annotations

from collections.abc import Mapping

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import parse
from headgate.server.errors import NotFoundError, UnimplementedError
from headgate.server.shared_memory import SharedMemory
from headgate.server.transport import Call, Method
from headgate.server.workers import first_answer

_PREFIX = f"/{oip.SERVICE.full_name}"


class SharedMemoryDialect:
    """The calls for system memory, and those for CUDA memory, of which there are no regions."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        return {
            f"{_PREFIX}/SystemSharedMemoryStatus": Method(self._status),
            f"{_PREFIX}/SystemSharedMemoryRegister": Method(self._register, merge=first_answer),
            f"{_PREFIX}/SystemSharedMemoryUnregister": Method(self._unregister, merge=first_answer),
            f"{_PREFIX}/CudaSharedMemoryStatus": Method(_cuda_status),
            f"{_PREFIX}/CudaSharedMemoryRegister": Method(_cuda_register),
            f"{_PREFIX}/CudaSharedMemoryUnregister": Method(_cuda_unregister),
        }

    def _status(self, call: Call) -> None:
        request = parse(oip.SystemSharedMemoryStatusRequest, call.request)
        response = oip.SystemSharedMemoryStatusResponse()
        for region in self._memory.regions(request.name):
            status = response.regions[region.name]
            status.name, status.key = region.name, region.key
            status.offset, status.byte_size = region.offset, region.byte_size
        call.reply(response.SerializeToString())

    def _register(self, call: Call) -> None:
        request = parse(oip.SystemSharedMemoryRegisterRequest, call.request)
        self._memory.register(request.name, request.key, request.offset, request.byte_size)
        call.reply(oip.SystemSharedMemoryRegisterResponse().SerializeToString())

    def _unregister(self, call: Call) -> None:
        request = parse(oip.SystemSharedMemoryUnregisterRequest, call.request)
        self._memory.unregister(request.name)
        call.reply(oip.SystemSharedMemoryUnregisterResponse().SerializeToString())


def _cuda_status(call: Call) -> None:
    request = parse(oip.CudaSharedMemoryStatusRequest, call.request)
    if request.name:
        raise NotFoundError(f"there is no CUDA shared memory region '{request.name}'")
    call.reply(oip.CudaSharedMemoryStatusResponse().SerializeToString())


def _cuda_register(call: Call) -> None:
    parse(oip.CudaSharedMemoryRegisterRequest, call.request)
    raise UnimplementedError(
        "this server does not use CUDA shared memory; register system shared memory, or send the tensors themselves"
    )


def _cuda_unregister(call: Call) -> None:
    # Clients begin by unregistering whatever there may be.
    parse(oip.CudaSharedMemoryUnregisterRequest, call.request)
    call.reply(oip.CudaSharedMemoryUnregisterResponse().SerializeToString())
