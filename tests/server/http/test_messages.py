"""Messages as plain values, beside protobuf's own JSON."""

from google.protobuf.json_format import MessageToDict

from headgate.foreign import open_inference as oip
from headgate.server.http.messages import plain


def config():
    message = oip.ModelConfig(name="m", max_batch_size=8, backend="onnxruntime")
    message.input.add(name="x", data_type=oip.DataType.Value("TYPE_FP32"), dims=[-1, 2**40])
    message.dynamic_batching.max_queue_delay_microseconds = 2**63
    message.dynamic_batching.default_queue_policy.allow_timeout_override = True
    message.parameters["a"].string_value = "b"
    return message


def numbers_of(value):
    """Put numbers in the place of the texts that protobuf writes for those of 64 bits."""
    if isinstance(value, dict):
        return {key: numbers_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [numbers_of(each) for each in value]
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def test_fields_that_are_set():
    assert plain(config()) == numbers_of(MessageToDict(config(), preserving_proto_field_name=True))
    assert plain(config())["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2**40]}]


def test_all_fields():
    expected = MessageToDict(config(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert plain(config(), with_defaults=True) == numbers_of(expected)


def test_an_enum_value_that_is_newer():
    message = oip.ModelConfig()
    message.input.add(data_type=99)
    assert plain(message) == {"input": [{"data_type": 99}]}
