"""The servers that are compared: how each is started, what it is asked, and how it is set up."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headgate import foreign
from headgate.benchmarks import servers
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.peers import environments, processes
from headgate.benchmarks.peers.workload import (
    Request,
    Workload,
    ask,
    echo_unary,
    json_http,
    open_inference,
    raw_http,
)
from headgate.benchmarks.servers import RunningServer
from headgate.cli.serve import GRPC_ENVIRONMENT

_START_TIMEOUT_S = 120.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer(ABC):
    """A server that is compared.

    Attributes:
        name: short, without spaces.
        title, protocol: for the report.
        request: what it is asked.
        settings: for the report, how it is set up, in one line.
        versions: what it runs on, in the form of requirements; empty: what headgate runs on.
    """

    name: str
    title: str
    protocol: str
    request: Callable[[Workload], Request]
    settings: str

    @property
    def versions(self) -> list[str]:
        return []

    def prepare(self, cache: Path) -> None:  # noqa: B027 - nothing to do is the usual case
        """Install it into a folder for environments, if it is not.

        Raises:
            BenchmarkError: it cannot be installed.
        """

    @abstractmethod
    def running(self, workload: Workload, cache: Path) -> AbstractContextManager[RunningServer]:
        """Run it with a model until it is no longer needed.

        Raises:
            BenchmarkError: it does not start.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnServer(Peer):
    """A server of headgate's.

    Attributes:
        module: what `python -m` runs.
        arguments: of its command line; the model repository replaces "{repository}".
        environment: variables to set.
    """

    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def running(self, workload: Workload, cache: Path) -> AbstractContextManager[RunningServer]:
        arguments = [argument.format(repository=workload.repository) for argument in self.arguments]
        return servers.running(self.module, *arguments, environment=self.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignServer(Peer):
    """Another server: `server.py MODEL PORT` of the folder of its name, in an environment of its own.

    Attributes:
        arguments: what follows the port.
        interpreter: the Python to make the environment from.
    """

    arguments: tuple[str, ...] = ()
    interpreter: str = sys.executable

    @property
    def versions(self) -> list[str]:
        return environments.versions(self.name)

    def prepare(self, cache: Path) -> None:
        environments.ensure(self.name, cache, self.interpreter)

    @contextmanager
    def running(self, workload: Workload, cache: Path) -> Iterator[RunningServer]:
        python = environments.python_of(self.name, cache)
        script = environments.FOLDER / self.name / "server.py"
        port = processes.free_port()
        command = [str(python), str(script), str(workload.path), str(port), *self.arguments]
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as directory:
            log = Path(directory) / "log"
            with processes.running(command, log, {"PATH": path}) as process:
                self._wait(process, workload, port, log)
                yield RunningServer(port, process.pid)

    def _wait(self, process: subprocess.Popen[bytes], workload: Workload, port: int, log: Path) -> None:
        """Wait until it gives an answer."""
        call = self.request(workload).call
        end = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                ask(call, port)
            except ConnectionError as error:
                last_line = processes.last_line(log)
                if process.poll() is not None:
                    raise BenchmarkError(f"ended before it was ready: {last_line}") from None
                if time.monotonic() > end:
                    raise BenchmarkError(
                        f"gave no answer within {_START_TIMEOUT_S:g} s: {error}; it last printed: {last_line}"
                    ) from None
                time.sleep(_POLL_S)
            else:
                return


PEERS: tuple[Peer, ...] = (
    OwnServer(
        name="headgate",
        title="headgate",
        protocol="gRPC, Open Inference",
        request=open_inference,
        settings="as `headgate serve` sets itself up: batches of up to 64, no wait",
        module="headgate.cli",
        arguments=("serve", "{repository}", "--port", "0"),
    ),
    OwnServer(
        name="echo",
        title="echo, headgate's transport",
        protocol="gRPC",
        request=echo_unary,
        settings="no model, nothing parsed: an answer is the bytes of the request",
        module="headgate.benchmarks.echo",
        arguments=("headgate",),
        environment=GRPC_ENVIRONMENT,
    ),
    OwnServer(
        name="aio-echo",
        title="echo, grpc.aio",
        protocol="gRPC",
        request=echo_unary,
        settings="no model, nothing parsed: an answer is the bytes of the request; grpcio's defaults",
        module="headgate.benchmarks.echo",
        arguments=("aio",),
    ),
    ForeignServer(
        name="mlserver",
        title="MLServer",
        protocol="gRPC, Open Inference",
        request=open_inference,
        settings="a custom runtime on onnxruntime; adaptive batching, up to 64 within 1 ms; inference in the server's "
        "own process (`parallel_workers=0`); uvloop; access log and metrics off",
    ),
    ForeignServer(
        name="pytriton",
        title="PyTriton (Triton)",
        protocol="gRPC, Open Inference",
        request=open_inference,
        settings="a Python function on onnxruntime behind Triton's dynamic batcher, up to 64, no wait; HTTP, metrics "
        "and access token off",
        # Its build of Triton's Python backend does not go with the standard library of every Python 3.11.
        interpreter="/usr/bin/python3",
    ),
    ForeignServer(
        name="ray",
        title="Ray Serve",
        protocol="gRPC, Open Inference",
        request=open_inference,
        settings="one replica; `@serve.batch`, up to 64 within 1 ms; `RAY_SERVE_THROUGHPUT_OPTIMIZED=1`; clients call "
        "the replica itself (direct ingress), not the slower proxy; access log and dashboard off",
        arguments=(str(Path(foreign.__file__).with_name("open_inference.proto")),),
    ),
    ForeignServer(
        name="mosec",
        title="Mosec",
        protocol="HTTP/1.1, raw bytes",
        request=raw_http,
        settings="one worker; batches of up to 64 within 1 ms, the shortest wait there is; bodies are not serialised",
    ),
    ForeignServer(
        name="litserve",
        title="LitServe",
        protocol="HTTP/1.1, JSON",
        request=json_http,
        settings="one worker, one API server; batches of up to 64 within 1 ms; `fast_queue` (ZeroMQ)",
    ),
)
