"""Shared memory in the Open Inference Protocol, on a real server: tensors in regions, and the calls that register."""

import asyncio
import mmap
import os
import struct
import uuid
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from headgate.benchmarks.cuda_devices import cuda_devices
from headgate.foreign import open_inference as oip
from headgate.server import Server, ServerSettings
from headgate.server.cuda import device_count

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS
DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32", np.dtype(np.int64): "INT64"}


@pytest.fixture(scope="module")
def sharing(repository):
    running = Server(
        ServerSettings(repository=repository, port=0, max_message_bytes=1024 * 1024, allow_shared_memory=True)
    )
    running.start()
    yield running
    running.stop()


def add_calls(calls):
    """Add the methods of shared memory to those of a connection: their arguments are the fields of the requests."""

    def method(name):
        call = calls.channel.unary_unary(
            f"/inference.GRPCInferenceService/{name}",
            request_serializer=lambda fields: getattr(oip, f"{name}Request")(**fields).SerializeToString(),
            response_deserializer=getattr(oip, f"{name}Response").FromString,
        )
        return lambda **fields: call(fields)

    for name in ("Status", "Register", "Unregister"):
        setattr(calls, name.lower(), method(f"SystemSharedMemory{name}"))
        setattr(calls, f"cuda_{name.lower()}", method(f"CudaSharedMemory{name}"))
    return calls


@pytest.fixture
def calls(sharing, connect):
    calls = add_calls(connect(sharing))
    yield calls
    calls.unregister()


@pytest.fixture
def share(calls):
    """Create shared memory of a number of bytes and register it: `share("r", 64)`."""
    made = []

    def create(name, byte_size, register=True):
        key = f"/headgate-test-{uuid.uuid4().hex}"
        path = f"/dev/shm{key}"
        with open(path, "x+b") as file:
            file.truncate(byte_size)
            made.append(SimpleNamespace(key=key, path=path, bytes=mmap.mmap(file.fileno(), byte_size)))
        if register:
            calls.register(name=name, key=key, byte_size=byte_size)
        return made[-1]

    yield create
    for memory in made:
        memory.bytes.close()
        if os.path.exists(memory.path):
            os.unlink(memory.path)


def in_region(tensor, name, byte_size, offset=None):
    tensor.parameters["shared_memory_region"].string_param = name
    tensor.parameters["shared_memory_byte_size"].int64_param = byte_size
    if offset is not None:
        tensor.parameters["shared_memory_offset"].int64_param = offset
    return tensor


def add_input(request, name, array_or_shape, datatype=None):
    shape = getattr(array_or_shape, "shape", array_or_shape)
    return request.inputs.add(name=name, datatype=datatype or DATATYPES[array_or_shape.dtype], shape=shape)


def price_request(offset=0, **message):
    request = oip.ModelInferRequest(model_name="price", **message)
    in_region(add_input(request, "x", [2, 2], "FP32"), "r", 16, offset)
    return request


def refusal(method, *arguments, **named):
    with pytest.raises(grpc.RpcError) as caught:
        method(*arguments, **named)
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


