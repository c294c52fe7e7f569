"""Decoded answers over HTTP, beside those of the Python client."""

import contextlib
import json
import shutil
import socket
from urllib.parse import urlsplit

import numpy as np
import pytest

from headgate.client import Client
from headgate.v1 import (
    ACTIVATION_LINEAR,
    DataType,
    Head,
    InputMeaning,
    RegressionHead,
    Signature,
    TabularInput,
    TensorSpec,
)
from headgate.v1.signatures import METADATA_KEY, signature_to_json

FLOWERS = [[0.5, 2, 0, 9], [3, 0, 0, 9]]
OPTIONS = {"top_k": 2, "include_probabilities": True, "include_entropy": True, "heads": ["species"]}


@pytest.fixture
def client(service):
    with Client(service.grpc_address) as connected:
        yield connected


class TestPredictions:
    @pytest.mark.parametrize("options", [{}, OPTIONS])
    def test_are_those_of_the_client(self, service, client, options):
        expected = client.predict("iris", FLOWERS, **options)
        answer = service.post("/v2/models/iris/predict", {"inputs": FLOWERS, "options": options, "id": "r-1"})
        assert answer.json == {
            "model": "iris",
            "version": 1,
            "id": "r-1",
            "predictions": json.loads(json.dumps(expected.to_dicts())),
        }
        assert answer.json["predictions"][0]["species"]["label"] == "versicolor"
        again = service.post("/v2/models/iris/versions/1/predict", {"inputs": {"x": FLOWERS}, "options": options})
        assert again.json["predictions"] == answer.json["predictions"]
        assert "id" not in again.json

    def test_a_model_that_is_loaded_later(self, service):
        path, asked = "/v2/models/price/versions/1/predict", {"inputs": [[72, 3]]}
        assert service.post("/v2/repository/models/price/unload").json == {}
        # Whichever worker is asked.
        answers = [service.post(path, asked) for _ in range(4)]
        assert service.post("/v2/repository/models/price/load").json == {}
        assert {(answer.status, answer.error) for answer in answers} == {(503, "model 'price' is not ready: UNLOADED")}
        assert [service.post(path, asked).status for _ in range(4)] == [200] * 4

    def test_features_by_name(self, service, client):
        expected = client.predict("price", [[72, 3], [41, 1]]).to_dicts()
        for inputs in (
            [{"rooms": 3, "area": 72}, {"area": 41, "rooms": 1}],
            {"rooms": [3, 1], "area": [72, 41]},
            [[72, 3], [41, 1]],
        ):
            answer = service.post("/v2/models/price/predict", {"inputs": inputs})
            assert answer.json["predictions"] == expected
        one = service.post("/v2/models/price/predict", {"inputs": {"area": 72, "rooms": 3}})
        assert one.json["predictions"] == expected[:1]

    def test_what_json_cannot_carry_is_null(self, service):
        answer = service.post("/v2/models/iris/predict", {"inputs": [FLOWERS[0], [None, 0, 0, 0]]})
        assert [row["species"] is None for row in answer.json["predictions"]] == [False, True]
        large = service.post("/v2/models/price/predict", {"inputs": [[3e38, 3e38]]})
        (values,) = large.json["predictions"][0]["price"]["values"]
        assert values["value"] is None

    def test_no_rows(self, service):
        assert service.post("/v2/models/iris/predict", {"inputs": np.zeros((0, 4)).tolist()}).status == 400
        assert service.post("/v2/models/price/predict", {"inputs": {"area": [], "rooms": []}}).json["predictions"] == []


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "body", "status", "words"),
        [
            ("iris", {"inputs": [[1, 2, 3]]}, 400, "input 'x' has shape [1,3]"),
            ("iris", {"inputs": [1, 2, 3, 4]}, 400, "the first dimension is the batch: send a single row as [row]"),
            ("iris", {"inputs": [["a", "b", "c", "d"]]}, 400, "input 'x': the model takes FP32, this is an array"),
            ("iris", {"inputs": [[1], [2, 3]]}, 400, "'inputs' is no array: its lists differ"),
            ("iris", {"inputs": {"y": [[1]]}}, 400, "the model has no input 'y'"),
            ("iris", {"inputs": None}, 400, "Input should be a valid list"),
            ("iris", {}, 400, "inputs: Field required"),
            ("iris", {"inputs": FLOWERS, "option": {}}, 400, "option: Extra inputs are not permitted"),
            ("iris", {"inputs": FLOWERS, "options": {"topk": 1}}, 400, "options.topk: Extra inputs are not permitted"),
            ("iris", {"inputs": FLOWERS, "options": {"top_k": "1"}}, 400, "options.top_k: Input should be a valid int"),
            ("iris", {"inputs": FLOWERS, "options": {"top_k": -1}}, 400, "top_k=-1 cannot be sent"),
            ("iris", {"inputs": FLOWERS, "options": {"heads": ["x"]}}, 404, "model 'iris' has no head 'x'"),
            ("iris/versions/9", {"inputs": FLOWERS}, 404, "model 'iris' has no version 9"),
            ("iris/versions/one", {"inputs": FLOWERS}, 400, "the model version is 'one'; give a positive integer"),
            ("price", {"inputs": [{"area": 1}, {"rooms": 1}]}, 400, "the rows cannot be read as features: one row has"),
            ("price", {"inputs": {"area": [1]}}, 400, "'rooms'"),
            ("price", {"inputs": [dict.fromkeys(map(str, range(5000)), 1)]}, 400, "the inputs have 5000 names"),
            ("same_float", {"inputs": [[1, 2, 3]]}, 400, "model 'same_float' has no heads"),
            ("nothing", {"inputs": FLOWERS}, 404, "there is no model 'nothing'"),
        ],
    )  # fmt: skip
    def test_status_and_message(self, service, path, body, status, words):
        answer = service.post(f"/v2/models/{path}/predict", body)
        assert words in answer.error
        assert answer.status == status

    def test_deadline(self, service):
        answer = service.post("/v2/models/iris/predict", {"inputs": FLOWERS}, Grpc_Timeout="0m")
        assert (answer.status, answer.error) == (504, "there was no answer within 0 s")


