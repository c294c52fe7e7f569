"""When batches run: with sessions that the test opens and closes for the logic, with onnxruntime for running."""

import gc
import math
import threading
import time
from functools import partial

import numpy as np
import pytest

from headgate.server import BatchingConfig, ModelConfig, scheduling
from headgate.server.batch_runner import BatchRunner
from headgate.server.config import ExecutionConfig
from headgate.server.errors import DeadlineExceededError, InternalError, QueueFullError
from headgate.server.inference import InferenceRequest
from headgate.server.inputs import GivenTensor, ModelInputs
from headgate.server.model import LoadedModel
from headgate.server.scheduling import InlineScheduler, ThreadScheduler
from headgate.server.splitting import SplitRequest
from headgate.server.statistics import Statistics
from headgate.v1 import DataType, TensorSpec

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


class Session:
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
    while scheduler.run_ready():
        pass


@pytest.fixture
def session():
    return Session()


@pytest.fixture
def make(session):
    """Make a scheduler; return what submits a request of some numbers to it, the scheduler, and its statistics."""
    schedulers = []

    def make(kind, *instances, batch_rows=None, **batching):
        statistics = Statistics()
        spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 1])
        inputs = ModelInputs([spec])
        config = BatchingConfig(**batching)
        runner = BatchRunner(session, inputs, statistics, "m/1")
        scheduler = kind(runner, config, batch_rows or config.max_batch_size, *instances)
        schedulers.append(scheduler)

        def submit(*numbers, deadline=math.inf, renderer=RENDERER, **queueing):
            call = FakeCall(deadline)
            tensor = GivenTensor("x", (len(numbers), 1), np.array(numbers, np.float32).tobytes())
            scheduler.submit(InferenceRequest(call, *inputs.bind([tensor]), renderer, **queueing))
            return call

        submit.scheduler = scheduler
        return submit, scheduler, statistics

    yield make
    session.gate.set()
    for scheduler in schedulers:
        scheduler.close()


@pytest.fixture
def busy(make, session):
    """The same for one thread that is in the middle of a batch."""

    def start(instances=1, **batching):
        submit, scheduler, statistics = make(ThreadScheduler, instances, **batching)
        session.gate.clear()
        running = []
        for i in range(instances):
            running.append(submit(-1 - i))
            session.wait_until_running()
        return submit, scheduler, statistics, running

    return start


class TestInline:
    def test_runs_what_has_gathered_as_one_batch(self, make, session):
        submit, scheduler, statistics = make(InlineScheduler)
        calls = [submit(1), submit(2, 3), submit(), submit(4)]
        assert session.batches == []
        run_all(scheduler)
        assert session.batches == [[1, 2, 3, 4]]
        assert [call.result() for call in calls] == [[101], [102, 103], [], [104]]
        assert session.threads == {threading.current_thread().name}
        assert (statistics.inference_count, statistics.execution_count) == (4, 1)

    def test_runs_batches_until_nothing_is_left(self, make, session):
        submit, scheduler, _ = make(InlineScheduler, max_batch_size=2)
        calls = [submit(i) for i in range(5)]
        run_all(scheduler)
        assert session.batches == [[0, 1], [2, 3], [4]]
        assert [call.result() for call in calls] == [[100 + i] for i in range(5)]
        run_all(scheduler)
        assert len(session.batches) == 3

    def test_larger_request_than_a_batch_runs_alone(self, make, session):
        submit, scheduler, _ = make(InlineScheduler, batch_rows=2)
        for numbers in ([1], [2, 3, 4], [5], [6]):
            submit(*numbers)
        run_all(scheduler)
        assert session.batches == [[1], [2, 3, 4], [5, 6]]

    def test_expired_requests_never_run(self, make, session):
        submit, scheduler, statistics = make(InlineScheduler)
        late, good = submit(1, deadline=time.time() - 1), submit(2)
        run_all(scheduler)
        assert isinstance(late.result(), DeadlineExceededError)
        assert good.result() == [102]
        assert session.batches == [[2]]
        assert statistics.expired == 1

    def test_full_queue_is_run_whatever_the_priorities(self, make):
        submit, scheduler, statistics = make(InlineScheduler, max_queue_size=1)
        low = submit(1, priority=2)
        urgent = submit(2, priority=1)
        run_all(scheduler)
        assert [low.result(), urgent.result()] == [[101], [102]]
        assert statistics.refused == 0

    def test_close_on_another_thread_while_it_runs(self, make, session):
        submit, scheduler, _ = make(InlineScheduler, max_batch_size=1)
        calls = [submit(i) for i in range(200)]
        session.gate.clear()
        running = threading.Thread(target=run_all, args=(scheduler,))
        running.start()
        session.wait_until_running()
        closing = threading.Thread(target=scheduler.close)
        closing.start()
        session.gate.set()
        closing.join()
        # Nothing is left to be answered once it is closed, on whichever thread.
        assert [call.outcome for call in calls] == [[100 + i] for i in range(200)]
        running.join()

    def test_full_queue_is_run(self, make, session):
        submit, scheduler, statistics = make(InlineScheduler, max_queue_size=2)
        calls = [submit(1), submit(2), submit(3), submit(4, 5, 6)]
        assert session.batches == [[1, 2]]
        run_all(scheduler)
        assert [call.result() for call in calls] == [[101], [102], [103], [104, 105, 106]]
        assert statistics.refused == 0

    def test_unused_until_it_runs_something_and_after_a_while(self, make, monkeypatch):
        submit, scheduler, _ = make(InlineScheduler)
        assert scheduler.is_unused
        submit(1)
        run_all(scheduler)
        assert not scheduler.is_unused
        monkeypatch.setattr(scheduling, "_UNUSED_AFTER_S", 0)
        assert scheduler.is_unused