class TestTensors:
    def test_input_and_output(self, calls, share):
        memory = share("r", 4096)
        memory.bytes[100:116] = struct.pack("<4f", 1, 2, 3, 4)
        request = price_request(100, id="i-1")
        in_region(request.outputs.add(name="y"), "r", 8, 200)
        response = calls.infer(request)
        assert (response.id, response.model_version) == ("i-1", "1")
        (output,) = response.outputs
        assert (output.name, output.datatype, list(output.shape)) == ("y", "FP32", [2, 1])
        assert output.parameters["shared_memory_region"].string_param == "r"
        assert output.parameters["shared_memory_byte_size"].int64_param == 8
        assert output.parameters["shared_memory_offset"].int64_param == 200
        assert not output.HasField("contents")
        assert list(response.raw_output_contents) == [b""]
        assert struct.unpack("<2f", memory.bytes[200:208]) == (21, 43)
        assert not any(memory.bytes[208:])

    def test_what_is_in_memory_now_counts(self, calls, share):
        memory = share("r", 24)
        request = price_request()
        in_region(request.outputs.add(name="y"), "r", 8, 16)
        for number in range(8):
            memory.bytes[:16] = struct.pack("<4f", number, 0, 0, number)
            calls.infer(request)
            assert struct.unpack("<2f", memory.bytes[16:]) == (number, 10 * number)

    def test_elements_that_are_the_name_of_their_region(self, calls, share):
        """Bytes of the request that happen to be the elements are not taken for them in the next request."""

        def ask(name):
            request = oip.ModelInferRequest(model_name="price")
            in_region(add_input(request, "x", [1, 2], "FP32"), name, 8)
            return calls.infer(request).raw_output_contents[0]

        # Each is what the other's bytes are when they are flipped.
        names = ["éééé", "<V<V<V<V"]
        for name in names:
            share(name, 8).bytes[:] = name.encode()
        for name in 2 * names:
            ask(name)
        share("12345678", 8).bytes[:] = struct.pack("<2f", 1, 2)
        assert ask("12345678") == struct.pack("<f", 21)

    @pytest.mark.parametrize("shared", ["a", "b"])
    def test_raw_contents_are_of_the_other_inputs(self, calls, share, shared):
        arrays = {"a": np.array([[1, 2]], np.float32), "b": np.array([[3]], np.int32)}
        request = oip.ModelInferRequest(model_name="sums")
        for name, array in arrays.items():
            tensor = add_input(request, name, array)
            if name == shared:
                share("r", array.nbytes).bytes[:] = array.tobytes()
                in_region(tensor, "r", array.nbytes)
            else:
                request.raw_input_contents.append(array.tobytes())
        assert calls.infer(request).raw_output_contents[0] == struct.pack("<3f", 1, 2, 3)
        request.raw_input_contents.append(b"")
        assert refusal(calls.infer, request) == (
            INVALID_ARGUMENT,
            "the request has 2 inputs and 2 entries in raw_input_contents; send one for each input that is not in "
            "shared memory",
        )

    def test_typed_contents_beside_shared_memory(self, calls, share):
        share("r", 8).bytes[:] = struct.pack("<2f", 1, 2)
        request = oip.ModelInferRequest(model_name="sums")
        add_input(request, "b", [1, 1], "INT32").contents.int_contents.append(3)
        in_region(add_input(request, "a", [1, 2], "FP32"), "r", 8)
        assert calls.infer(request).raw_output_contents[0] == struct.pack("<3f", 1, 2, 3)

    @pytest.mark.parametrize("shared", ["same", "total"])
    def test_outputs_stay_in_their_places(self, calls, share, shared):
        """Clients find an output's elements by its index."""
        memory = share("r", 8)
        request = oip.ModelInferRequest(model_name="twins", raw_input_contents=[struct.pack("<2f", 1, 2)])
        add_input(request, "x", [1, 2], "FP32")
        expected = {"total": struct.pack("<f", 3), "same": struct.pack("<2f", 1, 2)}
        for name in expected:
            output = request.outputs.add(name=name)
            if name == shared:
                in_region(output, "r", 8)
        response = calls.infer(request)
        assert [output.name for output in response.outputs] == ["total", "same"]
        assert dict(zip(expected, response.raw_output_contents, strict=True)) == expected | {shared: b""}
        assert memory.bytes[: len(expected[shared])] == expected[shared]

    def test_text(self, calls, share):
        """A BYTES output tells how much of its part it took."""
        memory = share("r", 64)
        encoded = struct.pack("<I2sII1s", 2, "ü".encode(), 0, 1, b"a")
        memory.bytes[: len(encoded)] = encoded
        request = oip.ModelInferRequest(model_name="text")
        in_region(add_input(request, "x", [3, 1], "BYTES"), "r", len(encoded))
        in_region(request.outputs.add(name="y"), "r", 32, 32)
        (output,) = calls.infer(request).outputs
        assert (output.datatype, list(output.shape)) == ("BYTES", [3, 1])
        assert output.parameters["shared_memory_byte_size"].int64_param == len(encoded)
        assert memory.bytes[32 : 32 + len(encoded)] == encoded

    def test_no_rows(self, calls, share):
        share("r", 8)
        request = oip.ModelInferRequest(model_name="price")
        in_region(add_input(request, "x", [0, 2], "FP32"), "r", 0)
        in_region(request.outputs.add(name="y"), "r", 0, 8)
        response = calls.infer(request)
        assert (list(response.outputs[0].shape), list(response.raw_output_contents)) == ([0, 1], [b""])

    def test_more_rows_than_a_batch(self, calls, share):
        rows = np.arange(2000, dtype=np.float32).reshape(1000, 2)
        memory = share("r", rows.nbytes + 4000)
        memory.bytes[: rows.nbytes] = rows.tobytes()
        request = oip.ModelInferRequest(model_name="price")
        in_region(add_input(request, "x", rows), "r", rows.nbytes)
        in_region(request.outputs.add(name="y"), "r", 4000, rows.nbytes)
        calls.infer(request)
        np.testing.assert_array_equal(np.frombuffer(memory.bytes[rows.nbytes :], np.float32), rows @ [1, 10])

    def test_requests_of_one_batch_write_to_their_own_places(self, calls, share, infer_request):
        memory = share("r", 100 * 4)
        futures = []
        for i in range(100):
            request = infer_request("lookup", x=np.array([[i % 4]]))
            in_region(request.outputs.add(name="y"), "r", 4, 4 * i)
            futures.append(calls.infer.future(request))
        for future in futures:
            future.result()
        assert struct.unpack("<100f", memory.bytes[:]) == tuple(10 * (i % 4) for i in range(100))

    def test_stream(self, calls, share):
        memory = share("r", 16 + 3 * 8)
        memory.bytes[:16] = struct.pack("<4f", 1, 2, 3, 4)
        requests = [price_request(id=f"{i}") for i in range(3)]
        for i, request in enumerate(requests):
            in_region(request.outputs.add(name="y"), "r" if i != 1 else "s", 8, 16 + 8 * i)
        first, second, third = calls.stream_infer(iter(requests))
        assert second.error_message == "there is no shared memory region 's'; register it first"
        assert [first.infer_response.id, third.infer_response.id] == ["0", "2"]
        assert struct.unpack("<6f", memory.bytes[16:]) == (21, 43, 0, 0, 21, 43)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "code", "message"),
        [
            (lambda p: p["shared_memory_region"].__setattr__("string_param", "s"), NOT_FOUND,
             "there is no shared memory region 's'; register it first"),
            (lambda p: p["shared_memory_offset"].__setattr__("int64_param", 17), INVALID_ARGUMENT,
             "shared memory region 'r' has 32 bytes, the request names 16 from byte 17 on"),
            (lambda p: p["shared_memory_offset"].__setattr__("int64_param", -1), INVALID_ARGUMENT,
             "parameter 'shared_memory_offset' is -1; give a whole number, 0 or more"),
            (lambda p: p["shared_memory_byte_size"].__setattr__("int64_param", 2**63 - 1), INVALID_ARGUMENT,
             "shared memory region 'r' has 32 bytes, the request names 9223372036854775807 from byte 0 on"),
            (lambda p: p["shared_memory_byte_size"].__setattr__("int64_param", 12), INVALID_ARGUMENT,
             "input 'x' of FP32 [2,2] takes 16 bytes, 12 came"),
            (lambda p: p["shared_memory_byte_size"].__setattr__("string_param", "16"), INVALID_ARGUMENT,
             "parameter 'shared_memory_byte_size' is '16'; give a whole number, 0 or more"),
            (lambda p: p["shared_memory_region"].__setattr__("int64_param", 1), INVALID_ARGUMENT,
             "parameter 'shared_memory_region' is 1; give the name of a region"),
            (lambda p: p.pop("shared_memory_byte_size"), INVALID_ARGUMENT,
             "'x' has parameters of shared memory; give shared_memory_region and shared_memory_byte_size"),
            (lambda p: p.pop("shared_memory_region"), INVALID_ARGUMENT,
             "'x' has parameters of shared memory; give shared_memory_region and shared_memory_byte_size"),
        ],
    )  # fmt: skip
    def test_parameters(self, calls, share, change, code, message):
        share("r", 32)
        request = price_request()
        change(request.inputs[0].parameters)
        assert refusal(calls.infer, request) == (code, message)

    def test_contents_beside(self, calls, share):
        share("r", 16)
        request = price_request()
        request.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
        assert refusal(calls.infer, request) == (
            INVALID_ARGUMENT,
            "input 'x' has contents beside its shared memory region; send one of the two",
        )

    def test_output_that_does_not_fit(self, calls, share, infer_request):
        """The others of its batch are answered."""
        memory = share("r", 100)
        futures = []
        for i in range(20):
            request = infer_request("lookup", x=np.array([[1]]))
            if i % 3 == 0:
                in_region(request.outputs.add(name="y"), "r", 3)
            futures.append(calls.infer.future(request))
        for i, future in enumerate(futures):
            if i % 3:
                assert future.result().raw_output_contents[0] == struct.pack("<f", 10)
            else:
                assert (future.code(), future.details()) == (
                    INVALID_ARGUMENT,
                    "output 'y' has 4 bytes, its part of shared memory region 'r' has 3",
                )
        assert not any(memory.bytes[:])

    def test_classes_in_shared_memory(self, calls, share):
        share("r", 100)
        request = price_request()
        in_region(request.outputs.add(name="y"), "r", 100).parameters["classification"].int64_param = 1
        assert refusal(calls.infer, request) == (
            INVALID_ARGUMENT,
            "output 'y' is asked for as classes and in shared memory; choose one of the two",
        )

    def test_more_than_a_message_could_carry(self, calls, share):
        share("r", 2 * 1024 * 1024)
        request = oip.ModelInferRequest(model_name="lengths")
        in_region(add_input(request, "x", [1, 512 * 1024], "FP32"), "r", 2 * 1024 * 1024)
        code, details = refusal(calls.infer, request)
        assert (code, details) == (
            INVALID_ARGUMENT,
            "2097152 bytes of shared memory are more than the 1048576 that an input may have; start the server with a "
            "larger --max-message-mb",
        )

    def test_memory_that_was_cut_harms_nobody(self, calls, share, infer_request):
        memory = share("r", 8192)
        os.truncate(memory.path, 8)
        assert refusal(calls.infer, price_request(4096)) == (
            INVALID_ARGUMENT,
            "shared memory region 'r' has been made smaller since it was registered; unregister it, and register it "
            "anew",
        )
        request = infer_request("price", x=np.ones((1, 2), np.float32))
        in_region(request.outputs.add(name="y"), "r", 4, 8000)
        assert refusal(calls.infer, request)[0] is INVALID_ARGUMENT
        del request.outputs[:]
        assert calls.infer(request).raw_output_contents[0] == struct.pack("<f", 11)


