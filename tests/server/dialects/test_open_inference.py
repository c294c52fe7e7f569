"""The Open Inference Protocol on a real server, asked by tritonclient and with hand-made messages."""

import queue
import struct

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headgate
from headgate.foreign import open_inference as oip
from headgate.v1.signatures import METADATA_KEY, signature_from_json

triton = pytest.importorskip("tritonclient.grpc", reason="asks with tritonclient: pip install '.[conformance]'")

WAIT_S = 20
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
#: By the protocol's names: numpy type, the field of typed contents, ONNX' name.
TYPES = {
    "BOOL": (np.bool_, "bool_contents", "bool"),
    "UINT8": (np.uint8, "uint_contents", "uint8"),
    "UINT16": (np.uint16, "uint_contents", "uint16"),
    "UINT32": (np.uint32, "uint_contents", "uint32"),
    "UINT64": (np.uint64, "uint64_contents", "uint64"),
    "INT8": (np.int8, "int_contents", "int8"),
    "INT16": (np.int16, "int_contents", "int16"),
    "INT32": (np.int32, "int_contents", "int32"),
    "INT64": (np.int64, "int64_contents", "int64"),
    "FP16": (np.float16, None, "float16"),
    "FP32": (np.float32, "fp32_contents", "float"),
    "FP64": (np.float64, "fp64_contents", "double"),
}


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def triton_input(name, array):
    datatype = "BYTES" if array.dtype == object else next(n for n, (t, _, _) in TYPES.items() if t == array.dtype)
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def examples(dtype):
    if dtype == np.bool_:
        return np.array([[True, False, True]])
    if np.issubdtype(dtype, np.floating):
        return np.array([[0.5, -1.25, 100], [np.nan, np.inf, -np.inf]], dtype)
    limits = np.iinfo(dtype)
    return np.array([[limits.min, limits.max, 1], [0, 2, 3]], dtype)


def typed(model, name, datatype, shape, field=None, elements=()):
    request = oip.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    if field:
        getattr(tensor.contents, field).extend(elements)
    return request


def refusal(method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request)
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


