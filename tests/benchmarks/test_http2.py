import socket
import time
from contextlib import closing

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.address import Address
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    NO_ANSWER,
    OK,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
)
from headgate.benchmarks.http2 import NEVER_NS, Answers, Call, Connection

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
CANCEL = bytes([0, 0, 0, 8])
INITIAL_WINDOW, MAX_FRAME, MAX_STREAMS, HEADER_TABLE = 4, 5, 3, 1


def frame(kind, flags, stream_id, payload=b""):
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream_id.to_bytes(4) + payload


def headers(stream_id, *fields, is_last=False):
    # Without a table every block stands for itself.
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return frame(HEADERS, END_HEADERS | is_last, stream_id, encoder.encode(fields))


def message(body):
    return b"\0" + len(body).to_bytes(4) + body


def answer(stream_id, body, status=OK):
    start = headers(stream_id, (":status", "200")) + frame(DATA, 0, stream_id, message(body))
    return start + headers(stream_id, ("grpc-status", str(status)), is_last=True)


def settings(values):
    return frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in values.items()))


class Peer:
    """A connection, and the server's side of it."""

    def __init__(self, listener, is_stream=False, request=b"request", **options):
        self.answers = Answers()
        of_call = ("more_requests", "status_of", "timeout_s")
        call_options = {name: options.pop(name) for name in of_call if name in options}
        call = Call("/test.Service/Method", request, is_stream, **call_options)
        address = Address(f"127.0.0.1:{listener.getsockname()[1]}")
        self.connection = Connection(address, call, self.answers, **options)
        self.server, _ = listener.accept()
        self.unread = b""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.connection.close()
        self.server.close()

    def send(self, *started):
        for started_ns in started:
            self.connection.send(started_ns)
        self.connection.flush()

    def receive(self, received):
        """Let the server send these bytes, and the client read them; return how many requests that answered."""
        self.server.sendall(received)
        deadline = time.monotonic() + 10
        answered = 0
        while received and time.monotonic() < deadline:
            try:
                pending = len(self.connection._socket.recv(len(received), socket.MSG_PEEK))
            except BlockingIOError:
                continue
            answered += self.connection.receive()
            received = received[pending:]
        self.connection.flush()
        return answered

    def frames(self):
        """What the client has sent so far: kind, flags, stream and payload."""
        self.server.settimeout(0.1)
        while True:
            try:
                self.unread += self.server.recv(1_000_000)
            except TimeoutError:
                break
        self.unread = self.unread.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        found = []
        while self.unread:
            end = 9 + int.from_bytes(self.unread[:3])
            kind, flags, stream_id = self.unread[3], self.unread[4], int.from_bytes(self.unread[5:9])
            found.append((kind, flags, stream_id, self.unread[9:end]))
            self.unread = self.unread[end:]
        return found

    def statuses(self):
        return dict(zip(self.answers.started_ns, self.answers.statuses, strict=True))


@given(st.lists(st.integers(1, 30), max_size=30))
def test_frames_may_come_in_any_pieces(listener, sizes):
    with Peer(listener) as peer:
        peer.send(10, 20, 30)
        received = settings({}) + answer(1, b"one") + frame(WINDOW_UPDATE, 0, 0, bytes(4)) + answer(5, b"three", 8)
        answered = 0
        for size in sizes:
            piece, received = received[:size], received[size:]
            if piece:
                answered += peer.receive(piece)
        answered += peer.receive(received) if received else 0
        assert answered == 2
        assert peer.statuses() == {10: OK, 30: RESOURCE_EXHAUSTED}
        assert not peer.connection.is_idle
        peer.receive(answer(3, b"two"))
        assert peer.connection.is_idle


def test_sends_the_requests_in_turn(listener):
    with Peer(listener, more_requests=(b"other", b"third")) as peer:
        peer.send(1, 2, 3, 4)
        frames = peer.frames()
    bodies = [payload for kind, _, _, payload in frames if kind == DATA]
    assert bodies == [message(body) for body in (b"request", b"other", b"third", b"request")]
    assert [stream for kind, _, stream, _ in frames if kind == DATA] == [1, 3, 5, 7]
    decoder = hpack.Decoder()
    blocks = [dict(decoder.decode(payload)) for kind, _, _, payload in frames if kind == HEADERS]
    assert blocks == [blocks[0]] * 4
    assert blocks[0][":path"] == "/test.Service/Method"


def test_acknowledges_settings_and_pings(listener):
    with Peer(listener) as peer:
        peer.send()
        assert [kind for kind, *_ in peer.frames()] == [SETTINGS, WINDOW_UPDATE]
        peer.receive(settings({}) + frame(PING, 0, 0, b"12345678") + frame(SETTINGS, ACK, 0))
        assert peer.frames() == [(SETTINGS, ACK, 0, b""), (PING, ACK, 0, b"12345678")]


