"""`headgate serve --workers`: several processes on one port, and the one above them."""

import contextlib
import errno
import os
import queue
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import grpc
import numpy as np
import onnx.parser
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headgate.foreign import open_inference as oip
from headgate.server.workers import ALONE
from headgate.v1 import PredictOptions
from headgate.v1.golden import GOLDEN_FILE, golden_to_bytes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="several workers share a port on Linux only"),
]

WAIT_S = 60
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
GRAPHS = {
    "light": "g (float[batch,1] x) => (float[batch,1] y) <float two = {2}> { y = Mul(x, two) }",
    # Takes about 50 us of a processor for each step of the row with the most.
    "busy": "g (float[batch,1] x) => (float[batch,1] y) <int64[2] size = {160,160}, float zero = {0}> {"
    " zeros = ConstantOfShape(size)  eye = EyeLike(zeros)"
    " top = ReduceMax<keepdims=0>(x)  most = Cast<to=7>(top)  yes = Constant<value = bool {1}>()"
    " last = Loop(most, yes, eye) <body = b (int64 i, bool go_on, float[160,160] m) => (bool again, float[160,160] n)"
    " { again = Identity(go_on) n = MatMul(m, eye) }>"
    " corner = ReduceMax<keepdims=0>(last)  nothing = Mul(corner, zero)  y = Add(x, nothing) }",
}


def write_repository(folder):
    for name, graph in GRAPHS.items():
        path = folder / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {graph}')
        path.write_bytes(model.SerializeToString())
    (folder / "busy" / "config.toml").write_text('[execution]\nmode = "threads"\nintra_op_threads = 1\n')
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return write_repository(tmp_path_factory.mktemp("models"))


@pytest.fixture
def temporary():
    """Where the server keeps the workers' sockets, whose paths must be short; it leaves nothing there."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        assert list(Path(folder).glob("headgate-*")) == []


class Service:
    """A server process with two workers."""

    def __init__(self, repository, temporary, *options):
        self._temporary = temporary
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headgate.cli", "serve", str(repository), "--workers", "2", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(temporary)},
            process_group=0,
        )
        self.pid = self._process.pid
        self.lines = {name: queue.SimpleQueue() for name in ("stdout", "stderr")}
        self.seen = {name: [] for name in self.lines}
        self._readers = [threading.Thread(target=self._read, args=[name]) for name in self.lines]
        for reader in self._readers:
            reader.start()

    def _read(self, name):
        with getattr(self._process, name) as stream:
            for line in stream:
                self.lines[name].put(line.rstrip("\n"))
        self.lines[name].put(None)

    def wait_for_line(self, pattern, name="stdout"):
        while True:
            line = self.lines[name].get(timeout=WAIT_S)
            assert line is not None, self.seen
            self.seen[name].append(line)
            if found := re.search(pattern, line):
                return found

    def wait_until_ready(self):
        self.address = self.wait_for_line("ready: serving on (.+)")[1]
        return self

    def socket(self, index):
        """Where a worker can be asked alone."""
        (folder,) = self._temporary.glob("headgate-*")
        return folder / str(index)

    def worker(self, index):
        """The process of a worker; None while there is none that listens."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket(index)))
            except OSError:
                return None
            return struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        """Wait until no process of it is left, workers included; return the exit code and what stands on stderr."""
        rest = {name: [] for name in self.lines}
        for name, lines in self.lines.items():
            # Each process of it holds both open.
            while (line := lines.get(timeout=WAIT_S)) is not None:
                rest[name].append(line)
            lines.put(None)
        return self._process.wait(WAIT_S), rest["stderr"]

    def end(self):
        self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(WAIT_S)
            assert not reader.is_alive(), "a worker outlived its supervisor"


@pytest.fixture
def start(repository, temporary):
    services = []

    def start(*options, repository=repository):
        services.append(Service(repository, temporary, *options))
        return services[-1]

    yield start
    for service in services:
        service.end()


