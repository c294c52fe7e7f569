import re
import signal
import socket
import subprocess
import sys

import pytest

import headgate
from headgate.cli import app as app_module
from headgate.cli import main

HEADGATE = [sys.executable, "-m", "headgate.cli"]


def test_version(run):
    ended = run("--version")
    assert (ended.code, ended.out) == (0, f"headgate {headgate.__version__}\n")


@pytest.mark.parametrize("command", ["export", "serve", "predict", "inspect", "bench"])
def test_help_shows_examples(run, command):
    assert command in run("--help").out
    ended = run(command, "--help")
    assert ended.code == 0
    assert re.search(rf"^ +headgate {command} (?!\[OPTIONS\])", ended.out, re.MULTILINE)


@pytest.mark.parametrize("command", ["export", "serve", "predict", "inspect", "evaluate", "threshold", "bench"])
def test_help_fits_on_a_narrow_terminal(run, monkeypatch, command):
    """What is too long for its column is cut by rich, names of options too."""
    monkeypatch.setenv("COLUMNS", "80")
    assert "\N{HORIZONTAL ELLIPSIS}" not in run(command, "--help").out


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["predict"], ["inspect"], ["predict", "iris", "--input", "[[1]]", "--threshold", "7"]]
)
def test_wrong_usage(run, arguments):
    ended = run(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["export", "--help"], ["serve", "--help"], ["predict", "--help"], ["bench", "--help"]]
)
def test_help_loads_nothing_heavy(arguments):
    code = f"""
import sys
from headgate.cli import main
try:
    main({arguments})
finally:
    print(*{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert "typer" in loaded
    assert not {"tensorflow", "keras", "onnxruntime", "grpc", "numpy", "google"} & set(loaded)


def test_bugs_leave_with_their_traceback(monkeypatch):
    def app(**_):
        raise KeyError("bug")

    monkeypatch.setattr(app_module, "app", app)
    with pytest.raises(KeyError):
        main(["--version"])


def test_missing_library(monkeypatch, refused, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in [name for name in sys.modules if name.startswith("headgate.server")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "model.onnx").touch()
    assert "pip install 'headgate[cpu]'" in refused("inspect", tmp_path / "model.onnx")


def test_ctrl_c_is_quiet():
    with socket.create_server(("localhost", 0)) as listener:
        command = [*HEADGATE, "predict", "iris", "--input", "[[1]]", "--url", f"localhost:{listener.getsockname()[1]}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = listener.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 130
            assert process.stderr.read() == ""
