"""Regions of shared memory: memory of the host, or of a CUDA device, that the server reads and writes.

That of the host is read and written as the files that it is on Linux, and not mapped: to touch memory whose file was
cut, or for which no page is left, would end the process with a bus error. A read or a write fails instead. The copy
that a read makes is the one that a message makes on its way out of a socket.
"""

from __future__ import annotations

import os
import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from headgate.server.cuda import IpcMemory
from headgate.server.errors import InvalidArgumentError

#: Where `shm_open` has its files.
_FOLDER = "/dev/shm"
#: Of a file.
_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Region(ABC):
    """Shared memory that a client has registered. Once nothing refers to it any more, the server lets go of it.

    Attributes:
        name: what requests call it.
        byte_size: its size.
    """

    #: What messages call those of a class.
    kind: ClassVar[str]
    name: str
    byte_size: int

    @abstractmethod
    def read(self, offset: int, byte_size: int) -> bytes | memoryview:
        """Return a copy of a part.

        Raises:
            ServerError: it cannot be read any more.
        """

    @abstractmethod
    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Fill a part.

        Raises:
            ServerError: it cannot be written any more.
        """


@dataclass(frozen=True, slots=True)
class SystemRegion(Region):
    """Memory of the host.

    Attributes:
        key: the name that `shm_open` takes.
        offset: where it begins, in bytes.
        descriptor: of the file.
    """

    kind = "system"
    key: str
    offset: int
    descriptor: int

    @classmethod
    def open(cls, name: str, key: str, offset: int, byte_size: int) -> SystemRegion:
        """Open `byte_size` bytes of the shared memory `key` from `offset` on.

        Raises:
            InvalidArgumentError: there is no such memory, or less of it, or the server may not read and write it.
        """
        region = cls(name, byte_size, key, offset, _open(key))
        weakref.finalize(region, os.close, region.descriptor)
        there = os.fstat(region.descriptor).st_size
        if not byte_size or offset + byte_size > there:
            raise InvalidArgumentError(
                f"shared memory '{key}' has {there} bytes, region '{name}' is to have {byte_size} from byte {offset} on"
            )
        return region

    def read(self, offset: int, byte_size: int) -> bytes:
        """Return a copy of a part.

        Raises:
            InvalidArgumentError: the memory has been made smaller since it was registered.
        """
        data = os.pread(self.descriptor, byte_size, self.offset + offset)
        if len(data) < byte_size:
            raise self._cut()
        return data

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Fill a part.

        Raises:
            InvalidArgumentError: the memory has been made smaller since it was registered, or there is none left.
        """
        start = self.offset + offset
        if start + len(data) > os.fstat(self.descriptor).st_size:
            raise self._cut()
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self.descriptor, rest, start)
                start, rest = start + written, rest[written:]
        except OSError as error:
            raise InvalidArgumentError(
                f"shared memory region '{self.name}' cannot be written: {error.strerror}"
            ) from None

    def _cut(self) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"shared memory region '{self.name}' has been made smaller since it was registered; unregister it, and "
            "register it anew"
        )


@dataclass(frozen=True, slots=True)
class CudaRegion(Region):
    """Memory of a CUDA device.

    Attributes:
        handle: the `cudaIpcMemHandle_t` that it was opened by.
        device_id: the device that it was opened on.
        memory: what it is the beginning of.
    """

    kind = "CUDA"
    handle: bytes
    device_id: int
    memory: IpcMemory

    @classmethod
    def open(cls, name: str, handle: bytes, device_id: int, byte_size: int) -> CudaRegion:
        """Open the first `byte_size` bytes of the memory that another process has allocated.

        Raises:
            InvalidArgumentError: there is no such memory, or less of it, or no such device.
            InternalError: the device failed.
        """
        region = cls(name, byte_size, handle, device_id, IpcMemory(handle, device_id))
        if not 0 < byte_size <= region.memory.byte_size:
            raise InvalidArgumentError(
                f"the handle is one of {region.memory.byte_size} bytes of CUDA memory, region '{name}' is to have "
                f"{byte_size}"
            )
        return region

    def read(self, offset: int, byte_size: int) -> memoryview:
        """Return a copy of a part.

        Raises:
            InternalError: the device failed.
        """
        return self.memory.read(offset, byte_size)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Fill a part.

        Raises:
            InternalError: the device failed.
        """
        self.memory.write(offset, data)


@dataclass(frozen=True, slots=True)
class RegionSlice:
    """The part of a region that has a tensor. While it is there, so is the memory.

    Attributes:
        offset: where it begins in the region, in bytes.
        byte_size: its size.
    """

    region: Region
    offset: int
    byte_size: int

    def read(self) -> bytes | memoryview:
        """Return a copy of what it holds; see `Region.read`."""
        return self.region.read(self.offset, self.byte_size)

    def write(self, data: bytes | memoryview) -> None:
        """Fill its beginning; see `Region.write`."""
        self.region.write(self.offset, data)


def _open(key: str) -> int:
    name = key.removeprefix("/")
    if not name or "/" in name or "\0" in name or name in (".", "..") or len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidArgumentError(f"the key is '{key}'; give the name of shared memory as shm_open takes it, '/name'")
    try:
        # A pipe would otherwise wait for whoever is to write into it.
        return os.open(f"{_FOLDER}/{name}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidArgumentError(f"shared memory '{key}' cannot be opened by the server: {error.strerror}") from None
