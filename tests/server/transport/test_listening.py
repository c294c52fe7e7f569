"""A port that is held for processes that share it."""

import errno
import os
import socket

import pytest

from headgate.server import StartupError
from headgate.server.transport import TransportOptions, listening
from headgate.server.transport.listening import listen_on, reserve_port


def listen(port, *options, host="127.0.0.1"):
    listener = socket.socket()
    for option in options:
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "::1"])
def test_is_taken_and_nobody_listens(host):
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with reserve_port(TransportOptions(host, 0)) as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port))
        with pytest.raises(StartupError, match=f"{port}: is the port taken by another server"):
            reserve_port(TransportOptions(host, port)).__enter__()
    with reserve_port(TransportOptions(host, port)) as again:
        assert again == port


def test_those_who_share_it_listen_and_others_cannot():
    with reserve_port(TransportOptions(port=0)) as port:
        for options in ((), (socket.SO_REUSEADDR,)):
            with pytest.raises(OSError, match="in use"):
                listen(port, *options)
        with listen(port, socket.SO_REUSEPORT), listen(port, socket.SO_REUSEPORT, socket.SO_REUSEADDR):
            socket.create_connection(("127.0.0.1", port)).close()
            for options in ((), (socket.SO_REUSEADDR,)):
                with pytest.raises(OSError, match="in use"):
                    listen(port, *options)


@pytest.mark.parametrize("options", [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,)])
def test_port_of_another_server(options):
    with listen(0, *options) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1:{port}"):
            reserve_port(TransportOptions(port=port)).__enter__()


def test_connections_that_linger_do_not_count():
    with listen(0, socket.SO_REUSEADDR) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            served, _ = before.accept()
            # The side that closes first keeps the port in TIME_WAIT.
            served.close()
            assert client.recv(1) == b""
    with pytest.raises(OSError, match="in use"):
        listen(port)
    with reserve_port(TransportOptions(port=port)) as again:
        assert again == port
        with pytest.raises(StartupError, match="cannot listen"):
            reserve_port(TransportOptions(port=port)).__enter__()


def reserve(options):
    reserve_port(options).__enter__()


def listen_with_grpc(options):
    listening.listen(options, lambda address, tls: 0)


@pytest.mark.parametrize("attempt", [reserve, listen_with_grpc])
@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("192.0.2.1", os.strerror(errno.EADDRNOTAVAIL)),
        ("host.invalid", "(?!is the port)[^;]+"),
        ("x" * 64 + ".org", "[^;]*too long[^;]*"),
    ],
)
def test_host_of_another_machine(attempt, host, why):
    advice = "give --host a name or an address of this machine"
    with pytest.raises(StartupError, match=f"^cannot listen on {host}:8001: {why}; {advice}$"):
        attempt(TransportOptions(host, 8001))


@pytest.mark.parametrize("attempt", [reserve, listen_with_grpc])
def test_port_that_is_not_allowed(attempt, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # Whoever runs the tests may be allowed to.
    monkeypatch.setattr(listening, "_bind_alone", refuse)
    with pytest.raises(
        StartupError, match=r"cannot listen on 127.0.0.1:80: Permission denied; ports below 1024 .* --port$"
    ):
        attempt(TransportOptions(port=80))


@pytest.mark.parametrize("takes", [3, 1000])
def test_free_port_that_is_taken_on_the_second_address(monkeypatch, takes):
    """A name may have addresses of two protocols; two of one are on every machine."""
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    rivals = []

    def bind_after_a_rival(reserved, address, bind=listening._bind_alone):
        if address[0] == "127.0.0.2" and len(rivals) < takes:
            rivals.append(listen(address[1], host=address[0]))
        bind(reserved, address)

    monkeypatch.setattr(listening, "_bind_alone", bind_after_a_rival)
    try:
        if takes == 3:
            with reserve_port(TransportOptions(port=0)) as port:
                assert port not in [rival.getsockname()[1] for rival in rivals]
                for host in ("127.0.0.1", "127.0.0.2"):
                    with pytest.raises(OSError, match="in use"):
                        listen(port, host=host)
        else:
            with pytest.raises(StartupError, match=":0: is the port taken"):
                reserve_port(TransportOptions(port=0)).__enter__()
    finally:
        for rival in rivals:
            rival.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_sockets_that_listen(host):
    with listen_on(TransportOptions(host, 0), "--http-") as sockets:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        for each in sockets:
            socket.create_connection(each.getsockname()[:2]).close()
        port = sockets[0].getsockname()[1]
        with pytest.raises(StartupError, match=f"{port}: is the port taken by .* choose another with --http-port$"):
            listen_on(TransportOptions(host, port), "--http-").__enter__()
        with pytest.raises(StartupError, match="is the port taken"):
            reserve_port(TransportOptions(host, port)).__enter__()
    # What lingers of a connection keeps nobody from listening again.
    with listen_on(TransportOptions(host, port), "--http-") as again:
        assert again[0].getsockname()[1] == port


def test_listening_nowhere():
    with pytest.raises(StartupError, match=r"cannot listen on nowhere\.invalid:0: .*; give --http-host a name or an"):
        listen_on(TransportOptions("nowhere.invalid", 0), "--http-").__enter__()
