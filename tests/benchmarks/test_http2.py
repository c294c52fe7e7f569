import socket
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.http2 import Call, Connection

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1


def frame(kind, flags, stream_id, payload=b""):
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream_id.to_bytes(4) + payload


def answer(stream_id, message):
    data = b"\0" + len(message).to_bytes(4) + message
    return frame(HEADERS, 4, stream_id, b"\x88") + frame(DATA, 0, stream_id, data) + end(stream_id)


def end(stream_id):
    return frame(HEADERS, 4 | END_STREAM, stream_id, b"\x88")


def connect(listener, is_stream=False, in_flight=1):
    port = listener.getsockname()[1]
    connection = Connection(port, Call("/test.Service/Method", b"request", is_stream), 3, in_flight)
    server, _ = listener.accept()
    return connection, server


@pytest.fixture(scope="module")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@given(st.lists(st.integers(1, 20)))
def test_frames_may_come_in_any_pieces(listener, sizes):
    connection, server = connect(listener, in_flight=3)
    with closing(connection), server:
        connection.is_sending = False
        received = frame(SETTINGS, 0, 0) + answer(1, b"one") + frame(WINDOW_UPDATE, 0, 0, bytes(4)) + answer(5, b"two")
        for size in sizes:
            piece, received = received[:size], received[size:]
            if piece:
                server.sendall(piece)
                connection.receive()
        if received:
            server.sendall(received)
            connection.receive()
        assert len(connection.latencies_ns) == 2
        assert not connection.is_idle
        server.sendall(answer(3, b"end"))
        connection.receive()
        assert connection.is_idle


def test_acknowledges_settings_and_pings(listener):
    connection, server = connect(listener)
    with closing(connection), server:
        server.recv(10_000)
        server.sendall(frame(SETTINGS, 0, 0) + frame(PING, 0, 0, b"12345678") + frame(SETTINGS, ACK, 0))
        connection.receive()
        assert server.recv(10_000) == frame(SETTINGS, ACK, 0) + frame(PING, ACK, 0, b"12345678")


def test_the_next_request_follows_an_answer(listener):
    connection, server = connect(listener)
    with closing(connection), server:
        server.recv(10_000)
        server.sendall(answer(1, b"one"))
        connection.receive()
        # HPACK: the eight fields of the first request, by their places in the table.
        headers = frame(HEADERS, 4, 3, bytes(0x80 | index for index in range(69, 61, -1)))
        assert server.recv(10_000) == headers + frame(DATA, END_STREAM, 3, b"\0\0\0\0\7request")


@pytest.mark.parametrize(
    ("frames", "is_stream", "message"),
    [
        (end(1), False, "ended a call with an error"),
        (end(1), True, "ended a call with an error"),
        (answer(1, b"four"), False, "sent 9 bytes of data, 8 were expected"),
        (frame(RST_STREAM, 0, 1, bytes(4)), False, "refused to go on"),
        (frame(GOAWAY, 0, 0, bytes(8)), True, "refused to go on"),
    ],
)
def test_unexpected_frames_are_errors(listener, frames, is_stream, message):
    connection, server = connect(listener, is_stream)
    with closing(connection), server:
        server.sendall(frames)
        with pytest.raises(BenchmarkError, match=message):
            connection.receive()


def test_a_closed_connection_is_an_error(listener):
    connection, server = connect(listener)
    with closing(connection):
        server.recv(10_000)
        server.close()
        with pytest.raises(ConnectionResetError, match="the server closed it"):
            connection.receive()