class Calls:
    """What these tests ask a server, over a connection of its own."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])

        def method(name):
            return self.channel.unary_unary(
                f"/inference.GRPCInferenceService/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=getattr(oip, f"{name}Response").FromString,
            )

        self._infer = method("ModelInfer")
        self._statistics = method("ModelStatistics")
        self._ready = method("ServerReady")
        self._index = method("RepositoryIndex")
        self._load = method("RepositoryModelLoad")
        self._unload = method("RepositoryModelUnload")
        self._register = method("SystemSharedMemoryRegister")
        self._unregister = method("SystemSharedMemoryUnregister")

    def start(self, model, number):
        message = oip.ModelInferRequest(model_name=model)
        message.inputs.add(name="x", datatype="FP32", shape=[1, 1])
        message.raw_input_contents.append(np.float32(number).tobytes())
        return self._infer.future(message)

    def double(self, number):
        return answer(self.start("light", number))

    def keep_busy(self, steps):
        """Have `busy` run; return when the server has begun."""
        future = self.start("busy", steps)
        # Calls of one connection reach the server in the order in which they began.
        for _ in range(3):
            self.double(1)
        return future

    def count(self, model="light", alone=False):
        """How many requests of a model were answered, by all workers or by the one of this connection."""
        request = oip.ModelStatisticsRequest(name=model)
        (statistics,) = self._statistics(request, metadata=[(ALONE, "1")] if alone else []).model_stats
        assert statistics.inference_stats.success.count == statistics.inference_count
        return statistics.inference_count

    def register(self, path):
        request = {"name": path.name, "key": path.name, "byte_size": path.stat().st_size}
        self._register(oip.SystemSharedMemoryRegisterRequest(**request))

    def unregister(self):
        self._unregister(oip.SystemSharedMemoryUnregisterRequest())

    def double_in(self, path):
        """Double the number at the beginning of shared memory, into what follows it."""
        message = oip.ModelInferRequest(model_name="light")
        tensors = [message.inputs.add(name="x", datatype="FP32", shape=[1, 1]), message.outputs.add(name="y")]
        for offset, tensor in zip((0, 4), tensors, strict=True):
            tensor.parameters["shared_memory_region"].string_param = path.name
            tensor.parameters["shared_memory_byte_size"].int64_param = 4
            tensor.parameters["shared_memory_offset"].int64_param = offset
        self._infer(message)
        return struct.unpack("<2f", path.read_bytes())

    def load(self, model):
        self._load(oip.RepositoryModelLoadRequest(model_name=model))

    def unload(self, model):
        self._unload(oip.RepositoryModelUnloadRequest(model_name=model))

    def loaded(self):
        """The names of the models of the worker of this connection."""
        return [model.name for model in self._index(oip.RepositoryIndexRequest(ready=True)).models]

    def is_ready(self):
        status = health_pb2_grpc.HealthStub(self.channel).Check(health_pb2.HealthCheckRequest()).status
        ready = self._ready(oip.ServerReadyRequest()).ready
        assert ready == (status == health_pb2.HealthCheckResponse.SERVING)
        return ready


def answer(future):
    return np.frombuffer(future.result(WAIT_S).raw_output_contents[0], np.float32).item()


@pytest.fixture
def connect():
    with contextlib.ExitStack() as stack:

        def connect(to):
            calls = Calls(to if isinstance(to, str) else to.address)
            stack.enter_context(calls.channel)
            # Calls that begin before there is a connection reach the server in any order.
            assert calls.is_ready()
            return calls

        yield connect


@pytest.fixture
def connect_to_each(connect):
    """Connect to the port until there is a connection to each worker."""

    def connect_to_each(service):
        for index in range(2):
            # That each has a count of its own tells them apart.
            direct = connect(f"unix:{service.socket(index)}")
            for _ in range(index + 1):
                direct.double(1)
        found = {}
        while len(found) < 2:
            calls = connect(service)
            found.setdefault(calls.count(alone=True), calls)
        return [found[1], found[2]]

    return connect_to_each


@pytest.mark.parametrize("transport", ["completion-queue", "public-api"])
def test_all_get_work_and_statistics_are_the_sum(start, connect, transport):
    service = start("--transport", transport).wait_until_ready()
    assert [line.split()[1] for line in service.seen["stdout"][:-1]] == ["busy", "light"]
    clients = [connect(service) for _ in range(32)]
    for i, calls in enumerate(clients):
        assert calls.double(i) == 2 * i
        # Who has an answer finds it in the statistics, whichever worker tells them.
        assert clients[-1 - i].count() == i + 1
    parts = {calls.count(alone=True) for calls in clients}
    assert 0 not in parts
    assert sum(parts) == 32 or parts == {16}
    assert "onnxruntime" not in Path(f"/proc/{service.pid}/maps").read_text()
    service.signal(signal.SIGTERM)
    assert service.wait() == (0, [])


def test_models_are_loaded_and_unloaded_in_all_workers(start, connect, connect_to_each):
    service = start("--model-control", "explicit", "--load-model", "light").wait_until_ready()
    clients = connect_to_each(service)
    clients[0].load("busy")
    assert [calls.loaded() for calls in clients] == [["busy", "light"]] * 2
    clients[1].unload("light")
    assert [calls.loaded() for calls in clients] == [["busy"]] * 2
    with pytest.raises(grpc.RpcError, match="there is no model 'rose' in the repository"):
        clients[0].load("rose")
    # A worker that is started again has what the others have, not what the server began with.
    os.kill(service.worker(1), signal.SIGKILL)
    service.wait_for_line("worker 1 serves again", "stderr")
    assert connect(f"unix:{service.socket(1)}").loaded() == ["busy"]
    # Where no other is left that could tell, it has what the server began with.
    for worker in [service.worker(0), service.worker(1)]:
        os.kill(worker, signal.SIGKILL)
    for _ in range(2):
        service.wait_for_line("worker . serves again", "stderr")
    assert [connect(f"unix:{service.socket(index)}").loaded() for index in range(2)] == [["light"]] * 2
    service.signal(signal.SIGTERM)
    assert service.wait()[0] == 0


def test_worker_dies_while_a_model_is_loaded(start, connect, connect_to_each, tmp_path):
    """It comes back before the other has loaded the model, and has it nevertheless."""
    repository = write_repository(tmp_path)
    service = start("--model-control", "explicit", "--load-model", "light", repository=repository).wait_until_ready()
    kept, _ = connect_to_each(service)
    with hold_golden_examples(repository / "busy" / "1" / GOLDEN_FILE, service.worker(0)) as begun:
        loading = threading.Thread(target=kept.load, args=["busy"])
        loading.start()
        begun()
        os.kill(service.worker(1), signal.SIGKILL)
        service.wait_for_line("worker 1 serves again", "stderr")
        assert connect(f"unix:{service.socket(0)}").loaded() == ["light"]
    loading.join(WAIT_S)
    assert [connect(f"unix:{service.socket(index)}").loaded() for index in range(2)] == [["busy", "light"]] * 2
    service.signal(signal.SIGTERM)
    assert service.wait()[0] == 0


@contextlib.contextmanager
def hold_golden_examples(path, pid):
    """Have a process wait for a model's golden examples; give what waits until it does. Others read them at once."""
    ones = np.ones((1, 1), np.float32)
    content = golden_to_bytes({"x": ones}, {"y": ones}, PredictOptions(), {})
    os.mkfifo(path)
    # For reading too, so that it opens before there is a reader.
    held = os.open(path, os.O_RDWR)

    def is_open(descriptor):
        with contextlib.suppress(FileNotFoundError):
            return os.readlink(descriptor) == str(path)

    def wait_until_begun():
        while not any(map(is_open, Path(f"/proc/{pid}/fd").iterdir())):
            pass
        path.with_name("regular").write_bytes(content)
        path.with_name("regular").replace(path)

    try:
        yield wait_until_begun
        os.write(held, content)
    finally:
        os.close(held)


