"""Regions of shared memory, without a server."""

import gc
import os
import resource
import uuid
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.cuda_devices import cuda_devices
from headgate.server.cuda import IpcMemory
from headgate.server.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
)
from headgate.server.regions import CudaRegion, SystemRegion
from headgate.server.shared_memory import SharedMemory


@pytest.fixture
def key():
    """The key of 4096 bytes of shared memory, each of which is its position modulo 256."""
    name = f"headgate-test-{uuid.uuid4().hex}"
    with open(f"/dev/shm/{name}", "xb") as file:
        file.write(bytes(range(256)) * 16)
    yield f"/{name}"
    with suppress(FileNotFoundError):
        os.unlink(f"/dev/shm/{name}")


@pytest.fixture
def memory():
    return SharedMemory(allowed=True)


def content(key):
    with open(f"/dev/shm{key}", "rb") as file:
        return file.read()


def times_open(key):
    """How often this process has it open, once what nothing refers to is gone."""
    gc.collect()
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum(os.path.exists(link) and os.readlink(link).startswith(f"/dev/shm{key}") for link in links)


def test_read_and_write(memory, key):
    memory.register_system("r", key, 256, 512)
    assert memory.input("r", 3, 4).read() == bytes([3, 4, 5, 6])
    assert memory.input("r", 512, 0).read() == b""
    memory.output("r", 510, 2).write(b"ab")
    memory.output("r", 0, 100).write(memoryview(b"c"))
    memory.output("r", 0, 100).write(b"")
    expected = bytearray(bytes(range(256)) * 16)
    expected[256:257], expected[766:768] = b"c", b"ab"
    assert content(key) == expected


def test_the_slash_may_be_left_out(memory, key):
    memory.register_system("r", key.removeprefix("/"), 0, 8)
    assert memory.input("r", 0, 2).read() == b"\0\1"


def test_status(memory, key):
    memory.register_system("b", key, 0, 8)
    memory.register_system("a", key, 8, 16)
    assert [(each.name, each.key, each.offset, each.byte_size) for each in memory.regions(SystemRegion)] == [
        ("b", key, 0, 8),
        ("a", key, 8, 16),
    ]
    assert [each.name for each in memory.regions(SystemRegion, "a")] == ["a"]
    with pytest.raises(NotFoundError, match="there is no system shared memory region 'c'; register it first"):
        memory.regions(SystemRegion, "c")


def test_a_name_is_given_once(memory, key):
    memory.register_system("r", key, 0, 8)
    with pytest.raises(AlreadyExistsError, match="region 'r' is registered already; unregister it first, or take"):
        memory.register_system("r", key, 0, 16)
    memory.unregister(SystemRegion, "r")
    memory.register_system("r", key, 0, 16)
    assert [each.byte_size for each in memory.regions(SystemRegion)] == [16]


def test_unregister(memory, key):
    for name in ("a", "b", "c"):
        memory.register_system(name, key, 0, 8)
    memory.unregister(SystemRegion, "b")
    memory.unregister(SystemRegion, "b")
    assert [each.name for each in memory.regions(SystemRegion)] == ["a", "c"]
    memory.unregister(SystemRegion)
    assert memory.regions(SystemRegion) == []


@pytest.mark.parametrize(
    "bad", ["", "/", ".", "..", "/..", "../passwd", "/../../etc/passwd", "a/b", "//a", "/a\0b", "/" + "a" * 256]
)
def test_key_that_is_no_name(memory, bad):
    with pytest.raises(InvalidArgumentError, match="give the name of shared memory as shm_open takes it, '/name'"):
        memory.register_system("r", bad, 0, 1)


def test_nothing_but_files_of_shared_memory(memory):
    names = [f"headgate-test-{kind}-{uuid.uuid4().hex}" for kind in ("link", "pipe", "folder", "none")]
    link, pipe, folder, _ = [f"/dev/shm/{name}" for name in names]
    try:
        os.symlink("/etc/hostname", link)
        os.mkfifo(pipe)
        os.mkdir(folder)
        for name in (names[0], names[2], names[3]):
            with pytest.raises(InvalidArgumentError, match=f"shared memory '{name}' cannot be opened by the server: "):
                memory.register_system("r", name, 0, 1)
        with pytest.raises(InvalidArgumentError, match="has 0 bytes, region 'r' is to have 1 from byte 0 on"):
            memory.register_system("r", names[1], 0, 1)
        assert times_open(f"/{names[1]}") == 0
    finally:
        os.unlink(link)
        os.unlink(pipe)
        os.rmdir(folder)
    assert memory.regions(SystemRegion) == []


@pytest.mark.parametrize(
    ("offset", "byte_size"), [(0, 0), (0, 4097), (4096, 1), (4095, 2), (2**64 - 1, 1), (1, 2**64 - 1), (2**63, 2**63)]
)
def test_size_that_lies(memory, key, offset, byte_size):
    message = f"has 4096 bytes, region 'r' is to have {byte_size} from byte {offset} on"
    with pytest.raises(InvalidArgumentError, match=message):
        memory.register_system("r", key, offset, byte_size)
    assert times_open(key) == 0