class TestThreads:
    def test_run_what_waits_as_one_batch(self, busy, session):
        submit, _, statistics, running = busy()
        calls = [submit(1), submit(2, 3), submit(4)]
        session.gate.set()
        assert [call.result() for call in [*running, *calls]] == [[99], [101], [102, 103], [104]]
        assert session.batches == [[-1], [1, 2, 3, 4]]
        assert session.threads == {"headgate-run-0"}
        assert statistics.refused == statistics.expired == statistics.cancelled == 0

    def test_saturated(self, make, session):
        batch_ended = threading.Event()
        kind = partial(ThreadScheduler, takes_all_processors=True, batch_ended=batch_ended)
        submit, scheduler, _ = make(kind, 2, max_batch_size=1)
        session.gate.clear()
        calls = []
        for number in (1, 2):
            calls.append(submit(number))
            session.wait_until_running()
            # What comes next begins at once, or is taken by the batch that does.
            assert not scheduler.is_saturated
        calls.append(submit(3))
        assert scheduler.is_saturated
        batch_ended.clear()
        session.gate.set()
        assert [call.result() for call in calls] == [[101], [102], [103]]
        assert batch_ended.wait(WAIT_S)
        assert not scheduler.is_saturated

    def test_unused_until_it_runs_something_and_after_a_while(self, make, session, monkeypatch):
        batch_ended = threading.Event()
        submit, scheduler, _ = make(partial(ThreadScheduler, batch_ended=batch_ended), 1)
        assert scheduler.is_unused
        session.gate.clear()
        running = submit(1)
        session.wait_until_running()
        assert not scheduler.is_unused
        batch_ended.clear()
        session.gate.set()
        running.result()
        assert batch_ended.wait(WAIT_S)
        assert not scheduler.is_unused
        monkeypatch.setattr(scheduling, "_UNUSED_AFTER_S", 0)
        assert scheduler.is_unused

    def test_never_saturated_while_there_are_other_processors(self, busy):
        submit, scheduler, _, _ = busy()
        submit(1)
        assert not scheduler.is_saturated

    def test_cancelled_request_leaves_the_queue_at_that_moment(self, busy, session):
        submit, _, statistics, running = busy(max_queue_size=3)
        calls = [submit(1), submit(2), submit(3)]
        with pytest.raises(QueueFullError):
            submit(4)
        calls[1].cancel()
        # Its room is free, and its call answered, though nothing has run yet.
        assert isinstance(calls[1].result(), DeadlineExceededError)
        assert statistics.cancelled == 1
        calls.append(submit(4))
        session.gate.set()
        assert [call.result() for call in (*running, calls[0], calls[2], calls[3])] == [[99], [101], [103], [104]]
        assert session.batches == [[-1], [1, 3, 4]]

    def test_cancelled_while_it_runs(self, busy, session):
        submit, _, statistics, (running,) = busy()
        after = submit(1)
        running.cancel()
        session.gate.set()
        assert [running.result(), after.result()] == [[99], [101]]
        assert statistics.cancelled == 0

    def test_expired_requests_never_run(self, busy, session):
        submit, _, statistics, _ = busy()
        deadline = time.time() + 1
        late, good, later = submit(1, deadline=deadline), submit(2), submit(3, deadline=deadline)
        while time.time() <= deadline:
            time.sleep(0.01)
        session.gate.set()
        assert good.result() == [102]
        assert isinstance(late.result(), DeadlineExceededError)
        assert isinstance(later.result(), DeadlineExceededError)
        assert session.batches == [[-1], [2]]
        assert statistics.expired == 2

    def test_only_expired_requests(self, busy, session):
        submit, _, _, _ = busy()
        deadline = time.time() + 1
        late = submit(1, deadline=deadline)
        while time.time() <= deadline:
            time.sleep(0.01)
        session.gate.set()
        assert isinstance(late.result(), DeadlineExceededError)
        assert submit(2).result() == [102]

    def test_past_deadline_is_refused_at_once(self, busy):
        submit, _, statistics, _ = busy()
        with pytest.raises(DeadlineExceededError, match="had passed when the request came"):
            submit(1, deadline=time.time() - 1)
        assert statistics.expired == 1

    def test_queue_timeout_ends_while_no_thread_is_free(self, busy, session):
        submit, _, statistics, (running,) = busy()
        patient, impatient = submit(1, queue_timeout_s=600), submit(2, queue_timeout_s=0.2)
        error = impatient.result()
        assert isinstance(error, DeadlineExceededError)
        assert "the queue timeout ended" in str(error)
        assert statistics.expired == 1
        session.gate.set()
        assert [running.result(), patient.result()] == [[99], [101]]
        assert session.batches == [[-1], [1]]

    def test_earlier_queue_timeout_than_the_one_that_is_waited_for(self, busy):
        submit, _, _, _ = busy()
        submit(1, queue_timeout_s=600)
        assert isinstance(submit(2, queue_timeout_s=0.2).result(), DeadlineExceededError)

    def test_urgent_request_takes_the_place_of_another(self, busy, session):
        submit, _, statistics, _ = busy(max_queue_size=1)
        low = submit(1, priority=2)
        urgent = submit(2, priority=1)
        assert isinstance(low.result(), QueueFullError)
        assert statistics.refused == 1
        session.gate.set()
        assert urgent.result() == [102]
        assert session.batches == [[-1], [2]]

    def test_full_queue(self, busy, session):
        submit, _, statistics, _ = busy(max_queue_size=2)
        calls = [submit(1, 2, 3), submit(4)]
        with pytest.raises(QueueFullError, match="2 requests are waiting"):
            submit(5)
        assert statistics.refused == 1
        session.gate.set()
        assert [call.result() for call in calls] == [[101, 102, 103], [104]]

    def test_several_instances_run_at_the_same_time(self, busy, session):
        submit, _, _, running = busy(instances=3)
        assert session.threads == {"headgate-run-0", "headgate-run-1", "headgate-run-2"}
        calls = [submit(i) for i in range(100)]
        session.gate.set()
        assert [call.result() for call in running] == [[99], [98], [97]]
        assert [call.result() for call in calls] == [[100 + i] for i in range(100)]
        assert sorted(number for batch in session.batches for number in batch) == [-3, -2, -1, *range(100)]

    def test_many_submitters_lose_nothing(self, make, session):
        submit, scheduler, statistics = make(ThreadScheduler, 2, max_batch_size=7, max_queue_size=100_000)
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
        assert max(map(len, session.batches)) <= 7

    def test_delay_collects(self, make, session):
        submit, _, _ = make(ThreadScheduler, 1, max_batch_size=3, max_queue_delay_us=60_000_000)
        calls = [submit(1), submit(2)]
        assert session.batches == []
        calls.append(submit(3))
        assert [call.result() for call in calls] == [[101], [102], [103]]
        assert session.batches == [[1, 2, 3]]

    def test_delay_ends(self, make, session):
        submit, _, _ = make(ThreadScheduler, 2, max_queue_delay_us=20_000)
        before = time.perf_counter_ns()
        assert submit(1).result() == [101]
        assert time.perf_counter_ns() - before >= 20_000_000

    def test_cancelled_during_the_delay(self, make, session):
        submit, _, _ = make(ThreadScheduler, 1, max_batch_size=2, max_queue_delay_us=60_000_000)
        gone = submit(1)
        gone.cancel()
        assert isinstance(gone.result(), DeadlineExceededError)
        calls = [submit(2), submit(3)]
        assert [call.result() for call in calls] == [[102], [103]]
        assert session.batches == [[2, 3]]

    def test_close_finishes_the_queue(self, make, session):
        before = set(threading.enumerate())
        submit, scheduler, _ = make(ThreadScheduler, 2, max_batch_size=100, max_queue_delay_us=60_000_000)
        calls = [submit(i) for i in range(10)]
        scheduler.close()
        assert [call.outcome for call in calls] == [[100 + i] for i in range(10)]
        assert set(threading.enumerate()) <= before

    def test_nothing_is_left_of_requests(self, make):
        submit, _, _ = make(ThreadScheduler, 1)
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
    def busy(self, make, session):
        """A thread in the middle of a batch, where a full batch of four is known to take a minute."""

        def start(**batching):
            submit, _, statistics = make(ThreadScheduler, 1, 60.0, max_batch_size=4, **batching)
            session.gate.clear()
            submit(-1)
            session.wait_until_running()
            return submit, statistics

        return start

    def test_request_behind_a_full_batch_is_refused(self, busy, session):
        submit, statistics = busy()
        waiting = submit(1, 2, 3, 4)
        with pytest.raises(DeadlineExceededError, match=r"in about 60000 ms and take 0 ms, 4 rows waiting"):
            submit(5, deadline=time.time() + 30)
        accepted = submit(6, deadline=time.time() + 100)
        assert statistics.refused == 1
        session.gate.set()
        assert [waiting.result(), accepted.result()] == [[101, 102, 103, 104], [106]]

    def test_all_parts_of_a_request_count(self, busy):
        submit, _ = busy()
        submit(1, queue_timeout_s=100, deadline=time.time() + 100)
        call = FakeCall(time.time() + 100)
        request = InferenceRequest(call, [np.zeros(12, np.float32).tobytes()], 12, (), RENDERER)
        with pytest.raises(DeadlineExceededError, match="and take 180000 ms"):
            SplitRequest(request, 4, submit.scheduler.submit, Statistics()).start()

    def test_part_of_a_request_that_has_begun_is_not_refused(self, busy, session):
        submit, _ = busy()
        submit(1, 2, 3, 4)
        later = InferenceRequest(FakeCall(time.time() + 30), [bytes(4)], 1, (), RENDERER)
        later.parts_before = 1
        submit.scheduler.submit(later)
        session.gate.set()
        assert later.call.result() == [100]

    def test_who_would_be_late_makes_room_in_a_full_queue(self, make, session):
        submit, scheduler, statistics = make(ThreadScheduler, 1, max_batch_size=2)
        session.gate.clear()
        running = submit(-1)
        session.wait_until_running()
        calls = [submit(1, deadline=time.time() + 100), submit(2), submit(3)]
        # Only now it is known how long a full batch takes.
        scheduler._times.record(2, 90.0)
        session.gate.set()
        assert running.result() == [99]
        assert "too near when the request's turn came" in str(calls[0].result())
        assert [calls[1].result(), calls[2].result()] == [[102], [103]]
        assert session.batches == [[-1], [2, 3]]
        assert statistics.expired == 1

    def test_prediction_for_which_nothing_would_run_is_not_believed(self, make, session):
        submit, scheduler, statistics = make(ThreadScheduler, 1, max_batch_size=1)
        session.gate.clear()
        submit(-1)
        session.wait_until_running()
        calls = [submit(i, deadline=time.time() + 100) for i in range(20)]
        scheduler._times.record(1, 10_000.0)
        session.gate.set()
        assert [call.result() for call in calls] == [[100 + i] for i in range(20)]
        assert statistics.expired == 0

    def test_who_would_be_late_runs_if_nobody_else_waits(self, make, session):
        submit, scheduler, _ = make(ThreadScheduler, 1, max_batch_size=2)
        session.gate.clear()
        submit(-1)
        session.wait_until_running()
        call = submit(1, deadline=time.time() + 100)
        scheduler._times.record(2, 90.0)
        session.gate.set()
        assert call.result() == [101]

    def test_queue_timeout_counts_like_a_deadline(self, busy):
        submit, _ = busy()
        submit(1, 2, 3, 4)
        with pytest.raises(DeadlineExceededError):
            submit(5, queue_timeout_s=30)
        submit(6, queue_timeout_s=100)

    def test_delay_ends_in_time_for_a_queue_timeout(self, make):
        submit, _, statistics = make(ThreadScheduler, 1, max_queue_delay_us=60_000_000)
        assert submit(1, queue_timeout_s=0.2).result() == [101]
        assert statistics.expired == 0

    def test_less_urgent_rows_are_no_hindrance(self, busy):
        submit, _ = busy()
        submit(1, 2, 3, 4, priority=2)
        submit(5, deadline=time.time() + 30, priority=1)

    def test_request_for_an_idle_thread_always_runs(self, make):
        submit, _, _ = make(ThreadScheduler, 1, 60.0, max_batch_size=1)
        assert submit(1, deadline=time.time() + 30).result() == [101]

    def test_prediction_is_learnt(self, make, session):
        submit, _, _ = make(ThreadScheduler, 1, 60.0, max_batch_size=1)
        # Each takes far less than a minute.
        for number in range(100):
            submit(number).result()
        session.gate.clear()
        running = submit(1)
        session.wait_until_running()
        waiting = submit(2), submit(3, deadline=time.time() + 30)
        session.gate.set()
        assert [call.result() for call in (running, *waiting)] == [[101], [102], [103]]