class TestInFlight:
    def files(self, memory):
        """How often this process, which the server is in, has memory open."""
        numbers = os.listdir("/proc/self/fd")
        links = [os.readlink(f"/proc/self/fd/{n}") for n in numbers if os.path.islink(f"/proc/self/fd/{n}")]
        return sum(link.startswith(memory.path) for link in links)

    def test_unregistered_while_a_request_runs(self, calls, share):
        memory = share("r", 16)
        before = self.files(memory)
        memory.bytes[:8] = struct.pack("<q", 20_000)
        request = oip.ModelInferRequest(model_name="busy")
        in_region(add_input(request, "steps", [1, 1], "INT64"), "r", 8)
        in_region(request.outputs.add(name="y"), "r", 8, 8)
        future = calls.infer.future(request)
        # The server takes messages of a connection in order: it has the request when it answers this.
        assert list(calls.status().regions) == ["r"]
        calls.unregister(name="r")
        os.unlink(memory.path)
        assert not future.done()
        assert list(calls.status().regions) == []
        # The name is free at once, for other memory.
        other = share("r", 16)
        assert self.files(memory) == before
        response = future.result()
        assert response.outputs[0].parameters["shared_memory_byte_size"].int64_param == 4
        assert struct.unpack("<f", memory.bytes[8:12]) == (20_000,)
        assert not any(other.bytes[:])
        # The thread that ran the batch lets go of it after the answer.
        while self.files(memory) == before:
            pass
        assert self.files(memory) == before - 1

    def test_a_name_that_was_given_to_other_memory(self, calls, share, infer_request):
        """Requests that the server has seen before mean the new one, too."""
        old = share("r", 4)
        request = infer_request("price", x=np.array([[1, 2]], np.float32))
        in_region(request.outputs.add(name="y"), "r", 4)
        for _ in range(5):
            calls.infer(request)
        old.bytes[:] = bytes(4)
        calls.unregister(name="r")
        new = share("r", 4)
        for _ in range(5):
            new.bytes[:] = bytes(4)
            calls.infer(request)
            assert struct.unpack("<f", new.bytes[:]) == (21,)
        assert not any(old.bytes[:])


