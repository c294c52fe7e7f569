"""A server that speaks HTTP, as `headgate serve` starts it, and what these tests ask it."""

import contextlib
import http.client
import json
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import grpc
import pytest

pytest.importorskip("fastapi", reason="HTTP is not installed: pip install 'headgate[http]'")

from headgate.foreign import open_inference as oip
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOGITS,
    DataType,
    Head,
    InputMeaning,
    MulticlassHead,
    RegressionHead,
    Signature,
    TabularInput,
    TensorSpec,
)
from headgate.v1.signatures import METADATA_KEY, signature_to_json

WAIT_S = 60
FP32 = DataType.DATA_TYPE_FP32
FLOWERS = Head(
    name="species",
    output="logits",
    activation=ACTIVATION_LOGITS,
    multiclass=MulticlassHead(labels=["setosa", "versicolor", "virginica"]),
)
PRICE = Head(name="price", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead(units=["EUR"]))
SIGNATURES = {
    "iris": Signature(schema_version=1, inputs=[TensorSpec(name="x", datatype=FP32, shape=[-1, 4])], heads=[FLOWERS]),
    "price": Signature(
        schema_version=1,
        inputs=[TensorSpec(name="x", datatype=FP32, shape=[-1, 2])],
        heads=[PRICE],
        input_meanings=[InputMeaning(input="x", tabular=TabularInput(feature_names=["area", "rooms"]))],
    ),
}


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body, parse_constant=pytest.fail)

    @property
    def error(self):
        """The message of an error, which is all that its body holds."""
        (message,) = self.json.values()
        assert list(self.json) == ["error"]
        assert "\n" not in message
        assert "Traceback" not in message
        return message


class Service:
    """A server process with HTTP."""

    def __init__(self, repository, *options):
        # Of the same package, as installed or not: whatever this one is.
        command = [sys.executable, "-m", "headgate.cli", "serve", str(repository), "--port", "0", "--http-port", "0"]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
        )
        self.lines = {name: queue.SimpleQueue() for name in ("stdout", "stderr")}
        self._readers = [threading.Thread(target=self._read, args=[name]) for name in self.lines]
        for reader in self._readers:
            reader.start()

    def _read(self, name):
        with getattr(self.process, name) as stream:
            for line in stream:
                self.lines[name].put(line.rstrip("\n"))
        self.lines[name].put(None)

    def wait_for_line(self, pattern, name="stdout"):
        seen = []
        while (line := self.lines[name].get(timeout=WAIT_S)) is not None:
            seen.append(line)
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"{pattern!r} is not in {seen}, on stderr: {self.rest('stderr')}")

    def wait_until_ready(self):
        self.grpc_address, self.url = self.wait_for_line("ready: serving on (.+) and (.+)").groups()
        return self

    def rest(self, name):
        """Wait until no process of it holds the stream open; return what was not read yet."""
        lines = []
        while (line := self.lines[name].get(timeout=WAIT_S)) is not None:
            lines.append(line)
        self.lines[name].put(None)
        return lines

    def stop(self):
        """End it in good order; return the exit code, and what stands on stderr."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S), self.rest("stderr")

    def children(self, module):
        """The process ids of its children that run a module."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and module in (folder / "cmdline").read_text().split("\0"):
                    found.append(int(folder.name))
        return found

    def end(self):
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(WAIT_S)
            assert not reader.is_alive(), "a process outlived its supervisor"

    def connect(self, context=None):
        where = urlsplit(self.url)
        if where.scheme == "https":
            return http.client.HTTPSConnection(where.hostname, where.port, timeout=WAIT_S, context=context)
        return http.client.HTTPConnection(where.hostname, where.port, timeout=WAIT_S)

    def ask(self, method, path, body=None, context: ssl.SSLContext | None = None, **headers):
        """Ask over a connection of its own; `a_b` stands for the header "a-b", and what is no bytes becomes JSON."""
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body)
        with contextlib.closing(self.connect(context)) as connection:
            connection.request(
                method, path, body, {name.replace("_", "-"): str(value) for name, value in headers.items()}
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body=None, **headers):
        return self.ask("POST", path, body, **headers)

    @contextlib.contextmanager
    def protocol(self):
        """The calls of the Open Inference Protocol over gRPC, by name."""
        with grpc.insecure_channel(self.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:

            def call(name, /, **fields):
                response_class = getattr(oip, f"{name}Response")
                method = channel.unary_unary(f"/inference.GRPCInferenceService/{name}", None, response_class.FromString)
                return method(getattr(oip, f"{name}Request")(**fields).SerializeToString(), timeout=WAIT_S)

            yield call


@pytest.fixture(scope="session")
def http_repository(tmp_path_factory, write_model):
    """`iris` and `price` have heads; `busy` takes about 50 us a step."""
    folder = tmp_path_factory.mktemp("models")
    names = (
        "iris",
        "price",
        "scalars",
        "text",
        "lookup",
        "busy",
        "same_float",
        "same_float16",
        "same_int64",
        "same_bool",
        "same_bfloat16",
        "wide",
    )
    for name in names:
        signature = SIGNATURES.get(name)
        metadata = {METADATA_KEY: signature_to_json(signature)} if signature else None
        mode = "threads" if name == "busy" else "inline"
        config = f'[execution]\nmode = "{mode}"\nintra_op_threads = 1\n[batching]\nmax_batch_size = 8\n'
        write_model(folder, name, config=config, heads=[], metadata=metadata)
    return folder


@pytest.fixture(scope="session")
def service_class():
    """For those who start a server and end it by themselves."""
    return Service


@pytest.fixture(scope="session")
def service(http_repository):
    """A server that tests share, and leave as it is."""
    control = ("--model-control", "explicit", "--load-model", "*")
    shared = Service(http_repository, "--workers", "2", "--max-message-mb", "2", "--allow-shared-memory", *control)
    try:
        yield shared.wait_until_ready()
    finally:
        shared.end()


@pytest.fixture
def start(http_repository):
    """Start servers, which end with the test: `start("--workers", "2")`."""
    services = []

    def start(*options, repository=http_repository):
        services.append(Service(repository, *options))
        return services[-1]

    yield start
    for service in services:
        service.end()
