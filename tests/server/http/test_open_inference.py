"""The Open Inference Protocol over HTTP, beside the same over gRPC."""

import base64
import gzip
import json
import zlib
from multiprocessing import shared_memory

import numpy as np
import pytest

from headgate.server.http.messages import plain
from headgate.v1.tensors import BFLOAT16, convert

FLOWERS = np.array([[0.5, 2, 0, 9], [3, 0, 0, 9]], np.float32)


def infer_body(array=FLOWERS, datatype="FP32", name="x", **fields):
    tensor = {"name": name, "datatype": datatype, "shape": array.shape, "data": array.tolist()}
    return {"inputs": [tensor]} | fields


def binary_body(array=FLOWERS, datatype="FP32", **fields):
    """The body with a binary tensor, and the headers that belong to it."""
    tensor = {
        "name": "x",
        "datatype": datatype,
        "shape": array.shape,
        "parameters": {"binary_data_size": array.nbytes},
    }
    head = json.dumps({"inputs": [tensor]} | fields).encode()
    return head + array.tobytes(), {"Inference_Header_Content_Length": len(head)}


class TestMetadata:
    @pytest.mark.parametrize(
        ("path", "method", "fields"),
        [
            ("/v2", "ServerMetadata", {}),
            ("/v2/models/iris", "ModelMetadata", {"name": "iris"}),
            ("/v2/models/iris/versions/1", "ModelMetadata", {"name": "iris", "version": "1"}),
        ],
    )
    def test_is_that_of_grpc(self, service, path, method, fields):
        with service.protocol() as call:
            assert service.get(path).json == plain(call(method, **fields))

    def test_config(self, service):
        config = service.get("/v2/models/iris/config").json
        assert config == service.get("/v2/models/iris/versions/1/config").json
        assert (config["name"], config["max_batch_size"]) == ("iris", 8)
        assert config["input"][0]["dims"] == [4]
        assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 0

    def test_statistics(self, service):
        def statistics(path="/v2/models/price/stats"):
            return {model["name"]: model for model in service.get(path).json["model_stats"]}

        before = statistics()["price"]["inference_count"]
        service.post("/v2/models/price/infer", infer_body(FLOWERS[:, :2]))
        after = statistics()["price"]
        assert after["inference_count"] == before + 2
        assert after["inference_stats"]["fail"] == {"count": 0, "ns": 0}
        assert after["batch_stats"][-1]["batch_size"] == 2
        assert statistics("/v2/models/price/versions/1/stats")["price"] == after
        assert {"iris", "price"} <= set(statistics("/v2/models/stats"))

    def test_health(self, service):
        assert service.get("/v2/health/live").json == {"live": True}
        for path in ("/v2/health/ready", "/v2/models/iris/ready", "/v2/models/iris/versions/1/ready"):
            answer = service.get(path)
            assert (answer.status, answer.json) == (200, {"ready": True})
        answer = service.get("/v2/models/nothing/ready")
        assert (answer.status, answer.json) == (400, {"ready": False})