class TestSplitting:
    """Requests with more rows than a batch takes."""

    @pytest.fixture
    def split(self, make):
        def start(kind, *arguments, **batching):
            submit, scheduler, statistics = make(kind, *arguments, max_batch_size=3, **batching)

            def submit_split(*numbers, deadline=math.inf, renderer=RENDERER):
                call = FakeCall(deadline)
                rows = np.array(numbers, np.float32)
                request = InferenceRequest(call, [rows.tobytes()], len(rows), (), renderer)
                SplitRequest(request, 3, scheduler.submit, statistics).start()
                return call

            return submit, submit_split, scheduler, statistics

        return start

    @pytest.mark.parametrize("kind", [InlineScheduler, ThreadScheduler])
    def test_parts_are_put_together_again(self, split, session, kind):
        _, submit_split, scheduler, statistics = split(kind, *([1] if kind is ThreadScheduler else []))
        call = submit_split(*range(8))
        run_all(scheduler)
        assert call.result() == [100 + number for number in range(8)]
        assert session.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]
        scheduler.close()
        assert (statistics.inference_count, statistics.execution_count) == (8, 3)
        assert (statistics.success.count, statistics.queue.count) == (1, 1)

    def test_others_have_their_turn_between_the_parts(self, split, session):
        submit, submit_split, scheduler, _ = split(InlineScheduler)
        whole, other = submit_split(*range(8)), submit(50)
        run_all(scheduler)
        assert session.batches == [[0, 1, 2], [50], [3, 4, 5], [6, 7]]
        assert other.result() == [150]
        assert whole.result() == [100 + number for number in range(8)]

    def test_full_queue_does_not_lose_a_later_part(self, split, session):
        submit, submit_split, _, _ = split(ThreadScheduler, 1, max_queue_size=1)
        session.gate.clear()
        whole = submit_split(*range(6))
        session.wait_until_running()
        other = submit(50)
        session.gate.set()
        assert whole.result() == [100 + number for number in range(6)]
        assert other.result() == [150]

    def test_failing_part_fails_the_request_once(self, split, session, caplog):
        _, submit_split, scheduler, statistics = split(InlineScheduler)
        session.poison = 4
        call = submit_split(*range(9))
        run_all(scheduler)
        assert isinstance(call.result(), InternalError)
        assert session.batches == [[0, 1, 2], [3, 4, 5]]
        assert (statistics.success.count, statistics.fail.count) == (0, 1)
        caplog.clear()

    def test_another_shape_has_its_turn_too(self, split, session):
        _, submit_split, scheduler, _ = split(InlineScheduler)
        whole = submit_split(*range(9))
        other = FakeCall()
        scheduler.submit(InferenceRequest(other, [np.float32(50).tobytes()], 1, ((7,),), RENDERER))
        run_all(scheduler)
        assert session.batches == [[0, 1, 2], [50], [3, 4, 5], [6, 7, 8]]
        assert (whole.result(), other.result()) == ([100 + number for number in range(9)], [150])

    @pytest.mark.parametrize("kind", [InlineScheduler, ThreadScheduler])
    def test_nothing_is_left(self, split, kind):
        _, submit_split, scheduler, _ = split(kind, *([1] if kind is ThreadScheduler else []))
        gc.collect()
        before = {id(thing) for thing in gc.get_objects() if isinstance(thing, SplitRequest)}
        gc.disable()
        try:
            call = submit_split(*range(8))
            run_all(scheduler)
            call.result()
            deadline = time.monotonic() + WAIT_S
            while [t for t in gc.get_objects() if isinstance(t, SplitRequest) and id(t) not in before]:
                assert time.monotonic() < deadline
        finally:
            gc.enable()

    def test_times_of_all_parts_count(self, split):
        _, submit_split, scheduler, statistics = split(InlineScheduler)
        submit_split(*range(9))
        run_all(scheduler)
        stages = statistics.stages
        total = sum(stage.ns for stage in (stages.compute_input, stages.compute_infer, stages.compute_output))
        batches = statistics.batches[3]
        assert batches.compute_infer.count == 3
        assert stages.compute_infer.count == 1
        assert stages.compute_infer.ns == batches.compute_infer.ns
        assert statistics.success.ns == statistics.queue.ns + total

    def test_cancelled_while_a_part_runs(self, split, session):
        _, submit_split, scheduler, statistics = split(ThreadScheduler, 1)
        session.gate.clear()
        call = submit_split(*range(9))
        session.wait_until_running()
        call.cancel()
        session.gate.set()
        assert isinstance(call.result(), DeadlineExceededError)
        scheduler.close()
        assert session.batches == [[0, 1, 2]]
        assert statistics.cancelled == 1

    def test_cancelled_while_a_part_waits(self, split, session):
        submit, submit_split, _, statistics = split(ThreadScheduler, 1)
        session.gate.clear()
        submit(1)
        session.wait_until_running()
        call = submit_split(*range(9))
        call.cancel()
        assert isinstance(call.result(), DeadlineExceededError)
        assert statistics.cancelled == 1

    def test_answer_that_cannot_be_made_harms_no_batch_mate(self, split, session, caplog):
        class Broken:
            def render(self, outputs, requests):
                raise ZeroDivisionError

        submit, submit_split, scheduler, _ = split(InlineScheduler)
        call, other = submit_split(*range(4), renderer=Broken()), None
        while call.outcome is None:
            other = submit(50)
            run_all(scheduler)
            assert other.result() == [150]
        assert isinstance(call.result(), InternalError)
        assert "ZeroDivisionError" in caplog.text
        caplog.clear()


