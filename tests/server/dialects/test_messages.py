"""Reading requests: how many fields they have, and what they are called, without parsing them."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import LARGE_BYTES, parse, read_id
from headgate.server.errors import InvalidArgumentError
from headgate.v1 import PredictRequest
from headgate.v1.wire import fields

MOST = 8_000
#: A fixed32 of field 15, which is none: a request of these is one, and has so many fields.
UNKNOWN = b"\x7d\0\0\0\0"
REQUESTS = [PredictRequest, oip.ModelInferRequest]


def refused(serialized):
    with pytest.raises(InvalidArgumentError) as caught:
        parse(PredictRequest, serialized)
    return str(caught.value)


@pytest.mark.parametrize("field", [b"\x7a\0", b"\x7a\3abc", b"\x78\1", b"\x78\x80\1", b"\x82\1\0", UNKNOWN], ids=repr)
def test_many_fields_are_refused_before_they_are_parsed(field):
    large = b"\x7a\xff\xff\x7f" + bytes(0x1FFFFF)
    parse(PredictRequest, large + field * (MOST - 1))
    assert "more than 8000 fields" in refused(large + field * MOST)
    assert "more than 8000 fields" in refused(field * MOST + large)


@given(st.binary(max_size=40), st.binary(max_size=10))
@example(b"\x7a", b"")
@example(b"\x7a\5abc", b"")
def test_what_is_no_message_is_refused_as_that(piece, rest):
    """However many fields it seems to have: what protobuf can parse is parsed up to that number."""
    serialized = piece * MOST + rest
    try:
        count = sum(1 for _ in fields(memoryview(serialized)))
        parsed = PredictRequest.FromString(serialized) if count <= MOST else None
    except DecodeError:
        if len(serialized) >= LARGE_BYTES:
            assert refused(serialized)
        return
    if count <= MOST or len(serialized) < LARGE_BYTES:
        assert parse(PredictRequest, serialized) == (parsed or PredictRequest.FromString(serialized))
    else:
        assert "more than 8000 fields" in refused(serialized)


@pytest.mark.parametrize("request_class", REQUESTS)
@pytest.mark.parametrize("size", [0, LARGE_BYTES])
def test_id(request_class, size):
    rest = b"\x7a" + b"\xff\xff\x7f" + bytes(0x1FFFFF) if size else b""
    for id in ("", "a", "größe"):
        assert read_id(request_class, request_class(id=id).SerializeToString() + rest) == id
    # The last one counts.
    assert read_id(request_class, b"".join(request_class(id=id).SerializeToString() for id in "ab") + rest) == "b"
    no_utf_8 = request_class(id="a").SerializeToString().replace(b"a", b"\xff")
    assert read_id(request_class, no_utf_8 + rest) == ""
    assert read_id(request_class, rest + b"\xff") == ""


def test_id_among_many_fields_is_left_unread():
    assert read_id(PredictRequest, PredictRequest(id="a").SerializeToString() + UNKNOWN * 20_000) == ""
