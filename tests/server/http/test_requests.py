"""What a request brings besides its path, without a connection."""

import asyncio
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from headgate.server.errors import DeadlineExceededError, InvalidArgumentError
from headgate.server.http.errors import HttpError
from headgate.server.http.requests import Deadline, pack, read_body, while_connected


def request(*chunks, more=False, **headers):
    """A request whose body comes in chunks; unless there is `more`, its client then goes."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if not more:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive():
        for message in waiting:
            return message
        if more:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": fields}, receive)


def body(*chunks, most_bytes=1000, timeout_s=30.0, **options):
    async def read():
        return await read_body(request(*chunks, **options), most_bytes, Deadline(timeout_s))

    return asyncio.run(read())


class TestDeadline:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, 30.0),
            ({"Grpc-Timeout": "250m"}, 0.25),
            ({"Grpc-Timeout": "2H"}, 7200.0),
            ({"Grpc-Timeout": "99999999u"}, 99.999999),
            ({"X-Envoy-Expected-Rq-Timeout-Ms": "1500"}, 1.5),
            ({"Grpc-Timeout": "1S", "X-Envoy-Expected-Rq-Timeout-Ms": "1500"}, 1.0),
            ({"Grpc-Timeout": "2S", "X-Envoy-Expected-Rq-Timeout-Ms": "1500"}, 1.5),
        ],
    )
    def test_is_the_earliest_that_headers_tell(self, headers, seconds):
        async def left():
            deadline = Deadline.of(headers, 30.0)
            return deadline.timeout_s, deadline.left_s()

        timeout_s, left_s = asyncio.run(left())
        assert timeout_s == pytest.approx(seconds)
        assert 0 < left_s <= seconds

    @pytest.mark.parametrize("value", ["", "5", "m", "-1m", "1.5S", "123456789m", "5x", "\u0665m"])
    def test_no_time(self, value):
        with pytest.raises(
            InvalidArgumentError, match=r"^the header Grpc-Timeout is '.*'; give up to 8 digits and one"
        ):
            asyncio.run(self.read({"Grpc-Timeout": value}))
        with pytest.raises(
            InvalidArgumentError, match=r"^the header X-Envoy-Expected-Rq-Timeout-Ms is '.*'; give mill"
        ):
            asyncio.run(self.read({"X-Envoy-Expected-Rq-Timeout-Ms": f"{value}x"}))

    @staticmethod
    async def read(headers):
        return Deadline.of(headers, 30.0)

    def test_passes(self):
        async def left():
            Deadline(0.0).left_s()

        with pytest.raises(DeadlineExceededError, match="there was no answer within 0 s"):
            asyncio.run(left())


class TestBody:
    def test_comes_in_chunks(self):
        assert body(b"a", b"", b"bc") == b"abc"

    def test_is_unpacked(self):
        for encoding, packed in (("gzip", gzip.compress(b"abc" * 99)), ("deflate", zlib.compress(b"abc" * 99))):
            assert body(packed[:7], packed[7:], content_encoding=encoding) == b"abc" * 99
        assert body(b"abc", content_encoding="identity") == b"abc"

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    @given(st.binary(max_size=2000))
    def test_is_packed_as_it_is_unpacked(self, encoding, data):
        assert body(pack(data, encoding), most_bytes=5000, content_encoding=encoding) == data

    def test_has_a_limit(self):
        assert body(b"a" * 1000) == b"a" * 1000
        for chunks, headers in (([b"a" * 600, b"a" * 401], {}), ([b"a"], {"content_length": "1001"})):
            with pytest.raises(
                HttpError, match=r"^the body has more than .* MiB, which is this server's lim"
            ) as caught:
                body(*chunks, **headers)
            assert caught.value.status == 413

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    def test_a_bomb_is_not_unpacked(self, encoding):
        bomb = pack(bytes(100_000_000), encoding)
        tracemalloc.start()
        try:
            with pytest.raises(HttpError) as caught:
                body(bomb, most_bytes=200_000, content_encoding=encoding)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
        assert caught.value.status == 413

    @pytest.mark.parametrize(
        ("packed", "words"),
        [
            (b"no gzip", "the body is no valid gzip: Error -3"),
            (gzip.compress(b"abc", mtime=0)[:-1], "the body is no valid gzip: it ends too early"),
            (
                gzip.compress(b"abc", mtime=0) + b"more",
                "the body is no valid gzip: it ends too early, or goes on after its end",
            ),
            (b"", "the body is no valid gzip: it ends too early"),
        ],
    )
    def test_that_is_damaged(self, packed, words):
        with pytest.raises(InvalidArgumentError) as caught:
            body(packed, content_encoding="gzip")
        assert str(caught.value).startswith(words)

    def test_packed_in_another_way(self):
        with pytest.raises(
            HttpError, match=r"^the Content-Encoding is 'br'; send gzip, deflate or identity$"
        ) as caught:
            body(b"x", content_encoding="br")
        assert caught.value.status == 415

    def test_that_does_not_come(self):
        with pytest.raises(HttpError, match=r"^the body did not arrive within 0\.05 s$") as caught:
            body(b"x", more=True, timeout_s=0.05)
        assert caught.value.status == 408


class TestWhileConnected:
    def test_gives_the_answer(self):
        async def ask():
            asked = request(b"x", more=True)
            await asked.receive()
            return await while_connected(asked, asyncio.sleep(0, "answer"))

        assert asyncio.run(ask()) == "answer"

    def test_passes_errors_on(self):
        async def fail():
            raise ValueError("wrong")

        async def ask():
            asked = request(b"x", more=True)
            await asked.receive()
            await while_connected(asked, fail())

        with pytest.raises(ValueError, match="wrong"):
            asyncio.run(ask())

    def test_cancels_when_the_client_goes(self):
        cancelled = []

        async def answer():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        async def ask():
            asked = request(b"x")
            await asked.receive()
            try:
                await while_connected(asked, answer())
            finally:
                await asyncio.sleep(0)

        with pytest.raises(ClientDisconnect):
            asyncio.run(ask())
        assert cancelled == [True]
