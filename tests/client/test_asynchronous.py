import asyncio
import itertools

import numpy as np
import pytest

from headgate.client import (
    AsyncClient,
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from headgate.client.channel import READ_AHEAD
from headgate.server import Server, ServerSettings


@pytest.fixture
def run(target):
    """Run a coroutine function with a client, and see that it leaves no task behind."""

    def run(function):
        async def main():
            async with AsyncClient(target) as client:
                result = await function(client)
            await see_feeding_end()
            return result

        return asyncio.run(main(), debug=True)

    return run


async def see_feeding_end():
    """Fail if a task that the client started for a stream does not end by itself."""
    tasks = {task for task in asyncio.all_tasks() if task.get_coro().__qualname__.startswith("AsyncClient.")}
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=30)
        assert not pending


@pytest.fixture
def features(rng):
    return rng.normal(size=(5, 4))


def test_predicts_what_the_blocking_client_does(run, client, rng):
    inputs = {"vitals": rng.normal(size=(4, 6)), "codes": rng.integers(0, 20, (4, 3))}
    predictions = run(lambda c: c.predict("patients", inputs, threshold=0.2, request_id="7", timeout_s=10))
    expected = client.predict("patients", inputs, threshold=0.2, request_id="7")
    assert predictions.to_dicts() == expected.to_dicts()
    assert (predictions.version, predictions.id) == (1, "7")


def test_many_at_the_same_time(run, client, rng):
    batches = rng.normal(size=(50, 3, 4))

    async def ask(client):
        return await asyncio.gather(*(client.predict("prices", batch) for batch in batches))

    expected = client.predict("prices", batches.reshape(-1, 4)).head.values.reshape(50, 3, 2)
    np.testing.assert_allclose([predictions.head.values for predictions in run(ask)], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "inputs", "error"), [("nothing", [[1]], NotFoundError), ("churn", [[1, 2]], InvalidRequestError)]
)
def test_errors(run, model, inputs, error):
    with pytest.raises(error):
        run(lambda client: client.predict(model, inputs))


def test_deadline(silent_target, features):
    async def ask():
        async with AsyncClient(silent_target) as client:
            await client.predict("churn", features, timeout_s=0.2)

    with pytest.raises(DeadlineExceededError, match=r"no answer within 0\.2 s"):
        asyncio.run(ask())


def test_closing_ends_calls_and_cancels_nobody(silent_target):
    async def main():
        client = AsyncClient(silent_target)
        cancelled, *calls = [asyncio.create_task(client.model("churn")) for _ in range(4)]
        # One turn of the loop: all have begun their calls.
        await asyncio.sleep(0)
        cancelled.cancel()
        await client.close()
        return await asyncio.gather(cancelled, *calls, return_exceptions=True)

    first, *others = asyncio.run(main(), debug=True)
    assert isinstance(first, asyncio.CancelledError)
    assert {str(error) for error in others} == {"the connection was closed"}
    assert {type(error) for error in others} == {UnavailableError}


def test_models_and_model(run):
    async def ask(client):
        await client.wait_until_ready()
        return await client.models(), await client.model("digits")

    models, digits = run(ask)
    assert [model.name for model in models] == ["churn", "digits", "patients", "prices", "tags"]
    assert digits.signature.inputs[0].name == "image"


class TestStream:
    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_answers_come_in_order(self, run, client, rng, asynchronous):
        batches = rng.normal(size=(200, 2, 4))

        async def batches_one_by_one():
            for batch in batches:
                yield batch

        async def ask(client):
            inputs = batches_one_by_one() if asynchronous else batches
            return [predictions.head.values async for predictions in client.stream_predict("prices", inputs)]

        expected = client.predict("prices", batches.reshape(-1, 4)).head.values.reshape(200, 2, 2)
        np.testing.assert_allclose(run(ask), expected, rtol=1e-4, atol=1e-4)

    def test_endless_inputs_are_not_read_far_ahead(self, run, features):
        async def ask(client):
            read_ahead, read_too_far = asyncio.Event(), asyncio.Event()

            async def endless():
                for pulled in itertools.count(1):
                    # One is answered and one is on its way.
                    if pulled == READ_AHEAD + 2:
                        read_ahead.set()
                    elif pulled > READ_AHEAD + 2:
                        read_too_far.set()
                    yield features

            answers = client.stream_predict("churn", endless())
            await anext(answers)
            await asyncio.wait_for(read_ahead.wait(), 30)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(read_too_far.wait(), 0.3)
            for _ in range(500):
                await anext(answers)
            assert read_too_far.is_set()
            await answers.aclose()

        run(ask)

    def test_errors_can_be_returned(self, run, features):
        async def ask(client):
            inputs = [features, features[:, :3], features[0], features[:2]]
            return [outcome async for outcome in client.stream_predict("churn", inputs, return_exceptions=True)]

        first, wrong_shape, no_batch, last = run(ask)
        assert (first.rows, last.rows) == (5, 2)
        assert isinstance(wrong_shape, InvalidRequestError)
        assert isinstance(no_batch, InvalidRequestError)

    def test_error_is_raised_in_its_turn(self, run, features):
        async def ask(client):
            answers = client.stream_predict("churn", [features, features[:, :3], features])
            assert (await anext(answers)).rows == 5
            with pytest.raises(InvalidRequestError, match=r"\[5,3\]"):
                await anext(answers)

        run(ask)

    def test_exception_of_the_inputs_is_raised_after_the_answers(self, run, features):
        async def broken():
            yield features
            raise ZeroDivisionError("mine")

        async def ask(client):
            answers = client.stream_predict("churn", broken())
            assert (await anext(answers)).rows == 5
            with pytest.raises(ZeroDivisionError, match="mine"):
                await anext(answers)

        run(ask)

    def test_inputs_whose_own_work_is_cancelled_leave_nobody_waiting(self, run, features):
        async def cancelled():
            yield features
            work = asyncio.get_running_loop().create_future()
            work.cancel()
            await work

        async def ask(client):
            answers = client.stream_predict("churn", cancelled())
            assert (await anext(answers)).rows == 5
            async with asyncio.timeout(30):
                with pytest.raises(asyncio.CancelledError):
                    await anext(answers)

        run(ask)

    def test_cancelled_while_inputs_are_awaited(self, run, features):
        async def stuck():
            yield features
            await asyncio.Event().wait()

        async def ask(client):
            async for _ in client.stream_predict("churn", stuck()):
                asking.cancel()

        async def cancelled(client):
            nonlocal asking
            asking = asyncio.ensure_future(ask(client))
            with pytest.raises(asyncio.CancelledError):
                await asking

        asking = None
        run(cancelled)

    def test_server_that_stops_while_inputs_are_awaited(self, repository, features):
        server = Server(ServerSettings(repository=repository, port=0, drain_timeout_s=0.1))
        server.start()

        async def stuck():
            yield features
            await asyncio.Event().wait()

        async def ask():
            async with AsyncClient(f"localhost:{server.port}") as client:
                answers = client.stream_predict("churn", stuck())
                assert (await anext(answers)).rows == 5
                await asyncio.to_thread(server.stop)
                with pytest.raises(UnavailableError):
                    await anext(answers)

        asyncio.run(ask(), debug=True)
