"""The servers that are measured, each a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from headgate.benchmarks.errors import BenchmarkError

_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that listens on a port of this machine, and on another one for HTTP if it was told to."""

    port: int
    pid: int
    http_port: int | None = None


@contextmanager
def running(module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[RunningServer]:
    """Run a Python module that says `ready: serving on <host>:<port>` on stdout, and end it with SIGTERM.

    Args:
        module: what `python -m` runs.
        arguments: of its command line.
        environment: variables to set, in addition to those of this process.

    Raises:
        BenchmarkError: it ended before it was ready.
    """
    command = [sys.executable, "-m", module, *arguments]
    variables = os.environ | dict(environment or {})
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            port, http_port = _read_ports(process, command)
            yield RunningServer(port, process.pid, http_port)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _read_ports(process: subprocess.Popen[str], command: Sequence[str]) -> tuple[int, int | None]:
    assert process.stdout is not None
    for line in process.stdout:
        if ready := re.match(r"ready: serving on \S*:(\d+)(?: and http://\S*:(\d+))?$", line):
            return int(ready[1]), int(ready[2]) if ready[2] else None
    raise BenchmarkError(f"a server ended before it was ready; `{' '.join(command)}` shows why")