def test_long_queue_of_an_inline_model_leaves_the_io_thread_in_between(make, session, monkeypatch):
    monkeypatch.setattr(scheduling, "_INLINE_TURN_S", 0)
    submit, scheduler, _ = make(InlineScheduler, max_batch_size=1)
    calls = [submit(1), submit(2)]
    assert scheduler.run_ready()
    assert [call.outcome for call in calls] == [[101], None]
    assert not scheduler.run_ready()
    assert calls[1].result() == [102]


@pytest.fixture(params=["inline", "threads"])
def both(request, make):
    """Submit requests of one number each that share a batch; return their outcomes, and the statistics."""
    if request.param == "inline":
        submit, scheduler, statistics = make(InlineScheduler)
        finish = partial(run_all, scheduler)
    else:
        submit, scheduler, statistics = make(ThreadScheduler, 1, max_queue_delay_us=60_000_000)
        finish = scheduler.close

    def run(numbers, renderers=None):
        calls = [submit(number, renderer=(renderers or {}).get(number, RENDERER)) for number in numbers]
        finish()
        return [call.result() for call in calls], statistics

    return run


def test_failing_batch_is_retried_alone(both, session, caplog):
    session.poison = 2
    outcomes, statistics = both([1, 2, 3])
    assert session.batches == [[1, 2, 3], [1], [2], [3]]
    assert (outcomes[0], outcomes[2]) == ([101], [103])
    assert isinstance(outcomes[1], InternalError)
    assert str(outcomes[1]) == "the model failed on this request: [ONNXRuntimeError] : poisoned"
    assert (statistics.success.count, statistics.fail.count) == (2, 1)
    assert "m/1 failed on request" in caplog.text
    caplog.clear()