class TestCalls:
    def test_status(self, calls, share):
        first, second = share("a", 64), share("b", 64, register=False)
        calls.register(name="b", key=second.key, offset=16, byte_size=48)
        regions = calls.status().regions
        assert {name: (each.name, each.key, each.offset, each.byte_size) for name, each in regions.items()} == {
            "a": ("a", first.key, 0, 64),
            "b": ("b", second.key, 16, 48),
        }
        assert list(calls.status(name="b").regions) == ["b"]
        assert refusal(calls.status, name="c")[0] is NOT_FOUND
        calls.unregister(name="a")
        assert list(calls.status().regions) == ["b"]
        calls.unregister(name="a")
        calls.unregister()
        assert not calls.status().regions

    def test_register(self, calls, share):
        memory = share("r", 64)
        code, details = refusal(calls.register, name="r", key=memory.key, byte_size=8)
        assert (code, details) == (
            ALREADY_EXISTS,
            "shared memory region 'r' is registered already; unregister it first, or take another name",
        )
        code, details = refusal(calls.register, name="s", key=memory.key, byte_size=65)
        assert (code, details) == (
            INVALID_ARGUMENT,
            f"shared memory '{memory.key}' has 64 bytes, region 's' is to have 65 from byte 0 on",
        )
        code, details = refusal(calls.register, name="s", key="/../../etc/passwd", byte_size=1)
        assert code is INVALID_ARGUMENT
        code, details = refusal(calls.register, name="s", key="none\n\x1b[31m", byte_size=1)
        assert details == r"shared memory 'none\n\x1b[31m' cannot be opened by the server: No such file or directory"
        assert list(calls.status().regions) == ["r"]

    @pytest.mark.skipif(bool(cuda_devices()), reason="there is a CUDA device")
    def test_cuda(self, calls, share):
        """No model runs on a device; to ask, and to begin with no regions, are no errors."""
        share("r", 64)
        assert not calls.cuda_status().regions
        calls.cuda_unregister()
        calls.cuda_unregister(name="r")
        assert refusal(calls.cuda_status, name="r") == (
            NOT_FOUND,
            "there is no CUDA shared memory region 'r'; register it first",
        )
        assert list(calls.status().regions) == ["r"]
        code, details = refusal(calls.cuda_register, name="r", raw_handle=bytes(64), byte_size=8)
        assert (code, details) == (
            UNIMPLEMENTED,
            "no model of this server runs on a CUDA device, so it does not use CUDA shared memory; register system "
            "shared memory, or send the tensors themselves",
        )

    def test_announced_where_it_is_allowed(self, sharing, server, connect):
        def extensions(running):
            method = connect(running).channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
            return oip.ServerMetadataResponse.FromString(method(b"")).extensions

        assert "system_shared_memory" in extensions(sharing)
        assert ("cuda_shared_memory" in extensions(sharing)) == (device_count() > 0)
        assert "system_shared_memory" not in extensions(server)

    def test_not_allowed(self, server, connect, infer_request):
        calls = add_calls(connect(server))
        refused = (
            UNIMPLEMENTED,
            "this server does not use shared memory of its clients; start it with --allow-shared-memory, or send the "
            "tensors themselves",
        )
        assert refusal(calls.register, name="r", key="/r", byte_size=1) == refused
        assert refusal(calls.unregister) == refused
        assert refusal(calls.cuda_register, name="r", raw_handle=bytes(64), byte_size=8) == refused
        assert refusal(calls.cuda_unregister) == refused
        assert not calls.cuda_status().regions
        assert refusal(calls.infer, price_request()) == refused
        request = infer_request("price", x=np.ones((1, 2), np.float32))
        in_region(request.outputs.add(name="y"), "r", 4)
        assert refusal(calls.infer, request) == refused
        assert not calls.status().regions


