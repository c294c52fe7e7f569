"""Triton's shared memory extensions of `inference.GRPCInferenceService`: the calls that register regions."""

from __future__ import annotations

import json
from collections.abc import Mapping

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import parse
from headgate.server.regions import CudaRegion, SystemRegion
from headgate.server.shared_memory import SharedMemory
from headgate.server.transport import Call, Method
from headgate.server.workers import CUDA_REGIONS, first_answer

_PREFIX = f"/{oip.SERVICE.full_name}"


class SharedMemoryDialect:
    """The calls for system memory, and those for CUDA memory."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        return {
            f"{_PREFIX}/SystemSharedMemoryStatus": Method(self._system_status),
            f"{_PREFIX}/SystemSharedMemoryRegister": Method(self._system_register, merge=first_answer),
            f"{_PREFIX}/SystemSharedMemoryUnregister": Method(self._system_unregister, merge=first_answer),
            f"{_PREFIX}/CudaSharedMemoryStatus": Method(self._cuda_status),
            f"{_PREFIX}/CudaSharedMemoryRegister": Method(self._cuda_register, merge=first_answer),
            f"{_PREFIX}/CudaSharedMemoryUnregister": Method(self._cuda_unregister, merge=first_answer),
        }

    def methods_for_workers(self) -> Mapping[str, Method]:
        """Return the methods that other workers call."""
        return {CUDA_REGIONS: Method(self._cuda_regions)}

    def _system_status(self, call: Call) -> None:
        request = parse(oip.SystemSharedMemoryStatusRequest, call.request)
        response = oip.SystemSharedMemoryStatusResponse()
        for region in self._memory.regions(SystemRegion, request.name):
            status = response.regions[region.name]
            status.name, status.key = region.name, region.key
            status.offset, status.byte_size = region.offset, region.byte_size
        call.reply(response.SerializeToString())

    def _system_register(self, call: Call) -> None:
        request = parse(oip.SystemSharedMemoryRegisterRequest, call.request)
        self._memory.register_system(request.name, request.key, request.offset, request.byte_size)
        call.reply(oip.SystemSharedMemoryRegisterResponse().SerializeToString())

    def _system_unregister(self, call: Call) -> None:
        request = parse(oip.SystemSharedMemoryUnregisterRequest, call.request)
        self._memory.unregister(SystemRegion, request.name)
        call.reply(oip.SystemSharedMemoryUnregisterResponse().SerializeToString())

    def _cuda_status(self, call: Call) -> None:
        request = parse(oip.CudaSharedMemoryStatusRequest, call.request)
        response = oip.CudaSharedMemoryStatusResponse()
        for region in self._memory.regions(CudaRegion, request.name):
            status = response.regions[region.name]
            status.name, status.device_id, status.byte_size = region.name, region.device_id, region.byte_size
        call.reply(response.SerializeToString())

    def _cuda_register(self, call: Call) -> None:
        request = parse(oip.CudaSharedMemoryRegisterRequest, call.request)
        self._memory.register_cuda(request.name, request.raw_handle, request.device_id, request.byte_size)
        call.reply(oip.CudaSharedMemoryRegisterResponse().SerializeToString())

    def _cuda_unregister(self, call: Call) -> None:
        request = parse(oip.CudaSharedMemoryUnregisterRequest, call.request)
        self._memory.unregister(CudaRegion, request.name)
        call.reply(oip.CudaSharedMemoryUnregisterResponse().SerializeToString())

    def _cuda_regions(self, call: Call) -> None:
        regions = [
            {"name": each.name, "handle": each.handle.hex(), "device_id": each.device_id, "byte_size": each.byte_size}
            for each in self._memory.regions(CudaRegion)
        ]
        call.reply(json.dumps(regions).encode())