class TestInfer:
    def test_json_binary_and_grpc_give_the_same(self, service):
        with service.protocol() as call:
            [tensor] = infer_body()["inputs"]
            response = call(
                "ModelInfer",
                model_name="iris",
                inputs=[{key: value for key, value in tensor.items() if key != "data"}],
                raw_input_contents=[FLOWERS.tobytes()],
            )
        expected = np.frombuffer(response.raw_output_contents[0], np.float32).reshape(2, 3)
        answer = service.post("/v2/models/iris/infer", infer_body(id="r-1"))
        assert answer.headers["Content-Type"] == "application/json"
        [output] = answer.json["outputs"]
        assert {key: value for key, value in answer.json.items() if key != "outputs"} == {
            "model_name": "iris",
            "model_version": "1",
            "id": "r-1",
        }
        np.testing.assert_array_equal(np.array(output["data"], np.float32).reshape(output["shape"]), expected)
        body, headers = binary_body(parameters={"binary_data_output": True})
        answer = service.post("/v2/models/iris/versions/1/infer", body, **headers)
        head_length = int(answer.headers["Inference-Header-Content-Length"])
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert json.loads(answer.body[:head_length])["outputs"][0]["parameters"] == {"binary_data_size": 24}
        np.testing.assert_array_equal(np.frombuffer(answer.body[head_length:], np.float32).reshape(2, 3), expected)

    @pytest.mark.parametrize(
        ("model", "array", "datatype"),
        [
            ("same_int64", np.array([[2**63 - 1, -(2**63), 0]]), "INT64"),
            ("same_bool", np.array([[True, False, True]]), "BOOL"),
            ("text", np.array([["né"]], object), "BYTES"),
            ("same_float", np.zeros((0, 3), np.float32), "FP32"),
            ("wide", np.zeros((2, 0), np.float32), "FP32"),
        ],
    )
    def test_datatypes(self, service, model, array, datatype):
        [output] = service.post(f"/v2/models/{model}/infer", infer_body(array, datatype)).json["outputs"]
        assert output["datatype"] == datatype
        assert np.array(output["data"], array.dtype).reshape(output["shape"]).tolist() == array.tolist()

    @pytest.mark.parametrize(("name", "datatype"), [("float16", "FP16"), ("bfloat16", "BF16")])
    def test_half_precision_is_binary_only(self, service, name, datatype):
        array = np.array([[1, 2.5, -3]], np.float16)
        if datatype == "BF16":
            array = convert(array, BFLOAT16)[0]
        path = f"/v2/models/same_{name}/infer"
        body, headers = binary_body(array, datatype, outputs=[{"name": "y", "parameters": {"binary_data": True}}])
        answer = service.post(path, body, **headers)
        assert answer.body.endswith(array.tobytes())
        body, headers = binary_body(array, datatype)
        answer = service.post(path, body, **headers)
        assert (answer.status, answer.error[:26]) == (400, f"output 'y' is of {datatype}, whi")
        tensor = {"name": "x", "datatype": datatype, "shape": [1, 3], "data": [1, 2.5, -3]}
        answer = service.post(path, {"inputs": [tensor]})
        assert answer.status == 400
        assert answer.error.endswith("FP16 and BF16 travel as binary data")

    def test_numbers_that_json_has_not(self, service):
        array = np.array([[np.nan, np.inf, -np.inf]], np.float32)
        body, headers = binary_body(array)
        assert service.post("/v2/models/same_float/infer", body, **headers).json["outputs"][0]["data"] == [None] * 3

    def test_classification(self, service):
        outputs = [{"name": "logits", "parameters": {"classification": 1}}]
        [output] = service.post("/v2/models/iris/infer", infer_body(outputs=outputs)).json["outputs"]
        assert (output["datatype"], output["shape"]) == ("BYTES", [2, 1])
        assert [element.split(":")[1:] for element in output["data"]] == [["1", "versicolor"], ["0", "setosa"]]

    @pytest.mark.parametrize("compress", [(gzip.compress, "gzip"), (zlib.compress, "deflate")])
    def test_packed(self, service, compress):
        pack, encoding = compress
        body, headers = binary_body()
        answer = service.post("/v2/models/iris/infer", pack(body), Content_Encoding=encoding, **headers)
        assert answer.json["outputs"][0]["shape"] == [2, 3]
        # What comes back is packed by servers that were told to (--compression).
        assert answer.headers["Content-Encoding"] is None

    def test_many_in_turn_over_one_connection(self, service):
        connection = service.connect()
        for number in range(20):
            body, headers = binary_body(FLOWERS + number, id=str(number))
            connection.request(
                "POST",
                "/v2/models/iris/infer",
                body,
                {name.replace("_", "-"): value for name, value in headers.items()},
            )
            answer = json.loads(connection.getresponse().read())
            assert answer["id"] == str(number)
            assert answer["outputs"][0]["data"][0] == FLOWERS[0, 0] + number
        connection.close()


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "body", "status", "words"),
        [
            ("/v2/models/nothing/infer", infer_body(), 404, "there is no model 'nothing'"),
            ("/v2/models/iris/versions/9/infer", infer_body(), 404, "model 'iris' has no version 9"),
            ("/v2/models/iris/versions/x/infer", infer_body(), 400, "the model version is 'x'"),
            ("/v2/models/iris/infer", infer_body(FLOWERS[:, :3]), 400, "input 'x' has shape [2,3]"),
            ("/v2/models/iris/infer", infer_body(outputs=[{"name": "z"}]), 400, "no output 'z'"),
            ("/v2/models/iris/infer", {"inputs": []}, 400, "'x'"),
            ("/v2/models/iris/infer", "{", 400, "the body is no valid JSON: EOF while parsing"),
            ("/v2/models/lookup/infer", infer_body(np.array([[99]]), "INT64"), 500, "the model failed on this request"),
            ("/v2/nothing", {}, 404, "there is nothing at /v2/nothing; /docs lists what there is"),
            ("/v2", {}, 405, "/v2: Method Not Allowed"),
        ],
    )
    def test_status_and_message(self, service, path, body, status, words):
        answer = service.post(path, body)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
        assert words in answer.error

    @pytest.mark.parametrize("value", ["-1", "x", "1.5", "9" * 30])
    def test_length_that_is_none(self, service, value):
        answer = service.post("/v2/models/iris/infer", infer_body(), Inference_Header_Content_Length=value)
        assert answer.status == 400
        assert answer.error.startswith(
            f"the header Inference-Header-Content-Length is '{value}'; give the number of by"
        )

    def test_length_beyond_the_body(self, service):
        answer = service.post("/v2/models/iris/infer", infer_body(), Inference_Header_Content_Length=10**12)
        assert answer.status == 400
        assert answer.error.startswith("Inference-Header-Content-Length is 1000000000000, the body has ")

    def test_the_longest_deadlines(self, service):
        for header in ({"Grpc_Timeout": "99999999H"}, {"X_Envoy_Expected_Rq_Timeout_Ms": "9" * 12}):
            assert service.post("/v2/models/iris/infer", infer_body(), **header).status == 200

    def test_deadline(self, service):
        steps = np.array([[20_000]])
        answer = service.post("/v2/models/busy/infer", infer_body(steps, "INT64", "steps"), Grpc_Timeout="50m")
        assert (answer.status, bool(answer.error)) == (504, True)
        answer = service.post("/v2/models/iris/infer", infer_body(), Grpc_Timeout="soon")
        assert (answer.status, answer.error[:33]) == (400, "the header Grpc-Timeout is 'soon'")


