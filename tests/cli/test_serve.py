import socket

import pytest


def test_no_repository(refused, tmp_path):
    assert "headgate export" in refused("serve", tmp_path / "nothing")


def test_port_that_is_taken(refused, repository):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert str(port) in refused("serve", repository, "--port", port)


def test_provider_that_is_not_there(refused, repository):
    assert "provider 'bogus' is not available" in refused("serve", repository, "--provider", "bogus")


@pytest.mark.parametrize("option", ["--drain-timeout", "--http-timeout", "--poll-interval"])
@pytest.mark.parametrize("seconds", ["inf", "nan"])
def test_times_that_cannot_be_waited_for(run, tmp_path, option, seconds):
    ended = run("serve", tmp_path, option, seconds)
    assert ended.code == 2
    assert option in ended.err


def test_workers_on_a_unix_socket(refused, repository, tmp_path):
    assert "leave --workers at 1" in refused("serve", repository, "--workers", 2, "--host", f"unix:{tmp_path}/socket")


def test_workers_on_a_port_that_is_taken(refused, repository):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert str(port) in refused("serve", repository, "--workers", 2, "--port", port)
