import grpc
import pytest

from headgate.client import errors
from headgate.client.errors import HeadgateError, error_from_status


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_status_becomes_an_exception_with_its_code(code):
    error = error_from_status(code, "first line\n  second line")
    assert isinstance(error, HeadgateError)
    assert error.code is code
    assert error.details == "first line\n  second line"
    assert "\n" not in str(error)
    assert str(error).endswith("first line second line")


def test_numbers_of_stream_errors():
    assert type(error_from_status(8, "")) is errors.OverloadedError
    assert error_from_status(9999, "new").code is grpc.StatusCode.UNKNOWN


def test_the_tree_in_the_docstring_is_the_tree():
    for error in HeadgateError.__subclasses__():
        assert f"|- {error.__name__:<24} {error.code.name}" in errors.__doc__
