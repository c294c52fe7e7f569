"""Running a batch: who gets which answer when something fails, with sessions of the test and with onnxruntime."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from headgate.server import BatchingConfig, ModelConfig
from headgate.server.config import ExecutionConfig
from headgate.server.errors import InternalError
from headgate.server.inference import InferenceRequest
from headgate.server.inputs import GivenTensor
from headgate.server.model import LoadedModel
from headgate.server.scheduling import InlineScheduler, ThreadScheduler

from .fakes import RENDERER, WAIT_S, FakeCall, Renderer, run_all


@pytest.fixture(params=["inline", "threads"])
def both(request, make_scheduler):
    """Submit requests of one number each that share a batch; return their outcomes, and the statistics."""
    if request.param == "inline":
        submit, scheduler, statistics = make_scheduler(InlineScheduler)
        finish = partial(run_all, scheduler)
    else:
        submit, scheduler, statistics = make_scheduler(ThreadScheduler, 1, max_queue_delay_us=60_000_000)
        finish = scheduler.close

    def run(numbers, renderers=None):
        calls = [submit(number, renderer=(renderers or {}).get(number, RENDERER)) for number in numbers]
        finish()
        return [call.result() for call in calls], statistics

    return run


def test_who_has_an_answer_finds_it_in_the_statistics(make_scheduler, monkeypatch):
    submit, scheduler, statistics = make_scheduler(InlineScheduler)

    def read():
        with statistics.lock:
            return statistics.success.count

    def reply(call, response):
        counts.append(reader.submit(read))
        # Time enough, if nothing held it up.
        with suppress(TimeoutError):
            counts[-1].result(0.05)

    monkeypatch.setattr(FakeCall, "reply", reply)
    counts = []
    with ThreadPoolExecutor(1) as reader:
        submit(1)
        submit(2)
        run_all(scheduler)
        assert [count.result(WAIT_S) for count in counts] == [2, 2]


def test_failing_batch_is_retried_alone(both, fake_session, caplog):
    fake_session.poison = 2
    outcomes, statistics = both([1, 2, 3])
    assert fake_session.batches == [[1, 2, 3], [1], [2], [3]]
    assert (outcomes[0], outcomes[2]) == ([101], [103])
    assert isinstance(outcomes[1], InternalError)
    assert str(outcomes[1]) == "the model failed on this request: [ONNXRuntimeError] : poisoned"
    assert (statistics.success.count, statistics.fail.count) == (2, 1)
    assert "m/1 failed on request" in caplog.text
    caplog.clear()


def test_failing_single_request_is_not_retried(both, fake_session, caplog):
    fake_session.poison = 1
    ((outcome,), _) = both([1])
    assert isinstance(outcome, InternalError)
    assert fake_session.batches == [[1]]
    caplog.clear()


@pytest.mark.parametrize("output", [np.zeros((2, 1), np.float32), np.float32(0)], ids=["other rows", "a scalar"])
def test_output_without_a_row_for_each_of_the_batch_is_no_answer(both, fake_session, caplog, monkeypatch, output):
    monkeypatch.setattr(fake_session, "run", lambda inputs: [output])
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


def test_request_whose_outputs_break_a_renderer_harms_no_other(both, caplog):
    class Delicate(Renderer):
        def render(self, outputs, requests):
            if any(102 in outputs[0][request.start : request.stop] for request in requests):
                raise ZeroDivisionError
            return super().render(outputs, requests)

    shared = Delicate()
    outcomes, statistics = both([1, 2, 3], renderers=dict.fromkeys((1, 2, 3), shared))
    assert (outcomes[0], outcomes[2]) == ([101], [103])
    assert isinstance(outcomes[1], InternalError)
    assert (statistics.success.count, statistics.fail.count) == (2, 1)
    assert caplog.text.count("could not be turned into answers") == 1
    caplog.clear()


def test_call_that_cannot_be_answered_harms_no_other(make_scheduler, caplog):
    submit, scheduler, _ = make_scheduler(InlineScheduler)
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
