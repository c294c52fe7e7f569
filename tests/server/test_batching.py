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


def request(rows=1, group=(), deadline=NEVER, start_by=NEVER, priority=1, parts_before=0):
    return Request(
        rows=rows,
        group=group,
        deadline=deadline,
        start_by=min(start_by, deadline),
        priority=priority,
        parts_before=parts_before,
        arrived_ns=next(arrivals),
    )


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


def test_priorities_go_first_and_the_batch_is_filled_with_the_rest():
    low, lower, urgent, other = (request(priority=priority) for priority in (2, 3, 1, 2))
    queue = queue_of(low, lower, urgent, other, max_batch_size=3)
    assert queue.rows_ahead(1) == 1
    assert queue.rows_ahead(2) == 3
    assert queue.take(0)[0] == [urgent, low, other]
    assert queue.take(0)[0] == [lower]


def test_urgent_group_goes_before_one_that_waited_longer():
    low, urgent = request(group=((1,),), priority=2), request(group=((2,),), priority=1)
    queue = queue_of(low, urgent)
    assert [queue.take(0)[0] for _ in range(2)] == [[urgent], [low]]


def test_full_queue_makes_room_for_a_better_priority_only():
    first, young, urgent = request(priority=2), request(priority=2), request(priority=1)
    queue = queue_of(first, young, max_queue_size=2)
    for priority in (2, 3):
        with pytest.raises(QueueFullError):
            queue.put(request(priority=priority))
    assert queue.put(urgent) is young
    assert queue.put(request(priority=1)) is first
    with pytest.raises(QueueFullError):
        queue.put(request(priority=1))
    assert len(queue) == 2


def test_later_parts_always_have_room():
    queue = queue_of(request(), max_queue_size=1)
    assert queue.put(request(parts_before=1)) is None
    assert len(queue) == 2


def test_later_parts_make_no_room():
    first, part = request(priority=2), request(priority=2, parts_before=1)
    queue = queue_of(first, part, max_queue_size=2)
    assert queue.put(request(priority=1)) is first
    with pytest.raises(QueueFullError):
        queue.put(request(priority=1))


def test_queue_timeouts():
    queue = queue_of(request(deadline=5))
    assert queue.next_timeout() == NEVER
    second, first, ran = request(start_by=3), request(start_by=2), request(start_by=1, group=((9,),))
    for each in (second, first, ran):
        queue.put(each)
    queue.remove(ran)
    assert queue.next_timeout() == 2
    assert queue.take_timed_out(1) == []
    assert queue.take_timed_out(3) == [first, second]
    assert queue.next_timeout() == NEVER
    assert len(queue) == 1


def test_requests_that_left_are_not_kept_for_their_timeout():
    queue = queue_of()
    for _ in range(1000):
        queue.put(request(start_by=10**6))
        queue.take(0)
        assert not queue._timeout_of
        assert all(entry[2] is None for entry in queue._timeouts)
    assert len(queue._timeouts) < 100


class Queueing(RuleBasedStateMachine):
    """Any sequence of calls: nothing is lost, doubled or reordered within its group and priority."""

    MAX_BATCH, MAX_QUEUE = 8, 6

    def __init__(self):
        super().__init__()
        self.queue = BatchQueue(self.MAX_BATCH, self.MAX_QUEUE)
        self.waiting = []
        self.now = 0

    @rule(
        rows=st.integers(0, MAX_BATCH),
        group=st.sampled_from([(), ((3,),), ((4,),)]),
        life=st.integers(0, 6) | st.none(),
        timeout=st.integers(0, 4) | st.none(),
        priority=st.integers(1, 3),
    )
    def put(self, rows, group, life, timeout, priority):
        deadline, start_by = (NEVER if each is None else self.now + each for each in (life, timeout))
        new = request(rows, group, deadline, start_by, priority)
        last = max((each.priority for each in self.waiting), default=0)
        if len(self.waiting) < self.MAX_QUEUE:
            assert self.queue.put(new) is None
        elif last <= priority:
            with pytest.raises(QueueFullError):
                self.queue.put(new)
            return
        else:
            displaced = self.queue.put(new)
            assert displaced is [each for each in self.waiting if each.priority == last][-1]
            self.waiting.remove(displaced)
        self.waiting.append(new)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def remove(self, data):
        gone = data.draw(st.sampled_from(self.waiting))
        assert self.queue.remove(gone)
        assert not self.queue.remove(gone)
        self.waiting.remove(gone)

    @rule(passed=st.integers(0, 3))
    def time_out(self, passed):
        self.now += passed
        timed_out = self.queue.take_timed_out(self.now)
        assert set(timed_out) == {
            each for each in self.waiting if each.start_by <= self.now and each.start_by < each.deadline
        }
        self.waiting = [each for each in self.waiting if each not in timed_out]

    @rule(passed=st.integers(0, 3))
    def take(self, passed):
        self.now += passed
        batch, expired = self.queue.take(self.now)
        assert all(each.start_by <= self.now for each in expired)
        assert all(each.start_by > self.now for each in batch)
        assert len({each.group for each in batch}) <= 1
        assert sum(each.rows for each in batch) <= self.MAX_BATCH
        taken = batch + expired
        assert len(set(taken)) == len(taken)
        if batch:
            members = sorted(self.waiting, key=lambda each: each.priority)
            alive = [each for each in members if each.start_by > self.now and each.group == batch[0].group]
            assert batch == alive[: len(batch)]
            # It is full, or all that could join have.
            rest = alive[len(batch) :]
            assert not rest or sum(each.rows for each in batch) + rest[0].rows > self.MAX_BATCH
            # Groups of which all had expired aside, none was more urgent or had waited longer.
            first = next(each for each in members if each.group == batch[0].group)
            assert all(
                each in taken
                for each in members
                if (each.priority, each.arrived_ns) < (first.priority, first.arrived_ns) and each.group != first.group
            )
        else:
            assert all(each.start_by <= self.now for each in self.waiting)
        self.waiting = [each for each in self.waiting if each not in taken]

    @invariant()
    def counts(self):
        assert len(self.queue) == len(self.waiting)
        if self.waiting:
            assert self.queue.oldest_ns() == self.waiting[0].arrived_ns
        for priority in (1, 2, 3):
            ahead = sum(each.rows for each in self.waiting if each.priority <= priority)
            assert self.queue.rows_ahead(priority) == ahead
        rows_of = {each.group: 0 for each in self.waiting}
        for each in self.waiting:
            rows_of[each.group] += each.rows
        assert self.queue.is_batch_full() == any(rows >= self.MAX_BATCH for rows in rows_of.values())
        assert self.queue.next_timeout() == min(
            (each.start_by for each in self.waiting if each.start_by < each.deadline), default=NEVER
        )


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=60, stateful_step_count=30)
