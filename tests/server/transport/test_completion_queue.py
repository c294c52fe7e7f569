"""What is the completion queue's transport's own: when a turn of its loop ends, and what it does before it sleeps."""

import itertools
import time
from types import SimpleNamespace

import pytest
from grpc._cython import cygrpc

from headgate.server.transport import Method, Remaining, TransportOptions
from headgate.server.transport.completion_queue import CompletionQueueTransport

NOTHING_YET = SimpleNamespace(completion_type=cygrpc.CompletionType.queue_timeout, tag=None)
END = SimpleNamespace(completion_type=cygrpc.CompletionType.queue_shutdown, tag=None)


class Queue:
    """Has something whenever it is waited for, and when it is asked without waiting as often as `finds` says."""

    def __init__(self, handle, events, finds):
        self._event = SimpleNamespace(completion_type=cygrpc.CompletionType.operation_complete, tag=handle)
        self._events = events
        self._finds = itertools.cycle(finds)
        self.polls = 0

    def poll(self, timeout_s=None):
        if timeout_s is not None:
            self.polls += 1
            if not next(self._finds):
                return NOTHING_YET
        self._events -= 1
        return self._event if self._events >= 0 else END


def run(on_drained, queue, **options):
    transport = CompletionQueueTransport({}, on_drained, TransportOptions(**options))
    transport._queue = queue
    transport._loop()


def test_calls_that_wait_on_other_connections_are_found():
    turns = [0]

    def handle(event):
        turns[-1] += 1

    def end_turn():
        turns.append(0)
        return Remaining.NOTHING

    # As where many connections have one call each.
    run(end_turn, Queue(handle, 400, [False, False, True]))
    # A call on its own is not held up for others: most turns end at once.
    assert max(turns[:10]) == 2
    assert max(turns) > 100


@pytest.mark.parametrize(
    ("remaining", "busy_poll_us", "polls"),
    [(Remaining.NOTHING, 1000, True), (Remaining.NOTHING, 0, False), (Remaining.ELSEWHERE, 1000, False)],
)
def test_polls_where_waits_are_short_and_nothing_else_runs(remaining, busy_poll_us, polls):
    events = 200
    queue = Queue(lambda event: None, events, [False])
    run(lambda: remaining, queue, busy_poll_us=busy_poll_us)
    # Two for each event find out that there is no other; one of 64 turns asks twice more.
    asked = 2 * events + 2 * (events // 64)
    assert queue.polls > 2 * asked if polls else queue.polls == asked


@pytest.mark.parametrize(("left_s", "is_taken"), [(60, True), (-0.001, False)])
def test_call_that_waited_in_grpc_until_its_deadline_is_not_begun(left_s, is_taken):
    transport = CompletionQueueTransport({"/t/m": Method(pytest.fail)}, lambda: Remaining.NOTHING, TransportOptions())
    # It asks for no other call.
    transport._draining = True
    begun = []
    details = SimpleNamespace(method=b"/t/m", deadline=time.time() + left_s)
    call = SimpleNamespace(start_server_batch=lambda operations, tag: begun.extend(map(type, operations)))
    transport._on_call(SimpleNamespace(success=True, call=call, call_details=details))
    assert transport.expired_calls == (not is_taken)
    if is_taken:
        assert begun == [cygrpc.ReceiveMessageOperation]
    else:
        assert cygrpc.SendStatusFromServerOperation in begun
        assert cygrpc.ReceiveMessageOperation not in begun
