import re
import signal
import subprocess
import sys
import time

import pytest

from headgate.benchmarks.peers.processes import session_members

COMMAND = [sys.executable, "-m", "headgate.benchmarks.peers"]


def run(*arguments, **options):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "headgate,torchserve"], "error: there are no peers torchserve; choose from headgate, echo, "),
        (["--models", "resnet"], "error: there are no models resnet; choose from mlp, cnn"),
    ],
)
def test_unknown_names(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.benchmark
def test_measures_headgate_and_writes_a_page(tmp_path):
    arguments = ["--quick", "--only", "headgate,echo", "--models", "mlp", "--cache", str(tmp_path)]
    result = run(*arguments, check=True)
    assert result.stdout.startswith(f"wrote {tmp_path}/")
    text = (tmp_path / result.stdout.removeprefix("wrote ").strip()).read_text()
    assert "## MLP" in text
    assert "## CNN" not in text
    for server in ("onnxruntime alone", "headgate", "echo, headgate's transport"):
        assert len(re.findall(rf"^\| {server} \| 1 \| [\d,]+\*? \|", text, re.MULTILINE)) == 1
    assert "could not be measured" not in text


@pytest.mark.benchmark
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(tmp_path, number):
    arguments = [
        "--only",
        "headgate",
        "--models",
        "mlp",
        "--seconds",
        "0.2",
        "--repeat",
        "1000",
        "--cache",
        str(tmp_path),
    ]
    with subprocess.Popen([*COMMAND, *arguments], start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while not any(is_serving(member) for member in session_members(process.pid)):
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(60) != 0
    # multiprocessing's own helpers notice that it is gone a moment later.
    end = time.monotonic() + 20
    while session_members(process.pid):
        assert time.monotonic() < end
    assert list(tmp_path.iterdir()) == []


def is_serving(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"serve" in file.read().split(b"\0")
    except OSError:
        return False
