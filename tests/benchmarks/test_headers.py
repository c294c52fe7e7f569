import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.headers import UNKNOWN, StatusReader, request_blocks, timeout_header


@given(st.lists(st.tuples(st.integers(0, 16), st.sampled_from(["", "busy", "gone"]), st.booleans()), max_size=40))
def test_statuses_of_any_sequence_of_answers(answers):
    encoder, reader = hpack.Encoder(), StatusReader()
    for status, message, is_resized in answers:
        if is_resized:
            encoder.header_table_size = 64 + 40 * status
        headers = encoder.encode([(":status", "200"), ("content-type", "application/grpc")])
        trailers = encoder.encode([("grpc-status", str(status)), ("grpc-message", message)])
        assert reader.read(headers) is None
        assert reader.read(trailers) == status


@pytest.mark.parametrize("fields", [[(":status", "502")], [(":status", "200"), ("grpc-status", "odd")]])
def test_what_is_no_grpc(fields):
    assert StatusReader().read(hpack.Encoder().encode(fields)) == UNKNOWN


def test_headers_that_break_the_rules():
    with pytest.raises(BenchmarkError, match="cannot be read"):
        StatusReader().read(b"\xfe")


def test_request_blocks():
    decoder = hpack.Decoder()
    first, later = request_blocks("/s/m", "localhost:1", "http", 0.05)
    fields = dict(decoder.decode(first))
    assert fields[":path"] == "/s/m"
    assert fields["grpc-timeout"] == "50000u"
    assert dict(decoder.decode(later)) == fields
    assert len(later) == len(fields)


@given(st.floats(1e-6, 86_400))
def test_timeouts_are_never_shortened(timeout_s):
    text = timeout_header(timeout_s)
    seconds = int(text[:-1]) * {"u": 1e-6, "m": 1e-3}[text[-1]]
    assert len(text) <= 9
    assert timeout_s * (1 - 1e-6) - 1e-9 <= seconds <= timeout_s + 1e-3


def test_a_timeout_that_is_too_long():
    with pytest.raises(BenchmarkError, match="too long"):
        timeout_header(1e6)
