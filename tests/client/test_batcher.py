import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from headgate.client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    InvalidRequestError,
    ModelFailedError,
    NotFoundError,
    OverloadedError,
    Predictions,
    UnavailableError,
)
from headgate.exporter import export_model
from headgate.server import BatchingConfig, ModelConfig, Server, ServerSettings

ROW = np.zeros((1, 4))


def spy(client, sent):
    """Note how many rows each request has that the client sends."""
    send = client.send

    def noted(request, timeout_s=None):
        sent.append(request.inputs[0].shape[0])
        return send(request, timeout_s)

    client.send = noted


class Threads:
    """A batcher for threads."""

    def __init__(self, target, model, client=None, **options):
        self.sent = []
        self.client = Client(target, **client or {})
        spy(self.client, self.sent)
        self.batcher = self.client.batcher(model, **options)

    def ask(self, questions, **keywords):
        """Return the answer or the error of each question, all of which are asked at the same time."""
        start = threading.Barrier(len(questions))

        def ask(inputs):
            start.wait()
            try:
                return self.batcher.predict(inputs, **keywords)
            except Exception as error:
                return error

        with ThreadPoolExecutor(len(questions)) as threads:
            return list(threads.map(ask, questions))

    def close(self):
        self.batcher.close()

    def close_client(self):
        self.client.close()


