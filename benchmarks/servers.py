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
    """A server that listens on a port of this machine."""

    port: int
    pid: int


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
            yield RunningServer(_read_port(process, command), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _read_port(process: subprocess.Popen[str], command: Sequence[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if ready := re.match(r"ready: serving on .*:(\d+)$", line):
            return int(ready[1])
    raise BenchmarkError(f"a server ended before it was ready; `{' '.join(command)}` shows why")
