import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from headgate.v1 import PredictRequest, Tensor
from headgate.v1.wire import detach, fields, map_file, read_varint

messages = st.builds(
    PredictRequest,
    model=st.text(max_size=5),
    version=st.integers(-5, 2**62),
    id=st.text(max_size=200),
    inputs=st.lists(st.builds(Tensor, name=st.text(max_size=5), raw=st.binary(max_size=300)), max_size=4),
    priority=st.integers(0, 2**32 - 1),
)


@given(messages)
def test_detached_values_and_the_rest_make_the_message_again(message):
    rest, values = detach(memoryview(message.SerializeToString()), PredictRequest.INPUTS_FIELD_NUMBER)
    assert [Tensor.FromString(value) for value in values] == list(message.inputs)
    again = PredictRequest.FromString(rest)
    assert not again.inputs
    again.inputs.extend(message.inputs)
    assert again == message


@given(messages)
def test_fields_are_the_whole_message(message):
    serialized = message.SerializeToString()
    assert b"".join(whole for _, whole, _ in fields(memoryview(serialized))) == serialized


@given(st.binary(max_size=40))
def test_other_bytes_are_an_error_or_fields(content):
    try:
        found = list(fields(memoryview(content)))
    except DecodeError:
        return
    assert b"".join(whole for _, whole, _ in found) == content


def test_very_many_fields_are_left_to_protobuf():
    serialized = Tensor(strings=["x"] * 100_000).SerializeToString()
    assert detach(memoryview(serialized), Tensor.RAW_FIELD_NUMBER) is None


def test_only_length_delimited_values_are_taken():
    varint = bytes([Tensor.RAW_FIELD_NUMBER << 3, 5])
    assert detach(memoryview(varint), Tensor.RAW_FIELD_NUMBER) == (varint, [])


def test_values_are_views():
    serialized = Tensor(name="x", raw=b"12345678").SerializeToString()
    _, (raw,) = detach(memoryview(serialized), Tensor.RAW_FIELD_NUMBER)
    assert np.shares_memory(np.frombuffer(serialized, np.uint8), np.frombuffer(raw, np.uint8))


@pytest.mark.parametrize("content", [b"", b"\xff" * 11, b"\x80"])
def test_no_number(content):
    with pytest.raises(DecodeError):
        read_varint(memoryview(content))


@pytest.mark.parametrize("number", [0, 127, 128, 2**63])
def test_numbers(number):
    encoded = PredictRequest(queue_timeout_us=number).SerializeToString()[1:] or b"\0"
    assert read_varint(memoryview(encoded)) == (number, len(encoded))


def test_content_of_a_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"0123")
    assert map_file(path)[1:3] == b"12"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        map_file(path)
    with pytest.raises(FileNotFoundError):
        map_file(tmp_path / "missing")