class Tasks:
    """A batcher for tasks, on an event loop in a thread."""

    def __init__(self, target, model, client=None, **options):
        self.sent = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._run(self._open(target, model, client or {}, options))

    async def _open(self, target, model, client, options):
        self.client = AsyncClient(target, **client)
        spy(self.client, self.sent)
        self.batcher = self.client.batcher(model, **options)

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def ask(self, questions, **keywords):
        async def ask():
            calls = (self.batcher.predict(inputs, **keywords) for inputs in questions)
            return await asyncio.gather(*calls, return_exceptions=True)

        return self._run(ask())

    def close(self):
        self._run(self.batcher.close())

    def close_client(self):
        self._run(self.client.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(params=[Threads, Tasks])
def open_batcher(request):
    opened = []

    def open_batcher(*arguments, **keywords):
        opened.append(request.param(*arguments, **keywords))
        return opened[-1]

    yield open_batcher
    for batcher in opened:
        batcher.close()
        batcher.close_client()


def start(repository, port=0, **batching):
    defaults = ModelConfig(batching=BatchingConfig(**batching))
    server = Server(ServerSettings(repository=repository, port=port, drain_timeout_s=0.1, model_defaults=defaults))
    server.start()
    return server


@pytest.fixture
def slow_server(repository):
    """Where each call takes half a second at least."""
    server = start(repository, max_queue_delay_us=500_000)
    yield server
    server.stop()


def batches_of(model, rng, count):
    """Inputs of 0 to 3 rows."""
    for number in range(count):
        rows = number % 4
        match model:
            case "patients":
                yield {"vitals": rng.normal(size=(rows, 6)), "codes": rng.integers(0, 20, (rows, 3))}
            case "digits":
                yield rng.random((rows, 8, 8, 1))
            case "tags":
                yield rng.normal(size=(rows, 6))


class TestTogether:
    @pytest.mark.parametrize(
        ("model", "options"),
        [("patients", {"heads": ["risk"]}), ("digits", {"top_k": 3, "include_probabilities": True}), ("tags", {})],
    )
    def test_answers_are_those_of_single_calls(self, open_batcher, target, client, rng, model, options):
        questions = list(batches_of(model, rng, 40))
        batcher = open_batcher(target, model, **options)
        for _ in range(2):
            answers = batcher.ask(questions)
            for inputs, answer in zip(questions, answers, strict=True):
                alone = client.predict(model, inputs, **options)
                assert (answer.model, answer.version, answer.rows) == (model, 1, alone.rows)
                assert_alike(answer.to_dicts(), alone.to_dicts())
        assert sum(batcher.sent) == 2 * sum(number % 4 for number in range(40))
        assert len(batcher.sent) < 80

    def test_what_comes_during_a_call_goes_together(self, open_batcher, slow_server):
        batcher = open_batcher(f"localhost:{slow_server.port}", "churn", max_concurrent_calls=1)
        batcher.ask([ROW])
        assert [answer.rows for answer in batcher.ask([ROW] * 30)] == [1] * 30
        assert sum(batcher.sent) == 31
        assert len(batcher.sent) <= 10

    def test_sizes(self, open_batcher, target, rng):
        batcher = open_batcher(target, "churn", max_batch_size=4)
        questions = [rng.normal(size=(rows, 4)) for rows in (1, 2, 9, 3, 4, 1) * 4]
        assert [answer.rows for answer in batcher.ask(questions)] == [1, 2, 9, 3, 4, 1] * 4
        assert max(rows for rows in batcher.sent if rows != 9) <= 4
        assert batcher.sent.count(9) == 4

    def test_one_alone(self, open_batcher, target):
        batcher = open_batcher(target, "churn")
        for _ in range(3):
            [answer] = batcher.ask([ROW])
            assert answer.rows == 1
        assert batcher.sent == [1, 1, 1]

    @pytest.mark.parametrize("settings", [{"max_batch_size": 0}, {"max_concurrent_calls": 0}])
    def test_settings_that_are_none(self, open_batcher, target, settings):
        with pytest.raises(ValueError, match="; give 1 or more"):
            open_batcher(target, "churn", **settings)


class TestFaults:
    def test_what_the_client_finds(self, open_batcher, target):
        batcher = open_batcher(target, "churn")
        good, other, flat = batcher.ask([ROW, [["a", "b", "c", "d"]], [1, 2, 3, 4]])
        assert good.rows == 1
        assert isinstance(other, InvalidRequestError)
        assert isinstance(flat, InvalidRequestError)

    def test_what_the_server_finds(self, open_batcher, target):
        batcher = open_batcher(target, "churn")
        first, wrong, last = batcher.ask([ROW, np.zeros((1, 3)), ROW])
        assert (first.rows, last.rows) == (1, 1)
        assert isinstance(wrong, InvalidRequestError)
        assert "[1,3]" in str(wrong)

    def test_inputs_that_differ_in_their_rows_do_not_make_up_for_each_other(self, open_batcher, target):
        batcher = open_batcher(target, "patients")

        def question(vitals, codes):
            return {"vitals": np.zeros((vitals, 6)), "codes": np.zeros((codes, 3), int)}

        batcher.ask([question(1, 1)])
        answers = batcher.ask([question(1, 2), question(2, 1), question(1, 1)])
        assert [type(answer) for answer in answers] == [InvalidRequestError, InvalidRequestError, Predictions]

    def test_what_the_model_fails_on(self, open_batcher, target):
        batcher = open_batcher(target, "patients")
        questions = [{"vitals": np.zeros((1, 6)), "codes": [[1, 2, 99 if number == 5 else 3]]} for number in range(12)]
        batcher.ask(questions[:1])
        answers = batcher.ask(questions)
        assert [number for number, answer in enumerate(answers) if isinstance(answer, ModelFailedError)] == [5]
        assert sum(isinstance(answer, Predictions) for answer in answers) == 11

    def test_unknown_model(self, open_batcher, target):
        answers = open_batcher(target, "nothing").ask([ROW, ROW])
        assert [type(answer) for answer in answers] == [NotFoundError] * 2

    def test_overload_is_everybodys(self, open_batcher, repository):
        server = start(repository, max_queue_size=1, max_queue_delay_us=1_000_000)
        try:
            batcher = open_batcher(f"localhost:{server.port}", "churn", {"retry": None}, max_concurrent_calls=3)
            batcher.ask([ROW])
            outcomes = batcher.ask([np.zeros((64, 4))] * 3)
            # One finds room, and the model starts on it at once if the other two come late.
            assert {type(outcome) for outcome in outcomes} <= {Predictions, OverloadedError}
            errors = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
            assert len({id(error) for error in errors}) == len(errors)
        finally:
            server.stop()

    @pytest.mark.parametrize(
        ("successor", "inputs"),
        [("digits", np.zeros((1, 8, 8, 1))), ("patients", {"vitals": np.zeros((1, 6)), "codes": np.zeros((1, 3))})],
    )
    def test_a_model_with_other_inputs_takes_its_place(
        self, open_batcher, keras_models, tmp_path, free_port, successor, inputs
    ):
        export_model(keras_models["churn"], tmp_path, name="model")
        old = start(tmp_path, free_port)
        batcher = open_batcher(f"localhost:{free_port}", "model", {"retry": None})
        assert [answer.version for answer in batcher.ask([ROW] * 3)] == [1] * 3
        old.stop()
        export_model(keras_models[successor], tmp_path, name="model")
        new = start(tmp_path, free_port)
        try:
            with Client(f"localhost:{free_port}") as client:
                client.wait_until_ready()
            while isinstance(batcher.ask([inputs])[0], UnavailableError):
                time.sleep(0.01)
            assert [answer.version for answer in batcher.ask([inputs] * 3)] == [2] * 3
        finally:
            new.stop()


class TestPatience:
    def test_one_that_gives_up_disturbs_no_other(self, open_batcher, server, proxy):
        through = proxy(server.port)
        batcher = open_batcher(through.target, "churn", max_concurrent_calls=1)
        batcher.ask([ROW])
        through.flowing.clear()
        with ThreadPoolExecutor(1) as threads:
            others = threads.submit(batcher.ask, [ROW] * 5)
            outcomes = batcher.ask([ROW] * 2, timeout_s=0.05)
            through.flowing.set()
            assert [str(outcome) for outcome in outcomes] == ["there was no answer within 0.05 s"] * 2
            assert {type(outcome) for outcome in outcomes} == {DeadlineExceededError}
            assert [answer.rows for answer in others.result()] == [1] * 5

    @pytest.mark.parametrize("timeout_s", [0.1, None])
    def test_the_clients_own_patience(self, open_batcher, server, proxy, timeout_s):
        through = proxy(server.port)
        batcher = open_batcher(through.target, "churn", {"timeout_s": timeout_s})
        batcher.ask([ROW], timeout_s=30)
        through.flowing.clear()
        with ThreadPoolExecutor(1) as threads:
            outcomes = threads.submit(batcher.ask, [ROW] * 3)
            if timeout_s is None:
                with pytest.raises(TimeoutError):
                    outcomes.result(0.3)
                through.flowing.set()
            expected = DeadlineExceededError if timeout_s else Predictions
            assert [type(outcome) for outcome in outcomes.result()] == [expected] * 3
            through.flowing.set()

    def test_a_task_that_is_cancelled_disturbs_no_other(self, slow_server):
        async def main():
            async with (
                AsyncClient(f"localhost:{slow_server.port}") as client,
                client.batcher("churn", max_concurrent_calls=1) as batcher,
            ):
                await batcher.predict(ROW)
                calls = [asyncio.create_task(batcher.predict(ROW)) for _ in range(4)]
                await asyncio.sleep(0)
                calls[1].cancel()
                return await asyncio.gather(*calls, return_exceptions=True)

        kinds = [type(outcome) for outcome in asyncio.run(main(), debug=True)]
        assert kinds == [Predictions, asyncio.CancelledError, Predictions, Predictions]


class TestEnd:
    def test_closing_waits_for_those_that_came(self, open_batcher, slow_server):
        batcher = open_batcher(f"localhost:{slow_server.port}", "churn", max_concurrent_calls=1)
        batcher.ask([ROW])
        with ThreadPoolExecutor(1) as threads:
            answers = threads.submit(batcher.ask, [ROW] * 4)
            while len(batcher.sent) == 1:
                time.sleep(0.001)
            batcher.close()
            kinds = {type(outcome) for outcome in answers.result()}
        # Some may have come after it was closed.
        assert Predictions in kinds <= {Predictions, ValueError}
        [late] = batcher.ask([ROW])
        assert isinstance(late, ValueError)
        assert str(late) == "the batcher is closed"

    def test_a_client_that_is_closed_leaves_nobody_waiting(self, slow_server):
        async def main():
            sent = []
            async with AsyncClient(f"localhost:{slow_server.port}") as client:
                spy(client, sent)
                batcher = client.batcher("churn", max_concurrent_calls=1)
                await batcher.predict(ROW)
                calls = [asyncio.create_task(batcher.predict(ROW)) for _ in range(3)]
                while len(sent) == 1:
                    await asyncio.sleep(0)
                calls += [asyncio.create_task(batcher.predict(ROW)) for _ in range(3)]
                await asyncio.sleep(0)
            return await asyncio.gather(*calls, return_exceptions=True)

        assert {type(outcome) for outcome in asyncio.run(main(), debug=True)} == {UnavailableError}

    def test_a_server_that_goes_and_comes_back(self, open_batcher, repository, free_port):
        server = start(repository, free_port)
        batcher = open_batcher(f"localhost:{free_port}", "churn")
        assert [answer.rows for answer in batcher.ask([ROW] * 3)] == [1] * 3
        server.stop()
        assert [type(answer) for answer in batcher.ask([ROW] * 3)] == [UnavailableError] * 3
        server = start(repository, free_port)
        try:
            while isinstance(batcher.ask([ROW])[0], UnavailableError):
                time.sleep(0.01)
            assert [answer.rows for answer in batcher.ask([ROW] * 3)] == [1] * 3
        finally:
            server.stop()


def assert_alike(actual, expected):
    """Compare plain values; numbers may differ by rounding, since batches are of other sizes."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_alike(actual[key], expected[key])
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-4, abs=1e-6)
    else:
        assert actual == expected
