"""`headgate serve` as a process: its life, and many callers at once."""

import asyncio
import contextlib
import queue
import signal
import socket
import subprocess
import sys
import threading

import grpc
import numpy as np
import onnx.parser
import onnxruntime
import pytest
import trustme
from onnx import helper

from headgate.foreign import open_inference as oip

WAIT_S = 30
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
GRAPHS = {
    "light": "g (float[batch,4] x) => (float[batch,4] y) <float two = {2}> { y = Mul(x, two) }",
    "threaded": "g (float[batch,4] x) => (float[batch,4] y) <float two = {2}> { y = Mul(x, two) }",
    # Takes about 50 us of a processor for each step of the row with the most.
    "busy": "g (float[batch,1] x) => (float[batch,1] y) <int64[2] size = {160,160}, float zero = {0}> {"
    " zeros = ConstantOfShape(size)  eye = EyeLike(zeros)"
    " top = ReduceMax<keepdims=0>(x)  most = Cast<to=7>(top)  yes = Constant<value = bool {1}>()"
    " last = Loop(most, yes, eye) <body = b (int64 i, bool go_on, float[160,160] m) => (bool again, float[160,160] n)"
    " { again = Identity(go_on) n = MatMul(m, eye) }>"
    " corner = ReduceMax<keepdims=0>(last)  nothing = Mul(corner, zero)  y = Add(x, nothing) }",
}
CONFIGS = {
    "threaded": '[execution]\nmode = "threads"\n',
    "busy": '[execution]\nmode = "threads"\nintra_op_threads = 1\n',
}

#: Streams a message (hexadecimal) to an address for ever; says "going" when that goes.
ENDLESS_CLIENT = """
import grpc, itertools, sys
_, address, message = sys.argv
stream = grpc.insecure_channel(address).stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
for i, answer in enumerate(stream(itertools.repeat(bytes.fromhex(message)))):
    if i == 100:
        print("going", flush=True)
"""


def write_model(repository, name, metadata=None):
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {GRAPHS[name]}')
    helper.set_model_props(model, metadata or {})
    path = repository / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    path.parents[1].joinpath("config.toml").write_text(CONFIGS.get(name, ""))
    return path


def command(repository, *options):
    return [sys.executable, "-m", "headgate.cli", "serve", str(repository), "--port", "0", *options]