def test_failing_single_request_is_not_retried(both, session, caplog):
    session.poison = 1
    ((outcome,), _) = both([1])
    assert isinstance(outcome, InternalError)
    assert session.batches == [[1]]
    caplog.clear()


@pytest.mark.parametrize("output", [np.zeros((2, 1), np.float32), np.float32(0)], ids=["other rows", "a scalar"])
def test_output_without_a_row_for_each_of_the_batch_is_no_answer(both, session, caplog, monkeypatch, output):
    monkeypatch.setattr(session, "run", lambda inputs: [output])
    outcomes, _ = both([1, 2, 3])
    assert all(isinstance(outcome, InternalError) for outcome in outcomes)
    caplog.clear()


def test_renderer_that_fails_harms_its_requests_only(both, caplog):
    class Broken:
        def render(self, outputs, requests):
            raise ZeroDivisionError

    outcomes, _ = both([1, 2, 3], renderers={2: Broken()})
    assert (outcomes[0], outcomes[2]) == ([101], [103])
    assert isinstance(outcomes[1], InternalError)
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_call_that_cannot_be_answered_harms_no_other(make, caplog):
    submit, scheduler, _ = make(InlineScheduler)
    calls = [submit(i) for i in range(3)]

    def fail(response):
        raise ZeroDivisionError

    calls[1].reply = fail
    run_all(scheduler)
    assert [calls[0].result(), calls[2].result()] == [[100], [102]]
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


