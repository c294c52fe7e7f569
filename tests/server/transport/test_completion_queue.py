"""What is the completion queue's transport's own: when a turn of its loop ends."""

import itertools
from types import SimpleNamespace

from grpc._cython import cygrpc

from headgate.server.transport import TransportOptions
from headgate.server.transport.completion_queue import CompletionQueueTransport


class Queue:
    """Has something every other time that it is asked without waiting, as where many connections have one call each."""

    def __init__(self, handle, events):
        self._handle = handle
        self._events = events
        self._finds = itertools.cycle([False, True])

    def poll(self, timeout_s=None):
        kinds = cygrpc.CompletionType
        if timeout_s is not None and not next(self._finds):
            return SimpleNamespace(completion_type=kinds.queue_timeout, tag=None)
        self._events -= 1
        if self._events < 0:
            return SimpleNamespace(completion_type=kinds.queue_shutdown, tag=None)
        return SimpleNamespace(completion_type=kinds.operation_complete, tag=self._handle)


def test_calls_that_wait_on_other_connections_are_found():
    turns = [0]

    def handle(event):
        turns[-1] += 1

    transport = CompletionQueueTransport({}, lambda: turns.append(0), TransportOptions())
    transport._queue = Queue(handle, 400)
    transport._loop()
    # A call on its own is not held up for others: most turns end at once.
    assert max(turns[:10]) == 2
    assert max(turns) > 100
