"""Triton's HTTP clients, which were not written here."""

import asyncio

import numpy as np
import pytest

tritonclient = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
aio = pytest.importorskip("tritonclient.http.aio", reason="tritonclient[http] is not installed")

from tritonclient.utils import InferenceServerException, shared_memory  # noqa: E402

FLOWERS = np.array([[0.5, 2, 0, 9], [3, 0, 0, 9]], np.float32)


@pytest.fixture
def client(service):
    with tritonclient.InferenceServerClient(service.url.removeprefix("http://")) as connected:
        yield connected


def tensor(array, datatype="FP32", binary=True, name="x"):
    made = tritonclient.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "headgate"
    assert client.get_model_metadata("iris")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert client.get_model_config("iris", "1")["max_batch_size"] == 8
    assert client.get_inference_statistics("iris")["model_stats"][0]["name"] == "iris"
    assert client.get_inference_statistics()["model_stats"]
    assert {model["name"] for model in client.get_model_repository_index()} >= {"iris", "price"}
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.update_log_settings({"log_verbose_level": 0})["log_error"] is True


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False, None])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer(client, binary_input, binary_output, compression):
    outputs = None if binary_output is None else [tritonclient.InferRequestedOutput("logits", binary_output)]
    result = client.infer(
        "iris",
        [tensor(FLOWERS, binary=binary_input)],
        outputs=outputs,
        request_id="r-1",
        priority=1,
        timeout=5_000_000,
        parameters={"a": 1, "b": "x", "c": True},
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    np.testing.assert_array_equal(result.as_numpy("logits"), FLOWERS[:, :3])
    assert result.get_response()["id"] == "r-1"


@pytest.mark.parametrize("binary", [True, False])
def test_text_and_classes(client, binary):
    texts = np.array([["né"], [""]], object)
    output = tritonclient.InferRequestedOutput("y", binary)
    answer = client.infer("text", [tensor(texts, "BYTES", binary)], outputs=[output]).as_numpy("y")
    assert [[each.decode() if binary else each for each in row] for row in answer] == texts.tolist()
    output = tritonclient.InferRequestedOutput("logits", binary, class_count=1)
    classes = client.infer("iris", [tensor(FLOWERS)], outputs=[output]).as_numpy("logits")
    assert [str(each).rstrip("'").split(":")[1:] for each in classes.ravel()] == [["1", "versicolor"], ["0", "setosa"]]


def test_half_precision_and_no_rows(client):
    for datatype, model, array in (
        ("FP16", "same_float16", np.array([[1, 2.5, -3]], np.float16)),
        ("FP32", "same_float", np.zeros((0, 3), np.float32)),
    ):
        answer = client.infer(model, [tensor(array, datatype)]).as_numpy("y")
        assert answer.dtype == array.dtype
        np.testing.assert_array_equal(answer, array)


def test_many_at_once(service):
    with tritonclient.InferenceServerClient(service.url.removeprefix("http://"), concurrency=8) as client:
        calls = [client.async_infer("iris", [tensor(FLOWERS + number)]) for number in range(32)]
        for number, call in enumerate(calls):
            np.testing.assert_array_equal(call.get_result().as_numpy("logits"), (FLOWERS + number)[:, :3])


def test_errors(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("nothing", [tensor(FLOWERS)])
    assert caught.value.status() == "404"
    assert caught.value.message().startswith("there is no model 'nothing'")
    with pytest.raises(InferenceServerException, match="shape"):
        client.infer("iris", [tensor(FLOWERS[:, :3])])


def test_shared_memory(client):
    region = shared_memory.create_shared_memory_region("there and back", "/headgate-test-http", 64)
    try:
        shared_memory.set_shared_memory_region(region, [FLOWERS])
        client.register_system_shared_memory("flowers", "/headgate-test-http", 64)
        made = tritonclient.InferInput("x", FLOWERS.shape, "FP32")
        made.set_shared_memory("flowers", FLOWERS.nbytes)
        output = tritonclient.InferRequestedOutput("logits")
        output.set_shared_memory("flowers", 24, offset=32)
        client.infer("iris", [made], outputs=[output])
        logits = shared_memory.get_contents_as_numpy(region, np.float32, [2, 3], offset=32)
        np.testing.assert_array_equal(logits, FLOWERS[:, :3])
        assert [each["name"] for each in client.get_system_shared_memory_status()] == ["flowers"]
        client.unregister_system_shared_memory("flowers")
        assert client.get_system_shared_memory_status() == []
    finally:
        shared_memory.destroy_shared_memory_region(region)


def test_asyncio(service):
    async def infer():
        async with aio.InferenceServerClient(service.url.removeprefix("http://")) as client:
            assert await client.is_server_ready()
            results = await asyncio.gather(*(client.infer("iris", [tensor(FLOWERS + number)]) for number in range(8)))
            return [result.as_numpy("logits") for result in results]

    for number, logits in enumerate(asyncio.run(infer())):
        np.testing.assert_array_equal(logits, (FLOWERS + number)[:, :3])
