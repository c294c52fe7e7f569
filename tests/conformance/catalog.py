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
    ("Open Inference Protocol with Triton's extensions, gRPC", tuple(name.format("grpc") for name in _OPEN_INFERENCE)),
    ("Open Inference Protocol with Triton's extensions, HTTP", tuple(name.format("http") for name in _OPEN_INFERENCE)),
    ("TensorFlow Serving", ("tensorflow-serving",)),
    ("Load: perf_analyzer", ("perf_analyzer",)),
    ("Tools that use reflection and health checks", ("grpcurl", "ghz", "grpc-health-probe")),
)
