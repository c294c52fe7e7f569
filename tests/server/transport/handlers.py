"""Handlers of calls, the requests of a stream, and how a call ended, as the test wants and sees them."""

import queue
import threading

import grpc
import pytest

from headgate.server.errors import InvalidArgumentError

WAIT_S = 20


class Held:
    """A method's calls, kept to be answered by the test."""

    def __init__(self):
        self.calls = []
        self._arrived = threading.Condition()

    def __call__(self, call):
        with self._arrived:
            self.calls.append(call)
            self._arrived.notify_all()

    def wait_for(self, count):
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.calls) >= count, WAIT_S), len(self.calls)
            return self.calls[:count]


class Feed:
    """Requests of a stream, sent as the test puts them."""

    def __init__(self, *messages):
        self._messages = queue.SimpleQueue()
        for message in messages:
            self.send(message)

    def send(self, message):
        self._messages.put(message)

    def close(self):
        self._messages.put(None)

    def __iter__(self):
        return self

    def __next__(self):
        message = self._messages.get()
        if message is None:
            raise StopIteration
        return message


def echo(call):
    call.reply(call.request)


def refuse_no(call):
    if call.request == b"no":
        raise InvalidArgumentError("no is refused")
    call.reply(call.request)


def render_error(call, error):
    return b"error " + call.request + b": " + str(error).encode()


def status_of(future):
    with pytest.raises(grpc.RpcError) as caught:
        future.result() if hasattr(future, "result") else list(future)
    return caught.value.code(), caught.value.details()
