"""The server that clients ask, a process of its own as users start it."""

import contextlib
import re
import subprocess
import sys

_STOP_TIMEOUT_S = 60


class ServerError(Exception):
    """The server did not start, did not end well, or complained in between; the message says so in one line."""


@contextlib.contextmanager
def serving(repository, models, options, log):
    """Run a server; yield its addresses for gRPC and for HTTP, "host:port", or "unix:path".

    Args:
        repository: of models.
        models: those that it loads at its start; clients may load others.
        options: of its command line, in addition.
        log: the file for what it writes to stderr.

    Raises:
        ServerError: see there.
    """
    command = [
        *(sys.executable, "-m", "headgate.cli", "serve", str(repository), "--port", "0", "--http-port", "0"),
        *("--allow-shared-memory", "--model-control", "explicit"),
        *(f"--load-model={name}" for name in models),
        *options,
    ]
    with (
        open(log, "w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        try:
            if addresses := _addresses(server):
                yield addresses
        finally:
            server.terminate()
            server.wait(_STOP_TIMEOUT_S)
    lines = log.read_text().splitlines()
    if server.returncode != 0 or lines:
        raise ServerError(f"the server ended with {server.returncode} and wrote {lines[-1] if lines else 'nothing'}")


def _addresses(server):
    for line in server.stdout:
        if found := re.match(r"ready: serving on (\S+) and https?://(\S+)", line):
            return found.groups()
    return None
