import sys

import pytest

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.peers import environments
from headgate.benchmarks.peers.catalog import PEERS, ForeignServer
from headgate.benchmarks.peers.environments import ensure, python_of, versions

FOREIGN = [peer.name for peer in PEERS if isinstance(peer, ForeignServer)]


@pytest.fixture
def requirements(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "peers")
    (tmp_path / "peers" / "some").mkdir(parents=True)
    return tmp_path / "peers" / "some" / "requirements.txt"


@pytest.mark.benchmark
def test_an_environment_is_made_once_for_the_same_requirements(requirements, cache):
    requirements.write_text("# nothing\n")
    ensure("some", cache)
    python = python_of("some", cache)
    assert python.is_file()
    mark = cache / "some" / "mark"
    mark.touch()
    ensure("some", cache, interpreter="/not/there")
    assert mark.exists()
    requirements.write_text("# nothing new\n")
    ensure("some", cache)
    assert python.is_file()
    assert not mark.exists()


@pytest.mark.benchmark
def test_requirements_that_cannot_be_met(requirements, cache):
    requirements.write_text("--no-index\nheadgate-not-there==1.0\n")
    with pytest.raises(BenchmarkError, match=r"cannot be installed: Could not find a version .* headgate-not-there"):
        ensure("some", cache)
    # A second attempt is made, not taken for done.
    with pytest.raises(BenchmarkError, match="cannot be installed"):
        ensure("some", cache)


@pytest.mark.parametrize(
    ("interpreter", "message"),
    [
        ("/not/there", r"cannot be installed: .*No such file or directory: '/not/there'"),
        ("/bin/false", "cannot be installed: no reason given"),
    ],
)
def test_an_interpreter_that_does_not_work(requirements, cache, interpreter, message):
    requirements.touch()
    with pytest.raises(BenchmarkError, match=message):
        ensure("some", cache, interpreter)


def test_versions_are_the_first_requirements(requirements):
    requirements.write_text("some==1.0\nimportant==2.0\n\n# What those need.\nother==3.0\n")
    assert versions("some") == ["some==1.0", "important==2.0"]


@pytest.mark.parametrize("name", FOREIGN)
def test_every_peer_has_a_server_and_exact_requirements(name):
    folder = environments.FOLDER / name
    compile((folder / "server.py").read_text(), "server.py", "exec")
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line for line in lines)
    assert "onnxruntime" in {line.partition("==")[0] for line in lines}
    assert "headgate" not in (folder / "server.py").read_text()


def test_interpreters_are_those_of_the_tests_unless_told_otherwise():
    assert {peer.interpreter for peer in PEERS if isinstance(peer, ForeignServer)} == {
        sys.executable,
        "/usr/bin/python3",
    }
