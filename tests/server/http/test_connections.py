"""Connections on which clients do what they should not, and the limits that they run into."""

import asyncio
import contextlib
import gzip
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest
import uvicorn

from headgate.server.http import protocol
from headgate.server.http.protocol import LimitedProtocol
from headgate.server.transport import TransportOptions, listening
from headgate.server.transport.listening import listen_on

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def application(scope, receive, send):
    """Answer with as many bytes as the path says, without a look at the body, or with the body."""
    if scope["path"] == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        return
    size = int(scope["path"].strip("/") or 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": b"." * size})


@pytest.fixture
def server(monkeypatch):
    """A server that waits but a moment for answers to be read."""
    monkeypatch.setattr(listening, "_UNREAD_TIMEOUT_MS", 300)
    with listen_on(TransportOptions(port=0), "--http-") as sockets:
        config = uvicorn.Config(application, http=LimitedProtocol, ws="none", lifespan="off", log_config=None)
        running = uvicorn.Server(config)
        running.address = sockets[0].getsockname()
        thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets)))
        thread.start()
        yield running
        running.should_exit = True
        thread.join()


@pytest.fixture
def connect(server):
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(server.address, timeout=30))


@pytest.fixture
def impatient(monkeypatch):
    """Have the server wait but a moment for a head."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.3)


def receive_all(connection):
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def receive_answers(connection, count):
    received = b""
    while received.count(b"\r\n\r\n..") < count:
        chunk = connection.recv(1000)
        assert chunk
        received += chunk


def receive_answer(connection, body):
    received = b""
    while not received.endswith(b"\r\n\r\n" + body):
        chunk = connection.recv(1000)
        assert chunk
        received += chunk


class TestHeads:
    @pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET / HT", GET[:-2], GET[:-2] + b"A: b\r\n"])
    @pytest.mark.usefixtures("impatient")
    def test_that_do_not_end(self, connect, sent):
        connection = connect()
        connection.sendall(sent)
        assert receive_all(connection) == b""

    def test_that_do_not_begin_after_an_answer(self, connect, monkeypatch):
        connection = connect()
        connection.sendall(GET)
        receive_answers(connection, 1)
        monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.3)
        # Neither a new head nor nothing at all.
        connection.sendall(b"\r\n")
        assert receive_all(connection) == b""

    @pytest.mark.parametrize(
        "sent", [b"GET /" + b"a" * 70_000, GET[:-2] + b"A: " + b"b" * 70_000, GET[:-2] + b"A: b\r\n" * 12_000]
    )
    def test_that_are_too_large(self, connect, sent):
        connection = connect()
        connection.sendall(sent)
        assert receive_all(connection).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")

    def test_that_follow_a_large_body(self, connect):
        connection = connect()
        body = b"." * 100_000
        connection.sendall(b"POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n%s%s" % (body, GET[:5]))
        receive_answers(connection, 1)
        connection.sendall(GET[5:])
        receive_answers(connection, 1)

    def test_that_are_none(self, connect):
        connection = connect()
        connection.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert receive_all(connection).startswith(b"HTTP/1.1 400 ")

    def test_one_after_the_other(self, connect):
        connection = connect()
        connection.sendall(GET * 3)
        receive_answers(connection, 3)
        for _ in range(3):
            connection.sendall(GET[:20])
            connection.sendall(GET[20:])
            receive_answers(connection, 1)


class TestUpgrades:
    """What clients offer that would rather speak HTTP/2, such as Java's, unless they are told otherwise."""

    OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"

    @pytest.mark.parametrize("parts", [1, 2, 3])
    @pytest.mark.parametrize("chunked", [True, False])
    def test_the_body_is_that_of_the_request(self, connect, parts, chunked):
        """However it comes: taken for the next request, it would be one that somebody else wrote."""
        body = b"GET /3 HTTP/1.1\r\nHost: x\r\n\r\n"
        sent = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\n%s%s\r\n\r\n" % (self.OFFER, length)
        connection = connect()
        for part in {1: [head + sent], 2: [head, sent], 3: [head[:90], head[90:] + sent[:9], sent[9:]]}[parts]:
            connection.sendall(part)
        receive_answer(connection, body)
        connection.sendall(GET)
        receive_answers(connection, 1)

    def test_one_after_the_other(self, connect):
        connection = connect()
        offer = GET[:-2] + self.OFFER + b"\r\n"
        connection.sendall(offer * 3 + GET + offer)
        receive_answers(connection, 5)

    @pytest.mark.parametrize("target", [b"/", b"x:80"])
    def test_tunnels(self, connect, target):
        connection = connect()
        connection.sendall(b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert receive_all(connection).startswith(b"HTTP/1.1 400 ")


def test_answers_that_are_not_read(server, connect):
    connection = connect()
    connection.sendall(b"GET /50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.recv(1)
    while server.server_state.connections:
        pass


def test_trailers_that_do_not_end(connect):
    connection = connect()
    connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            connection.sendall(b"a" * 10_000)
        pytest.fail("the server takes 10 MB of trailers")


class TestBodies:
    PATH = "/v2/models/iris/infer"

    @pytest.mark.parametrize("headers", [{}, {"Transfer_Encoding": "chunked"}])
    def test_that_are_too_large(self, service, headers):
        body = b"%x\r\n" % (3 * MIB) + b" " * 3 * MIB + b"\r\n0\r\n\r\n" if headers else b" " * 3 * MIB
        answer = service.post(self.PATH, body, **headers)
        assert (answer.status, answer.error) == (
            413,
            "the body has more than 2 MiB, which is this server's limit (--max-message-mb)",
        )

    def test_json_that_is_too_large(self, service):
        for path in (self.PATH, "/v2/models/iris/predict", "/v2/repository/index"):
            answer = service.post(path, b" " * (MIB // 2 + 1))
            assert (answer.status, answer.error) == (
                413,
                "the JSON has 524289 bytes, this server reads 524288 (a quarter of --max-message-mb); send less at a "
                "time, or binary tensors",
            )

    def test_bombs(self, service):
        bomb = gzip.compress(b" " * 50 * MIB)
        assert len(bomb) < MIB
        assert service.post(self.PATH, bomb, Content_Encoding="gzip").status == 413

    def test_that_do_not_come(self, service):
        where = urlsplit(service.url)
        with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
            head = f"POST {self.PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nGrpc-Timeout: 200m\r\n\r\n"
            connection.sendall(head.encode() + b"{")
            answer = receive_all(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "the body did not arrive within 0.2 s"}

    def test_the_server_goes_on(self, service):
        assert service.get("/v2/health/ready").status == 200