def test_shared_memory_is_registered_with_all_workers(start, connect, connect_to_each):
    service = start("--allow-shared-memory").wait_until_ready()
    clients = connect_to_each(service)
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="headgate-test-") as file:
        path = Path(file.name)
        file.write(struct.pack("<2f", 21, 0))
        file.flush()
        clients[0].register(path)
        assert [calls.double_in(path) for calls in clients] == [(21, 42)] * 2
        with pytest.raises(grpc.RpcError, match="is registered already"):
            clients[1].register(path)
        # A worker that is started again has what the others have.
        os.kill(service.worker(1), signal.SIGKILL)
        service.wait_for_line("worker 1 serves again", "stderr")
        again = connect(f"unix:{service.socket(1)}")
        assert again.double_in(path) == (21, 42)
        clients[0].unregister()
        for calls in (clients[0], again):
            with pytest.raises(grpc.RpcError, match="there is no shared memory region"):
                calls.double_in(path)
    service.signal(signal.SIGTERM)
    assert service.wait()[0] == 0


def test_killed_worker_comes_back_while_the_other_serves(start, connect, connect_to_each):
    service = start().wait_until_ready()
    kept, lost = connect_to_each(service)
    before = service.worker(1)
    in_flight = lost.keep_busy(2_000_000)
    os.kill(before, signal.SIGKILL)
    assert in_flight.code() is UNAVAILABLE
    service.wait_for_line("worker 1 was ended by signal 9 .*; starting it again", "stderr")
    # What it had counted is lost.
    assert kept.count() == kept.count(alone=True)
    while service.worker(1) is None:
        assert kept.double(3) == 6
        assert kept.is_ready()
        # A new connection never reaches a worker that is not ready.
        connect(service).channel.close()
    assert service.worker(1) != before
    while connect(service).count(alone=True) != 0:
        pass
    service.wait_for_line("worker 1 serves again", "stderr")
    service.signal(signal.SIGTERM)
    assert service.wait() == (0, [])