class TestTriton:
    """Triton's own client, and its way to make regions."""

    @pytest.fixture
    def regions(self):
        """Make regions: `regions("in", 64)` gives the key, and what tritonclient has for it."""
        shm = pytest.importorskip("tritonclient.utils.shared_memory", reason="asks with tritonclient")
        made = []

        def create(name, byte_size):
            key = f"/headgate-test-{uuid.uuid4().hex}"
            made.append(shm.create_shared_memory_region(name, key, byte_size))
            return key, made[-1]

        yield create
        for region in made:
            shm.destroy_shared_memory_region(region)

    def tensors(self, grpcclient, given, wanted):
        tensor = grpcclient.InferInput("x", [2, 2], "FP32")
        tensor.set_shared_memory(*given)
        output = grpcclient.InferRequestedOutput("y")
        output.set_shared_memory(*wanted)
        return {"inputs": [tensor], "outputs": [output]}

    def test_blocking(self, sharing, regions):
        key, region = regions("both", 64)
        import tritonclient.grpc as triton
        from tritonclient.utils import shared_memory as shm

        with triton.InferenceServerClient(f"127.0.0.1:{sharing.port}") as client:
            client.unregister_system_shared_memory()
            client.unregister_cuda_shared_memory()
            client.register_system_shared_memory("both", key, 64)
            shm.set_shared_memory_region(region, [np.array([[1, 2], [3, 4]], np.float32)], offset=32)
            result = client.infer("price", **self.tensors(triton, ("both", 16, 32), ("both", 8)))
            assert result.get_output("y").shape == [2, 1]
            assert shm.get_contents_as_numpy(region, np.float32, [2, 1]).tolist() == [[21], [43]]
            assert list(client.get_system_shared_memory_status().regions) == ["both"]
            with pytest.raises(triton.InferenceServerException, match="registered already"):
                client.register_system_shared_memory("both", key, 64)
            client.unregister_system_shared_memory("both")
            assert not client.get_system_shared_memory_status(as_json=True)
            assert not client.get_cuda_shared_memory_status(as_json=True)

    def test_asyncio(self, sharing, regions):
        key, region = regions("both", 64)
        from tritonclient.grpc import aio as triton
        from tritonclient.utils import shared_memory as shm

        async def ask():
            async with triton.InferenceServerClient(f"127.0.0.1:{sharing.port}") as client:
                await client.register_system_shared_memory("both", key, 64)
                shm.set_shared_memory_region(region, [np.array([[1, 2], [3, 4]], np.float32)])
                await client.infer("price", **self.tensors(triton, ("both", 16), ("both", 8, 16)))
                await client.unregister_system_shared_memory()

        asyncio.run(ask())
        assert shm.get_contents_as_numpy(region, np.float32, [2, 1], offset=16).tolist() == [[21], [43]]
