import sys

import pytest

from tests.conformance.environments import GoProgram, MissingError, PythonEnvironment


def test_an_interpreter_that_does_not_work(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(MissingError, match="false: no reason given"):
        PythonEnvironment("some", ("some==1",)).ensure(tmp_path)


def test_an_environment_is_made_once_for_the_same_requirements(tmp_path, monkeypatch):
    environment = PythonEnvironment("some", ("some==1",))
    (tmp_path / "some").mkdir()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    for made_from, is_there in [((sys.version_info[:2], ("some==1",), ()), True), (("older",), False)]:
        (tmp_path / "some" / "made-from.txt").write_text(repr(made_from))
        if is_there:
            assert environment.ensure(tmp_path) == tmp_path / "some" / "bin" / "python"
        else:
            with pytest.raises(MissingError):
                environment.ensure(tmp_path)


def test_go_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="Go is not installed"):
        GoProgram("example.org/tool", "v1.0.0").ensure(tmp_path)


def test_go_that_fails(tmp_path, monkeypatch):
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'downloading' >&2\necho 'no such module' >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    program = GoProgram("example.org/tool", "v1.0.0", "cmd/tool")
    with pytest.raises(MissingError, match="go: no such module"):
        program.ensure(tmp_path / "cache")
    (tmp_path / "cache" / "bin").mkdir()
    (tmp_path / "cache" / "bin" / "tool-v1.0.0").touch()
    assert program.ensure(tmp_path / "cache").name == "tool-v1.0.0"