def test_messages_of_streams(listener):
    with Peer(listener, is_stream=True, streams=2) as peer:
        peer.send(1, 2, 3)
        # The third request shares the first stream, where answers come in order.
        sent = [(stream, kind) for kind, _, stream, _ in peer.frames() if stream]
        assert sent == [(1, HEADERS), (1, DATA), (3, HEADERS), (3, DATA), (1, DATA)]
        two = message(b"a") + message(b"bc")
        assert peer.receive(headers(1, (":status", "200")) + frame(DATA, 0, 1, two[:8])) == 1
        assert list(peer.answers.started_ns) == [1]
        assert peer.receive(frame(DATA, 0, 1, two[8:11])) == 0
        assert peer.receive(frame(DATA, 0, 1, two[11:])) == 1
        # The first is idle again, the second is not.
        peer.send(4)
        assert [stream for kind, _, stream, _ in peer.frames() if kind == DATA] == [1]
        assert list(peer.answers.started_ns) == [1, 3]


def test_errors_within_a_stream(listener):
    with Peer(listener, is_stream=True, status_of=lambda answer: answer[0]) as peer:
        peer.send(1, 2)
        peer.receive(frame(DATA, 0, 1, message(b"\x08") + message(b"\x00")))
        assert peer.statuses() == {1: RESOURCE_EXHAUSTED, 2: OK}


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (headers(1, (":status", "200"), ("grpc-status", "8"), is_last=True), RESOURCE_EXHAUSTED),
        (headers(1, (":status", "502"), is_last=True), UNKNOWN),
        (frame(DATA, END_STREAM, 1, message(b"x")), UNKNOWN),
        (frame(RST_STREAM, 0, 1, (8).to_bytes(4)), CANCELLED),
        (frame(RST_STREAM, 0, 1, (7).to_bytes(4)), UNAVAILABLE),
        (frame(RST_STREAM, 0, 1, (2).to_bytes(4)), INTERNAL),
        (frame(GOAWAY, 0, 0, bytes(8)), UNAVAILABLE),
    ],
)
def test_failed_calls(listener, received, status):
    with Peer(listener) as peer:
        peer.send(1)
        assert peer.receive(received) == 1
        assert peer.statuses() == {1: status}


def test_a_stream_that_ends_takes_its_requests_with_it(listener):
    with Peer(listener, is_stream=True) as peer:
        peer.send(1, 2)
        peer.receive(headers(1, ("grpc-status", "0"), is_last=True))
        assert peer.statuses() == {1: UNKNOWN, 2: UNKNOWN}
        peer.send(3)
        assert [stream for kind, _, stream, _ in peer.frames() if kind == DATA] == [1, 1, 3]


def test_an_idle_stream_that_ends_is_not_used_again(listener):
    with Peer(listener, is_stream=True) as peer:
        peer.send(1)
        peer.receive(frame(DATA, 0, 1, message(b"x")) + headers(1, ("grpc-status", "0"), is_last=True))
        peer.send(2)
        assert [stream for kind, _, stream, _ in peer.frames() if kind == DATA] == [1, 3]


def test_calls_that_a_leaving_server_still_answers(listener):
    with Peer(listener) as peer:
        peer.send(1, 2)
        peer.receive(frame(GOAWAY, 0, 0, (1).to_bytes(4) + bytes(4)))
        assert peer.connection.is_leaving
        assert peer.statuses() == {2: UNAVAILABLE}
        peer.receive(answer(1, b""))
        assert peer.statuses()[1] == OK


def test_no_more_calls_than_the_server_takes(listener):
    with Peer(listener) as peer:
        peer.receive(settings({MAX_STREAMS: 2}))
        peer.send(1, 2, 3)
        assert [stream for kind, _, stream, _ in peer.frames() if kind == DATA] == [1, 3]
        assert not peer.connection.is_idle
        peer.receive(answer(3, b""))
        assert [stream for kind, _, stream, _ in peer.frames() if kind == DATA] == [5]
        peer.receive(answer(1, b"") + answer(5, b""))
        assert peer.statuses() == {1: OK, 2: OK, 3: OK}
        assert peer.connection.is_idle


def test_calls_end_at_their_deadlines_also_those_that_wait_for_a_stream(listener):
    now = 0
    with Peer(listener, timeout_s=0.1, clock=lambda: now) as peer:
        assert peer.connection.expires_ns == NEVER_NS
        peer.receive(settings({MAX_STREAMS: 1}))
        peer.send(0, 10_000_000, 20_000_000, 30_000_000)
        assert peer.connection.expires_ns == 100_000_000
        now = 60_000_000
        peer.receive(answer(1, b""))
        now = 110_000_000
        assert peer.connection.expire(now) == 1
        now = 125_000_000
        peer.receive(frame(RST_STREAM, 0, 5, CANCEL))
        peer.connection.flush()
        sent = [(kind, stream, payload) for kind, _, stream, payload in peer.frames() if kind in (HEADERS, RST_STREAM)]
        decoder = hpack.Decoder()
        timeouts = [dict(decoder.decode(block))["grpc-timeout"] for kind, _, block in sent if kind == HEADERS]
        # The rest of what each had: that of 100 ms at 0, 60, 110 and 125 ms.
        assert timeouts == ["100000u", "50000u", "10000u", "5000u"]
        assert [(stream, payload) for kind, stream, payload in sent if kind == RST_STREAM] == [(3, CANCEL)]
        # It may have been on its way.
        assert peer.receive(answer(3, b"") + answer(7, b"")) == 1
        assert peer.statuses() == {
            0: OK, 10_000_000: DEADLINE_EXCEEDED, 20_000_000: CANCELLED, 30_000_000: OK,
        }  # fmt: skip
        assert peer.connection.is_idle


