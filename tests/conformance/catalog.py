"""The clients: where each comes from, and the script that asks with it."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.environments import GoProgram, PythonEnvironment

SCRIPTS = Path(__file__).parent / "clients"

TRITON_OLDEST = PythonEnvironment(
    "tritonclient-2.41",
    (
        "tritonclient[grpc,http]==2.41.0",
        # It does not say that it needs these.
        "protobuf<5",
        "numpy<2",
        "setuptools<81",
        # What its perf_analyzer is linked with; no device is needed.
        "nvidia-cuda-runtime-cu12; sys_platform == 'linux'",
    ),
)
TRITON_NEWEST = PythonEnvironment("tritonclient", ("tritonclient[grpc,http]>=2.73", "ml_dtypes"))
MLSERVER = PythonEnvironment("mlserver", ("mlserver==1.7.1",))
KSERVE = PythonEnvironment("kserve", ("kserve==0.21.0",))
# tensorflow-serving-api asks for tensorflow, which tensorflow-cpu takes the place of.
TENSORFLOW_SERVING = PythonEnvironment(
    "tensorflow-serving-api", ("tensorflow-cpu==2.21.0",), alone=("tensorflow-serving-api==2.21.0",)
)

GRPCURL = GoProgram("github.com/fullstorydev/grpcurl", "v1.9.4", "cmd/grpcurl")
GHZ = GoProgram("github.com/bojand/ghz", "v0.120.0", "cmd/ghz")
HEALTH_PROBE = GoProgram("github.com/grpc-ecosystem/grpc-health-probe", "v0.4.38")


@dataclass(frozen=True)
class Client:
    """A client, in the way that it is asked with.

    Attributes:
        name: its id, which limits and the command line use.
        title: how people call it; "{version}" stands for the version that it says it has.
        environment: what it needs to run.
        script: in the folder of scripts; takes the path of the plan first.
        arguments: of the script, after those.
        server: options of the server, in addition to those that it always has.
    """

    name: str
    title: str
    environment: PythonEnvironment | GoProgram
    script: str
    arguments: tuple[str, ...] = ()
    server: tuple[str, ...] = ()

    def command(self, plan, installed):
        """Return the command that asks; `installed` is the interpreter or program of its environment."""
        script = str(SCRIPTS / self.script)
        if isinstance(self.environment, GoProgram):
            return [sys.executable, script, str(plan), str(installed), *self.arguments]
        return [str(installed), script, str(plan), *self.arguments]


def _triton(age, environment):
    return [
        Client(
            f"tritonclient-{age}-{protocol}{style and f'-{style}'}",
            f"tritonclient {{version}}{style and f', {style}'}",
            environment,
            "triton.py",
            (protocol, *([style] if style else [])),
        )
        for protocol in ("grpc", "http")
        for style in ("", "asyncio")
    ]


CLIENTS = {client.name: client for client in (
    *_triton("oldest", TRITON_OLDEST),
    *_triton("newest", TRITON_NEWEST),
    *(
        Client(
            f"tritonclient-newest-{protocol}-workers",
            "tritonclient {version}, 2 workers",
            TRITON_NEWEST,
            "triton.py",
            (protocol,),
            ("--workers", "2"),
        )
        for protocol in ("grpc", "http")
    ),
    Client("mlserver-grpc", "MLServer {version}", MLSERVER, "mlserver_clients.py", ("grpc",)),
    Client("mlserver-http", "MLServer {version}", MLSERVER, "mlserver_clients.py", ("http",)),
    Client("kserve-grpc", "KServe {version}", KSERVE, "kserve_clients.py", ("grpc",)),
    Client("kserve-http", "KServe {version}", KSERVE, "kserve_clients.py", ("http",)),
    Client(
        "tensorflow-serving", "tensorflow-serving-api {version}", TENSORFLOW_SERVING, "tensorflow_serving_stubs.py"
    ),
    Client("perf_analyzer", "perf_analyzer of tritonclient {version}", TRITON_OLDEST, "perf_analyzer.py"),
    Client("grpcurl", "grpcurl {version}", GRPCURL, "grpcurl.py"),
    Client("ghz", "ghz {version}", GHZ, "ghz.py"),
    Client("grpc-health-probe", "grpc-health-probe {version}", HEALTH_PROBE, "health_probe.py"),
)}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """A way to connect other than to a port in plain text, asked with the main calls of some clients.

    Attributes:
        name: its id.
        title: how people call it.
        server: options of the server; "{folder}" stands for that with the certificates and the socket.
        clients: that can connect so, by their names.
        is_tls: whether it is over TLS.
    """

    name: str
    title: str
    server: tuple[str, ...]
    clients: tuple[str, ...]
    is_tls: bool = False


_BY_GRPC = (
    "tritonclient-newest-grpc", "tritonclient-newest-grpc-asyncio", "tensorflow-serving", "grpcurl", "ghz",
    "grpc-health-probe",
)  # fmt: skip
_BY_HTTP = ("tritonclient-newest-http", "tritonclient-newest-http-asyncio")
WAYS = (
    Way(
        "tls", "TLS", ("--tls-cert", "{folder}/server.pem", "--tls-key", "{folder}/server.key"), _BY_GRPC + _BY_HTTP,
        is_tls=True,
    ),
    Way("unix", "Unix socket", ("--host", "unix:{folder}/socket", "--http-host", "127.0.0.1"), _BY_GRPC),
    Way("public-api", "`--transport public-api`", ("--transport", "public-api"), _BY_GRPC + _BY_HTTP),
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A table of the page: of which runs, and what its rows are."""

    title: str
    runs: tuple[str, ...]
    rows: tuple[str, str] = ("call", "cases")


_OPEN_INFERENCE = (
    "tritonclient-oldest-{}",
    "tritonclient-oldest-{}-asyncio",
    "tritonclient-newest-{}",
    "tritonclient-newest-{}-asyncio",
    "tritonclient-newest-{}-workers",
    "mlserver-{}",
    "kserve-{}",
)
#: The page's tables.
SECTIONS = (
    *(
        Section(
            f"Open Inference Protocol with Triton's extensions, {title}",
            tuple(name.format(protocol) for name in _OPEN_INFERENCE),
        )
        for protocol, title in (("grpc", "gRPC"), ("http", "HTTP"))
    ),
    Section("TensorFlow Serving", ("tensorflow-serving",)),
    Section("Load: perf_analyzer", ("perf_analyzer",)),
    Section("Tools that use reflection and health checks", ("grpcurl", "ghz", "grpc-health-probe")),
    Section("Other ways to connect", tuple(way.name for way in WAYS), ("client", "calls")),
)
