"""TLS, Unix sockets, compression and the age of connections."""

import contextlib
import os
import socket
import socketserver
import stat
import threading

import grpc
import pytest
import trustme

from headgate.server.errors import StartupError
from headgate.server.transport import Method, MethodKind, Remaining, TlsOptions, TransportOptions, read_tls_options

WAIT_S = 20
COMPRESSIBLE = bytes(1_000_000)


def echo(call):
    call.reply(call.request)


METHODS = {"/t/m": Method(echo), "/t/s": Method(echo, MethodKind.ORDERED_STREAM)}


def ask(channel, message=b"x", **arguments):
    return channel.unary_unary("/t/m")(message, timeout=WAIT_S, **arguments)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority):
    certificate = authority.issue_cert("127.0.0.1")
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return TlsOptions(chain, certificate.private_key_pem.bytes())


@pytest.fixture(scope="module")
def mutual_tls(server_tls, authority):
    return TlsOptions(server_tls.certificate, server_tls.key, authority.cert_pem.bytes())


class TestTls:
    def credentials(self, authority, client=None):
        if client is None:
            return grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        return grpc.ssl_channel_credentials(
            authority.cert_pem.bytes(), client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()
        )

    def refused(self, channel):
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel)
        return caught.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_answer(self, start, connect, authority, server_tls):
        channel = connect(start(METHODS, tls=server_tls), self.credentials(authority))
        assert ask(channel, COMPRESSIBLE) == COMPRESSIBLE
        assert list(channel.stream_stream("/t/s")(iter([b"a", b"b"]))) == [b"a", b"b"]

    def test_client_that_trusts_another_root_or_none(self, start, connect, server_tls):
        transport = start(METHODS, tls=server_tls)
        assert self.refused(connect(transport, self.credentials(trustme.CA())))
        assert self.refused(connect(transport))

    def test_client_with_a_certificate(self, start, connect, authority, mutual_tls):
        client = authority.issue_cert("client@example.org")
        assert ask(connect(start(METHODS, tls=mutual_tls), self.credentials(authority, client))) == b"x"

    def test_client_with_a_wrong_certificate_or_none(self, start, connect, authority, mutual_tls):
        transport = start(METHODS, tls=mutual_tls)
        stranger = trustme.CA().issue_cert("client@example.org")
        assert self.refused(connect(transport, self.credentials(authority, stranger)))
        assert self.refused(connect(transport, self.credentials(authority)))


class TestTlsFiles:
    @pytest.fixture
    def files(self, tmp_path):
        authority = trustme.CA()
        certificate, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
        authority.cert_pem.write_to_path(str(tmp_path / "ca"))
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
        certificate.private_key_pem.write_to_path(str(tmp_path / "key"))
        other.private_key_pem.write_to_path(str(tmp_path / "other"))
        (tmp_path / "text").write_text("no PEM\n")
        return tmp_path

    def test_read(self, files):
        cert, key, ca = files / "cert", files / "key", files / "ca"
        assert read_tls_options(None, None, None) is None
        assert read_tls_options(cert, key, None) == TlsOptions(cert.read_bytes(), key.read_bytes())
        assert read_tls_options(cert, key, ca).client_ca == ca.read_bytes()

    @pytest.mark.parametrize(
        ("cert", "key", "ca", "message"),
        [
            ("cert", None, None, "give both --tls-cert and --tls-key"),
            (None, "key", None, "give both --tls-cert and --tls-key"),
            (None, None, "ca", "give both --tls-cert and --tls-key"),
            ("none", "key", None, "the certificate .*/none cannot be read: No such file"),
            ("cert", "none", None, "the key .*/none cannot be read: No such file"),
            ("cert", "key", "none", "the client CA .*/none cannot be read: No such file"),
            ("text", "key", None, "the certificate .*/text and the key .*/key cannot be used: "),
            ("cert", "text", None, "the certificate .*/cert and the key .*/text cannot be used: "),
            ("cert", "other", None, "cannot be used: KEY_VALUES_MISMATCH"),
            ("cert", "key", "text", "the client CA .*/text holds no PEM certificate"),
        ],
    )
    def test_refused(self, files, cert, key, ca, message):
        paths = [name and files / name for name in (cert, key, ca)]
        with pytest.raises(StartupError, match=message) as caught:
            read_tls_options(*paths)
        assert "\n" not in str(caught.value)

    def test_encrypted_key(self, files):
        from cryptography.hazmat.primitives import serialization as pem

        key = pem.load_pem_private_key((files / "key").read_bytes(), None)
        encrypted = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret"))
        (files / "encrypted").write_bytes(encrypted)
        with pytest.raises(StartupError, match=r"cannot be used: .*not encrypted"):
            read_tls_options(files / "cert", files / "encrypted", None)