def test_a_call_that_waits_longer_than_its_deadline_is_not_sent(listener):
    with Peer(listener, timeout_s=0.1, clock=lambda: 500_000_000) as peer:
        peer.receive(settings({MAX_STREAMS: 1}))
        peer.send(450_000_000, 100_000_000)
        peer.receive(answer(1, b""))
        assert [stream for kind, _, stream, _ in peer.frames() if kind == DATA] == [1]
        assert peer.statuses() == {450_000_000: OK, 100_000_000: DEADLINE_EXCEEDED}


@pytest.mark.parametrize("is_stream", [False, True])
def test_sends_no_more_than_the_windows_allow(listener, is_stream):
    body = bytes(range(256)) * 400
    with Peer(listener, is_stream=is_stream, request=body) as peer:
        peer.receive(settings({INITIAL_WINDOW: 50_000, MAX_FRAME: 20_000}))
        peer.send(1)
        frames = [frame for frame in peer.frames() if frame[0] == DATA]
        assert [len(payload) for *_, payload in frames] == [20_000, 20_000, 10_000]
        # First the stream may send more, then the connection may not.
        peer.receive(frame(WINDOW_UPDATE, 0, 1, (100_000).to_bytes(4)))
        more = [frame for frame in peer.frames() if frame[0] == DATA]
        assert sum(len(payload) for *_, payload in more) == 65_535 - 50_000
        peer.receive(frame(WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4)))
        rest = [frame for frame in peer.frames() if frame[0] == DATA]
        frames += more + rest
        assert b"".join(payload for *_, payload in frames) == message(body)
        assert [flags for _, flags, _, _ in frames] == [0] * (len(frames) - 1) + [0 if is_stream else END_STREAM]
        peer.receive(frame(DATA, 0, 1, message(b"")) + headers(1, ("grpc-status", "0"), is_last=True))
        assert peer.statuses() == {1: OK}


def test_a_window_that_shrinks(listener):
    with Peer(listener, request=bytes(30_000)) as peer:
        peer.receive(settings({INITIAL_WINDOW: 20_000}))
        peer.send(1)
        peer.receive(settings({INITIAL_WINDOW: 5_000}))
        peer.receive(frame(WINDOW_UPDATE, 0, 1, (15_000).to_bytes(4)))
        assert sum(len(payload) for kind, _, _, payload in peer.frames() if kind == DATA) == 20_000
        peer.receive(frame(WINDOW_UPDATE, 0, 1, (10_005).to_bytes(4)))
        assert sum(len(payload) for kind, _, _, payload in peer.frames() if kind == DATA) == 10_005


@pytest.mark.parametrize(
    ("received", "options", "problem"),
    [
        (answer(1, b"four"), {"response_bytes": 3}, "sent 9 bytes of data, 8 were expected"),
        (frame(DATA, 8, 1, b"\0"), {}, "padded data"),
        (frame(HEADERS, 0, 1, b""), {}, "very long headers"),
        (settings({HEADER_TABLE: 0}), {}, "header tables of 0 bytes"),
        (frame(DATA, 0, 1, message(b"") * 2), {"is_stream": True}, "more answers than"),
    ],
)
def test_unexpected_frames_are_errors(listener, received, options, problem):
    with Peer(listener, **options) as peer:
        peer.send(1)
        with pytest.raises(BenchmarkError, match=problem):
            peer.receive(received)


def test_a_closed_connection_is_an_error(listener):
    with Peer(listener) as peer, closing(peer.server):
        peer.send(1)
        peer.frames()
        peer.server.shutdown(socket.SHUT_WR)
        peer.connection._socket.setblocking(True)
        with pytest.raises(ConnectionResetError, match="the server closed it"):
            peer.connection.receive()
        peer.connection.close(NO_ANSWER)
        assert peer.statuses() == {1: NO_ANSWER}


def test_a_server_that_does_not_read_does_not_block(listener):
    with Peer(listener, request=bytes(100)) as peer:
        peer.receive(settings({INITIAL_WINDOW: 2**30}) + frame(WINDOW_UPDATE, 0, 0, (2**30).to_bytes(4)))
        while not peer.connection.is_blocked:
            peer.send(*range(1000))
        sent = 0
        while peer.connection.is_blocked or sent == 0:
            sent += len(peer.server.recv(1_000_000))
            peer.connection.flush()
        assert sent > 0
