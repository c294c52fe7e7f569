import json
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "headgate.benchmarks.coverage"]


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)


def test_unknown_set():
    result = run("--set", "models")
    assert result.returncode == 1
    assert result.stderr == "error: there is no set models; choose from layers, activations, shapes, applications\n"


@pytest.mark.slow
def test_cases_chosen_by_name(tmp_path):
    file, output = tmp_path / "outcomes.json", tmp_path / "page.md"
    result = run("--set", "layers", "--only", "dense/n*", "--json", str(file), "--output", str(output))
    assert result.returncode == 0, result.stderr
    assert [row["name"] for row in json.loads(file.read_text())] == ["Dense/no bias"]
    assert "[1/1] Dense/no bias: equal" in result.stderr
    assert "| Dense | no bias | 1 of 1 |" in output.read_text()

    outcomes = json.loads(file.read_text())
    unknown = {**outcomes[0], "name": "Dense/of another selection"}
    file.write_text(json.dumps([*outcomes, unknown]))
    assert run("--set", "layers", "--only", "dense/n*", "--json", str(file), "--resume").returncode == 0
    assert json.loads(file.read_text()) == [*outcomes, unknown]


@pytest.mark.slow
def test_a_timeout_is_not_as_expected():
    result = run("--set", "applications", "--only", "VGG19", "--application-timeout", "1")
    assert result.returncode == 1
    assert "VGG19/32x32: timed out, 1.0 s: no answer after 1 s  <-- not as expected" in result.stderr
