"""What requests of the Open Inference Protocol carry beside plain numbers: parameters, text, empty tensors, ..."""

import struct

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.foreign import open_inference as oip

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
#: Of the types that travel in wider fields, or in their own: the field, and what it can hold.
CONTENTS = {
    "BOOL": ("bool_contents", st.booleans()),
    "INT8": ("int_contents", st.integers(-(2**31), 2**31 - 1) | st.integers(-129, 128)),
    "INT16": ("int_contents", st.integers(-(2**31), 2**31 - 1) | st.integers(-(2**15) - 1, 2**15)),
    "INT32": ("int_contents", st.integers(-(2**31), 2**31 - 1)),
    "INT64": ("int64_contents", st.integers(-(2**63), 2**63 - 1)),
    "UINT8": ("uint_contents", st.integers(0, 2**32 - 1) | st.integers(0, 256)),
    "UINT16": ("uint_contents", st.integers(0, 2**32 - 1) | st.integers(0, 2**16)),
    "UINT32": ("uint_contents", st.integers(0, 2**32 - 1)),
    "UINT64": ("uint64_contents", st.integers(0, 2**64 - 1)),
    "FP32": ("fp32_contents", st.floats(width=32)),
    "FP64": ("fp64_contents", st.floats()),
}
#: Its name in ONNX, and how struct packs it.
FORMATS = {
    "BOOL": ("bool", "?"), "INT8": ("int8", "b"), "INT16": ("int16", "h"), "INT32": ("int32", "i"),
    "INT64": ("int64", "q"), "UINT8": ("uint8", "B"), "UINT16": ("uint16", "H"), "UINT32": ("uint32", "I"),
    "UINT64": ("uint64", "Q"), "FP32": ("float", "f"), "FP64": ("double", "d"),
}  # fmt: skip


@pytest.fixture(scope="module")
def infer(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )


@pytest.fixture
def price(infer_request):
    return infer_request("price", x=np.array([[1, 2]], np.float32))


def refusal(method, request):
    with pytest.raises(grpc.RpcError) as caught:
        method(request)
    return caught.value.code(), caught.value.details()


def encode(texts):
    """BYTES on the wire: each element's length, and then the element."""
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


