"""Requests with more rows than a batch takes."""

import gc
import math
import time

import numpy as np
import pytest

from headgate.server.errors import DeadlineExceededError, InternalError
from headgate.server.inference import InferenceRequest
from headgate.server.scheduling import InlineScheduler, ThreadScheduler
from headgate.server.splitting import SplitRequest

from .fakes import RENDERER, WAIT_S, FakeCall, run_all


@pytest.fixture
def split(make_scheduler):
    def start(kind, *arguments, **batching):
        submit, scheduler, statistics = make_scheduler(kind, *arguments, max_batch_size=3, **batching)

        def submit_split(*numbers, deadline=math.inf, renderer=RENDERER):
            call = FakeCall(deadline)
            rows = np.array(numbers, np.float32)
            request = InferenceRequest(call, [rows.tobytes()], len(rows), (), renderer)
            SplitRequest(request, 3, scheduler.submit, statistics).start()
            return call

        return submit, submit_split, scheduler, statistics

    return start


@pytest.mark.parametrize("kind", [InlineScheduler, ThreadScheduler])
def test_parts_are_put_together_again(split, fake_session, kind):
    _, submit_split, scheduler, statistics = split(kind, *([1] if kind is ThreadScheduler else []))
    call = submit_split(*range(8))
    run_all(scheduler)
    assert call.result() == [100 + number for number in range(8)]
    assert fake_session.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]
    scheduler.close()
    assert (statistics.inference_count, statistics.execution_count) == (8, 3)
    assert (statistics.success.count, statistics.queue.count) == (1, 1)


def test_others_have_their_turn_between_the_parts(split, fake_session):
    submit, submit_split, scheduler, _ = split(InlineScheduler)
    whole, other = submit_split(*range(8)), submit(50)
    run_all(scheduler)
    assert fake_session.batches == [[0, 1, 2], [50], [3, 4, 5], [6, 7]]
    assert other.result() == [150]
    assert whole.result() == [100 + number for number in range(8)]


def test_full_queue_does_not_lose_a_later_part(split, fake_session):
    submit, submit_split, _, _ = split(ThreadScheduler, 1, max_queue_size=1)
    fake_session.gate.clear()
    whole = submit_split(*range(6))
    fake_session.wait_until_running()
    other = submit(50)
    fake_session.gate.set()
    assert whole.result() == [100 + number for number in range(6)]
    assert other.result() == [150]


def test_failing_part_fails_the_request_once(split, fake_session, caplog):
    _, submit_split, scheduler, statistics = split(InlineScheduler)
    fake_session.poison = 4
    call = submit_split(*range(9))
    run_all(scheduler)
    assert isinstance(call.result(), InternalError)
    assert fake_session.batches == [[0, 1, 2], [3, 4, 5]]
    assert (statistics.success.count, statistics.fail.count) == (0, 1)
    caplog.clear()


def test_another_shape_has_its_turn_too(split, fake_session):
    _, submit_split, scheduler, _ = split(InlineScheduler)
    whole = submit_split(*range(9))
    other = FakeCall()
    scheduler.submit(InferenceRequest(other, [np.float32(50).tobytes()], 1, ((7,),), RENDERER))
    run_all(scheduler)
    assert fake_session.batches == [[0, 1, 2], [50], [3, 4, 5], [6, 7, 8]]
    assert (whole.result(), other.result()) == ([100 + number for number in range(9)], [150])


@pytest.mark.parametrize("kind", [InlineScheduler, ThreadScheduler])
def test_nothing_is_left(split, kind):
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


def test_times_of_all_parts_count(split):
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


def test_cancelled_while_a_part_runs(split, fake_session):
    _, submit_split, scheduler, statistics = split(ThreadScheduler, 1)
    fake_session.gate.clear()
    call = submit_split(*range(9))
    fake_session.wait_until_running()
    call.cancel()
    fake_session.gate.set()
    assert isinstance(call.result(), DeadlineExceededError)
    scheduler.close()
    assert fake_session.batches == [[0, 1, 2]]
    assert statistics.cancelled == 1


def test_cancelled_while_a_part_waits(split, fake_session):
    submit, submit_split, _, statistics = split(ThreadScheduler, 1)
    fake_session.gate.clear()
    submit(1)
    fake_session.wait_until_running()
    call = submit_split(*range(9))
    call.cancel()
    assert isinstance(call.result(), DeadlineExceededError)
    assert statistics.cancelled == 1


def test_answer_that_cannot_be_made_harms_no_batch_mate(split, fake_session, caplog):
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