@given(st.integers(-10, 200), st.integers(-10, 200))
def test_slices_stay_within_their_region(offset, byte_size):
    name = f"headgate-test-{uuid.uuid4().hex}"
    with open(f"/dev/shm/{name}", "xb") as file:
        file.write(bytes(range(200)))
    try:
        memory = SharedMemory(allowed=True)
        memory.register_system("r", name, 50, 100)
        if offset < 0 or byte_size < 0 or offset + byte_size > 100:
            with pytest.raises(InvalidArgumentError, match=f"has 100 bytes, the request names {byte_size} from byte"):
                memory.input("r", offset, byte_size)
        else:
            assert memory.input("r", offset, byte_size).read() == bytes(range(200))[50:150][offset : offset + byte_size]
    finally:
        os.unlink(f"/dev/shm/{name}")


def test_names_and_numbers_of_regions_are_bounded(memory, key):
    for name in ("", "ü" * 128):
        with pytest.raises(InvalidArgumentError, match="give it 1 to 255 bytes"):
            memory.register_system(name, key, 0, 1)
    for index in range(500):
        memory.register_system(f"{index}", key, 0, 1)
    with pytest.raises(FailedPreconditionError, match="500 shared memory regions are registered, and there"):
        memory.register_system("r", key, 0, 1)
    memory.unregister(SystemRegion)
    assert times_open(key) == 0


def test_what_a_request_takes_is_bounded(key):
    memory = SharedMemory(allowed=True, max_read_bytes=100)
    memory.register_system("r", key, 0, 4096)
    assert len(memory.input("r", 0, 100).read()) == 100
    with pytest.raises(InvalidArgumentError, match="101 bytes of shared memory are more than the 100 that an input"):
        memory.input("r", 0, 101)
    memory.output("r", 0, 101).write(bytes(101))


def test_memory_that_was_cut(memory, key):
    memory.register_system("r", key, 0, 4096)
    part, late = memory.input("r", 2000, 100), memory.output("r", 2000, 100)
    os.truncate(f"/dev/shm{key}", 2050)
    for use in (part.read, lambda: late.write(bytes(100))):
        with pytest.raises(InvalidArgumentError, match="region 'r' has been made smaller since it was registered"):
            use()
    assert len(content(key)) == 2050
    late.write(bytes(50))


def test_memory_that_cannot_be_written(memory, key):
    memory.register_system("r", key, 0, 4096)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InvalidArgumentError, match="region 'r' cannot be written: File too large"):
            memory.output("r", 990, 20).write(bytes(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_memory_stays_as_long_as_it_is_used(memory, key):
    memory.register_system("r", key, 0, 8)
    part = memory.output("r", 0, 8)
    memory.unregister(SystemRegion, "r")
    assert times_open(key) == 1
    part.write(b"used")
    assert content(key)[:4] == b"used"
    del part
    assert times_open(key) == 0


def test_memory_outlives_its_name(memory, key):
    memory.register_system("r", key, 0, 8)
    os.unlink(f"/dev/shm{key}")
    assert memory.input("r", 0, 4).read() == b"\0\1\2\3"


def test_not_allowed(key):
    memory = SharedMemory()
    for use in (
        lambda: memory.register_system("r", key, 0, 8),
        lambda: memory.register_cuda("r", bytes(64), 0, 8),
        lambda: memory.unregister(SystemRegion),
        lambda: memory.unregister(CudaRegion),
        lambda: memory.input("r", 0, 8),
        lambda: memory.output("r", 0, 8),
    ):
        with pytest.raises(UnimplementedError, match="start it with --allow-shared-memory, or send the tensors"):
            use()
    assert memory.regions(SystemRegion) == []
    assert not memory.allows_cuda


@pytest.mark.skipif(bool(cuda_devices()), reason="there is a CUDA device")
def test_without_a_device(memory, key):
    assert not memory.allows_cuda
    with pytest.raises(UnimplementedError, match="no model of this server runs on a CUDA device, so it does not use"):
        memory.register_cuda("r", bytes(64), 0, 8)
    assert memory.regions(CudaRegion) == []
    with pytest.raises(NotFoundError, match="there is no CUDA shared memory region 'r'; register it first"):
        memory.regions(CudaRegion, "r")
    memory.register_system("r", key, 0, 8)
    memory.unregister(CudaRegion)
    memory.unregister(CudaRegion, "r")
    assert [each.name for each in memory.regions(SystemRegion)] == ["r"]
    with pytest.raises(InvalidArgumentError, match="there is no CUDA device 0; this server has 0, numbered from 0 on"):
        IpcMemory(bytes(64), 0)
