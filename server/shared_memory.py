"""Shared memory of clients on this machine: regions that inputs are read from and outputs are written to.

Regions are read and written as the files that they are on Linux, and not mapped: to touch memory whose file was cut, or
for which no page is left, would end the process with a bus error. A read or a write fails instead. The copy that a
read makes is the one that a message makes on its way out of a socket.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.server.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
)

#: Where `shm_open` has its files.
_FOLDER = "/dev/shm"
#: Each takes an open file, of which a process has 1024 by default, and connections need some too.
_MAX_REGIONS = 500
#: Of a file, and of what clients call a region.
_MAX_NAME_BYTES = 255
#: Linux reads no more at a time.
_MAX_READ_BYTES = 2**31 - 2**12


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Region:
    """Shared memory that a client has registered. Once nothing refers to it any more, its file is closed.

    Attributes:
        name: what requests call it.
        key: the name that `shm_open` takes.
        offset: where it begins, in bytes.
        byte_size: its size.
        descriptor: of the file.
    """

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int


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

    def read(self) -> bytes:
        """Return a copy of what it holds.

        Raises:
            InvalidArgumentError: the memory has been made smaller since it was registered.
        """
        data = os.pread(self.region.descriptor, self.byte_size, self.region.offset + self.offset)
        if len(data) < self.byte_size:
            raise self._cut()
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Fill its beginning.

        Raises:
            InvalidArgumentError: the memory has been made smaller since it was registered, or there is none left.
        """
        start = self.region.offset + self.offset
        if start + len(data) > os.fstat(self.region.descriptor).st_size:
            raise self._cut()
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self.region.descriptor, rest, start)
                start, rest = start + written, rest[written:]
        except OSError as error:
            raise InvalidArgumentError(
                f"shared memory region '{self.region.name}' cannot be written: {error.strerror}"
            ) from None

    def _cut(self) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"shared memory region '{self.region.name}' has been made smaller since it was registered; unregister it, "
            "and register it anew"
        )


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

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Give a name to `byte_size` bytes of the shared memory `key` from `offset` on.

        Raises:
            UnimplementedError: shared memory is not allowed.
            InvalidArgumentError: there is no such memory, or less of it, or the server may not read and write it.
            AlreadyExistsError: the name is taken.
            FailedPreconditionError: there are too many regions.
        """
        self._check_allowed()
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
        region = Region(name, key, offset, byte_size, _open(key))
        weakref.finalize(region, os.close, region.descriptor)
        there = os.fstat(region.descriptor).st_size
        if not byte_size or offset + byte_size > there:
            raise InvalidArgumentError(
                f"shared memory '{key}' has {there} bytes, region '{name}' is to have {byte_size} from byte {offset} on"
            )
        self._regions[name] = region

    def unregister(self, name: str = "") -> None:
        """Forget a region, or all; it does not matter if there is none. Requests that came before still use it.

        Raises:
            UnimplementedError: shared memory is not allowed.
        """
        self._check_allowed()
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def regions(self, name: str = "") -> Sequence[Region]:
        """Return the region of that name, or all.

        Raises:
            NotFoundError: there is none of that name.
        """
        return [self._region(name)] if name else list(self._regions.values())

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
        region = self._region(name)
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

    def _region(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise NotFoundError(f"there is no shared memory region '{name}'; register it first")
        return region


def _open(key: str) -> int:
    name = key.removeprefix("/")
    if not name or "/" in name or "\0" in name or name in (".", "..") or len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidArgumentError(f"the key is '{key}'; give the name of shared memory as shm_open takes it, '/name'")
    try:
        # A pipe would otherwise wait for whoever is to write into it.
        return os.open(f"{_FOLDER}/{name}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidArgumentError(f"shared memory '{key}' cannot be opened by the server: {error.strerror}") from None
