"""What stands around a scheduler in its tests: calls, sessions and renderers that the test opens, closes and reads."""

import math
import threading

from headgate.server.transport import Remaining

WAIT_S = 20


class FakeCall:
    """A call whose answer can be waited for."""

    def __init__(self, deadline=math.inf):
        self.deadline = deadline
        self.cancelled = False
        self.outcome = None
        self.answers = 0
        self._answered = threading.Event()
        self._on_cancel = None

    def metadata(self, key):
        return None

    def watch_cancellation(self, callback):
        self._on_cancel = callback

    def cancel(self):
        self.cancelled = True
        self._on_cancel()

    def reply(self, response):
        self._finish(response)

    def fail(self, error):
        self._finish(error)

    def _finish(self, outcome):
        self.outcome = outcome
        self.answers += 1
        # As a transport does.
        self._on_cancel = None
        self._answered.set()

    def result(self):
        assert self._answered.wait(WAIT_S)
        assert self.answers == 1
        return self.outcome


class FakeSession:
    """Adds 100; notes its batches; waits for `gate` if that is closed; fails for batches that hold `poison`."""

    def __init__(self):
        self.batches = []
        self.threads = set()
        self.gate = threading.Event()
        self.gate.set()
        self.poison = None
        self._entered = threading.Semaphore(0)

    def run(self, inputs):
        (x,) = inputs
        self.batches.append(x.ravel().tolist())
        self.threads.add(threading.current_thread().name)
        self._entered.release()
        assert self.gate.wait(WAIT_S)
        if self.poison is not None and self.poison in x:
            raise RuntimeError("[ONNXRuntimeError] : poisoned\ninternal details")
        return [x + 100]

    def wait_until_running(self):
        assert self._entered.acquire(timeout=WAIT_S)


class Renderer:
    """Answers with the rows as a list."""

    def render(self, outputs, requests):
        for request in requests:
            yield outputs[0][request.start : request.stop].ravel().tolist()


RENDERER = Renderer()


def run_all(scheduler):
    while scheduler.run_ready() is Remaining.HERE:
        pass
