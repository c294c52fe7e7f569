"""A Keras model, exported, served by a process, and asked by a client that was not written here."""

import queue
import subprocess
import sys

import numpy as np
import pytest

from headgate.client import Client

triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient: pip install '.[conformance]'")
keras = pytest.importorskip("keras", reason="exports a Keras model: pip install '.[export,tensorflow]'")

WAIT_S = 30
IMAGES = np.random.default_rng(0).uniform(0, 16, (9, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    from headgate.exporter import export_model

    repository = tmp_path_factory.mktemp("models")
    export_model(model, repository)
    command = [sys.executable, "-m", "headgate.cli", "serve", str(repository), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield next(line for line in server.stdout if line.startswith("ready")).split()[-1]
        server.terminate()
    assert server.returncode == 0


@pytest.fixture
def client(address):
    with triton.InferenceServerClient(address) as client:
        yield client


def image_input(images):
    tensor = triton.InferInput("image", images.shape, "FP32")
    tensor.set_data_from_numpy(images)
    return tensor


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert not client.is_model_ready("letters")


def test_metadata_and_config(client):
    metadata = client.get_model_metadata("digits")
    assert [(spec.name, spec.datatype, list(spec.shape)) for spec in metadata.inputs] == [
        ("image", "FP32", [-1, 8, 8, 1])
    ]
    assert [(spec.name, spec.datatype, list(spec.shape)) for spec in metadata.outputs] == [("digit", "FP32", [-1, 10])]
    config = client.get_model_config("digits").config
    assert list(config.input[0].dims) == [8, 8, 1]
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")


def test_infer_equals_keras_and_is_counted(client, model):
    def rows():
        return client.get_inference_statistics("digits").model_stats[0].inference_count

    before = rows()
    result = client.infer("digits", [image_input(IMAGES)], request_id="nine")
    np.testing.assert_allclose(result.as_numpy("digit"), model.predict(IMAGES, verbose=0), atol=1e-5)
    assert result.get_response().id == "nine"
    assert rows() == before + len(IMAGES)


def test_stream_equals_keras(client, model):
    answers = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for image in IMAGES:
        client.async_stream_infer("digits", [image_input(image[np.newaxis])])
    got = [answers.get(timeout=WAIT_S) for _ in IMAGES]
    client.stop_stream()
    assert [error for _, error in got] == [None] * len(IMAGES)
    rows = np.concatenate([result.as_numpy("digit") for result, _ in got])
    np.testing.assert_allclose(rows, model.predict(IMAGES, verbose=0), atol=1e-5)


def test_typed_predictions_of_the_same_server_equal_keras(address, model):
    probabilities = model.predict(IMAGES, verbose=0)
    with Client(address) as client:
        digit = client.predict("digits", IMAGES, include_probabilities=True).head
    np.testing.assert_allclose(digit.probabilities, probabilities, atol=1e-5)
    assert digit.labels.tolist() == [str(index) for index in probabilities.argmax(axis=1)]
