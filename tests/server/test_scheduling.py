"""When batches run: with sessions that the test opens and closes."""

import gc
import threading
import time
from functools import partial

import numpy as np
import pytest

from headgate.server import scheduling
from headgate.server.errors import DeadlineExceededError, QueueFullError
from headgate.server.inference import InferenceRequest
from headgate.server.scheduling import InlineScheduler, ThreadScheduler
from headgate.server.splitting import SplitRequest
from headgate.server.statistics import Statistics
from headgate.server.transport import Remaining

from .fakes import RENDERER, WAIT_S, FakeCall, run_all


@pytest.fixture
def busy(make_scheduler, fake_session):
    """The same for one thread that is in the middle of a batch."""

    def start(instances=1, **batching):
        submit, scheduler, statistics = make_scheduler(ThreadScheduler, instances, **batching)
        fake_session.gate.clear()
        running = []
        for i in range(instances):
            running.append(submit(-1 - i))
            fake_session.wait_until_running()
        return submit, scheduler, statistics, running

    return start


class TestInline:
    def test_runs_what_has_gathered_as_one_batch(self, make_scheduler, fake_session):
        submit, scheduler, statistics = make_scheduler(InlineScheduler)
        calls = [submit(1), submit(2, 3), submit(), submit(4)]
        assert fake_session.batches == []
        run_all(scheduler)
        assert fake_session.batches == [[1, 2, 3, 4]]
        assert [call.result() for call in calls] == [[101], [102, 103], [], [104]]
        assert fake_session.threads == {threading.current_thread().name}
        assert (statistics.inference_count, statistics.execution_count) == (4, 1)

    def test_runs_batches_until_nothing_is_left(self, make_scheduler, fake_session):
        submit, scheduler, _ = make_scheduler(InlineScheduler, max_batch_size=2)
        calls = [submit(i) for i in range(5)]
        run_all(scheduler)
        assert fake_session.batches == [[0, 1], [2, 3], [4]]
        assert [call.result() for call in calls] == [[100 + i] for i in range(5)]
        run_all(scheduler)
        assert len(fake_session.batches) == 3

    def test_larger_request_than_a_batch_runs_alone(self, make_scheduler, fake_session):
        submit, scheduler, _ = make_scheduler(InlineScheduler, batch_rows=2)
        for numbers in ([1], [2, 3, 4], [5], [6]):
            submit(*numbers)
        run_all(scheduler)
        assert fake_session.batches == [[1], [2, 3, 4], [5, 6]]

    def test_expired_requests_never_run(self, make_scheduler, fake_session):
        submit, scheduler, statistics = make_scheduler(InlineScheduler)
        late, good = submit(1, deadline=time.time() - 1), submit(2)
        run_all(scheduler)
        assert isinstance(late.result(), DeadlineExceededError)
        assert good.result() == [102]
        assert fake_session.batches == [[2]]
        assert statistics.expired == 1

    def test_full_queue_is_run_whatever_the_priorities(self, make_scheduler):
        submit, scheduler, statistics = make_scheduler(InlineScheduler, max_queue_size=1)
        low = submit(1, priority=2)
        urgent = submit(2, priority=1)
        run_all(scheduler)
        assert [low.result(), urgent.result()] == [[101], [102]]
        assert statistics.refused == 0

    def test_close_on_another_thread_while_it_runs(self, make_scheduler, fake_session):
        submit, scheduler, _ = make_scheduler(InlineScheduler, max_batch_size=1)
        calls = [submit(i) for i in range(200)]
        fake_session.gate.clear()
        running = threading.Thread(target=run_all, args=(scheduler,))
        running.start()
        fake_session.wait_until_running()
        closing = threading.Thread(target=scheduler.close)
        closing.start()
        fake_session.gate.set()
        closing.join()
        # Nothing is left to be answered once it is closed, on whichever thread.
        assert [call.outcome for call in calls] == [[100 + i] for i in range(200)]
        running.join()

    def test_full_queue_is_run(self, make_scheduler, fake_session):
        submit, scheduler, statistics = make_scheduler(InlineScheduler, max_queue_size=2)
        calls = [submit(1), submit(2), submit(3), submit(4, 5, 6)]
        assert fake_session.batches == [[1, 2]]
        run_all(scheduler)
        assert [call.result() for call in calls] == [[101], [102], [103], [104, 105, 106]]
        assert statistics.refused == 0

    def test_unused_until_it_runs_something_and_after_a_while(self, make_scheduler, monkeypatch):
        submit, scheduler, _ = make_scheduler(InlineScheduler)
        assert scheduler.is_unused
        submit(1)
        run_all(scheduler)
        assert not scheduler.is_unused
        monkeypatch.setattr(scheduling, "_UNUSED_AFTER_S", 0)
        assert scheduler.is_unused


