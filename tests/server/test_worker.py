"""What a worker process tells its supervisor."""

import logging
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import pytest

from headgate.server import ServerSettings, StartupError
from headgate.server.supervisor import Assignment

FAILING = """
from headgate.server import worker

class OddError(OSError):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")

def fail(self):
    raise ERROR

worker.Worker.run = fail
worker.main()
"""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("OddError('this', 'that')", StartupError("this and that")),
        ("FileNotFoundError(2, 'No such file', 'x')", FileNotFoundError(2, "No such file", "x")),
        ("ModuleNotFoundError('no y', name='y')", ModuleNotFoundError("no y", name="y")),
    ],
)
def test_why_it_cannot_start(tmp_path, error, expected):
    control, theirs = Pipe()
    command = [sys.executable, "-c", FAILING.replace("ERROR", error)]
    with control, subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE) as process:
        theirs.close()
        control.send(Assignment(ServerSettings(repository=tmp_path), Path(), 1, 0, False, logging.WARNING))
        told = control.recv()
        assert process.stderr.read() == b""
    assert process.returncode == 1
    assert (type(told), told.args, vars(told)) == (type(expected), expected.args, vars(expected))
    assert getattr(told, "name", None) == getattr(expected, "name", None)