class TestTriton:
    @pytest.mark.parametrize("datatype", TYPES)
    def test_types(self, client, datatype):
        dtype, _, onnx_name = TYPES[datatype]
        array = examples(dtype)
        result = client.infer(f"same_{onnx_name}", [triton_input("x", array)])
        answer = result.as_numpy("y")
        assert answer.dtype == dtype
        np.testing.assert_array_equal(answer, array)
        assert result.get_output("y").datatype == datatype

    def test_text(self, client):
        array = np.array([["a"], ["ü✗"], [""], [b"bytes"]], object)
        answer = client.infer("text", [triton_input("x", array)]).as_numpy("y")
        assert answer.tolist() == [[b"a"], ["ü✗".encode()], [b""], [b"bytes"]]

    def test_several_inputs_and_request_id(self, client):
        a, b = np.array([[1, 2], [3, 4]], np.float32), np.array([[5], [6]], np.int32)
        result = client.infer("sums", [triton_input("b", b), triton_input("a", a)], request_id="r-7")
        assert result.as_numpy("y").tolist() == [[1, 2, 5], [3, 4, 6]]
        response = result.get_response()
        assert (response.id, response.model_name, response.model_version) == ("r-7", "sums", "1")

    @pytest.mark.parametrize("names", [["total"], ["same"], ["total", "same"], ["same", "total"]])
    def test_requested_outputs(self, client, names):
        array = np.array([[1, 2], [3, 4]], np.float32)
        outputs = [triton.InferRequestedOutput(name) for name in names]
        result = client.infer("twins", [triton_input("x", array)], outputs=outputs)
        assert [output.name for output in result.get_response().outputs] == names
        expected = {"same": array.tolist(), "total": [[3], [7]]}
        assert {name: result.as_numpy(name).tolist() for name in names} == {name: expected[name] for name in names}

    def test_no_rows(self, client):
        result = client.infer("twins", [triton_input("x", np.zeros((0, 2), np.float32))])
        assert result.as_numpy("same").shape == (0, 2)
        assert result.as_numpy("total").shape == (0, 1)

    def test_free_dimensions(self, client):
        for size in (1, 3, 9):
            result = client.infer("lengths", [triton_input("x", np.ones((2, size), np.float32))])
            assert result.as_numpy("y").tolist() == [size, size]

    def test_requests_of_different_shapes_at_the_same_time(self, client):
        answers = queue.SimpleQueue()
        for i in range(100):
            tensor = triton_input("x", np.full((1 + i % 2, 1 + i % 5), i, np.float32))
            client.async_infer("lengths", [tensor], lambda result, error, i=i: answers.put((i, result, error)))
        for _ in range(100):
            i, result, error = answers.get(timeout=WAIT_S)
            assert error is None
            assert result.as_numpy("y").tolist() == [i * (1 + i % 5)] * (1 + i % 2)

    def test_parameters_that_clients_send(self, client):
        tensor = triton_input("x", np.ones((1, 2), np.float32))
        client.infer("price", [tensor], priority=1, timeout=10_000_000, parameters={"tenant": "a"})

    @pytest.mark.parametrize("compression", ["gzip", "deflate"])
    def test_compression(self, client, compression):
        tensor = triton_input("x", np.ones((100, 2), np.float32))
        result = client.infer("price", [tensor], compression_algorithm=compression)
        assert result.as_numpy("y").tolist() == [[11]] * 100

    def test_stream(self, client):
        answers = queue.SimpleQueue()
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i in range(50):
            array = np.full((1, 2), i, np.float32) if i % 10 else np.ones((1, 3), np.float32)
            client.async_stream_infer("price", [triton_input("x", array)], request_id=f"{i}")
        for i in range(50):
            result, error = answers.get(timeout=WAIT_S)
            if i % 10:
                assert (result.get_response().id, result.as_numpy("y").tolist()) == (f"{i}", [[11 * i]])
            else:
                assert error.message() == "input 'x' has shape [1,3], the model takes [batch,2]"
        client.stop_stream()

    def test_health(self, client):
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("iris")
        assert client.is_model_ready("iris", "1")
        assert not client.is_model_ready("iris", "2")
        assert not client.is_model_ready("rose")

    def test_server_metadata(self, client):
        metadata = client.get_server_metadata()
        assert (metadata.name, metadata.version) == ("headgate", headgate.__version__)
        assert "statistics" in metadata.extensions

    def test_model_metadata(self, client):
        metadata = client.get_model_metadata("sums")
        assert (metadata.name, list(metadata.versions), metadata.platform) == ("sums", ["1"], "onnxruntime_onnx")
        assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [
            ("a", "FP32", [-1, 2]),
            ("b", "INT32", [-1, 1]),
        ]
        assert [(each.name, each.datatype, list(each.shape)) for each in metadata.outputs] == [("y", "FP32", [-1, 3])]

    def test_model_config(self, client):
        config = client.get_model_config("sums").config
        assert (config.name, config.backend) == ("sums", "onnxruntime")
        # As many rows as this machine runs in half a millisecond.
        assert 64 <= config.max_batch_size <= 1024
        assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
            ("a", 11, [2]),
            ("b", 8, [1]),
        ]
        assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [("y", 11, [3])]
        assert config.HasField("dynamic_batching")
        assert not config.model_transaction_policy.decoupled
        assert {each.name for each in config.input} <= {each.name for each in client.get_model_metadata("sums").inputs}

    def test_errors(self, client):
        with pytest.raises(triton.InferenceServerException, match="there is no model 'rose'") as caught:
            client.infer("rose", [triton_input("x", np.ones((1, 2), np.float32))])
        assert caught.value.status() == "StatusCode.NOT_FOUND"


class TestContents:
    @pytest.mark.parametrize("datatype", [name for name, (_, field, _) in TYPES.items() if field])
    def test_typed_and_raw_are_the_same(self, calls, infer_request, datatype):
        dtype, field, onnx_name = TYPES[datatype]
        array = examples(dtype)
        model = f"same_{onnx_name}"
        by_contents = calls.infer(typed(model, "x", datatype, array.shape, field, array.ravel().tolist()))
        assert by_contents == calls.infer(infer_request(model, x=array))
        # Answers are raw, one entry an output, always.
        assert list(by_contents.raw_output_contents) == [array.tobytes()]
        assert not by_contents.outputs[0].HasField("contents")

    def test_typed_text(self, calls):
        request = typed("text", "x", "BYTES", [3, 1], "bytes_contents", [b"a", "ü".encode(), b""])
        assert calls.infer(request).raw_output_contents[0] == b"\1\0\0\0a\2\0\0\0\xc3\xbc\0\0\0\0"

    def test_no_rows(self, calls):
        for datatype, (_, field, onnx_name) in TYPES.items():
            if field:
                response = calls.infer(typed(f"same_{onnx_name}", "x", datatype, [0, 3]))
                assert list(response.raw_output_contents) == [b""]
                assert list(response.outputs[0].shape) == [0, 3]
        assert list(calls.infer(typed("text", "x", "BYTES", [0, 1])).raw_output_contents) == [b""]

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"\5\0\0\0abc", "input 'x' is no valid BYTES tensor: each element is a little-endian uint32 length and"),
            (b"\1\0", "input 'x' is no valid BYTES tensor"),
            (b"\xff\xff\xff\xff", "input 'x' is no valid BYTES tensor"),
            (b"\1\0\0\0a\1\0\0\0b", "input 'x' of shape [1,1] takes 1 elements, 2 came"),
            (b"", "input 'x' of shape [1,1] takes 1 elements, 0 came"),
            (b"\2\0\0\0\xff\xfe", "input 'x' takes text in UTF-8, which '\\xff\\xfe' is not"),
        ],
    )
    def test_text_that_is_not_valid(self, calls, raw, message):
        request = typed("text", "x", "BYTES", [1, 1])
        request.raw_input_contents.append(raw)
        code, details = refusal(calls.infer, request)
        assert (code, details[: len(message)]) == (INVALID_ARGUMENT, message)