class TestAdministration:
    def test_index(self, service):
        models = service.post("/v2/repository/index").json
        assert {"name": "iris", "version": "1", "state": "READY"} in models
        assert [each["state"] for each in service.post("/v2/repository/index", {"ready": True}).json] == [
            "READY"
        ] * len(models)

    def test_models_are_loaded_and_unloaded(self, service):
        path = "/v2/repository/models/scalars"
        assert service.post(f"{path}/unload", {"parameters": {"unload_dependents": True}}).json == {}
        # Whichever worker is asked.
        assert [service.post("/v2/models/scalars/infer", infer_body(FLOWERS[0])).status for _ in range(4)] == [503] * 4
        assert service.post(f"{path}/load").json == {}
        assert [service.post("/v2/models/scalars/infer", infer_body(FLOWERS[0])).status for _ in range(4)] == [200] * 4
        answer = service.post("/v2/repository/models/nothing/load")
        assert (answer.status, "there is no model 'nothing'" in answer.error) == (404, True)
        answer = service.post(f"{path}/load", {"parameters": {"file:1/model.onnx": "no base64"}})
        assert (answer.status, answer.error[:33]) == (400, "'file:1/model.onnx' is no base64:")

    def test_regions_of_shared_memory(self, service):
        shared = shared_memory.SharedMemory(create=True, size=64)
        try:
            np.ndarray(FLOWERS.shape, np.float32, shared.buf)[:] = FLOWERS
            path = "/v2/systemsharedmemory/region/flowers"
            region = {"key": f"/{shared.name}", "offset": 0, "byte_size": 64}
            assert service.post(f"{path}/register", region).json == {}
            assert service.get(f"{path}/status").json == [{"name": "flowers"} | region]
            assert service.get("/v2/systemsharedmemory/status").json == [{"name": "flowers"} | region]

            def slot(size, offset):
                return {
                    "shared_memory_region": "flowers",
                    "shared_memory_byte_size": size,
                    "shared_memory_offset": offset,
                }

            tensor = {"name": "x", "datatype": "FP32", "shape": FLOWERS.shape, "parameters": slot(32, 0)}
            outputs = [{"name": "logits", "parameters": slot(24, 32)}]
            [output] = service.post("/v2/models/iris/infer", {"inputs": [tensor], "outputs": outputs}).json["outputs"]
            assert "data" not in output
            logits = np.frombuffer(bytes(shared.buf[32:56]), np.float32).reshape(2, 3)
            np.testing.assert_array_equal(logits, FLOWERS[:, :3])
            assert service.post(f"{path}/unregister").json == {}
            assert service.post("/v2/systemsharedmemory/unregister").json == {}
            assert service.get("/v2/systemsharedmemory/status").json == []
        finally:
            shared.close()
            shared.unlink()

    def test_regions_that_are_refused(self, service):
        answer = service.post("/v2/systemsharedmemory/region/r/register", {"key": "/nothing", "byte_size": 8})
        assert (answer.status, "/nothing" in answer.error) == (400, True)
        answer = service.post("/v2/systemsharedmemory/region/r/register", {"key": "/k"})
        assert (answer.status, answer.error) == (400, "byte_size: Field required")
        assert service.get("/v2/cudasharedmemory/status").json == []
        answer = service.post("/v2/cudasharedmemory/region/r/register", {"raw_handle": {"b64": "?"}, "byte_size": 8})
        assert (answer.status, answer.error[:26]) == (400, "'raw_handle' is no base64:")
        region = {"raw_handle": {"b64": base64.b64encode(bytes(64)).decode()}, "byte_size": 8}
        answer = service.post("/v2/cudasharedmemory/region/r/register", region)
        assert (answer.status, answer.error[:47]) == (501, "no model of this server runs on a CUDA device, ")
        answer = service.get("/v2/cudasharedmemory/region/r/status")
        assert (answer.status, answer.error[:41]) == (404, "there is no CUDA shared memory region 'r'")
        assert service.post("/v2/cudasharedmemory/region/r/unregister").json == {}
        assert service.post("/v2/cudasharedmemory/unregister").json == {}

    def test_settings(self, service):
        log = service.get("/v2/logging").json
        assert log["log_error"] is True
        assert log["log_verbose_level"] == 0
        assert service.post("/v2/logging", {"log_verbose_level": 0}).json == log
        assert service.post("/v2/logging", {"log_verbose_level": -1}).status == 400
        trace = service.get("/v2/trace/setting").json
        assert trace["trace_level"] == ["OFF"]
        assert service.get("/v2/models/iris/trace/setting").json == trace
        assert service.post("/v2/trace/setting", {"trace_level": ["OFF"]}).json == trace
        assert service.post("/v2/trace/setting", {"trace_level": 5}).status == 400
