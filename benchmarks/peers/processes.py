"""Servers that are not headgate's own: they have several processes, and each its own idea of how to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from headgate.benchmarks.errors import BenchmarkError

_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.05


@contextmanager
def running(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a session of its own; end it with SIGTERM, and with SIGKILL what is then left of its session.

    Args:
        command: what to run.
        log: the file for what it prints; it runs in the folder of that.
        environment: variables to set, in addition to those of this process.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=log.parent,
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        try:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT_S)
        finally:
            _kill_session(process.pid)
            process.wait()


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def session_members(session: int) -> list[int]:
    """Return the processes of a session on Linux, those that have ended and were not waited for left out."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # It may have ended since.
            with suppress(OSError):
                state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                if state not in "ZX" and os.getsid(int(entry.name)) == session:
                    members.append(int(entry.name))
    return members


def last_line(log: Path) -> str:
    """Return the last line with something in it of what a server has printed."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it printed nothing")


def _kill_session(session: int) -> None:
    end = time.monotonic() + _STOP_TIMEOUT_S
    # Until nothing is left: a process may start another one before the signal reaches it.
    while members := session_members(session):
        if time.monotonic() > end:
            raise BenchmarkError(f"processes {members} do not end; end them before you measure again")
        for member in members:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        time.sleep(_POLL_S)