class TestThreads:
    def test_run_what_waits_as_one_batch(self, busy, fake_session):
        submit, _, statistics, running = busy()
        calls = [submit(1), submit(2, 3), submit(4)]
        fake_session.gate.set()
        assert [call.result() for call in [*running, *calls]] == [[99], [101], [102, 103], [104]]
        assert fake_session.batches == [[-1], [1, 2, 3, 4]]
        assert fake_session.threads == {"headgate-run-0"}
        assert statistics.refused == statistics.expired == statistics.cancelled == 0

    def test_saturated(self, make_scheduler, fake_session):
        batch_ended = threading.Event()
        kind = partial(ThreadScheduler, takes_all_processors=True, batch_ended=batch_ended)
        submit, scheduler, _ = make_scheduler(kind, 2, max_batch_size=1)
        fake_session.gate.clear()
        calls = []
        for number in (1, 2):
            calls.append(submit(number))
            fake_session.wait_until_running()
            # What comes next begins at once, or is taken by the batch that does.
            assert not scheduler.is_saturated
        calls.append(submit(3))
        assert scheduler.is_saturated
        batch_ended.clear()
        fake_session.gate.set()
        assert [call.result() for call in calls] == [[101], [102], [103]]
        assert batch_ended.wait(WAIT_S)
        assert not scheduler.is_saturated

    def test_unused_until_it_runs_something_and_after_a_while(self, make_scheduler, fake_session, monkeypatch):
        batch_ended = threading.Event()
        submit, scheduler, _ = make_scheduler(partial(ThreadScheduler, batch_ended=batch_ended), 1)
        assert scheduler.is_unused
        assert scheduler.run_ready() is Remaining.NOTHING
        fake_session.gate.clear()
        running = submit(1)
        fake_session.wait_until_running()
        assert not scheduler.is_unused
        batch_ended.clear()
        fake_session.gate.set()
        running.result()
        assert batch_ended.wait(WAIT_S)
        assert not scheduler.is_unused
        assert scheduler.run_ready() is Remaining.ELSEWHERE
        monkeypatch.setattr(scheduling, "_UNUSED_AFTER_S", 0)
        assert scheduler.is_unused

    def test_never_saturated_while_there_are_other_processors(self, busy):
        submit, scheduler, _, _ = busy()
        submit(1)
        assert not scheduler.is_saturated

    def test_cancelled_request_leaves_the_queue_at_that_moment(self, busy, fake_session):
        submit, _, statistics, running = busy(max_queue_size=3)
        calls = [submit(1), submit(2), submit(3)]
        with pytest.raises(QueueFullError):
            submit(4)
        calls[1].cancel()
        # Its room is free, and its call answered, though nothing has run yet.
        assert isinstance(calls[1].result(), DeadlineExceededError)
        assert statistics.cancelled == 1
        calls.append(submit(4))
        fake_session.gate.set()
        assert [call.result() for call in (*running, calls[0], calls[2], calls[3])] == [[99], [101], [103], [104]]
        assert fake_session.batches == [[-1], [1, 3, 4]]

    def test_cancelled_while_it_runs(self, busy, fake_session):
        submit, _, statistics, (running,) = busy()
        after = submit(1)
        running.cancel()
        fake_session.gate.set()
        assert [running.result(), after.result()] == [[99], [101]]
        assert statistics.cancelled == 0

    def test_expired_requests_never_run(self, busy, fake_session):
        submit, _, statistics, _ = busy()
        deadline = time.time() + 1
        late, good, later = submit(1, deadline=deadline), submit(2), submit(3, deadline=deadline)
        while time.time() <= deadline:
            time.sleep(0.01)
        fake_session.gate.set()
        assert good.result() == [102]
        assert isinstance(late.result(), DeadlineExceededError)
        assert isinstance(later.result(), DeadlineExceededError)
        assert fake_session.batches == [[-1], [2]]
        assert statistics.expired == 2

    def test_only_expired_requests(self, busy, fake_session):
        submit, _, _, _ = busy()
        deadline = time.time() + 1
        late = submit(1, deadline=deadline)
        while time.time() <= deadline:
            time.sleep(0.01)
        fake_session.gate.set()
        assert isinstance(late.result(), DeadlineExceededError)
        assert submit(2).result() == [102]

    def test_past_deadline_is_refused_at_once(self, busy):
        submit, _, statistics, _ = busy()
        with pytest.raises(DeadlineExceededError, match="had passed when the request came"):
            submit(1, deadline=time.time() - 1)
        assert statistics.expired == 1

    def test_queue_timeout_ends_while_no_thread_is_free(self, busy, fake_session):
        submit, _, statistics, (running,) = busy()
        patient, impatient = submit(1, queue_timeout_s=600), submit(2, queue_timeout_s=0.2)
        error = impatient.result()
        assert isinstance(error, DeadlineExceededError)
        assert "the queue timeout ended" in str(error)
        assert statistics.expired == 1
        fake_session.gate.set()
        assert [running.result(), patient.result()] == [[99], [101]]
        assert fake_session.batches == [[-1], [1]]

    def test_earlier_queue_timeout_than_the_one_that_is_waited_for(self, busy):
        submit, _, _, _ = busy()
        submit(1, queue_timeout_s=600)
        assert isinstance(submit(2, queue_timeout_s=0.2).result(), DeadlineExceededError)

    def test_urgent_request_takes_the_place_of_another(self, busy, fake_session):
        submit, _, statistics, _ = busy(max_queue_size=1)
        low = submit(1, priority=2)
        urgent = submit(2, priority=1)
        assert isinstance(low.result(), QueueFullError)
        assert statistics.refused == 1
        fake_session.gate.set()
        assert urgent.result() == [102]
        assert fake_session.batches == [[-1], [2]]

    def test_full_queue(self, busy, fake_session):
        submit, _, statistics, _ = busy(max_queue_size=2)
        calls = [submit(1, 2, 3), submit(4)]
        with pytest.raises(QueueFullError, match="2 requests are waiting"):
            submit(5)
        assert statistics.refused == 1
        fake_session.gate.set()
        assert [call.result() for call in calls] == [[101, 102, 103], [104]]

    def test_several_instances_run_at_the_same_time(self, busy, fake_session):
        submit, _, _, running = busy(instances=3)
        assert fake_session.threads == {"headgate-run-0", "headgate-run-1", "headgate-run-2"}
        calls = [submit(i) for i in range(100)]
        fake_session.gate.set()
        assert [call.result() for call in running] == [[99], [98], [97]]
        assert [call.result() for call in calls] == [[100 + i] for i in range(100)]
        assert sorted(number for batch in fake_session.batches for number in batch) == [-3, -2, -1, *range(100)]

    def test_many_submitters_lose_nothing(self, make_scheduler, fake_session):
        submit, scheduler, statistics = make_scheduler(ThreadScheduler, 2, max_batch_size=7, max_queue_size=100_000)
        calls = {}

        def work(start):
            for number in range(start, start + 500):
                calls[number] = submit(number)

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(call.result() == [100 + number] for number, call in calls.items())
        scheduler.close()
        assert statistics.inference_count == statistics.success.count == 1500
        assert max(map(len, fake_session.batches)) <= 7

    def test_delay_collects(self, make_scheduler, fake_session):
        submit, _, _ = make_scheduler(ThreadScheduler, 1, max_batch_size=3, max_queue_delay_us=60_000_000)
        calls = [submit(1), submit(2)]
        assert fake_session.batches == []
        calls.append(submit(3))
        assert [call.result() for call in calls] == [[101], [102], [103]]
        assert fake_session.batches == [[1, 2, 3]]

    def test_delay_ends(self, make_scheduler, fake_session):
        submit, _, _ = make_scheduler(ThreadScheduler, 2, max_queue_delay_us=20_000)
        before = time.perf_counter_ns()
        assert submit(1).result() == [101]
        assert time.perf_counter_ns() - before >= 20_000_000

    def test_cancelled_during_the_delay(self, make_scheduler, fake_session):
        submit, _, _ = make_scheduler(ThreadScheduler, 1, max_batch_size=2, max_queue_delay_us=60_000_000)
        gone = submit(1)
        gone.cancel()
        assert isinstance(gone.result(), DeadlineExceededError)
        calls = [submit(2), submit(3)]
        assert [call.result() for call in calls] == [[102], [103]]
        assert fake_session.batches == [[2, 3]]

    def test_close_finishes_the_queue(self, make_scheduler, fake_session):
        before = set(threading.enumerate())
        submit, scheduler, _ = make_scheduler(ThreadScheduler, 2, max_batch_size=100, max_queue_delay_us=60_000_000)
        calls = [submit(i) for i in range(10)]
        scheduler.close()
        assert [call.outcome for call in calls] == [[100 + i] for i in range(10)]
        assert set(threading.enumerate()) <= before

    def test_nothing_is_left_of_requests(self, make_scheduler):
        submit, _, _ = make_scheduler(ThreadScheduler, 1)
        gc.collect()
        before = {id(thing) for thing in gc.get_objects() if isinstance(thing, InferenceRequest)}
        gc.disable()
        try:
            for number in range(50):
                assert submit(number).result() == [100 + number]
            # The thread lets go of the last one soon after its answer, without another to come.
            deadline = time.monotonic() + WAIT_S
            while [t for t in gc.get_objects() if isinstance(t, InferenceRequest) and id(t) not in before]:
                assert time.monotonic() < deadline
        finally:
            gc.enable()


