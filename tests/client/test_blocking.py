import itertools
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from scipy.special import entr

from headgate.client import (
    Client,
    DeadlineExceededError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from headgate.client.channel import READ_AHEAD
from headgate.exporter import export_model
from headgate.server import BatchingConfig, ModelConfig, Server, ServerSettings
from headgate.v1 import Model


@pytest.fixture
def features(rng):
    return rng.normal(size=(5, 4))


def start(repository, port=0, **settings):
    server = Server(ServerSettings(repository=repository, port=port, drain_timeout_s=0.1, **settings))
    server.start()
    return server


class TestPredict:
    def test_regression_is_scaled_back(self, client, keras_models, scaling, features):
        outputs = keras_models["prices"].predict(features, verbose=0).astype(float)
        columns = client.predict("prices", features).head
        np.testing.assert_allclose(columns.values, outputs * scaling["scale"] + scaling["mean"], rtol=1e-5, atol=1e-4)
        assert columns.units == ("EUR", "years")

    def test_binary(self, client, keras_models, features):
        outputs = keras_models["churn"].predict(features, verbose=0)[:, 0]
        columns = client.predict("churn", features, threshold=float(np.median(outputs))).head
        np.testing.assert_allclose(columns.probabilities, outputs, rtol=1e-5)
        assert columns.labels.tolist() == ["leaves" if p >= np.median(outputs) else "stays" for p in outputs]
        assert client.predict("churn", features).head.threshold == 0.41

    def test_multiclass(self, client, keras_models, digit_labels, rng):
        images = rng.random((7, 8, 8, 1))
        outputs = keras_models["digits"].predict(images, verbose=0)
        columns = client.predict(
            "digits", images, top_k=3, include_probabilities=True, include_entropy=True, include_margin=True
        ).head
        best = np.argsort(-outputs, axis=1)[:, :3]
        assert columns.top_indices.tolist() == best.tolist()
        assert columns.top_labels.tolist() == [[digit_labels[i] for i in row] for row in best]
        np.testing.assert_allclose(columns.top_scores, np.take_along_axis(outputs, best, 1), rtol=1e-5)
        np.testing.assert_allclose(columns.probabilities, outputs, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(columns.entropies, entr(outputs).sum(axis=1), rtol=1e-4)
        np.testing.assert_allclose(columns.margins, columns.top_scores[:, 0] - columns.top_scores[:, 1], atol=1e-6)

    def test_multilabel(self, client, keras_models, tag_labels, tag_thresholds, rng):
        features = rng.normal(size=(6, 6))
        outputs = keras_models["tags"].predict(features, verbose=0)
        columns = client.predict("tags", features).head
        expected = [
            [t for t, p, limit in zip(tag_labels, row, tag_thresholds, strict=True) if p >= limit] for row in outputs
        ]
        assert [columns.labels_of(row) for row in range(6)] == expected

    def test_two_inputs_and_two_heads(self, client, keras_models, rng):
        inputs = {"vitals": rng.normal(size=(4, 6)), "codes": rng.integers(0, 20, (4, 3))}
        stay, risk = keras_models["patients"].predict(inputs, verbose=0)
        predictions = client.predict("patients", {name: array.tolist() for name, array in inputs.items()})
        assert list(predictions) == ["stay", "risk"]
        np.testing.assert_allclose(predictions["stay"].values, stay, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(predictions["risk"].probabilities, risk[:, 0], rtol=1e-4)
        assert list(client.predict("patients", inputs, heads=["risk"])) == ["risk"]

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int8", "uint64", "bool"])
    def test_takes_any_numeric_type(self, client, dtype):
        numbers = np.array([[1, 0, 1, 1], [0, 0, 1, 0]])
        expected = client.predict("prices", numbers.astype("float32")).head.values
        assert np.array_equal(client.predict("prices", numbers.astype(dtype)).head.values, expected)
        assert np.array_equal(client.predict("prices", np.asfortranarray(numbers, dtype)).head.values, expected)

    def test_no_rows(self, client):
        predictions = client.predict("digits", np.zeros((0, 8, 8, 1)))
        assert predictions.rows == 0
        assert len(predictions.head) == 0

    def test_says_which_model_ran(self, client, features):
        predictions = client.predict("churn", features, version=1, request_id="order 66")
        assert (predictions.model, predictions.version, predictions.id, predictions.rows) == ("churn", 1, "order 66", 5)

    def test_more_than_grpc_takes_by_default(self, client):
        assert client.predict("digits", np.zeros((40_000, 8, 8, 1))).rows == 40_000

    def test_threads_share_a_client(self, client, rng):
        batches = rng.normal(size=(40, 3, 4)).astype("float32")
        alone = [client.predict("prices", batch).head.values for batch in batches]
        with ThreadPoolExecutor(8) as threads:
            together = list(threads.map(lambda batch: client.predict("prices", batch).head.values, batches))
        np.testing.assert_allclose(together, alone, rtol=1e-5)

    def test_compression(self, target, features):
        with Client(target, compression=grpc.Compression.Gzip) as client:
            assert client.predict("prices", features).rows == 5


class TestErrors:
    @pytest.mark.parametrize(
        ("model", "inputs", "message"),
        [
            ("churn", [1, 2, 3, 4], r"\[4\].*\[batch,4\].*first dimension is the batch"),
            ("digits", np.zeros((8, 8, 1)), r"\[8,8,1\].*\[batch,8,8,1\].*first dimension is the batch"),
            ("churn", [[1, 2, 3]], r"\[1,3\].*\[batch,4\]"),
            ("churn", [[1, 2], [3]], "no array"),
            ("churn", [["a", "b", "c", "d"]], "takes FP32"),
            ("churn", {"image": [[1, 2, 3, 4]]}, "no input 'image'.*'features'"),
            ("patients", [[1]], "2 inputs: 'vitals'.*'codes'"),
            ("patients", {"vitals": np.zeros((1, 6))}, "also needs input 'codes'"),
            ("patients", {"vitals": np.zeros((1, 6)), "codes": [[1, 2, 2.5]]}, r"INT32.*2\.5 at \[0,2\]"),
            ("patients", {"vitals": np.zeros((1, 6)), "codes": np.zeros((2, 3))}, "rows"),
        ],
    )
    def test_inputs_that_do_not_fit(self, client, model, inputs, message):
        with pytest.raises(InvalidRequestError, match=message) as caught:
            client.predict(model, inputs)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "\n" not in str(caught.value)

    def test_option_that_does_not_fit(self, client, features):
        with pytest.raises(InvalidRequestError, match="threshold"):
            client.predict("churn", features, threshold=7)

    @pytest.mark.parametrize(
        ("model", "options"), [("nothing", {}), ("churn", {"version": 9}), ("churn", {"heads": ["nothing"]})]
    )
    def test_what_is_not_there(self, client, features, model, options):
        with pytest.raises(NotFoundError) as caught:
            client.predict(model, features, **options)
        assert caught.value.code is grpc.StatusCode.NOT_FOUND

    def test_deadline(self, silent_target, features):
        with Client(silent_target) as client, pytest.raises(DeadlineExceededError, match=r"no answer within 0\.2 s"):
            client.predict("churn", features, timeout_s=0.2)

    @pytest.mark.parametrize("timeout_s", [float("inf"), float("nan"), 1e18])
    def test_what_is_no_timeout(self, client, features, timeout_s):
        batcher = client.batcher("churn")
        for ask in (
            lambda: client.predict("churn", features, timeout_s=timeout_s),
            lambda: list(client.stream_predict("churn", [features], timeout_s=timeout_s)),
            lambda: batcher.predict(features, timeout_s=timeout_s),
        ):
            with pytest.raises(ValueError, match=r"timeout_s is .*; give seconds"):
                ask()

    def test_deadline_of_all_calls(self, silent_target):
        with Client(silent_target, timeout_s=0.2) as client, pytest.raises(DeadlineExceededError):
            client.models()

    def test_no_server(self, free_port, features):
        with Client(f"localhost:{free_port}") as client, pytest.raises(UnavailableError, match="connect"):
            client.predict("churn", features)

    def test_too_large_for_the_server(self, repository):
        server = start(repository, max_message_bytes=1024)
        try:
            with Client(f"localhost:{server.port}", retry=None) as client:
                with pytest.raises(InvalidRequestError, match=r"larger than max .*; send fewer rows"):
                    client.predict("churn", np.zeros((1000, 4)))
                with pytest.raises(InvalidRequestError, match=r"larger than max .*; send fewer rows"):
                    list(client.stream_predict("churn", [np.zeros((1000, 4))]))
        finally:
            server.stop()

    def test_full_queue(self, repository, features):
        # The first request waits 2 s for more rows, so that the second finds no room.
        batching = BatchingConfig(max_queue_size=1, max_queue_delay_us=2_000_000)
        server = start(repository, model_defaults=ModelConfig(batching=batching))
        try:
            with Client(f"localhost:{server.port}") as client:
                first, second = client.stream_predict("churn", [features, features], return_exceptions=True)
            assert first.rows == 5
            assert isinstance(second, OverloadedError)
        finally:
            server.stop()


class TestStream:
    def test_answers_come_in_order(self, client, rng):
        batches = rng.normal(size=(300, 2, 4)).astype("float32")
        answers = [predictions.head.values for predictions in client.stream_predict("prices", batches)]
        expected = client.predict("prices", batches.reshape(-1, 4)).head.values.reshape(300, 2, 2)
        np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-4)

    def test_options(self, client, rng):
        [predictions] = client.stream_predict("digits", [rng.random((1, 8, 8, 1))], top_k=2)
        assert predictions.head.top_labels.shape == (1, 2)

    def test_no_inputs(self, client):
        assert list(client.stream_predict("churn", [])) == []

    def test_endless_inputs_are_not_read_far_ahead(self, client, features):
        read_ahead, read_too_far = threading.Event(), threading.Event()

        def endless():
            for pulled in itertools.count(1):
                # One is answered and one is on its way.
                if pulled == READ_AHEAD + 2:
                    read_ahead.set()
                elif pulled > READ_AHEAD + 2:
                    read_too_far.set()
                yield features

        answers = client.stream_predict("churn", endless())
        next(answers)
        assert read_ahead.wait(30)
        assert not read_too_far.wait(0.3)
        assert len(list(itertools.islice(answers, 500))) == 500
        assert read_too_far.is_set()
        answers.close()

    def test_first_answer_does_not_wait_for_later_inputs(self, client, features):
        asked_for_more = threading.Event()
        answered = threading.Event()

        def slow():
            yield features
            asked_for_more.set()
            assert answered.wait(30)

        answers = client.stream_predict("churn", slow())
        assert next(answers).rows == 5
        assert asked_for_more.wait(30)
        answered.set()
        assert list(answers) == []

    def test_error_is_raised_in_its_turn(self, client, features):
        answers = client.stream_predict("churn", [features, features[:, :3], features])
        assert next(answers).rows == 5
        with pytest.raises(InvalidRequestError, match=r"\[5,3\]"):
            next(answers)
        assert list(answers) == []

    def test_errors_can_be_returned(self, client, features):
        inputs = [features, features[:, :3], features[0], features[:2]]
        first, wrong_shape, no_batch, last = client.stream_predict("churn", inputs, return_exceptions=True)
        assert (first.rows, last.rows) == (5, 2)
        # The first of the two is found by the server, the second by the client.
        assert isinstance(wrong_shape, InvalidRequestError)
        assert isinstance(no_batch, InvalidRequestError)

    def test_unknown_model(self, client, features):
        with pytest.raises(NotFoundError):
            next(client.stream_predict("nothing", [features]))

    def test_exception_of_the_inputs_is_raised_after_the_answers(self, client, features):
        def broken():
            yield features
            raise ZeroDivisionError("mine")

        answers = client.stream_predict("churn", broken())
        assert next(answers).rows == 5
        with pytest.raises(ZeroDivisionError, match="mine"):
            next(answers)

    def test_inputs_that_end_the_interpreter_leave_nobody_waiting(self, client, features):
        def leaving():
            yield features
            raise SystemExit(3)

        answers = client.stream_predict("churn", leaving())
        assert next(answers).rows == 5
        ended = queue.SimpleQueue()

        def take():
            try:
                next(answers)
            except SystemExit as error:
                ended.put(error.code)

        threading.Thread(target=take, daemon=True).start()
        assert ended.get(timeout=30) == 3

    def test_deadline_that_has_passed_while_the_first_input_is_awaited(self, client, features):
        released, waited = threading.Event(), threading.Event()

        def stuck():
            if not released.wait(30):
                waited.set()
            yield features

        try:
            with pytest.raises(DeadlineExceededError):
                next(client.stream_predict("churn", stuck(), timeout_s=-1))
        finally:
            released.set()
        assert not waited.is_set()

    def test_deadline_is_for_the_whole_stream(self, client, features):
        never = threading.Event()

        def stuck():
            yield features
            never.wait(30)

        try:
            with pytest.raises(DeadlineExceededError):
                list(client.stream_predict("churn", stuck(), timeout_s=0.3))
        finally:
            never.set()

    def test_server_that_stops_while_inputs_are_awaited(self, repository, features):
        server = start(repository)
        never = threading.Event()

        def stuck():
            yield features
            never.wait(30)

        try:
            with Client(f"localhost:{server.port}") as client:
                answers = client.stream_predict("churn", stuck())
                assert next(answers).rows == 5
                server.stop()
                with pytest.raises(UnavailableError):
                    next(answers)
        finally:
            never.set()


class TestServerSide:
    def test_models(self, client):
        models = {model.name: model for model in client.models()}
        assert sorted(models) == ["churn", "digits", "patients", "prices", "tags"]
        assert models["churn"].state == Model.STATE_READY

    def test_model(self, client):
        answer = client.model("patients")
        assert [spec.name for spec in answer.signature.inputs] == ["vitals", "codes"]
        assert answer.model.version == 1

    # The signature that the client knows is old: the server notices for the first successor, the client for the second.
    @pytest.mark.parametrize(
        ("successor", "inputs"),
        [("digits", np.zeros((1, 8, 8, 1))), ("patients", {"vitals": np.zeros((1, 6)), "codes": np.zeros((1, 3))})],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_model_with_other_inputs_takes_its_place(
        self, keras_models, tmp_path, free_port, successor, inputs, stream
    ):
        def ask(client, inputs):
            return next(client.stream_predict("model", [inputs])) if stream else client.predict("model", inputs)

        export_model(keras_models["churn"], tmp_path, name="model")
        old = start(tmp_path, free_port)
        with Client(f"localhost:{free_port}") as client:
            assert ask(client, np.zeros((1, 4))).version == 1
            old.stop()
            export_model(keras_models[successor], tmp_path, name="model")
            new = start(tmp_path, free_port)
            try:
                client.wait_until_ready()
                assert ask(client, inputs).version == 2
            finally:
                new.stop()