def test_renderer_is_asked_once_a_batch(both):
    asked = []

    class Asked(Renderer):
        def render(self, outputs, requests):
            asked.append(len(requests))
            return super().render(outputs, requests)

    one, other = Asked(), Asked()
    outcomes, _ = both(range(6), renderers={0: one, 1: other, 2: one, 3: one, 4: other, 5: one})
    assert outcomes == [[100 + i] for i in range(6)]
    assert sorted(asked) == [2, 4]


@pytest.mark.parametrize("mode", ["inline", "threads"])
def test_real_model_that_fails_for_one_row(tmp_path, write_model, mode, caplog):
    config = ModelConfig(
        execution=ExecutionConfig(mode=mode, intra_op_threads=1),
        batching=BatchingConfig(max_queue_delay_us=60_000_000 if mode == "threads" else 0),
    )
    model = LoadedModel("lookup", 1, write_model(tmp_path, "lookup"), config, "CPUExecutionProvider")
    calls = []
    for row in (3, 4, 0):
        tensor = GivenTensor("x", (1, 1), np.array([row], np.int64).tobytes())
        calls.append(FakeCall())
        model.submit(InferenceRequest(calls[-1], *model.inputs.bind([tensor]), RENDERER, f"row {row}"))
    run_all(model.scheduler)
    model.close()
    good, bad, other = (call.result() for call in calls)
    assert (good, other) == ([30], [0])
    assert isinstance(bad, InternalError)
    assert "\n" not in str(bad)
    assert "lookup/1 failed on request 'row 4' of 1 rows" in caplog.text
    caplog.clear()