class TestPrediction:
    """Whether a request would be done in time, from how long batches take."""

    @pytest.fixture
    def busy(self, make_scheduler, fake_session):
        """A thread in the middle of a batch, where a full batch of four is known to take a minute."""

        def start(**batching):
            submit, _, statistics = make_scheduler(ThreadScheduler, 1, 60.0, max_batch_size=4, **batching)
            fake_session.gate.clear()
            submit(-1)
            fake_session.wait_until_running()
            return submit, statistics

        return start

    def test_request_behind_a_full_batch_is_refused(self, busy, fake_session):
        submit, statistics = busy()
        waiting = submit(1, 2, 3, 4)
        with pytest.raises(DeadlineExceededError, match=r"in about 60000 ms and take 0 ms, 4 rows waiting"):
            submit(5, deadline=time.time() + 30)
        accepted = submit(6, deadline=time.time() + 100)
        assert statistics.refused == 1
        fake_session.gate.set()
        assert [waiting.result(), accepted.result()] == [[101, 102, 103, 104], [106]]

    def test_all_parts_of_a_request_count(self, busy):
        submit, _ = busy()
        submit(1, queue_timeout_s=100, deadline=time.time() + 100)
        call = FakeCall(time.time() + 100)
        request = InferenceRequest(call, [np.zeros(12, np.float32).tobytes()], 12, (), RENDERER)
        with pytest.raises(DeadlineExceededError, match="and take 180000 ms"):
            SplitRequest(request, 4, submit.scheduler.submit, Statistics()).start()

    def test_part_of_a_request_that_has_begun_is_not_refused(self, busy, fake_session):
        submit, _ = busy()
        submit(1, 2, 3, 4)
        later = InferenceRequest(FakeCall(time.time() + 30), [bytes(4)], 1, (), RENDERER)
        later.parts_before = 1
        submit.scheduler.submit(later)
        fake_session.gate.set()
        assert later.call.result() == [100]

    def test_who_would_be_late_makes_room_in_a_full_queue(self, make_scheduler, fake_session):
        submit, scheduler, statistics = make_scheduler(ThreadScheduler, 1, max_batch_size=2)
        fake_session.gate.clear()
        running = submit(-1)
        fake_session.wait_until_running()
        calls = [submit(1, deadline=time.time() + 100), submit(2), submit(3)]
        # Only now it is known how long a full batch takes.
        scheduler._times.record(2, 90.0)
        fake_session.gate.set()
        assert running.result() == [99]
        assert "too near when the request's turn came" in str(calls[0].result())
        assert [calls[1].result(), calls[2].result()] == [[102], [103]]
        assert fake_session.batches == [[-1], [2, 3]]
        assert statistics.expired == 1

    def test_prediction_for_which_nothing_would_run_is_not_believed(self, make_scheduler, fake_session):
        submit, scheduler, statistics = make_scheduler(ThreadScheduler, 1, max_batch_size=1)
        fake_session.gate.clear()
        submit(-1)
        fake_session.wait_until_running()
        calls = [submit(i, deadline=time.time() + 100) for i in range(20)]
        scheduler._times.record(1, 10_000.0)
        fake_session.gate.set()
        assert [call.result() for call in calls] == [[100 + i] for i in range(20)]
        assert statistics.expired == 0

    def test_who_would_be_late_runs_if_nobody_else_waits(self, make_scheduler, fake_session):
        submit, scheduler, _ = make_scheduler(ThreadScheduler, 1, max_batch_size=2)
        fake_session.gate.clear()
        submit(-1)
        fake_session.wait_until_running()
        call = submit(1, deadline=time.time() + 100)
        scheduler._times.record(2, 90.0)
        fake_session.gate.set()
        assert call.result() == [101]

    def test_queue_timeout_counts_like_a_deadline(self, busy):
        submit, _ = busy()
        submit(1, 2, 3, 4)
        with pytest.raises(DeadlineExceededError):
            submit(5, queue_timeout_s=30)
        submit(6, queue_timeout_s=100)

    def test_delay_ends_in_time_for_a_queue_timeout(self, make_scheduler):
        submit, _, statistics = make_scheduler(ThreadScheduler, 1, max_queue_delay_us=60_000_000)
        assert submit(1, queue_timeout_s=0.2).result() == [101]
        assert statistics.expired == 0

    def test_less_urgent_rows_are_no_hindrance(self, busy):
        submit, _ = busy()
        submit(1, 2, 3, 4, priority=2)
        submit(5, deadline=time.time() + 30, priority=1)

    def test_request_for_an_idle_thread_always_runs(self, make_scheduler):
        submit, _, _ = make_scheduler(ThreadScheduler, 1, 60.0, max_batch_size=1)
        assert submit(1, deadline=time.time() + 30).result() == [101]

    def test_prediction_is_learnt(self, make_scheduler, fake_session):
        submit, _, _ = make_scheduler(ThreadScheduler, 1, 60.0, max_batch_size=1)
        # Each takes far less than a minute.
        for number in range(100):
            submit(number).result()
        fake_session.gate.clear()
        running = submit(1)
        fake_session.wait_until_running()
        waiting = submit(2), submit(3, deadline=time.time() + 30)
        fake_session.gate.set()
        assert [call.result() for call in (running, *waiting)] == [[101], [102], [103]]


def test_long_queue_of_an_inline_model_leaves_the_io_thread_in_between(make_scheduler, fake_session, monkeypatch):
    monkeypatch.setattr(scheduling, "_INLINE_TURN_S", 0)
    submit, scheduler, _ = make_scheduler(InlineScheduler, max_batch_size=1)
    calls = [submit(1), submit(2)]
    assert scheduler.run_ready() is Remaining.HERE
    assert [call.outcome for call in calls] == [[101], None]
    assert scheduler.run_ready() is Remaining.NOTHING
    assert calls[1].result() == [102]
