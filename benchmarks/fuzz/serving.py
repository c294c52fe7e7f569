"""Servers to be attacked, as processes, and channels to them."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from headgate.benchmarks.errors import BenchmarkError

_STOP_TIMEOUT_S = 60.0
#: What a server may write to stderr: what a client had it log, and models that failed on an input. What its supervisor
#: warns of is a process that died.
_EXPECTED_LINE = re.compile(
    r"\S+ \S+ (INFO|DEBUG|WARNING(?! headgate\.server\.supervisor)|"
    r"ERROR (worker \d+ )?\S*batch_runner: lookup/1 failed on request) "
)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server under attack; `http_port` is 0 if it has none."""

    port: int
    http_port: int
    pid: int


@contextmanager
def serving(repository: Path, arguments: Sequence[str], faults: list[str]) -> Iterator[RunningServer]:
    """Serve models with arguments of the command line; add to `faults` what the server should not have done.

    That is to die, to end otherwise than with exit code 0, and to write to stderr what nobody asked for.

    Raises:
        BenchmarkError: it did not start.
    """
    command = [sys.executable, "-m", "headgate.cli", "serve", str(repository), "--port", "0", *arguments]
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                yield _wait_until_ready(process)
            finally:
                died = process.poll() is not None
                process.terminate()
                try:
                    process.wait(_STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
        if died or process.returncode:
            faults.append(f"the server {'died' if died else 'ended'} with exit code {process.returncode}")
        log.seek(0)
        unexpected = [line.rstrip() for line in log if not _EXPECTED_LINE.match(line)]
        faults += [f"the server wrote: {line[:300]}" for line in unexpected[:20]]


def _wait_until_ready(process: subprocess.Popen[str]) -> RunningServer:
    assert process.stdout is not None
    for line in process.stdout:
        if ready := re.match(r"ready: serving on \S+:(\d+)(?: and http://\S+:(\d+))?$", line):
            return RunningServer(int(ready[1]), int(ready[2] or 0), process.pid)
    raise BenchmarkError("the server ended before it was ready")


def open_channel(port: int) -> grpc.Channel:
    """Open a channel of its own to a port of this machine, for messages of any size."""
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options)