def with_parameter(request, target, **parameters):
    for key, (kind, value) in parameters.items():
        setattr(target(request).parameters[key], kind, value)
    return request


def good_request():
    return typed("price", "x", "FP32", [1, 2], "fp32_contents", [1, 2])


def with_raw(request, *raw):
    request.raw_input_contents.extend(raw)
    return request


def with_output(request, name):
    request.outputs.add(name=name)
    return request


@pytest.fixture(scope="module")
def model_infer(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", request_serializer=oip.ModelInferRequest.SerializeToString
        )


class TestErrors:
    @pytest.mark.parametrize(
        ("request_", "code", "message"),
        [
            (typed("rose", "x", "FP32", [1]), NOT_FOUND, "there is no model 'rose'; this server has "),
            (oip.ModelInferRequest(model_name="price", model_version="2"), NOT_FOUND, "model 'price' has no version 2"),
            *[
                (oip.ModelInferRequest(model_name="price", model_version=version), INVALID_ARGUMENT,
                 f"the model version is '{version[:100]}")
                for version in ("latest", "-1", "0", "1.0", "\u0661", "9" * 5000)
            ],
            (oip.ModelInferRequest(model_name="price"), INVALID_ARGUMENT, "input 'x' is missing; the model takes"),
            (typed("price", "x", "FP32", [1, 2]), INVALID_ARGUMENT, "input 'x' of shape [1,2] takes 2 elements, 0"),
            (typed("price", "x", "FP32", []), INVALID_ARGUMENT, "input 'x' has shape [], the model takes [batch,2]"),
            (typed("scalars", "x", "FP32", [], "fp32_contents", [1]), INVALID_ARGUMENT,
             "input 'x' has shape [], the model takes [batch]; send one row as [1]"),
            (typed("price", "x", "FP32", [-1, 2], "fp32_contents", [1, 2]), INVALID_ARGUMENT,
             "input 'x' has shape [-1,2], the model takes [batch,2]; give the real size of every dimension"),
            (typed("price", "x", "FLOAT", [1, 2]), INVALID_ARGUMENT, "input 'x' has datatype 'FLOAT'; this server "),
            (with_raw(typed("price", "x", "BF16", [1, 2]), bytes(4)), INVALID_ARGUMENT,
             "input 'x' has type BF16, the model takes FP32 [batch,2]"),
            (typed("price", "x", "", [1, 2]), INVALID_ARGUMENT, "input 'x' has datatype ''; this server takes BOOL, "),
            (typed("price", "x", "FP32", [1, 2], "fp64_contents", [1, 2]), INVALID_ARGUMENT,
             "input 'x' of FP32 travels in fp32_contents, this one has fp64_contents"),
            (typed("price", "x", "FP16", [1, 2], "fp32_contents", [1, 2]), INVALID_ARGUMENT,
             "input 'x' of FP16 can only travel in raw_input_contents"),
            (typed("same_int8", "x", "INT8", [1, 3], "int_contents", [1, 2, 128]), INVALID_ARGUMENT,
             "input 'x' holds numbers that INT8 cannot"),
            (with_raw(typed("price", "x", "FP64", [1, 2]), bytes(16)), INVALID_ARGUMENT,
             "input 'x' has type FP64, the model takes FP32 [batch,2]"),
            (with_raw(typed("price", "x", "FP32", [1, 2]), bytes(7)), INVALID_ARGUMENT,
             "input 'x' of FP32 [1,2] takes 8 bytes, 7 came"),
            (with_raw(typed("price", "x", "FP32", [2**62, 2]), bytes(8)), INVALID_ARGUMENT,
             "input 'x' of FP32 [4611686018427387904,2] takes 36893488147419103232 bytes, 8 came"),
            (with_raw(typed("lengths", "x", "FP32", [2**62, 2**62]), b""), INVALID_ARGUMENT, "input 'x' has shape ["),
            (with_raw(typed("lengths", "x", "FP32", [2**62, 0]), b""), INVALID_ARGUMENT, "input 'x' has shape ["),
            (with_raw(good_request(), bytes(8)), INVALID_ARGUMENT,
             "input 'x' has contents beside the request's raw_input_contents; send one of the two"),
            (with_raw(typed("price", "x", "FP32", [1, 2]), bytes(8), bytes(8)), INVALID_ARGUMENT,
             "the request has 1 inputs and 2 entries in raw_input_contents; send one for each input"),
            (with_raw(oip.ModelInferRequest(
                model_name="sums", inputs=[
                    {"name": "a", "datatype": "FP32", "shape": [1, 2]},
                    {"name": "b", "datatype": "INT32", "shape": [1, 1]},
                ]), bytes(8)),
             INVALID_ARGUMENT,
             "the request has 2 inputs and 1 entries in raw_input_contents; send one for each input"),
            (typed("price", "y", "FP32", [1, 2], "fp32_contents", [1, 2]), INVALID_ARGUMENT, "there is no input 'y'"),
            (with_output(good_request(), "z"), INVALID_ARGUMENT, "model 'price' has no output 'z'; it has 'y'"),
            (with_parameter(good_request(), lambda r: r, triton_magic=("bool_param", True)), INVALID_ARGUMENT,
             "parameter 'triton_magic' is not known; names that begin with triton_ are reserved"),
            (with_parameter(good_request(), lambda r: r.inputs[0], shared_memory_region=("string_param", "a")),
             INVALID_ARGUMENT, "'x' has parameters of shared memory; give shared_memory_region and shared_mem"),
            (with_output(with_output(good_request(), "y"), "y"), INVALID_ARGUMENT,
             "output 'y' is asked for twice; name it once"),
        ],
    )  # fmt: skip
    def test_codes_and_messages(self, calls, request_, code, message):
        found, details = refusal(calls.infer, request_)
        assert (found, details[: len(message)]) == (code, message)
        # In a stream the same is in band, with the request's id.
        request_.id = "r-1"
        answer, good = calls.stream_infer(iter([request_, good_request()]))
        assert answer.error_message.startswith(message)
        assert answer.infer_response.id == "r-1"
        assert good.infer_response.raw_output_contents[0] == struct.pack("<f", 21)

    def test_empty_contents_beside_raw_ones(self, calls):
        request = with_raw(typed("price", "x", "FP32", [1, 2]), struct.pack("<2f", 1, 2))
        request.inputs[0].contents.SetInParent()
        assert calls.infer(request).raw_output_contents[0] == struct.pack("<f", 21)

    @pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelReady"])
    def test_bytes_that_are_no_message(self, calls, method):
        path = f"/inference.GRPCInferenceService/{method}"
        code, details = refusal(calls.channel.unary_unary(path), b"\xff\xff")
        assert code is INVALID_ARGUMENT
        assert details.startswith("the request is no inference.Model")

    def test_method_that_is_not_served(self, calls):
        code, details = refusal(calls.channel.unary_unary("/inference.GRPCInferenceService/ModelExplain"), b"")
        assert (code, details) == (
            UNIMPLEMENTED,
            "this server has no method /inference.GRPCInferenceService/ModelExplain",
        )

    def test_every_method_of_the_protocol_is_served(self, calls):
        for method in oip.SERVICE.methods:
            if not method.client_streaming:
                code, _ = refusal(calls.channel.unary_unary(f"/inference.GRPCInferenceService/{method.name}"), b"\xff")
                assert code is INVALID_ARGUMENT, method.name

    def test_message_larger_than_the_server_takes(self, calls, infer_request):
        code, details = refusal(calls.infer, infer_request("price", x=np.zeros((200_000, 2), np.float32)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in details

    @given(data=st.data())
    def test_any_request_is_answered_or_refused(self, model_infer, data):
        """No mix of fields is a bug of the server: a status of INTERNAL would be one."""
        model = data.draw(st.sampled_from(["price", "sums", "text", "scalars", "lengths", "same_bool", "same_float16"]))
        request = oip.ModelInferRequest(model_name=model)
        for name in data.draw(st.lists(st.sampled_from(["x", "a", "b"]), max_size=3)):
            datatype = data.draw(st.sampled_from([*TYPES, "BYTES"]))
            shape = data.draw(st.lists(st.integers(-1, 4) | st.sampled_from([2**31, 2**62]), max_size=3))
            tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
            match data.draw(st.sampled_from(["floats", "text", "ints", "raw", "raw", "nothing"])):
                case "floats":
                    tensor.contents.fp32_contents.extend(data.draw(st.lists(st.floats(width=32), max_size=6)))
                case "ints":
                    tensor.contents.int_contents.extend(data.draw(st.lists(st.integers(-9, 300), max_size=6)))
                case "text":
                    tensor.contents.bytes_contents.extend(data.draw(st.lists(st.binary(max_size=3), max_size=4)))
                case "raw":
                    request.raw_input_contents.append(data.draw(st.binary(max_size=32)))
        future = model_infer.future(request, timeout=WAIT_S)
        assert future.code() in (grpc.StatusCode.OK, INVALID_ARGUMENT), future.details()


class TestStatistics:
    @pytest.fixture
    def own(self, tmp_path, write_model, serve, connect):
        """A server of its own, whose counters nobody else moves."""
        write_model(tmp_path, "price", config='[execution]\nmode = "inline"\n')
        write_model(tmp_path, "lookup", config='[execution]\nmode = "threads"\n')
        return connect(serve(tmp_path))

    def snapshot(self, calls, name="price"):
        (statistics,) = calls.statistics(oip.ModelStatisticsRequest(name=name)).model_stats
        return statistics

    def test_of_a_fresh_model(self, own):
        statistics = self.snapshot(own)
        assert (statistics.name, statistics.version, statistics.last_inference) == ("price", "1", 0)
        assert (statistics.inference_count, statistics.execution_count, len(statistics.batch_stats)) == (0, 0, 0)

    def test_what_perf_analyzer_computes(self, own, infer_request):
        """It subtracts two snapshots and divides by counts."""

        def ask(rows):
            return own.infer.future(infer_request("price", x=np.ones((rows, 2), np.float32)))

        ask(1).result()
        before = self.snapshot(own)
        sizes = [1, 2, 3] * 20
        for future in [ask(rows) for rows in sizes]:
            future.result()
        after = self.snapshot(own)
        assert after.inference_count - before.inference_count == sum(sizes)
        executions = after.execution_count - before.execution_count
        assert 1 <= executions <= len(sizes)
        was, now = before.inference_stats, after.inference_stats
        assert now.success.count - was.success.count == len(sizes)
        for stage in ("queue", "compute_input", "compute_infer", "compute_output"):
            assert getattr(now, stage).count - getattr(was, stage).count == len(sizes)
            assert getattr(now, stage).ns >= getattr(was, stage).ns
        stages = now.queue.ns + now.compute_input.ns + now.compute_infer.ns + now.compute_output.ns
        assert now.success.ns == stages
        assert sum(each.batch_size * each.compute_infer.count for each in after.batch_stats) == after.inference_count
        assert sum(each.compute_infer.count for each in after.batch_stats) == after.execution_count
        assert [each.batch_size for each in after.batch_stats] == sorted(each.batch_size for each in after.batch_stats)
        assert after.last_inference >= before.last_inference > 1_700_000_000_000

    def test_failures(self, own, infer_request, caplog):
        codes = [own.infer.future(infer_request("lookup", x=np.array([[row]]))).code() for row in (1, 9, 2)]
        assert codes == [grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.OK]
        # An execution thread counts after it has answered.
        while (statistics := self.snapshot(own, "lookup")).inference_count < 2:
            pass
        assert (statistics.inference_stats.success.count, statistics.inference_stats.fail.count) == (2, 1)
        caplog.clear()

    def test_all_models(self, own):
        names = [each.name for each in own.statistics(oip.ModelStatisticsRequest()).model_stats]
        assert names == ["lookup", "price"]

    def test_unknown_model(self, own):
        assert refusal(own.statistics, oip.ModelStatisticsRequest(name="rose"))[0] is NOT_FOUND


def test_metadata_carries_the_heads(calls):
    properties = calls.metadata(oip.ModelMetadataRequest(name="iris")).properties
    signature = signature_from_json(properties[METADATA_KEY])
    assert list(signature.heads[0].multiclass.labels) == ["setosa", "versicolor", "virginica"]
    assert not calls.metadata(oip.ModelMetadataRequest(name="text")).properties


def test_error_in_a_stream_leaves_its_neighbours(calls, infer_request, caplog):
    requests = [infer_request("lookup", f"{i}", x=np.array([[9 if i == 2 else i]])) for i in range(4)]
    answers = list(calls.stream_infer(iter(requests)))
    assert [answer.infer_response.id for answer in answers] == ["0", "1", "2", "3"]
    assert [bool(answer.error_message) for answer in answers] == [False, False, True, False]
    caplog.clear()