def test_worker_that_cannot_start_again(start, connect_to_each, tmp_path):
    repository = write_repository(tmp_path)
    model = repository / "light" / "1" / "model.onnx"
    content = model.read_bytes()
    service = start(repository=repository).wait_until_ready()
    kept, _ = connect_to_each(service)
    model.write_bytes(b"no model")
    os.kill(service.worker(1), signal.SIGKILL)
    service.wait_for_line(r"worker 1 cannot start \(.*light.*cannot be loaded.*\); trying again in 1 s", "stderr")
    service.wait_for_line(r"trying again in 2 s", "stderr")
    assert kept.double(3) == 6
    model.write_bytes(content)
    service.wait_for_line("worker 1 serves again", "stderr")
    # It has not served for long: what it failed at before still counts.
    os.kill(service.worker(1), signal.SIGKILL)
    service.wait_for_line("worker 1 was ended by signal 9 .*; trying again in 4 s", "stderr")
    service.signal(signal.SIGTERM)
    assert service.wait() == (0, [])


@pytest.mark.parametrize("control", ["none", "explicit"])
def test_repository_has_changed_when_a_worker_is_started_again(start, connect, connect_to_each, tmp_path, control):
    """What the others serve may be gone: it serves what there is, and says so."""
    repository = write_repository(tmp_path)
    options = ["--load-model", "light"] if control == "explicit" else []
    service = start("--model-control", control, *options, repository=repository).wait_until_ready()
    kept, _ = connect_to_each(service)
    (repository / "light" / "1").rename(repository / "light" / "2")
    os.kill(service.worker(1), signal.SIGKILL)
    service.wait_for_line(
        "WARNING worker 1 .*: it serves light version 2, the other workers light version 1, since the repository has",
        "stderr",
    )
    service.wait_for_line("worker 1 serves again", "stderr")
    assert kept.double(3) == 6
    if control == "explicit":
        kept.load("light")
        os.kill(service.worker(1), signal.SIGKILL)
        service.wait_for_line("worker 1 serves again", "stderr")
        assert len([line for line in service.seen["stderr"] if "the repository has changed" in line]) == 1
    service.signal(signal.SIGTERM)
    assert service.wait() == (0, [])


def test_process_that_cannot_be_made(start, connect_to_each):
    service = start().wait_until_ready()
    kept, _ = connect_to_each(service)
    worker = service.worker(1)
    limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    # It may use the files that it has, and open no other.
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (4, limits[1]))
    os.kill(worker, signal.SIGKILL)
    service.wait_for_line(r"worker 1 cannot start \(.*Too many open files.*\); trying again in 1 s", "stderr")
    assert kept.double(3) == 6
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, limits)
    service.wait_for_line("worker 1 serves again", "stderr")


def test_one_worker_is_drained_and_replaced(start, connect_to_each):
    service = start().wait_until_ready()
    kept, ended = connect_to_each(service)
    before = service.worker(1)
    in_flight = ended.keep_busy(10_000)
    os.kill(before, signal.SIGTERM)
    service.wait_for_line("worker 1 ended with exit code 0; starting it again", "stderr")
    assert answer(in_flight) == 10_000
    while service.worker(1) in (None, before):
        assert kept.double(3) == 6


