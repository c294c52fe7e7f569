"""Shared memory on a CUDA device: another process has allocated it, as clients do. `make gpu-check` runs these."""

import base64
import ctypes
import gc
import os
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import pytest

from headgate.benchmarks.cuda_devices import cuda_devices
from headgate.foreign import open_inference as oip
from headgate.server import cuda
from headgate.server.errors import AlreadyExistsError, InternalError, InvalidArgumentError, NotFoundError
from headgate.server.regions import CudaRegion, SystemRegion
from headgate.server.session import Session
from headgate.server.shared_memory import SharedMemory

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not cuda_devices(), reason="no CUDA device")]
CLIENT = Path(__file__).with_name("cuda_client.py")
BYTE_SIZE = 4096


@pytest.fixture(scope="module")
def runtime(tmp_path_factory, write_model):
    """The path of the CUDA runtime, which a model on the device has loaded."""
    path = write_model(tmp_path_factory.mktemp("models"), "price")
    assert Session(path, "CUDAExecutionProvider", 1, False).provider == "CUDAExecutionProvider"
    return cuda._runtime()._name


class Client:
    """Another process with memory on device 0."""

    def __init__(self, runtime, byte_size):
        self._process = subprocess.Popen(
            [sys.executable, CLIENT, runtime, str(byte_size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.handle = bytes.fromhex(self._process.stdout.readline())
        assert len(self.handle) == 64

    def write(self, offset, data):
        self._ask("write", offset, data.hex())

    def read(self, offset, byte_size):
        return bytes.fromhex(self._ask("read", offset, byte_size))

    def _ask(self, *order):
        print(*order, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, f"the process ended with {self._process.wait()}"
        return answer

    def end(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def client(runtime):
    client = Client(runtime, BYTE_SIZE)
    yield client
    client.end()


@pytest.fixture
def memory(runtime):
    return SharedMemory(allowed=True)


def ask(channel, method, /, **fields):
    """Call a method of the Open Inference Protocol."""
    request = getattr(oip, f"{method}Request")(**fields)
    answer = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")(request.SerializeToString())
    return getattr(oip, f"{method}Response").FromString(answer)


def price_of_two(channel, offset, output_offset):
    """Ask for the prices of two rows at an offset of region "r", into another place of it."""
    request = oip.ModelInferRequest(model_name="price")
    tensors = [request.inputs.add(name="x", datatype="FP32", shape=[2, 2]), request.outputs.add(name="y")]
    for tensor, place, byte_size in zip(tensors, (offset, output_offset), (16, 8), strict=True):
        tensor.parameters["shared_memory_region"].string_param = "r"
        tensor.parameters["shared_memory_offset"].int64_param = place
        tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
    answer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(request.SerializeToString())
    return oip.ModelInferResponse.FromString(answer)


def refusal(method, *arguments, **named):
    with pytest.raises(grpc.RpcError) as caught:
        method(*arguments, **named)
    return caught.value.code(), caught.value.details()


class TestRegions:
    def test_read_and_write(self, memory, client):
        client.write(0, bytes(range(256)) * 16)
        memory.register_cuda("r", client.handle, 0, 1024)
        assert bytes(memory.input("r", 3, 4).read()) == bytes([3, 4, 5, 6])
        assert bytes(memory.input("r", 1024, 0).read()) == b""
        memory.output("r", 1022, 2).write(b"ab")
        memory.output("r", 0, 100).write(memoryview(b"c"))
        memory.output("r", 0, 100).write(b"")
        assert client.read(0, 2) == b"c\1"
        assert client.read(1021, 4) == b"\xfdab\0"

    def test_one_name_for_one_region_of_either_kind(self, memory, client):
        memory.register_cuda("r", client.handle, 0, 8)
        with pytest.raises(AlreadyExistsError):
            memory.register_cuda("r", client.handle, 0, 8)
        with pytest.raises(AlreadyExistsError):
            memory.register_system("r", "/r", 0, 8)
        assert memory.regions(SystemRegion) == []
        with pytest.raises(NotFoundError, match="there is no system shared memory region 'r'"):
            memory.regions(SystemRegion, "r")
        memory.unregister(SystemRegion)
        memory.unregister(SystemRegion, "r")
        (region,) = memory.regions(CudaRegion)
        assert (region.name, region.handle, region.device_id, region.byte_size) == ("r", client.handle, 0, 8)

    @pytest.mark.parametrize("byte_size", [0, BYTE_SIZE + 1, 2**63])
    def test_size_that_lies(self, memory, client, byte_size):
        message = f"the handle is one of {BYTE_SIZE} bytes of CUDA memory, region 'r' is to have {byte_size}"
        with pytest.raises(InvalidArgumentError, match=message):
            memory.register_cuda("r", client.handle, 0, byte_size)
        memory.register_cuda("r", client.handle, 0, BYTE_SIZE)

    @pytest.mark.parametrize("device_id", [-1, 99, 2**40])
    def test_device_that_is_not_there(self, memory, client, device_id):
        message = f"there is no CUDA device {device_id}; this server has {len(cuda_devices())}, numbered from 0 on"
        with pytest.raises(InvalidArgumentError, match=message):
            memory.register_cuda("r", client.handle, device_id, 8)

    @pytest.mark.parametrize("length", [0, 63, 65])
    def test_handle_of_another_length(self, memory, length):
        with pytest.raises(InvalidArgumentError, match=f"the handle has {length} bytes; give the 64 of a cudaIpcMem"):
            memory.register_cuda("r", bytes(length), 0, 8)

    def test_handles_that_cannot_be_opened(self, memory, runtime):
        library = ctypes.CDLL(runtime)
        library.cudaIpcGetMemHandle.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        own, address = ctypes.create_string_buffer(64), ctypes.c_void_p()
        assert library.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(64)) == 0
        try:
            assert library.cudaIpcGetMemHandle(own, address) == 0
            for handle in (bytes(64), own.raw):
                with pytest.raises(InvalidArgumentError, match=r"cannot be opened on CUDA device 0 \(cudaIpcOpenMem"):
                    memory.register_cuda("r", handle, 0, 8)
                # What onnxruntime would find after its next call.
                assert library.cudaGetLastError() == 0
        finally:
            assert library.cudaFree(address) == 0

    def test_memory_stays_as_long_as_it_is_used(self, memory, client):
        memory.register_cuda("r", client.handle, 0, 8)
        part = memory.output("r", 0, 8)
        address = part.region.memory._address
        memory.unregister(CudaRegion, "r")
        gc.collect()
        part.write(b"used")
        assert client.read(0, 4) == b"used"
        del part
        gc.collect()
        with pytest.raises(InternalError):
            cuda._bytes_from(address)

    def test_memory_that_is_registered_twice(self, memory, client):
        memory.register_cuda("a", client.handle, 0, 8)
        memory.register_cuda("b", client.handle, 0, 16)
        memory.unregister(CudaRegion, "a")
        gc.collect()
        memory.output("b", 8, 8).write(b"is there")
        assert client.read(8, 8) == b"is there"

    def test_small_pieces_of_memory(self, memory, runtime):
        """CUDA cuts them from one larger piece."""
        clients = [Client(runtime, 64) for _ in range(3)]
        try:
            for index, client in enumerate(clients):
                memory.register_cuda(f"{index}", client.handle, 0, 64)
                memory.output(f"{index}", 0, 64).write(bytes([index]) * 64)
            assert [client.read(0, 64) for client in clients] == [bytes([index]) * 64 for index in range(3)]
        finally:
            memory.unregister(CudaRegion)
            for client in clients:
                client.end()


class TestServed:
    @pytest.fixture
    def channel(self, tmp_path, write_model, serve):
        write_model(tmp_path, "price")
        server = serve(tmp_path, provider="cuda", allow_shared_memory=True)
        with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield channel
            ask(channel, "CudaSharedMemoryUnregister")

    def test_input_and_output(self, channel, client):
        client.write(16, struct.pack("<4f", 1, 2, 3, 4))
        ask(channel, "CudaSharedMemoryRegister", name="r", raw_handle=client.handle, byte_size=BYTE_SIZE)
        answer = price_of_two(channel, 16, 64)
        assert list(answer.raw_output_contents) == [b""]
        assert answer.outputs[0].parameters["shared_memory_byte_size"].int64_param == 8
        assert struct.unpack("<2f", client.read(64, 8)) == (21, 43)
        client.write(16, struct.pack("<4f", 5, 0, 0, 6))
        price_of_two(channel, 16, 64)
        assert struct.unpack("<2f", client.read(64, 8)) == (5, 60)

    def test_status(self, channel, client):
        assert "cuda_shared_memory" in ask(channel, "ServerMetadata").extensions
        for name, byte_size in (("a", 8), ("b", BYTE_SIZE)):
            ask(channel, "CudaSharedMemoryRegister", name=name, raw_handle=client.handle, byte_size=byte_size)
        regions = ask(channel, "CudaSharedMemoryStatus").regions
        assert {name: (each.name, each.device_id, each.byte_size) for name, each in regions.items()} == {
            "a": ("a", 0, 8),
            "b": ("b", 0, BYTE_SIZE),
        }
        assert list(ask(channel, "CudaSharedMemoryStatus", name="b").regions) == ["b"]
        assert not ask(channel, "SystemSharedMemoryStatus").regions
        ask(channel, "CudaSharedMemoryUnregister", name="a")
        ask(channel, "SystemSharedMemoryUnregister")
        assert list(ask(channel, "CudaSharedMemoryStatus").regions) == ["b"]
        ask(channel, "CudaSharedMemoryUnregister")
        assert not ask(channel, "CudaSharedMemoryStatus").regions
        assert refusal(price_of_two, channel, 0, 16) == (
            grpc.StatusCode.NOT_FOUND,
            "there is no shared memory region 'r'; register it first",
        )

    def test_parts_outside(self, channel, client):
        ask(channel, "CudaSharedMemoryRegister", name="r", raw_handle=client.handle, byte_size=64)
        for places, message in (((49, 0), "16 from byte 49 on"), ((0, 57), "8 from byte 57 on")):
            assert refusal(price_of_two, channel, *places) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                f"shared memory region 'r' has 64 bytes, the request names {message}",
            )
        code, _ = refusal(ask, channel, "CudaSharedMemoryRegister", name="s", raw_handle=client.handle, byte_size=4097)
        assert code is grpc.StatusCode.INVALID_ARGUMENT


class Service:
    """A server of two workers, in processes of its own."""

    def __init__(self, repository, sockets):
        self._sockets = sockets
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headgate.cli", "serve", str(repository), "--port", "0", "--workers", "2",
             "--provider", "cuda", "--allow-shared-memory"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"TMPDIR": sockets},
        )  # fmt: skip
        self.address = self.wait_for_line("ready: serving on ").rpartition(" ")[2]

    def wait_for_line(self, part):
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if part in line:
                return line.rstrip()
        raise AssertionError("".join(seen))

    def worker(self, index):
        """The address of one worker."""
        return f"unix:{next(Path(self._sockets).glob('headgate-*'))}/{index}"

    def kill_a_worker(self):
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        workers = [pid for pid in children if b"headgate.server.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(workers) == 2
        os.kill(int(workers[0]), signal.SIGKILL)
        self.wait_for_line("serves again")

    def end(self):
        self._process.terminate()
        self._process.communicate()


@pytest.fixture
def service(tmp_path, write_model):
    write_model(tmp_path, "price")
    with tempfile.TemporaryDirectory() as sockets:
        service = Service(tmp_path, sockets)
        yield service
        service.end()


def test_all_workers_have_the_regions(service, client):
    def ask_both(offset):
        for index in range(2):
            with grpc.insecure_channel(service.worker(index), [("grpc.use_local_subchannel_pool", 1)]) as channel:
                price_of_two(channel, 0, offset + 8 * index)
        return struct.unpack("<4f", client.read(offset, 16))

    client.write(0, struct.pack("<4f", 1, 2, 3, 4))
    with grpc.insecure_channel(service.address) as channel:
        ask(channel, "CudaSharedMemoryRegister", name="r", raw_handle=client.handle, byte_size=BYTE_SIZE)
        assert ask_both(16) == (21, 43) * 2
        service.kill_a_worker()
        assert ask_both(32) == (21, 43) * 2
    with grpc.insecure_channel(service.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        ask(channel, "CudaSharedMemoryUnregister", name="r")
        assert refusal(price_of_two, channel, 0, 16)[0] is grpc.StatusCode.NOT_FOUND


def test_tritonclient(service):
    """Triton's own client makes the memory, and the handle."""
    pytest.importorskip("cuda.bindings.runtime", reason="tritonclient makes CUDA memory with cuda-python")
    triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient")
    import numpy as np
    import tritonclient.utils.cuda_shared_memory as shm

    given, got = (shm.create_shared_memory_region(name, size, 0) for name, size in (("given", 16), ("got", 8)))
    try:
        shm.set_shared_memory_region(given, [np.array([[1, 2], [3, 4]], np.float32)])
        with triton.InferenceServerClient(service.address) as client:
            for name, region, size in (("given", given, 16), ("got", got, 8)):
                client.register_cuda_shared_memory(name, shm.get_raw_handle(region), 0, size)
            tensor, output = triton.InferInput("x", [2, 2], "FP32"), triton.InferRequestedOutput("y")
            tensor.set_shared_memory("given", 16)
            output.set_shared_memory("got", 8)
            client.infer("price", [tensor], outputs=[output])
            assert shm.get_contents_as_numpy(got, np.float32, [2, 1]).tolist() == [[21], [43]]
            assert sorted(client.get_cuda_shared_memory_status().regions) == ["given", "got"]
            with pytest.raises(triton.InferenceServerException, match="the handle has 3 bytes"):
                client.register_cuda_shared_memory("bad", base64.b64encode(b"bad"), 0, 8)
            client.unregister_cuda_shared_memory()
    finally:
        shm.destroy_shared_memory_region(given)
        shm.destroy_shared_memory_region(got)