class Process:
    """A server process that has said that it is ready."""

    def __init__(self, repository, *options):
        self._process = subprocess.Popen(
            command(repository, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        ready = self.wait_for_line("ready: serving on ")
        self.address = ready.removeprefix("ready: serving on ")

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def wait_for_line(self, beginning):
        seen = []
        while not seen or not seen[-1].startswith(beginning):
            line = self._lines.get(timeout=WAIT_S)
            assert line is not None, (seen, self._process.stderr.read())
            seen.append(line)
        return seen[-1]

    def signal(self, number):
        self._process.send_signal(number)

    def wait(self):
        """Return the exit code and what stands on stderr."""
        code = self._process.wait(WAIT_S)
        return code, self._process.stderr.read()

    def end(self):
        self._process.kill()
        self._process.wait()
        self._process.stderr.close()
        while self._lines.get(timeout=WAIT_S) is not None:
            pass
        self._process.stdout.close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in GRAPHS:
        write_model(folder, name)
    return folder


@pytest.fixture
def start(repository):
    processes = []

    def start(*options):
        processes.append(Process(repository, *options))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


@pytest.fixture(scope="module")
def shared(repository):
    """A server for the tests that leave it as it was."""
    process = Process(repository)
    yield process
    process.signal(signal.SIGTERM)
    assert process.wait() == (0, "")
    process.end()


@pytest.fixture
def connect():
    channels = []

    def connect(process, credentials=None):
        options = [("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            channels.append(grpc.insecure_channel(process.address, options))
        else:
            channels.append(grpc.secure_channel(process.address, credentials, options))
        # Calls that begin before there is a connection reach the server in any order.
        channels[-1].unary_unary("/inference.GRPCInferenceService/ServerLive")(b"")
        return Calls(channels[-1])

    yield connect
    for channel in channels:
        channel.close()


class Calls:
    """The calls of the Open Inference Protocol that these tests need, over a blocking or an asyncio channel."""

    def __init__(self, channel):
        def method(kind, name, response):
            return getattr(channel, kind)(
                f"/inference.GRPCInferenceService/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=response.FromString,
            )

        self.infer = method("unary_unary", "ModelInfer", oip.ModelInferResponse)
        self.stream = method("stream_stream", "ModelStreamInfer", oip.ModelStreamInferResponse)
        self._statistics = method("unary_unary", "ModelStatistics", oip.ModelStatisticsResponse)

    def statistics(self, name):
        return self._statistics(oip.ModelStatisticsRequest(name=name)).model_stats[0]


def request(model, *row):
    message = oip.ModelInferRequest(model_name=model)
    message.inputs.add(name="x", datatype="FP32", shape=[1, len(row)])
    message.raw_input_contents.append(np.array(row, np.float32).tobytes())
    return message


def answer(response):
    return np.frombuffer(response.raw_output_contents[0], np.float32).tolist()


def keep_busy(calls, steps):
    """Have the model `busy` run for a while; return when the server has begun."""
    future = calls.infer.future(request("busy", steps))
    # Calls of one connection reach the server in the order in which they began.
    for _ in range(3):
        calls.infer(request("light", 1, 1, 1, 1))
    return future


class TestManyCallers:
    @pytest.mark.parametrize("model", ["light", "threaded"])
    def test_each_gets_its_own_row_and_batches_form(self, shared, connect, model):
        calls = connect(shared)
        before = calls.statistics(model)

        async def ask():
            async with grpc.aio.insecure_channel(shared.address) as channel:
                infer = Calls(channel).infer
                for turn in range(10):
                    rows = [[turn, caller, turn * caller, 7] for caller in range(64)]
                    responses = await asyncio.gather(*[infer(request(model, *row)) for row in rows])
                    assert [answer(response) for response in responses] == [[2 * x for x in row] for row in rows]

        asyncio.run(ask())
        # An execution thread counts a batch after it has answered.
        after = calls.statistics(model)
        while after.inference_count - before.inference_count < 640:
            after = calls.statistics(model)
        assert after.inference_count - before.inference_count == 640
        assert 640 / (after.execution_count - before.execution_count) > 4

    @pytest.mark.parametrize("model", ["light", "threaded"])
    def test_one_malformed_among_many(self, shared, connect, model):
        calls = connect(shared)
        futures = []
        for caller in range(64):
            message = request(model, caller, 0, 0, 1)
            if caller == 17:
                message.raw_input_contents[0] = b"too short"
            futures.append(calls.infer.future(message))
        for caller, future in enumerate(futures):
            if caller == 17:
                assert future.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert future.details() == "input 'x' of FP32 [1,4] takes 16 bytes, 9 came"
            else:
                assert answer(future.result()) == [2 * caller, 0, 0, 2]

    def test_one_of_three_in_a_batch_is_cancelled(self, shared, connect):
        calls = connect(shared)
        before = calls.statistics("busy").inference_count
        first = keep_busy(calls, 10_000)
        waiting = [calls.infer.future(request("busy", steps)) for steps in (1, 2, 3)]
        for _ in range(3):
            calls.infer(request("light", 1, 1, 1, 1))
        assert not first.done()
        waiting[1].cancel()
        assert [answer(waiting[0].result()), answer(waiting[2].result())] == [[1], [3]]
        assert answer(first.result()) == [10_000]
        while (ran := calls.statistics("busy").inference_count - before) < 3:
            pass
        assert ran == 3

    def test_stream(self, shared, connect):
        requests = [request("threaded" if i % 2 else "light", i, 0, 0, 0) for i in range(500)]
        answers = [answer(response.infer_response)[0] for response in connect(shared).stream(iter(requests))]
        assert answers == [2 * i for i in range(500)]

    def test_client_that_is_killed_amid_its_stream(self, shared, connect):
        message = request("threaded", 1, 2, 3, 4).SerializeToString().hex()
        client = subprocess.Popen(
            [sys.executable, "-c", ENDLESS_CLIENT, shared.address, message], stdout=subprocess.PIPE
        )
        assert client.stdout.readline() == b"going\n"
        client.kill()
        client.wait()
        client.stdout.close()
        for model in ("light", "threaded"):
            assert answer(connect(shared).infer(request(model, 1, 2, 3, 4))) == [2, 4, 6, 8]


class TestStopping:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_drains(self, start, connect, number):
        process = start()
        calls = connect(process)
        stream = calls.stream(iter([request("busy", 10_000 + i) for i in range(3)]))
        accepted = keep_busy(calls, 20_000)
        process.signal(number)
        process.wait_for_line("stopping: finishing accepted requests")
        code = None
        while code is not UNAVAILABLE:
            # Until the client has heard of the shutdown it sends calls, which gRPC's core cancels.
            code = calls.infer.future(request("light", 1, 1, 1, 1)).code()
            assert code in (UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.OK)
        assert answer(accepted.result()) == [20_000]
        # Requests of the stream that the server had not read yet are refused; those that it had are answered.
        answers = []
        with contextlib.suppress(grpc.RpcError):
            for response in stream:
                answers.append(answer(response.infer_response))
        assert answers == [[10_000], [10_001], [10_002]][: len(answers)]
        assert stream.code() in ((grpc.StatusCode.OK, UNAVAILABLE) if len(answers) == 3 else (UNAVAILABLE,))
        assert process.wait() == (0, "")

    def test_idle(self, start, connect):
        process = start()
        calls = connect(process)
        assert answer(calls.infer(request("light", 1, 1, 1, 1))) == [2, 2, 2, 2]
        process.signal(signal.SIGTERM)
        assert process.wait() == (0, "")

    def test_second_signal_ends_it_at_once(self, start, connect):
        process = start()
        calls = connect(process)
        running = keep_busy(calls, 2_000_000)
        process.signal(signal.SIGTERM)
        process.wait_for_line("stopping")
        process.signal(signal.SIGTERM)
        assert process.wait() == (1, "")
        assert running.code() is UNAVAILABLE

    def test_drain_timeout(self, start, connect):
        process = start("--drain-timeout", "0.1")
        running = keep_busy(connect(process), 20_000)
        process.signal(signal.SIGTERM)
        assert process.wait() == (1, "")
        assert running.code() is UNAVAILABLE

    def test_drain_timeout_while_the_io_thread_runs_batches(self, start, connect):
        process = start("--drain-timeout", "0.1", "--execution", "inline")
        calls = connect(process)
        futures = [calls.infer.future(request("busy", 1000)) for _ in range(300)]
        calls.infer(request("light", 1, 1, 1, 1))
        process.signal(signal.SIGTERM)
        assert process.wait() == (1, "")
        assert {future.code() for future in futures} <= {grpc.StatusCode.OK, UNAVAILABLE, grpc.StatusCode.CANCELLED}


class TestConnections:
    def check(self, process, calls):
        assert answer(calls.infer(request("light", 1, 1, 1, 1))) == [2, 2, 2, 2]
        process.signal(signal.SIGTERM)
        assert process.wait() == (0, "")

    def test_mutual_tls(self, start, connect, tmp_path):
        authority = trustme.CA()
        server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client@example.org")
        authority.cert_pem.write_to_path(str(tmp_path / "ca"))
        server.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
        server.private_key_pem.write_to_path(str(tmp_path / "key"))
        tls = {"--tls-cert": "cert", "--tls-key": "key", "--tls-client-ca": "ca"}
        process = start(*(word for flag, name in tls.items() for word in (flag, str(tmp_path / name))))
        credentials = [(authority.cert_pem.bytes(), None, None)]
        credentials.append(
            (authority.cert_pem.bytes(), client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes())
        )
        with pytest.raises(grpc.RpcError) as caught:
            connect(process, grpc.ssl_channel_credentials(*credentials[0]))
        assert caught.value.code() is UNAVAILABLE
        self.check(process, connect(process, grpc.ssl_channel_credentials(*credentials[1])))

    def test_unix_socket(self, start, connect, tmp_path, monkeypatch):
        # Paths of sockets are short, those of temporary folders may not be.
        monkeypatch.chdir(tmp_path)
        process = start("--host", "unix:socket")
        assert process.address == "unix:socket"
        self.check(process, connect(process))
        assert not (tmp_path / "socket").exists()

    def test_public_api(self, start, connect):
        options = ["--transport", "public-api", "--compression", "gzip", "--max-connection-age", "60"]
        process = start(*options, "--connection-grace", "5")
        calls = connect(process)
        requests = [request("threaded" if i % 2 else "light", i, 0, 0, 0) for i in range(100)]
        answers = [answer(response.infer_response)[0] for response in calls.stream(iter(requests))]
        assert answers == [2 * i for i in range(100)]
        self.check(process, calls)


class TestStartupErrors:
    def run(self, repository, *options):
        """Run a server that cannot start; return its only line on stderr."""
        done = subprocess.run(command(repository, *options), capture_output=True, text=True, timeout=WAIT_S)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        return done.stderr

    def test_no_folder(self, tmp_path):
        assert self.run(tmp_path / "none").startswith(f"error: there is no folder {tmp_path}/none")

    def test_no_model(self, tmp_path):
        assert "holds no model" in self.run(tmp_path)

    def test_file_that_is_no_model(self, tmp_path):
        write_model(tmp_path, "light").write_bytes(b"no model")
        assert "model.onnx cannot be loaded by onnxruntime" in self.run(tmp_path)

    def test_wrong_config(self, tmp_path):
        write_model(tmp_path, "light")
        (tmp_path / "light" / "config.toml").write_text("[batching]\nmax_batch_size = 0\n")
        assert "config.toml: batching.max_batch_size: Input should be greater" in self.run(tmp_path)

    def test_wrong_head(self, tmp_path):
        signature = '{"schema_version": 1, "heads": [{"name": "h", "output": "z", "regression": {}}]}'
        write_model(tmp_path, "light", {"headgate.signature": signature})
        assert "head 'h': output is 'z'; the model's outputs are y" in self.run(tmp_path)

    def test_port_is_taken(self, repository):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert f"cannot listen on 127.0.0.1:{port}" in self.run(repository, "--port", str(port))

    def test_certificate_without_a_key(self, repository, tmp_path):
        assert "give both --tls-cert and --tls-key" in self.run(repository, "--tls-cert", tmp_path / "cert")

    def test_no_certificate(self, repository, tmp_path):
        options = ("--tls-cert", tmp_path / "cert", "--tls-key", tmp_path / "key")
        assert f"the certificate {tmp_path}/cert cannot be read: No such file" in self.run(repository, *options)

    def test_provider(self, repository):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this onnxruntime has CUDA")
        assert "provider 'cuda' is not available" in self.run(repository, "--provider", "cuda")

    def test_port_that_is_none(self, repository):
        done = subprocess.run(command(repository, "--port", "70000"), capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 2
        assert "Usage:" in done.stderr
        assert "65535" in done.stderr


def test_serving_needs_no_training_libraries():
    script = "import sys, headgate.server.server; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "tf2onnx", "onnx", "sklearn", "scipy", "typer"} & set(done.stdout.split())
    assert {"onnxruntime", "grpc", "numpy"} <= set(done.stdout.split())