class TestStopping:
    @pytest.mark.parametrize("to", ["the supervisor", "its process group", "all processes"])
    def test_all_drain(self, start, connect_to_each, to):
        """A service manager may signal the supervisor alone or all processes, a terminal its process group."""
        service = start().wait_until_ready()
        in_flight = [calls.keep_busy(20_000 + i) for i, calls in enumerate(connect_to_each(service))]
        workers = [service.worker(index) for index in range(2)]
        if to == "its process group":
            os.killpg(service.pid, signal.SIGINT)
        else:
            service.signal(signal.SIGTERM)
        if to == "all processes":
            for worker in workers:
                os.kill(worker, signal.SIGTERM)
        assert [answer(future) for future in in_flight] == [20_000, 20_001]
        assert service.wait() == (0, [])

    def test_drain_timeout(self, start, connect_to_each):
        service = start("--drain-timeout", "0.1").wait_until_ready()
        in_flight = connect_to_each(service)[0].keep_busy(20_000)
        service.signal(signal.SIGTERM)
        code, logged = service.wait()
        assert code == 1
        # A machine that is busy may not let the worker end by itself in time.
        assert [line for line in logged if "did not end within the drain timeout; killing it" not in line] == []
        assert in_flight.code() is UNAVAILABLE

    def test_worker_that_hangs(self, start):
        service = start("--drain-timeout", "0.1").wait_until_ready()
        os.kill(service.worker(1), signal.SIGSTOP)
        service.signal(signal.SIGTERM)
        code, (line,) = service.wait()
        assert code == 1
        assert line.endswith("worker 1 did not end within the drain timeout; killing it")

    def test_second_signal_ends_it_at_once(self, start, connect_to_each):
        service = start().wait_until_ready()
        in_flight = [calls.keep_busy(2_000_000) for calls in connect_to_each(service)]
        service.signal(signal.SIGTERM)
        service.wait_for_line("stopping: finishing accepted requests")
        service.signal(signal.SIGTERM)
        assert service.wait() == (1, [])
        assert [future.code() for future in in_flight] == [UNAVAILABLE, UNAVAILABLE]

    def test_workers_whose_supervisor_is_killed_drain(self, start, connect_to_each):
        service = start().wait_until_ready()
        in_flight = [calls.keep_busy(20_000 + i) for i, calls in enumerate(connect_to_each(service))]
        service.signal(signal.SIGKILL)
        assert [answer(future) for future in in_flight] == [20_000, 20_001]
        assert service.wait() == (-signal.SIGKILL, [])

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_while_it_starts(self, start, slow_repository, number):
        service = start(repository=slow_repository)
        with hold_loading(slow_repository):
            service.signal(number)
            assert service.wait() == (1 if number == signal.SIGTERM else -number, [])


@pytest.fixture
def slow_repository(tmp_path):
    """A repository that cannot be read to its end while somebody holds it."""
    repository = write_repository(tmp_path)
    os.mkfifo(repository / "light" / "config.toml")
    return repository


@contextlib.contextmanager
def hold_loading(repository):
    """Have servers wait while they load, from when the first does."""
    config = repository / "light" / "config.toml"
    while True:
        try:
            # It opens once there is a reader.
            held = os.open(config, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
    yield
    # For those that have not come so far yet.
    (repository / "config.toml").touch()
    (repository / "config.toml").replace(config)
    os.close(held)


def test_long_temporary_folder(repository, temporary, connect):
    folder = temporary / ("x" * 80)
    folder.mkdir()
    service = Service(repository, folder)
    try:
        assert connect(service.wait_until_ready()).double(3) == 6
        service.signal(signal.SIGTERM)
        assert service.wait() == (0, [])
    finally:
        service.end()


class TestStartupErrors:
    def refused(self, repository, *options):
        """Run a server that cannot start; return its only line on stderr."""
        done = subprocess.run(
            [sys.executable, "-m", "headgate.cli", "serve", str(repository), *options],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        return done.stderr

    def test_model_that_cannot_be_loaded(self, tmp_path):
        (write_repository(tmp_path) / "light" / "1" / "model.onnx").write_bytes(b"no model")
        line = self.refused(tmp_path, "--port", "0", "--workers", "3")
        assert re.match(r"error: .*/light/1/model.onnx cannot be loaded by onnxruntime", line)

    def test_worker_that_dies_while_it_starts(self, start, slow_repository):
        service = start(repository=slow_repository)
        with hold_loading(slow_repository):
            for child in Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
            code, (line,) = service.wait()
        assert code == 1
        assert re.fullmatch(r"error: worker [01] was ended by signal 9 \(Killed\) before it was ready", line)

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_second_server_on_the_port(self, start, slow_repository, repository, workers):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        first = start("--port", port, repository=slow_repository)
        second = ("--port", port, "--workers", workers)
        with hold_loading(slow_repository):
            assert f"cannot listen on 127.0.0.1:{port}" in self.refused(repository, *second)
        first.wait_until_ready()
        assert f"cannot listen on 127.0.0.1:{port}" in self.refused(repository, *second)

    def test_port_of_another_program(self, repository):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert f"cannot listen on 127.0.0.1:{port}" in self.refused(repository, "--port", port, "--workers", "2")

    def test_unix_socket(self, repository):
        line = self.refused(repository, "--host", "unix:here", "--workers", "2")
        assert "several workers cannot share the socket unix:here: give a --host and --port of TCP" in line