class TestParameters:
    def test_of_all_kinds(self, infer, price):
        """What a client means by its own is not known here, and harms nothing."""
        price.parameters["flag"].bool_param = True
        price.parameters["number"].int64_param = -5
        price.parameters["large"].uint64_param = 2**64 - 1
        price.parameters["part"].double_param = 0.5
        price.parameters["tenant"].string_param = "ü"
        price.parameters["nothing"].SetInParent()
        price.parameters["binary_data_output"].bool_param = False
        price.parameters["headers"].string_param = "{}"
        price.inputs[0].parameters["content_type"].string_param = "np"
        price.outputs.add(name="y").parameters["content_type"].string_param = "np"
        assert infer(price).raw_output_contents[0] == struct.pack("<f", 21)

    @pytest.mark.parametrize("key", ["priority", "timeout"])
    @pytest.mark.parametrize(("kind", "value"), [("int64_param", 10**7), ("uint64_param", 10**7), ("int64_param", 0)])
    def test_schedule_policy(self, infer, price, key, kind, value):
        setattr(price.parameters[key], kind, value)
        assert infer(price).raw_output_contents[0] == struct.pack("<f", 21)

    def test_values_that_mean_no_sequence(self, infer, price):
        price.parameters["sequence_id"].int64_param = 0
        price.parameters["sequence_start"].bool_param = False
        price.parameters["sequence_end"].bool_param = False
        assert infer(price).raw_output_contents[0] == struct.pack("<f", 21)
        price.parameters["sequence_id"].string_param = ""
        assert infer(price).raw_output_contents[0] == struct.pack("<f", 21)

    @pytest.mark.parametrize(
        ("key", "kind", "value", "code", "message"),
        [
            *[
                (key, kind, value, UNIMPLEMENTED,
                 f"parameter '{key}' makes the request part of a sequence, but models have no state here; leave it out")
                for key, kind, value in [
                    ("sequence_id", "int64_param", 7), ("sequence_id", "string_param", "a"),
                    ("sequence_start", "bool_param", True), ("sequence_end", "bool_param", True),
                ]
            ],
            *[
                (key, kind, value, INVALID_ARGUMENT, f"parameter '{key}' is {value!r}; give a whole number, 0 or more")
                for key in ("priority", "timeout")
                for kind, value in [("int64_param", -1), ("string_param", "1"), ("double_param", 1.0)]
            ],
            ("triton_enable_empty_final_response", "int64_param", 1, INVALID_ARGUMENT,
             "parameter 'triton_enable_empty_final_response' is 1; give true or false"),
            ("triton_final_response", "bool_param", True, INVALID_ARGUMENT,
             "parameter 'triton_final_response' is not known; names that begin with triton_ are reserved"),
            ("triton_\n\x1b[2J", "bool_param", True, INVALID_ARGUMENT,
             r"parameter 'triton_\n\x1b[2J' is not known; names that begin with triton_ are reserved"),
        ],
    )  # fmt: skip
    def test_refused(self, infer, price, key, kind, value, code, message):
        setattr(price.parameters[key], kind, value)
        assert refusal(infer, price) == (code, message)

    def test_bool_as_a_number(self, infer, price):
        price.parameters["priority"].bool_param = True
        assert refusal(infer, price)[1] == "parameter 'priority' is True; give a whole number, 0 or more"

    def test_too_many(self, infer, price):
        for index in range(100):
            price.parameters[f"{index}"].int64_param = index
        infer(price)
        price.parameters["one more"].int64_param = 0
        assert refusal(infer, price) == (INVALID_ARGUMENT, "the request has 101 parameters; send at most 100")


class TestBounds:
    """A long list is refused for its beginning, and not read to its end."""

    def test_outputs(self, infer, price):
        for i in range(5_000):
            price.outputs.add(name=f"{i}")
        assert refusal(infer, price) == (INVALID_ARGUMENT, "model 'price' has no output '0'; it has 'y'")
        for output in price.outputs:
            output.name = "y"
        assert refusal(infer, price) == (INVALID_ARGUMENT, "output 'y' is asked for twice; name it once")

    def test_inputs(self, infer):
        request = oip.ModelInferRequest(model_name="sums")
        for i in range(5_000):
            request.inputs.add(name=f"{i}", datatype="FP32", shape=[1])
        assert refusal(infer, request)[1].startswith("there is no input '0'; the model takes 'a'")

    def test_elements(self, infer):
        request = oip.ModelInferRequest(model_name="text", raw_input_contents=[bytes(400_000)])
        request.inputs.add(name="x", datatype="BYTES", shape=[3, 1])
        code, details = refusal(infer, request)
        assert (code, details[:42]) == (INVALID_ARGUMENT, "input 'x' of shape [3,1] takes 3 elements,")


