"""The batching policy, against a plain list of what waits."""

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headgate.server.batching import BatchQueue
from headgate.server.errors import QueueFullError

NEVER = float("inf")
arrivals = itertools.count()


def request(rows=1, group=(), deadline=NEVER):
    return Request(rows=rows, group=group, deadline=deadline, arrived_ns=next(arrivals))


class Request(SimpleNamespace):
    """What the queue knows of an InferenceRequest; compared by identity, as those are."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def queue_of(*requests, max_batch_size=4, max_queue_size=100):
    queue = BatchQueue(max_batch_size, max_queue_size)
    for each in requests:
        queue.put(each)
    return queue


def test_batch_is_taken_in_order_up_to_the_most_rows():
    requests = [request(2), request(1), request(1), request(1)]
    queue = queue_of(*requests)
    assert queue.take(0) == (requests[:3], [])
    assert queue.take(0) == (requests[3:], [])
    assert queue.take(0) == ([], [])


def test_no_later_request_overtakes_one_that_does_not_fit():
    requests = [request(3), request(2), request(1)]
    queue = queue_of(*requests)
    assert queue.take(0)[0] == requests[:1]
    assert queue.take(0)[0] == requests[1:]


def test_larger_request_than_a_batch_runs_alone():
    requests = [request(1), request(9), request(1)]
    queue = queue_of(*requests)
    assert [queue.take(0)[0] for _ in range(3)] == [[each] for each in requests]


def test_groups_are_not_mixed_and_the_oldest_goes_first():
    a1, b1, a2, b2, c1 = (request(group=((size,),)) for size in (7, 8, 7, 8, 9))
    queue = queue_of(b1, a1, a2, b2, c1)
    # a1 arrived before b1, though it was put later.
    assert [queue.take(0)[0] for _ in range(3)] == [[a1, a2], [b1, b2], [c1]]


def test_bound_is_in_requests():
    queue = queue_of(request(6), request(0), max_batch_size=100, max_queue_size=2)
    with pytest.raises(QueueFullError, match="2 requests are waiting; try again later"):
        queue.put(request(1))
    queue.take(0)
    queue.put(request(6))
    queue.take(0)
    assert len(queue) == 0


def test_expired_requests_are_not_in_a_batch_and_make_room():
    late, good, later = request(4, deadline=5), request(4), request(4, deadline=9)
    queue = queue_of(late, good, later)
    assert queue.take(5) == ([good], [late])
    assert queue.take(9) == ([], [later])
    assert len(queue) == 0


def test_removed_request_is_gone():
    first, second = request(), request()
    queue = queue_of(first, second)
    assert queue.remove(first)
    assert not queue.remove(first)
    assert not queue.remove(request(group=((3,),)))
    assert queue.take(0)[0] == [second]
    assert not queue.remove(second)


def test_oldest_and_full():
    first = request(2, group=((1,),))
    queue = queue_of(first, request(3))
    assert queue.oldest_ns() == first.arrived_ns
    assert not queue.is_batch_full()
    queue.put(request(2, group=((1,),)))
    assert queue.is_batch_full()


class Queueing(RuleBasedStateMachine):
    """Any sequence of calls: nothing is lost, doubled or reordered within its group."""

    MAX_BATCH, MAX_QUEUE = 8, 6

    def __init__(self):
        super().__init__()
        self.queue = BatchQueue(self.MAX_BATCH, self.MAX_QUEUE)
        self.waiting = []
        self.now = 0

    @rule(rows=st.integers(0, 12), group=st.sampled_from([(), ((3,),), ((4,),)]), life=st.integers(0, 6) | st.none())
    def put(self, rows, group, life):
        new = request(rows, group, NEVER if life is None else self.now + life)
        if len(self.waiting) >= self.MAX_QUEUE:
            with pytest.raises(QueueFullError):
                self.queue.put(new)
        else:
            self.queue.put(new)
            self.waiting.append(new)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data):
        gone = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(gone)
        assert not self.queue.remove(gone)
        self.waiting.remove(gone)

    @rule(passed=st.integers(0, 3))
    def take(self, passed):
        self.now += passed
        batch, expired = self.queue.take(self.now)
        assert all(each.deadline <= self.now for each in expired)
        assert all(each.deadline > self.now for each in batch)
        assert len({each.group for each in batch}) <= 1
        assert len(batch) <= 1 or sum(each.rows for each in batch) <= self.MAX_BATCH
        taken = batch + expired
        assert len(set(taken)) == len(taken)
        if batch:
            alive = [each for each in self.waiting if each.deadline > self.now and each.group == batch[0].group]
            assert batch == alive[: len(batch)]
            # It is full, or all that could join have.
            rest = alive[len(batch) :]
            assert not rest or sum(each.rows for each in batch) + rest[0].rows > self.MAX_BATCH
            # Groups of which all had expired aside, none had waited longer.
            first = next(each for each in self.waiting if each.group == batch[0].group)
            assert all(
                each in taken
                for each in self.waiting
                if each.arrived_ns < first.arrived_ns and each.group != first.group
            )
        else:
            assert all(each.deadline <= self.now for each in self.waiting)
        self.waiting = [each for each in self.waiting if each not in taken]

    @invariant()
    def counts(self):
        assert len(self.queue) == len(self.waiting)
        assert len(self.queue) == len(self.waiting)
        if self.waiting:
            assert self.queue.oldest_ns() == self.waiting[0].arrived_ns
        rows_of = {each.group: 0 for each in self.waiting}
        for each in self.waiting:
            rows_of[each.group] += each.rows
        assert self.queue.is_batch_full() == any(rows >= self.MAX_BATCH for rows in rows_of.values())


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
