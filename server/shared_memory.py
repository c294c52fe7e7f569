"""Shared memory of clients on this machine: regions that inputs are read from and outputs are written to."""

from __future__ import annotations

from typing import TypeVar

from headgate.server.cuda import device_count
from headgate.server.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
)
from headgate.server.regions import CudaRegion, Region, RegionSlice, SystemRegion

#: Each of the host's takes an open file, of which a process has 1024 by default, and connections need some too.
_MAX_REGIONS = 500
#: Of what clients call a region.
_MAX_NAME_BYTES = 255
#: Linux reads no more at a time.
_MAX_READ_BYTES = 2**31 - 2**12
_R = TypeVar("_R", bound=Region)


class SharedMemory:
    """The regions that clients have registered. To be used on one thread; slices on any."""

    def __init__(self, allowed: bool = False, max_read_bytes: int = _MAX_READ_BYTES) -> None:
        """Begin without regions.

        Args:
            allowed: whether there may be any. Who can register one can have the server read and write all shared
                memory that it has access to.
            max_read_bytes: the largest input.
        """
        self.allowed = allowed
        self._max_read_bytes = min(max_read_bytes, _MAX_READ_BYTES)
        self._regions: dict[str, Region] = {}

    @property
    def allows_cuda(self) -> bool:
        """Whether there may be regions of CUDA memory, for which models have to run on a device."""
        return self.allowed and device_count() > 0

    def register_system(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Give a name to a region of the host's memory, see `SystemRegion.open`.

        Raises:
            UnimplementedError: shared memory is not allowed.
            InvalidArgumentError: there is no such memory, or less of it, or the server may not read and write it.
            AlreadyExistsError: the name is taken.
            FailedPreconditionError: there are too many regions.
        """
        self._check_allowed()
        self._check_new(name)
        self._regions[name] = SystemRegion.open(name, key, offset, byte_size)

    def register_cuda(self, name: str, handle: bytes, device_id: int, byte_size: int) -> None:
        """Give a name to a region of a device's memory, see `CudaRegion.open`.

        Raises:
            UnimplementedError: shared memory is not allowed, or no model runs on a CUDA device.
            InvalidArgumentError: there is no such memory, or less of it, or no such device.
            AlreadyExistsError: the name is taken.
            FailedPreconditionError: there are too many regions.
            InternalError: the device failed.
        """
        self._check_allowed()
        if not self.allows_cuda:
            raise UnimplementedError(
                "no model of this server runs on a CUDA device, so it does not use CUDA shared memory; register system "
                "shared memory, or send the tensors themselves"
            )
        self._check_new(name)
        self._regions[name] = CudaRegion.open(name, handle, device_id, byte_size)

    def unregister(self, kind: type[Region], name: str = "") -> None:
        """Forget a region of a kind, or all of it; it does not matter if there is none.

        Requests that came before still use it.

        Raises:
            UnimplementedError: shared memory is not allowed.
        """
        self._check_allowed()
        for region in self._find(kind, name):
            del self._regions[region.name]

    def regions(self, kind: type[_R], name: str = "") -> list[_R]:
        """Return the region of a kind and of that name, or all of the kind.

        Raises:
            NotFoundError: there is none of that name.
        """
        regions = self._find(kind, name)
        if name and not regions:
            raise NotFoundError(f"there is no {kind.kind} shared memory region '{name}'; register it first")
        return regions

    def input(self, name: str, offset: int, byte_size: int) -> RegionSlice:
        """Return the part of a region that an input is read from. Raises as `output`, and where it is too large."""
        part = self.output(name, offset, byte_size)
        if byte_size > self._max_read_bytes:
            raise InvalidArgumentError(
                f"{byte_size} bytes of shared memory are more than the {self._max_read_bytes} that an input may have; "
                "start the server with a larger --max-message-mb"
            )
        return part

    def output(self, name: str, offset: int, byte_size: int) -> RegionSlice:
        """Return the part of a region that an output is written to.

        Raises:
            UnimplementedError: shared memory is not allowed.
            NotFoundError: there is no such region.
            InvalidArgumentError: it is smaller.
        """
        self._check_allowed()
        region = self._regions.get(name)
        if region is None:
            raise NotFoundError(f"there is no shared memory region '{name}'; register it first")
        if min(offset, byte_size) < 0 or offset + byte_size > region.byte_size:
            raise InvalidArgumentError(
                f"shared memory region '{name}' has {region.byte_size} bytes, the request names {byte_size} from byte "
                f"{offset} on"
            )
        return RegionSlice(region, offset, byte_size)

    def _check_allowed(self) -> None:
        if not self.allowed:
            raise UnimplementedError(
                "this server does not use shared memory of its clients; start it with --allow-shared-memory, or send "
                "the tensors themselves"
            )

    def _check_new(self, name: str) -> None:
        if not name or len(name.encode()) > _MAX_NAME_BYTES:
            raise InvalidArgumentError(f"the name of the region is '{name}'; give it 1 to {_MAX_NAME_BYTES} bytes")
        if name in self._regions:
            raise AlreadyExistsError(
                f"shared memory region '{name}' is registered already; unregister it first, or take another name"
            )
        if len(self._regions) >= _MAX_REGIONS:
            raise FailedPreconditionError(
                f"{_MAX_REGIONS} shared memory regions are registered, and there cannot be more; unregister some, or "
                "have one region for several tensors"
            )

    def _find(self, kind: type[_R], name: str) -> list[_R]:
        """Return the region of a kind and of that name, or all of the kind."""
        return [each for each in self._regions.values() if isinstance(each, kind) and name in ("", each.name)]
