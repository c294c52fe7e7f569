"""Streams on both transports, driven by grpcio's clients over real connections."""

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from headgate.server.errors import InvalidArgumentError
from headgate.server.transport import Method, MethodKind

from .handlers import WAIT_S, Feed, Held, echo, refuse_no, render_error, status_of

#: Of a client whose window does not grow with the speed it measures: a server cannot write far ahead of its reading.
FIXED_WINDOW = [("grpc.http2.bdp_probe", 0)]


class TestOrderedStream:
    def test_answers_come_in_order(self, serve):
        held = Held()
        answers = serve(held, MethodKind.ORDERED_STREAM).stream_stream("/t/m")(iter([b"%d" % i for i in range(50)]))
        with ThreadPoolExecutor(4) as threads:
            for call in reversed(held.wait_for(50)):
                threads.submit(call.reply, b"re " + call.request)
        assert list(answers) == [b"re %d" % i for i in range(50)]
        assert answers.code() is grpc.StatusCode.OK

    def test_asyncio_client(self, start):
        transport = start({"/t/m": Method(echo, MethodKind.ORDERED_STREAM)})

        async def ask():
            async with grpc.aio.insecure_channel(f"127.0.0.1:{transport.port}") as channel:
                stream = channel.stream_stream("/t/m")()
                for i in range(20):
                    await stream.write(b"%d" % i)
                await stream.done_writing()
                return [message async for message in stream]

        assert asyncio.run(ask()) == [b"%d" % i for i in range(20)]

    def test_one_at_a_time(self, serve):
        feed = Feed()
        answers = serve(echo, MethodKind.ORDERED_STREAM).stream_stream("/t/m")(feed)
        for message in [b"a", b"", b"b"]:
            feed.send(message)
            assert next(answers) == message
        feed.close()
        assert list(answers) == []

    def test_more_messages_than_the_window(self, serve):
        channel = serve(echo, MethodKind.ORDERED_STREAM, stream_window=3)
        assert list(channel.stream_stream("/t/m")(iter([b"%d" % i for i in range(500)]))) == [
            b"%d" % i for i in range(500)
        ]

    def test_window_bounds_what_is_taken_and_not_answered(self, serve):
        held = Held()
        channel = serve(held, MethodKind.ORDERED_STREAM, stream_window=8)
        answers = channel.stream_stream("/t/m")(iter([b"%d" % i for i in range(40)]))
        for done in range(8, 41, 8):
            calls = held.wait_for(done)
            # Whatever the I/O thread would have read by mistake, it had the time to.
            for _ in range(20):
                channel.unary_unary("/t/echo")(b"")
            assert len(held.calls) == done
            for call in calls[done - 8 :]:
                call.reply(call.request)
        assert list(answers) == [b"%d" % i for i in range(40)]

    def test_client_that_does_not_read_is_not_read_from(self, serve):
        handled = Held()
        full = threading.Event()

        def handle(call):
            call.reply(bytes(100_000))
            handled(call.request)
            if len(handled.calls) == 32:
                full.set()

        channel = serve(handle, MethodKind.ORDERED_STREAM, client_options=FIXED_WINDOW, stream_window=32)
        answers = channel.stream_stream("/t/m")(b"" for _ in range(500))
        assert full.wait(WAIT_S)
        for _ in range(50):
            channel.unary_unary("/t/echo")(b"")
        # The window, and what the connection buffers.
        assert len(handled.calls) < 40
        assert sum(len(answer) for answer in answers) == 500 * 100_000

    @pytest.mark.parametrize(("request_bytes", "answer_bytes"), [(0, 100_000), (100_000, 0)])
    def test_window_bounds_the_bytes_of_what_is_held(self, serve, request_bytes, answer_bytes):
        """Of a client that does not read its answers, and of one that sends faster than it is answered."""
        held = Held()

        def handle(call):
            if answer_bytes:
                call.reply(bytes(answer_bytes))
            held(call)

        channel = serve(handle, MethodKind.ORDERED_STREAM, client_options=FIXED_WINDOW, stream_window_bytes=1_000_000)
        answers = channel.stream_stream("/t/m")(bytes(request_bytes) for _ in range(200))
        held.wait_for(10)
        for _ in range(50):
            channel.unary_unary("/t/echo")(b"")
        assert len(held.calls) < 20
        answers.cancel()

    def test_answers_that_wait_for_an_earlier_one_are_held(self, serve):
        first, other = Held(), Held()

        def handle(call):
            if call.request == b"first":
                first(call)
            else:
                call.reply(bytes(100_000))
                other(call)

        channel = serve(handle, MethodKind.ORDERED_STREAM, stream_window_bytes=1_000_000)
        answers = channel.stream_stream("/t/m")(iter([b"first"] + [b"other"] * 100))
        other.wait_for(10)
        for _ in range(50):
            channel.unary_unary("/t/echo")(b"")
        assert len(other.calls) == 10
        first.calls[0].reply(b"")
        assert [len(answer) for answer in answers] == [0] + [100_000] * 100

    def test_in_band_errors_leave_it_open(self, serve):
        channel = serve(refuse_no, MethodKind.ORDERED_STREAM, render_error)
        answers = channel.stream_stream("/t/m")(iter([b"a", b"no", b"b"]))
        assert list(answers) == [b"a", b"error no: no is refused", b"b"]

    def test_bug_in_a_handler_is_an_in_band_error(self, serve, caplog):
        def fail(call):
            raise KeyError(call.request)

        answers = serve(fail, MethodKind.ORDERED_STREAM, render_error).stream_stream("/t/m")(iter([b"a", b"b"]))
        texts = list(answers)
        assert [text.split(b":")[0] for text in texts] == [b"error a", b"error b"]
        assert "KeyError" in caplog.text
        caplog.clear()

    def test_error_ends_a_stream_without_in_band_errors(self, serve):
        feed = Feed(b"a", b"b", b"no")
        answers = serve(refuse_no, MethodKind.ORDERED_STREAM).stream_stream("/t/m")(feed)
        assert [next(answers), next(answers)] == [b"a", b"b"]
        assert status_of(answers) == (grpc.StatusCode.INVALID_ARGUMENT, "no is refused")
        feed.close()

    def test_a_method_can_choose_to_end_the_stream(self, serve):
        """By rendering nothing. What was asked before is still answered, what was asked later is not."""
        held, feed = Held(), Feed(b"0", b"1", b"2")
        channel = serve(held, MethodKind.ORDERED_STREAM, lambda call, error: None)
        answers = channel.stream_stream("/t/m")(feed)
        first, second, third = held.wait_for(3)
        third.reply(b"later")
        second.fail(InvalidArgumentError("no"))
        second.reply(b"too late")
        first.reply(b"earlier")
        assert next(answers) == b"earlier"
        assert status_of(answers) == (grpc.StatusCode.INVALID_ARGUMENT, "no")
        feed.close()
        assert channel.unary_unary("/t/echo")(b"alive") == b"alive"

    def test_first_answer_counts(self, serve):
        held = Held()
        answers = serve(held, MethodKind.ORDERED_STREAM, render_error).stream_stream("/t/m")(iter([b"0", b"1"]))
        first, second = held.wait_for(2)
        second.reply(b"good")
        second.fail(InvalidArgumentError("bad"))
        first.reply(b"first")
        assert list(answers) == [b"first", b"good"]

    def test_message_too_large_ends_it(self, serve):
        channel = serve(echo, MethodKind.ORDERED_STREAM, max_message_bytes=4096)
        feed = Feed(b"a")
        answers = channel.stream_stream("/t/m")(feed)
        assert next(answers) == b"a"
        feed.send(bytes(5000))
        assert status_of(answers)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        feed.close()
        assert channel.unary_unary("/t/echo")(b"alive") == b"alive"

    def test_deadline_and_metadata_are_the_streams(self, serve):
        def tell(call):
            call.reply(f"{call.metadata('id')} {call.deadline > time.time() + 50}".encode())

        method = serve(tell, MethodKind.ORDERED_STREAM).stream_stream("/t/m")
        assert list(method(iter([b"", b""]), timeout=100, metadata=[("id", "7")])) == [b"7 True"] * 2

    def test_many_streams(self, serve):
        method = serve(echo, MethodKind.ORDERED_STREAM).stream_stream("/t/m")
        streams = [method(iter([b"%d %d" % (i, j) for j in range(20)])) for i in range(30)]
        assert [list(answers) for answers in streams] == [[b"%d %d" % (i, j) for j in range(20)] for i in range(30)]


class TestServerStream:
    def test_push(self, serve):
        held = Held()
        answers = serve(held, MethodKind.SERVER_STREAM).unary_stream("/t/m")(b"x")
        (call,) = held.wait_for(1)
        for i in range(100):
            call.push(b"%d" % i)
        assert list(itertools.islice(answers, 100)) == [b"%d" % i for i in range(100)]

    def test_error_ends_it(self, serve):
        assert status_of(serve(refuse_no, MethodKind.SERVER_STREAM).unary_stream("/t/m")(b"no")) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "no is refused",
        )

    def test_a_unary_call_cannot_push(self, serve):
        def push(call):
            with pytest.raises(TypeError, match="reply"):
                call.push(b"")
            call.reply(b"done")

        assert serve(push).unary_unary("/t/m")(b"") == b"done"
