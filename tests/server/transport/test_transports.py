"""Both transports, driven by grpcio's clients over real connections."""

import asyncio
import contextlib
import gc
import math
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from headgate.benchmarks.fuzz.raw_http2 import RawConnection, call_headers
from headgate.server.errors import InvalidArgumentError, NotFoundError, StartupError
from headgate.server.transport import Method, MethodKind, Remaining, TransportOptions
from headgate.server.transport.completion_queue import CompletionQueueTransport

from .handlers import WAIT_S, Feed, Held, echo, render_error, status_of

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
#: gRPC's core may forget calls that arrive at the very moment at which the server begins to shut down, and the public
#: API does not tell of them: they wait for their deadline, and the drain for them.
FORGOTTEN_S = 5
AMID_SHUTDOWN = {getattr(grpc.StatusCode, code) for code in ("OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE")}


class TestUnary:
    @pytest.mark.parametrize("message", [b"", b"one", bytes(3_000_000)], ids=len)
    def test_answer(self, serve, message):
        assert serve(echo).unary_unary("/t/m")(message) == message

    def test_asyncio_client(self, start):
        transport = start({"/t/m": Method(echo)})

        async def ask():
            async with grpc.aio.insecure_channel(f"127.0.0.1:{transport.port}") as channel:
                method = channel.unary_unary("/t/m")
                return await asyncio.gather(*[method(b"%d" % i) for i in range(200)])

        assert asyncio.run(ask()) == [b"%d" % i for i in range(200)]

    def test_many_at_once_from_several_connections(self, start, connect):
        transport = start({"/t/m": Method(echo)})
        methods = [connect(transport).unary_unary("/t/m") for _ in range(4)]
        futures = [(b"%d" % i, methods[i % 4].future(b"%d" % i)) for i in range(1000)]
        assert all(future.result() == message for message, future in futures)

    def test_more_at_once_than_calls_are_requested_ahead(self, serve):
        held = Held()
        method = serve(held).unary_unary("/t/m")
        futures = [method.future(b"%d" % i) for i in range(300)]
        for call in reversed(held.wait_for(300)):
            call.reply(b"re " + call.request)
        assert [future.result() for future in futures] == [b"re %d" % i for i in range(300)]

    def test_answers_from_other_threads(self, serve):
        with ThreadPoolExecutor(4) as threads:
            method = serve(lambda call: threads.submit(call.reply, call.request)).unary_unary("/t/m")
            futures = [method.future(b"%d" % i) for i in range(200)]
            assert [future.result() for future in futures] == [b"%d" % i for i in range(200)]

    def test_error_is_the_status(self, serve):
        def refuse(call):
            raise NotFoundError("there is no modèle\n✗")

        code, details = status_of(serve(refuse).unary_unary("/t/m").future(b""))
        assert (code, details) == (grpc.StatusCode.NOT_FOUND, "there is no modèle\\n✗")

    @pytest.mark.parametrize("letter", ["x", "é", "✗"])
    def test_long_message_is_cut_but_arrives(self, serve, letter):
        def refuse(call):
            raise InvalidArgumentError("there is no input " + letter * 100_000)

        code, details = status_of(serve(refuse).unary_unary("/t/m").future(b""))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.startswith("there is no input " + letter * 100)
        assert details.endswith(letter + "...")

    def test_bug_in_a_handler_is_internal_and_logged(self, serve, caplog):
        def fail(call):
            raise KeyError("secret")

        channel = serve(fail)
        code, details = status_of(channel.unary_unary("/t/m").future(b""))
        assert (code, "secret" in details) == (grpc.StatusCode.INTERNAL, False)
        assert "secret" in caplog.text
        caplog.clear()
        assert channel.unary_unary("/t/echo")(b"alive") == b"alive"

    def test_first_answer_counts(self, serve):
        def answer_twice(call):
            call.reply(b"first")
            call.reply(b"second")
            raise InvalidArgumentError("third")

        method = serve(answer_twice).unary_unary("/t/m")
        assert [method(b""), method(b"")] == [b"first", b"first"]

    def test_unknown_method(self, serve):
        code, details = status_of(serve(echo).unary_unary("/t.Nothing/Here").future(b""))
        assert (code, details) == (grpc.StatusCode.UNIMPLEMENTED, "this server has no method /t.Nothing/Here")

    def test_message_too_large(self, serve):
        channel = serve(echo, max_message_bytes=4096)
        method = channel.unary_unary("/t/m")
        code, details = status_of(method.future(bytes(5000)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "5000 vs. 4096" in details
        assert method(bytes(4096)) == bytes(4096)

    def test_no_message(self, serve):
        held = Held()
        call = serve(held).stream_unary("/t/m").future(iter([]))
        assert status_of(call)[0] is grpc.StatusCode.UNIMPLEMENTED
        assert not held.calls

    def test_metadata(self, serve):
        def tell(call):
            call.reply(f"{call.metadata('id')} {call.metadata('none')}".encode())

        method = serve(tell).unary_unary("/t/m")
        assert method(b"", metadata=[("id", "first"), ("other", "x"), ("id", "last")]) == b"last None"

    def test_deadline(self, serve):
        held = Held()
        method = serve(held).unary_unary("/t/m")
        futures = [method.future(b"")]
        held.wait_for(1)
        before = time.time()
        futures.append(method.future(b"", timeout=100))
        endless, limited = held.wait_for(2)
        assert endless.deadline == math.inf
        # On the wire it is rounded up.
        assert before + 99 < limited.deadline <= time.time() + 102
        for call in (endless, limited):
            call.reply(b"")
        assert [future.result() for future in futures] == [b"", b""]


class TestCancellation:
    def watch(self, held, told):
        def handle(call):
            call.watch_cancellation(lambda: told.put((call, threading.current_thread().name)))
            held(call)

        return handle

    @pytest.mark.parametrize("kind", [MethodKind.UNARY, MethodKind.ORDERED_STREAM, MethodKind.SERVER_STREAM])
    @pytest.mark.parametrize("how", ["cancel", "deadline", "disconnect"])
    def test_callback(self, start, connect, kind, how):
        held, told = Held(), queue.SimpleQueue()
        transport = start({"/t/m": Method(self.watch(held, told), kind), "/t/echo": Method(echo)})
        channel = connect(transport)
        # Connecting and arriving count: longer than a busy machine's pauses.
        timeout = 2 if how == "deadline" else None
        if kind is MethodKind.UNARY:
            client = channel.unary_unary("/t/m").future(b"x", timeout=timeout)
        elif kind is MethodKind.SERVER_STREAM:
            client = channel.unary_stream("/t/m")(b"x", timeout=timeout)
        else:
            client = channel.stream_stream("/t/m")(Feed(b"x"), timeout=timeout)
        (call,) = held.wait_for(1)
        if how == "cancel":
            client.cancel()
        elif how == "disconnect":
            channel.close()
        assert told.get(timeout=WAIT_S) == (call, "headgate-io")
        assert call.cancelled
        # Answers that come too late are dropped, as often as they come.
        call.reply(b"late")
        call.fail(InvalidArgumentError("late"))
        assert connect(transport).unary_unary("/t/echo")(b"alive") == b"alive"
        assert told.empty()

    @pytest.mark.parametrize("kind", [MethodKind.UNARY, MethodKind.ORDERED_STREAM])
    def test_no_callback_after_the_answer(self, serve, kind):
        told = queue.SimpleQueue()

        def handle(call):
            call.watch_cancellation(lambda: told.put(call))
            call.reply(call.request)

        channel = serve(handle, kind)
        if kind is MethodKind.UNARY:
            assert channel.unary_unary("/t/m")(b"x") == b"x"
        else:
            answers = channel.stream_stream("/t/m")(Feed(b"x"))
            assert next(answers) == b"x"
            answers.cancel()
        assert channel.unary_unary("/t/echo")(b"") == b""
        assert told.empty()

    def test_stream_tells_those_that_wait_only(self, serve):
        held, told = Held(), queue.SimpleQueue()
        channel = serve(self.watch(held, told), MethodKind.ORDERED_STREAM)
        client = channel.stream_stream("/t/m")(Feed(b"0", b"1", b"2"))
        calls = held.wait_for(3)
        calls[1].reply(b"answered, but after 0 in order")
        client.cancel()
        assert [told.get(timeout=WAIT_S)[0] for _ in range(2)] == [calls[0], calls[2]]
        assert not calls[1].cancelled

    def test_error_that_ends_the_stream_tells_those_that_wait(self, serve):
        held, told = Held(), queue.SimpleQueue()
        feed = Feed(b"0", b"1")
        answers = serve(self.watch(held, told), MethodKind.ORDERED_STREAM).stream_stream("/t/m")(feed)
        calls = held.wait_for(2)
        calls[0].fail(InvalidArgumentError("no"))
        assert status_of(answers) == (grpc.StatusCode.INVALID_ARGUMENT, "no")
        assert told.get(timeout=WAIT_S)[0] is calls[1]
        feed.close()
        assert told.empty()

    def test_callback_that_raises_harms_nobody(self, serve, caplog):
        held, raised = Held(), queue.SimpleQueue()

        def handle(call):
            call.watch_cancellation(lambda: raised.put(call) or 1 / 0)
            held(call)

        channel = serve(handle)
        client = channel.unary_unary("/t/m").future(b"")
        held.wait_for(1)
        client.cancel()
        raised.get(timeout=WAIT_S)
        assert channel.unary_unary("/t/echo")(b"alive") == b"alive"
        assert "ZeroDivisionError" in caplog.text
        caplog.clear()


class TestOnDrained:
    def test_comes_after_the_requests_that_had_arrived(self, start, connect):
        gathered, batches = [], []

        def run():
            if gathered:
                batches.append(len(gathered))
                for call in gathered:
                    call.reply(call.request)
                gathered.clear()
            return Remaining.NOTHING

        method = connect(start({"/t/m": Method(gathered.append)}, run)).unary_unary("/t/m")
        futures = [method.future(b"%d" % i) for i in range(500)]
        assert [future.result() for future in futures] == [b"%d" % i for i in range(500)]
        assert sum(batches) == 500

    def test_an_exception_does_not_end_the_server(self, start, connect, caplog):
        failed, went_on = threading.Event(), threading.Event()

        def fail_once():
            if failed.is_set():
                went_on.set()
                return Remaining.NOTHING
            failed.set()
            raise ZeroDivisionError

        method = connect(start({"/t/m": Method(echo)}, fail_once)).unary_unary("/t/m")
        assert method(b"0") == b"0"
        # It may come after the answer, and only once after several of them.
        assert failed.wait(WAIT_S)
        assert [method(b"1"), method(b"2")] == [b"1", b"2"]
        assert went_on.wait(WAIT_S)
        assert "ZeroDivisionError" in caplog.text
        caplog.clear()


class TestStart:
    def test_port_is_taken(self, start, create):
        port = start({}).port
        second = create({}, lambda: Remaining.NOTHING, TransportOptions(port=port))
        with pytest.raises(StartupError, match=f"cannot listen on 127.0.0.1:{port}: is the port taken"):
            second.start()
        assert second.drain(0)
        second.close()

    def test_address_of_another_machine(self, create):
        transport = create({}, lambda: Remaining.NOTHING, TransportOptions(host="192.0.2.1", port=0))
        with pytest.raises(StartupError, match=r"cannot listen on 192\.0\.2\.1:0"):
            transport.start()

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
    def test_hosts(self, start, host):
        transport = start({"/t/m": Method(echo)}, host=host)
        with grpc.insecure_channel(f"127.0.0.1:{transport.port}") as channel:
            assert channel.unary_unary("/t/m")(b"x") == b"x"


class TestDrain:
    @pytest.fixture
    def drain(self, start, connect):
        """Start a server with /t/m of a kind; return its held calls, a channel, and what starts to drain it."""
        threads = ThreadPoolExecutor(1)

        def serve(kind):
            held = Held()
            transport = start({"/t/m": Method(held, kind, render_error), "/t/echo": Method(echo)})
            channel = connect(transport)

            def drain(grace_s=WAIT_S):
                future = threads.submit(transport.drain, grace_s)
                # Until the client has heard of the shutdown it sends calls, which gRPC's core then cancels itself.
                code = None
                while code is not UNAVAILABLE:
                    code = channel.unary_unary("/t/echo").future(b"", timeout=FORGOTTEN_S).code()
                    assert code in AMID_SHUTDOWN
                return future

            return held, channel, drain

        yield serve
        threads.shutdown()

    def test_accepted_calls_finish_and_new_ones_are_refused(self, drain):
        held, channel, begin = drain(MethodKind.UNARY)
        accepted = [channel.unary_unary("/t/m").future(b"%d" % i) for i in range(3)]
        calls = held.wait_for(3)
        drained = begin()
        assert status_of(channel.unary_unary("/t/m").future(b""))[0] is UNAVAILABLE
        assert not drained.done()
        for call in calls:
            call.reply(call.request)
        assert [future.result() for future in accepted] == [b"0", b"1", b"2"]
        assert drained.result() is True

    def test_timeout_cancels(self, drain):
        held, channel, begin = drain(MethodKind.UNARY)
        client = channel.unary_unary("/t/m").future(b"")
        (call,) = held.wait_for(1)
        assert begin(0.1).result() is False
        assert status_of(client)[0] is UNAVAILABLE
        # As an execution thread does that cannot be stopped.
        call.reply(b"late")

    def test_idle_connections_do_not_delay_it(self, drain):
        _, channel, begin = drain(MethodKind.UNARY)
        assert channel.unary_unary("/t/echo")(b"") == b""
        assert begin().result() is True

    def test_half_a_call_does_not_delay_it(self, create, start, connect):
        transport = start({"/t/echo": Method(echo)})
        with RawConnection(transport.port) as connection:
            connection.begin(1, call_headers("/t/echo"), flags=0)
            for _ in range(3):
                assert connect(transport).unary_unary("/t/echo")(b"") == b""
            # The public API does not tell how many calls are open.
            assert transport.drain(3) is (create is CompletionQueueTransport)

    def test_idle_stream_ends(self, drain):
        held, channel, begin = drain(MethodKind.ORDERED_STREAM)
        feed = Feed(b"a")
        answers = channel.stream_stream("/t/m")(feed)
        held.wait_for(1)[0].reply(b"re a")
        assert next(answers) == b"re a"
        assert begin().result() is True
        assert status_of(answers) == (UNAVAILABLE, "the server is shutting down")
        feed.close()

    def test_stream_ends_once_it_is_answered(self, drain):
        held, channel, begin = drain(MethodKind.ORDERED_STREAM)
        feed = Feed(b"a", b"b")
        answers = channel.stream_stream("/t/m")(feed)
        calls = held.wait_for(2)
        drained = begin()
        for call in calls:
            call.reply(b"re " + call.request)
        assert [next(answers), next(answers)] == [b"re a", b"re b"]
        assert status_of(answers)[0] is UNAVAILABLE
        assert drained.result() is True
        feed.close()

    def test_stream_that_the_client_ended_ends_well(self, drain):
        held, channel, begin = drain(MethodKind.ORDERED_STREAM)
        answers = channel.stream_stream("/t/m")(iter([b"a"]))
        (call,) = held.wait_for(1)
        # The end of the requests came after the last of them, and has been read when this is answered.
        for _ in range(3):
            channel.unary_unary("/t/echo")(b"")
        drained = begin()
        call.reply(b"re a")
        assert list(answers) == [b"re a"]
        assert drained.result() is True

    def test_server_stream_ends_at_once(self, drain):
        held, channel, begin = drain(MethodKind.SERVER_STREAM)
        answers = channel.unary_stream("/t/m")(b"")
        (call,) = held.wait_for(1)
        call.push(b"last words")
        drained = begin()
        assert next(answers) == b"last words"
        assert status_of(answers) == (UNAVAILABLE, "the server is shutting down")
        assert drained.result() is True

    def test_under_fire(self, start, connect):
        """What reached a method is answered, though the server begins to drain amid it."""
        for _ in range(5):
            taken = set()

            def handle(call, taken=taken):
                taken.add(call.request)
                call.reply(call.request)

            transport = start({"/t/m": Method(handle), "/t/s": Method(handle, MethodKind.ORDERED_STREAM)})
            channel = connect(transport)
            channel.unary_unary("/t/m")(b"")
            futures = [channel.unary_unary("/t/m").future(b"%d" % i, timeout=FORGOTTEN_S) for i in range(300)]
            ask = channel.stream_stream("/t/s")
            streams = [ask(iter([b"%d a" % i, b"%d b" % i]), timeout=FORGOTTEN_S) for i in range(20)]
            assert transport.drain(WAIT_S) is True
            answers = {future.result() for future in futures if future.exception() is None}
            for stream in streams:
                with contextlib.suppress(grpc.RpcError):
                    answers.update(stream)
            assert answers == taken - {b""}
            transport.close()

    def test_threads_end(self, start):
        before = set(threading.enumerate())
        transport = start({})
        assert "headgate-io" in {thread.name for thread in set(threading.enumerate()) - before}
        assert transport.drain(WAIT_S)
        transport.close()
        for thread in set(threading.enumerate()) - before:
            # grpcio's own, which has nothing left to do.
            assert not thread.name.startswith("headgate-")
            thread.join(WAIT_S)
        assert set(threading.enumerate()) <= before
        # Both may be called again.
        assert transport.drain(0)
        transport.close()


@pytest.mark.parametrize("kind", [MethodKind.UNARY, MethodKind.ORDERED_STREAM])
def test_nothing_is_left_of_calls(serve, kind):
    """Calls are gone when they are over, without the help of the garbage collector."""

    def handle(call):
        call.watch_cancellation(lambda: call)
        call.reply(call.request)

    def left():
        return [thing for thing in gc.get_objects() if isinstance(thing, of_a_call)]

    seen = set()
    channel = serve(lambda call: (seen.update(type(call).__mro__), handle(call)), kind)
    unary, stream = channel.unary_unary("/t/m"), channel.stream_stream("/t/m")

    def ask(count):
        if kind is MethodKind.UNARY:
            for _ in range(count):
                unary(b"x")
        else:
            for _ in range(count // 10):
                assert len(list(stream(iter([b"x"] * 10)))) == 10
        channel.unary_unary("/t/echo")(b"")

    gc.collect()
    gc.disable()
    try:
        ask(100)
        of_a_call = tuple(seen - {object})
        deadline = time.monotonic() + WAIT_S
        # The last calls' events may be under way.
        while len(left()) > 3 and time.monotonic() < deadline:
            channel.unary_unary("/t/echo")(b"")
        assert len(left()) <= 3
    finally:
        gc.enable()


def test_a_burst_after_a_pause(start, connect):
    started, paused = threading.Event(), threading.Event()

    def handle(call):
        if call.request == b"pause":
            started.set()
            assert paused.wait(WAIT_S)
        call.reply(b"")

    transport = start({"/t/m": Method(handle)})
    method = connect(transport).unary_unary("/t/m")
    pause = method.future(b"pause")
    assert started.wait(WAIT_S)
    calls = [method.future(b"x") for _ in range(2000)]
    # Until the last one has reached the server's socket.
    with contextlib.suppress(grpc.FutureTimeoutError):
        calls[-1].result(0.5)
    paused.set()
    assert {call.code() for call in [pause, *calls]} == {grpc.StatusCode.OK}
