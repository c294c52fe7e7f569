from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.http1 import Connection, Post
from headgate.benchmarks.http2 import Answers

POST = Post("/predict", b"request", "text/plain")
ANSWER = b"HTTP/1.1 200 OK\r\nServer: test\r\ncontent-length: 6\r\nDate: today\r\n\r\nanswer"


def connect(listener, response_bytes=6):
    answers = Answers()
    times = iter(range(1000, 2000))
    connection = Connection(listener.getsockname()[1], POST, answers, response_bytes, clock=lambda: next(times))
    server, _ = listener.accept()
    return connection, server, answers


def receive(connection):
    """Wait for something to come, which the connection itself does not."""
    connection._socket.setblocking(True)
    answered = connection.receive()
    connection._socket.setblocking(False)
    return answered


def test_sends_what_a_server_understands(listener):
    connection, server, _ = connect(listener)
    with closing(connection), server:
        assert connection.is_idle
        connection.send(900)
        connection.flush()
        assert not connection.is_idle
        assert not connection.is_blocked
        head, _, body = server.recv(10_000).partition(b"\r\n\r\n")
        port = listener.getsockname()[1]
        assert head.decode().split("\r\n") == [
            "POST /predict HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Content-Type: text/plain",
            "Content-Length: 7",
        ]
        assert body == b"request"


@given(st.lists(st.integers(1, 40)))
def test_answers_may_come_in_any_pieces(listener, sizes):
    connection, server, answers = connect(listener)
    with closing(connection), server:
        for started_ns in (900, 901):
            connection.send(started_ns)
            connection.flush()
            rest = ANSWER
            for size in [*sizes, len(ANSWER)]:
                piece, rest = rest[:size], rest[size:]
                if piece:
                    server.sendall(piece)
                    assert receive(connection) == (0 if rest else 1)
            assert connection.is_idle
        started, answered, statuses = answers.arrays()
        assert list(started) == [900, 901]
        assert min(answered) >= 1000
        assert not statuses.any()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ANSWER.replace(b"200 OK", b"503 Busy"), "'HTTP/1.1 503 Busy' with 6 bytes, 200 with 6 were expected"),
        (ANSWER.replace(b": 6", b": 7"), "'HTTP/1.1 200 OK' with 7 bytes, 200 with 6"),
        (ANSWER.replace(b"content-length: 6\r\n", b""), "with an unknown number of bytes"),
        (b"\r\n\r\n", "answered '' with"),
    ],
)
def test_unexpected_answers_are_errors(listener, answer, message):
    connection, server, _ = connect(listener)
    with closing(connection), server:
        connection.send(900)
        server.sendall(answer)
        with pytest.raises(BenchmarkError, match=message):
            receive(connection)


def test_nothing_has_come(listener):
    connection, server, _ = connect(listener)
    with closing(connection), server:
        assert connection.receive() == 0


def test_a_closed_connection_is_an_error(listener):
    connection, server, _ = connect(listener)
    with closing(connection):
        server.close()
        with pytest.raises(ConnectionResetError, match="the server closed it"):
            receive(connection)


def test_a_request_larger_than_the_socket_takes(listener):
    large = Post("/predict", bytes(20_000_000), "text/plain")
    connection = Connection(listener.getsockname()[1], large, Answers(), 6)
    server, _ = listener.accept()
    with closing(connection), server:
        connection.send(900)
        connection.flush()
        assert connection.is_blocked
        received = 0
        while received < len(large.to_bytes(0)):
            received += len(server.recv(1_000_000))
            connection.flush()
        assert not connection.is_blocked


def test_what_is_not_answered_ends_with_a_status(listener):
    connection, server, answers = connect(listener)
    with server:
        connection.send(900)
        connection.close(-1)
    assert list(answers.statuses) == [-1]
    assert connection.is_leaving
