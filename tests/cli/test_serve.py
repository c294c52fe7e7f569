import socket


def test_no_repository(refused, tmp_path):
    assert "headgate export" in refused("serve", tmp_path / "nothing")


def test_port_that_is_taken(refused, repository):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert str(port) in refused("serve", repository, "--port", port)


def test_provider_that_is_not_there(refused, repository):
    assert "provider 'bogus' is not available" in refused("serve", repository, "--provider", "bogus")