class TestText:
    @given(st.lists(st.text(max_size=5) | st.text(alphabet="a\0\n", max_size=3), max_size=8))
    def test_raw_and_typed_are_the_same(self, infer, texts):
        encoded = [text.encode() for text in texts]
        raw = oip.ModelInferRequest(model_name="text", raw_input_contents=[encode(encoded)])
        raw.inputs.add(name="x", datatype="BYTES", shape=[len(texts), 1])
        typed = oip.ModelInferRequest(model_name="text")
        typed.inputs.add(name="x", datatype="BYTES", shape=[len(texts), 1]).contents.bytes_contents.extend(encoded)
        answer = infer(raw)
        assert list(answer.raw_output_contents) == [encode(encoded)]
        assert infer(typed) == answer

    @given(st.binary(max_size=20), st.integers(0, 4))
    def test_any_bytes_are_read_as_the_protocol_says(self, infer, raw, count):
        """Or refused: an independent reading of the same bytes tells which."""
        request = oip.ModelInferRequest(model_name="text", raw_input_contents=[raw])
        request.inputs.add(name="x", datatype="BYTES", shape=[count, 1])
        elements, rest = [], raw
        while len(rest) >= 4 and len(rest) >= 4 + int.from_bytes(rest[:4], "little"):
            length = int.from_bytes(rest[:4], "little")
            elements.append(rest[4 : 4 + length])
            rest = rest[4 + length :]
        valid = not rest and len(elements) == count and all(is_utf8(element) for element in elements)
        if valid:
            assert list(infer(request).raw_output_contents) == [raw]
        else:
            assert refusal(infer, request)[0] is INVALID_ARGUMENT


def is_utf8(element):
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


class TestTypedContents:
    @given(data=st.data())
    def test_numbers_that_fit_are_the_raw_ones(self, infer, data):
        datatype = data.draw(st.sampled_from(list(CONTENTS)))
        field, numbers = CONTENTS[datatype]
        onnx_name, code = FORMATS[datatype]
        elements = data.draw(st.lists(st.tuples(*[numbers] * 3), max_size=3))
        flat = [element for row in elements for element in row]
        request = oip.ModelInferRequest(model_name=f"same_{onnx_name}")
        tensor = request.inputs.add(name="x", datatype=datatype, shape=[len(elements), 3])
        getattr(tensor.contents, field).extend(flat)
        try:
            expected = struct.pack(f"<{len(flat)}{code}", *flat)
        except struct.error:
            assert refusal(infer, request) == (INVALID_ARGUMENT, f"input 'x' holds numbers that {datatype} cannot")
        else:
            assert list(infer(request).raw_output_contents) == [expected]

    @pytest.mark.parametrize("datatype", CONTENTS)
    def test_the_field_of_another_type(self, infer, datatype):
        own, _ = CONTENTS[datatype]
        for field in {field for field, _ in CONTENTS.values()} - {own}:
            request = oip.ModelInferRequest(model_name=f"same_{FORMATS[datatype][0]}")
            contents = request.inputs.add(name="x", datatype=datatype, shape=[1, 3]).contents
            getattr(contents, field).extend([1, 1, 1])
            assert refusal(infer, request) == (
                INVALID_ARGUMENT,
                f"input 'x' of {datatype} travels in {own}, this one has {field}",
            )


class TestEmpty:
    def test_outputs_without_columns(self, tmp_path, write_model, serve, connect, infer_request):
        """All but the first column: none of one."""
        graph = (
            "g (float[batch,n] x) => (float[batch,m] y, string[batch,k] z) "
            "<int64[1] one = {1}, int64[1] end = {99}, int64[1] axis = {1}, float zero = {0}> "
            "{ y = Slice(x, one, end, axis) z = Cast<to = 8>(y) }"
        )
        write_model(tmp_path, "rest", graph)
        calls = connect(serve(tmp_path))
        for rows in (0, 1, 3):
            answer = calls.infer(infer_request("rest", x=np.ones((rows, 1), np.float32)))
            assert [list(output.shape) for output in answer.outputs] == [[rows, 0]] * 2
            assert list(answer.raw_output_contents) == [b"", b""]
        answer = calls.infer(infer_request("rest", x=np.ones((2, 2), np.float32)))
        assert answer.raw_output_contents[0] == struct.pack("<2f", 1, 1)

    def test_no_rows_of_text(self, infer):
        request = oip.ModelInferRequest(model_name="text", raw_input_contents=[b""])
        request.inputs.add(name="x", datatype="BYTES", shape=[0, 1])
        answer = infer(request)
        assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [0, 1])
        assert list(answer.raw_output_contents) == [b""]
