"""When batches run: with sessions that the test opens and closes for the logic, with onnxruntime for running."""

import gc
import math
import threading
import time

import numpy as np
import pytest

from headgate.server import BatchingConfig, ModelConfig
from headgate.server.config import ExecutionConfig
from headgate.server.errors import DeadlineExceededError, InternalError, QueueFullError
from headgate.server.inference import InferenceRequest
from headgate.server.inputs import GivenTensor, ModelInputs
from headgate.server.model import LoadedModel
from headgate.server.scheduling import BatchRunner, InlineScheduler, ThreadScheduler
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


@pytest.fixture
def session():
    return Session()


@pytest.fixture
def make(session):
    """Make a scheduler; return what submits a request of some numbers to it, the scheduler, and its statistics."""
    schedulers = []

    def make(kind, *instances, **batching):
        statistics = Statistics()
        spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 1])
        inputs = ModelInputs([spec])
        scheduler = kind(BatchRunner(session, inputs, statistics, "m/1"), BatchingConfig(**batching), *instances)
        schedulers.append(scheduler)

        def submit(*numbers, deadline=math.inf, renderer=RENDERER):
            call = FakeCall(deadline)
            tensor = GivenTensor("x", (len(numbers), 1), np.array(numbers, np.float32).tobytes())
            scheduler.submit(InferenceRequest(call, *inputs.bind([tensor]), renderer))
            return call

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
        scheduler.run_ready()
        assert session.batches == [[1, 2, 3, 4]]
        assert [call.result() for call in calls] == [[101], [102, 103], [], [104]]
        assert session.threads == {threading.current_thread().name}
        assert (statistics.inference_count, statistics.execution_count) == (4, 1)

    def test_runs_batches_until_nothing_is_left(self, make, session):
        submit, scheduler, _ = make(InlineScheduler, max_batch_size=2)
        calls = [submit(i) for i in range(5)]
        scheduler.run_ready()
        assert session.batches == [[0, 1], [2, 3], [4]]
        assert [call.result() for call in calls] == [[100 + i] for i in range(5)]
        scheduler.run_ready()
        assert len(session.batches) == 3

    def test_expired_requests_never_run(self, make, session):
        submit, scheduler, statistics = make(InlineScheduler)
        late, good = submit(1, deadline=time.time() - 1), submit(2)
        scheduler.run_ready()
        assert isinstance(late.result(), DeadlineExceededError)
        assert good.result() == [102]
        assert session.batches == [[2]]
        assert statistics.expired == 1

    def test_full_queue_is_run(self, make, session):
        submit, scheduler, statistics = make(InlineScheduler, max_queue_size=2)
        calls = [submit(1), submit(2), submit(3), submit(4, 5, 6)]
        assert session.batches == [[1, 2]]
        scheduler.run_ready()
        assert [call.result() for call in calls] == [[101], [102], [103], [104, 105, 106]]
        assert statistics.refused == 0


class TestThreads:
    def test_run_what_waits_as_one_batch(self, busy, session):
        submit, _, statistics, running = busy()
        calls = [submit(1), submit(2, 3), submit(4)]
        session.gate.set()
        assert [call.result() for call in [*running, *calls]] == [[99], [101], [102, 103], [104]]
        assert session.batches == [[-1], [1, 2, 3, 4]]
        assert session.threads == {"headgate-run-0"}
        assert statistics.refused == statistics.expired == statistics.cancelled == 0

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
        late, good, later = submit(1, deadline=time.time() - 1), submit(2), submit(3, deadline=0)
        session.gate.set()
        assert good.result() == [102]
        assert isinstance(late.result(), DeadlineExceededError)
        assert isinstance(later.result(), DeadlineExceededError)
        assert session.batches == [[-1], [2]]
        assert statistics.expired == 2

    def test_only_expired_requests(self, busy, session):
        submit, _, _, _ = busy()
        late = submit(1, deadline=0)
        session.gate.set()
        assert isinstance(late.result(), DeadlineExceededError)
        assert submit(2).result() == [102]

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


@pytest.fixture(params=["inline", "threads"])
def both(request, make):
    """Submit requests of one number each that share a batch; return their outcomes, and the statistics."""
    if request.param == "inline":
        submit, scheduler, statistics = make(InlineScheduler)
        finish = scheduler.run_ready
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
    model.scheduler.run_ready()
    model.close()
    good, bad, other = (call.result() for call in calls)
    assert (good, other) == ([30], [0])
    assert isinstance(bad, InternalError)
    assert "\n" not in str(bad)
    assert "lookup/1 failed on request 'row 4' of 1 rows" in caplog.text
    caplog.clear()
