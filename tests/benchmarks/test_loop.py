"""The schedule of an open loop, with a clock that stands still unless something takes time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.headers import UNAVAILABLE
from headgate.benchmarks.http2 import NEVER_NS, Answers
from headgate.benchmarks.loop import Loop

MS = 1_000_000


class FakeTime:
    """A clock and a `select` that nothing ever comes to; some waits take longer than they should."""

    def __init__(self, hiccups=()):
        self.now = 0
        self.hiccups = list(hiccups)

    def clock(self):
        return self.now

    def wait(self, reading, writing, exceptional, timeout_s):
        self.now += round(timeout_s * 1e9) + (self.hiccups.pop(0) if self.hiccups else 0)
        return [], [], []


class FakeConnection:
    is_leaving = is_blocked = False
    is_idle = True
    expires_ns = NEVER_NS

    def __init__(self, time, number):
        self.time, self.number = time, number
        self.sent = []

    def fileno(self):
        return self.number

    def send(self, started_ns):
        self.sent.append((started_ns, self.time.now))

    def flush(self):
        pass

    def close(self, status):
        pass


def open_loop(time, times_ns, until_ns, connections=1):
    opened = []

    def connect():
        opened.append(FakeConnection(time, len(opened)))
        return opened[-1]

    loop = Loop(connect, connections, Answers(), clock=time.clock, wait=time.wait)
    unsent = loop.run_open(times_ns, until_ns)
    return loop, [connection.sent for connection in opened], unsent


def test_requests_are_given_up_at_their_deadlines():
    time, expired = FakeTime(), []

    class Expiring(FakeConnection):
        @property
        def expires_ns(self):
            left = self.sent[len(expired) :]
            return left[0][0] + 5 * MS if left else NEVER_NS

        def receive(self):
            return 0

        def expire(self, now):
            expired.append(now)
            return 1

    loop = Loop(lambda: Expiring(time, 0), 1, Answers(), clock=time.clock, wait=time.wait)
    loop.run_open([0, 3 * MS, 20 * MS], 30 * MS)
    assert expired == [5 * MS, 8 * MS, 25 * MS]


def test_requests_start_when_they_are_to():
    time = FakeTime()
    loop, (sent,), unsent = open_loop(time, [0, 3 * MS, 10 * MS, 20 * MS], 20 * MS)
    assert sent == [(0, 0), (3 * MS, 3 * MS), (10 * MS, 10 * MS)]
    assert unsent == 0
    assert list(loop.lags_ns) == [0, 0, 0]
    assert time.now == 20 * MS


def test_late_requests_are_sent_at_once_and_keep_their_start():
    # The wait for the second request takes 5 ms too long.
    loop, (sent,), _ = open_loop(FakeTime([5 * MS]), [0, 1 * MS, 2 * MS, 5 * MS, 9 * MS], 10 * MS)
    assert sent == [(0, 0), *((start * MS, 6 * MS) for start in (1, 2, 5)), (9 * MS, 9 * MS)]
    assert list(loop.lags_ns) == [0, 5 * MS, 4 * MS, 1 * MS, 0]


def test_what_was_due_just_before_the_end_is_sent_after_it():
    _, (sent,), unsent = open_loop(FakeTime([20 * MS]), [0, 8 * MS, 9 * MS, 11 * MS], 10 * MS)
    assert sent == [(0, 0), (8 * MS, 28 * MS), (9 * MS, 28 * MS)]
    assert unsent == 0


def test_a_load_generator_that_is_too_slow_says_so():
    _, (sent,), unsent = open_loop(FakeTime([500 * MS]), [0, 8 * MS, 9 * MS, 11 * MS], 10 * MS)
    assert sent == [(0, 0)]
    assert unsent == 2


def test_a_backlog_is_not_sent_in_one_go():
    """However much is due: sending, too, takes time, and what is still unsent soon after the end is not sent."""
    time = FakeTime([5 * MS])
    connection = FakeConnection(time, 1)
    connection.send = lambda started_ns: setattr(time, "now", time.now + MS)
    loop = Loop(lambda: connection, 1, Answers(), clock=time.clock, wait=time.wait)
    unsent = loop.run_open([0] * 5000, 10 * MS)
    assert 110 <= len(loop.lags_ns) < 1000
    assert unsent == 5000 - len(loop.lags_ns)


@given(
    st.lists(st.integers(0, 1000), max_size=50).map(sorted),
    st.lists(st.integers(0, 300), max_size=20),
    st.integers(1, 4),
)
def test_every_request_is_sent_once_and_never_too_early(starts, hiccups, connections):
    times = [start * MS for start in starts]
    loop, sent, unsent = open_loop(FakeTime([hiccup * MS for hiccup in hiccups]), times, 1000 * MS, connections)
    every = sorted(started for each in sent for started, _ in each)
    due = [time for time in times if time < 1000 * MS]
    assert every == due[: len(due) - unsent]
    assert all(now >= started for each in sent for started, now in each)
    assert max(map(len, sent)) - min(map(len, sent)) <= 1
    assert len(loop.lags_ns) == len(every)


def test_requests_fail_while_nobody_listens(monkeypatch):
    time, answers, attempts = FakeTime(), Answers(), []

    def connect():
        attempts.append(time.now)
        if 0 < len(attempts) - 1 < 3:
            raise ConnectionRefusedError
        return FakeConnection(time, len(attempts))

    loop = Loop(connect, 1, answers, clock=time.clock, wait=time.wait)
    loop._places[0].is_leaving = True
    loop.run_open(range(0, 400 * MS, 10 * MS), 400 * MS)
    # One attempt to connect each 100 ms, until one succeeds.
    assert attempts == [0, 0, 100 * MS, 200 * MS]
    assert list(answers.statuses) == [UNAVAILABLE] * 20
    assert list(answers.started_ns) == [start * 10 * MS for start in range(20)]


@pytest.mark.parametrize("connections", [1, 3])
def test_connections_take_turns(connections):
    _, sent, _ = open_loop(FakeTime(), range(0, 6 * MS, MS), 10 * MS, connections)
    assert [len(each) for each in sent] == [6 // connections] * connections