class TestUnixSocket:
    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        # Paths of sockets are short, those of temporary folders may not be.
        monkeypatch.chdir(tmp_path)
        return "socket"

    def test_answer(self, start, connect, path):
        transport = start(METHODS, host=f"unix:{path}")
        assert transport.port == 0
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        assert ask(connect(f"unix:{path}")) == b"x"
        transport.drain(WAIT_S)
        transport.close()
        assert not os.path.exists(path)

    def test_internal_methods_are_for_unix_sockets(self, start, connect, path):
        methods = METHODS | {"/t/internal": Method(echo, is_internal=True)}
        transport = start(methods, internal_address=f"unix:{path}")
        inside, outside = (connect(to).unary_unary("/t/internal") for to in (f"unix:{path}", transport))
        assert inside(b"x") == b"x"
        with pytest.raises(grpc.RpcError) as caught:
            outside(b"x")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert caught.value.details() == "this server has no method /t/internal"
        assert ask(connect(transport)) == b"x"

    def test_socket_that_was_left_behind(self, start, connect, path):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        start(METHODS, host=f"unix:{path}")
        assert ask(connect(f"unix:{path}")) == b"x"

    def test_another_server_listens(self, start, connect, create, path):
        start(METHODS, host=f"unix:{path}")
        second = create({}, lambda: Remaining.NOTHING, TransportOptions(f"unix:{path}"))
        with pytest.raises(StartupError, match="cannot listen on unix:socket: another server does"):
            second.start()
        assert ask(connect(f"unix:{path}")) == b"x"

    @pytest.mark.parametrize("path", ["", "file", "no/socket", "x" * 200])
    def test_path_that_cannot_be_had(self, create, tmp_path, monkeypatch, path):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "file").write_text("precious")
        transport = create({}, lambda: Remaining.NOTHING, TransportOptions(f"unix:{path}"))
        with pytest.raises(StartupError, match=f"cannot listen on unix:{path}: choose a path"):
            transport.start()
        assert (tmp_path / "file").read_text() == "precious"


class Relay(socketserver.ThreadingTCPServer):
    """Forwards connections to a port, and counts the bytes either way."""

    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), None)
        self._port = port
        self.sent = self.received = 0

    def finish_request(self, request, client_address):
        with socket.create_connection(("127.0.0.1", self._port)) as server:
            back = threading.Thread(target=self._copy, args=(server, request, "received"))
            back.start()
            self._copy(request, server, "sent")
            back.join()

    def _copy(self, source, target, counter):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                setattr(self, counter, getattr(self, counter) + len(data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class TestCompression:
    @pytest.fixture
    def relay(self):
        with contextlib.ExitStack() as stack:

            def relay(transport):
                server = stack.enter_context(Relay(transport.port))
                threading.Thread(target=server.serve_forever, daemon=True).start()
                stack.callback(server.shutdown)
                return server

            yield relay

    @pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
    def test_compressed_requests(self, start, connect, relay, compression):
        between = relay(start(METHODS))
        channel = connect(f"127.0.0.1:{between.server_address[1]}", compression=compression)
        assert ask(channel, COMPRESSIBLE) == COMPRESSIBLE
        assert list(channel.stream_stream("/t/s")(iter([COMPRESSIBLE]))) == [COMPRESSIBLE]
        assert between.sent < 50_000
        assert between.received > 2_000_000

    @pytest.mark.parametrize("compression", ["gzip", "deflate"])
    def test_compressed_answers(self, start, connect, relay, compression):
        between = relay(start(METHODS, compression=compression))
        channel = connect(f"127.0.0.1:{between.server_address[1]}")
        assert ask(channel, COMPRESSIBLE) == COMPRESSIBLE
        assert list(channel.stream_stream("/t/s")(iter([COMPRESSIBLE]))) == [COMPRESSIBLE]
        assert between.sent > 2_000_000
        assert between.received < 50_000

    @pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
    @pytest.mark.parametrize("method", ["/t/m", "/t/s"])
    def test_request_that_is_too_large_once_it_is_decompressed(self, start, connect, compression, method):
        channel = connect(start(METHODS, max_message_bytes=100_000), compression=compression)
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(method)(iter([COMPRESSIBLE])))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class TestConnectionAge:
    def test_clients_connect_anew_and_calls_go_on(self, start, connect):
        seen = []
        channel = connect(start(METHODS, max_connection_age_s=0.2))
        again = threading.Event()

        def feed():
            yield b"a"
            again.wait(WAIT_S)
            yield b"b"

        def watch(state):
            seen.append(state)
            if state is grpc.ChannelConnectivity.IDLE and grpc.ChannelConnectivity.READY in seen:
                again.set()

        channel.subscribe(watch, try_to_connect=True)
        answers = channel.stream_stream("/t/s")(feed())
        assert next(answers) == b"a"
        assert again.wait(WAIT_S)
        assert ask(channel) == b"x"
        assert list(answers) == [b"b"]

    def test_streams_outlive_the_age_but_not_the_grace(self, start, connect):
        gate = threading.Event()

        def feed():
            yield b"a"
            gate.wait(WAIT_S)

        transport = start(METHODS, max_connection_age_s=0.1, max_connection_age_grace_s=0.1)
        answers = connect(transport).stream_stream("/t/s")(feed())
        assert next(answers) == b"a"
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        gate.set()