@pytest.mark.parametrize("config", ["", "[versions]\nlatest = 2\n"])
def test_a_model_that_has_changed_is_asked_about_again(service, http_repository, write_model, config):
    def write(version, names):
        """Write the sum of the first feature and ten times the second."""
        signature = Signature(
            schema_version=1,
            inputs=[TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, len(names)])],
            heads=[Head(name="y", output="y", activation=ACTIVATION_LINEAR, regression=RegressionHead())],
            input_meanings=[InputMeaning(input="x", tabular=TabularInput(feature_names=names))],
        )
        weights = ", ".join(str(10**index) for index in range(len(names)))
        graph = (
            f"g (float[batch,{len(names)}] x) => (float[batch,1] y) <float[{len(names)},1] w = {{{weights}}}>"
            "{ y = MatMul(x, w) }"
        )
        metadata = {METADATA_KEY: signature_to_json(signature)}
        shutil.rmtree(http_repository / "changing" / str(version), ignore_errors=True)
        write_model(http_repository, "changing", graph, version=version, config=config, metadata=metadata)
        assert service.post("/v2/repository/models/changing/load").status == 200

    def predict(**features):
        answer = service.post("/v2/models/changing/predict", {"inputs": features})
        return answer.json["version"], answer.json["predictions"][0]["y"]["values"][0]["value"]

    shutil.rmtree(http_repository / "changing", ignore_errors=True)
    write(1, ["a", "b"])
    assert predict(a=1, b=2) == (1, 21)
    write(2, ["b", "a"])
    assert predict(a=1, b=2) == (2, 12)
    write(3, ["c", "b", "a"])
    assert predict(a=1, b=2, c=3) == (3, 123)
    # The same version, in the place of what it was.
    write(3, ["a", "b", "c"])
    assert predict(a=1, b=2, c=3) == (3, 321)


@pytest.mark.parametrize("next_request", ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_what_a_client_asked_that_goes_is_not_run(service, next_request):
    def metric(name):
        lines = service.get("/metrics").body.decode().splitlines()
        return float(next(line for line in lines if line.startswith(name)).split()[-1])

    def post(steps):
        # As many rows as a batch takes, so that none joins another.
        tensor = {"name": "steps", "datatype": "INT64", "shape": [8, 1], "data": [steps] * 8}
        body = json.dumps({"inputs": [tensor]})
        where = urlsplit(service.url)
        connection = socket.create_connection((where.hostname, where.port))
        head = f"POST /v2/models/busy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body + next_request).encode())
        return connection

    queued, cancelled = 'headgate_queue_length{model="busy"', 'headgate_requests_total{model="busy",outcome="cancelled"'
    before = metric(cancelled)
    with contextlib.ExitStack() as connections:
        # Each of the two workers runs one at a time.
        for _ in range(6):
            connections.enter_context(post(20_000))
        while metric(queued) < 4:
            pass
    while metric(cancelled) < before + 4:
        pass
