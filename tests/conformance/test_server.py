import pytest

from tests.conformance.server import ServerError, serving


def test_a_server_that_does_not_start(tmp_path):
    with (
        pytest.raises(ServerError, match=r"the server ended with 1 and wrote .*there is no folder"),
        serving(tmp_path / "nothing", (), (), tmp_path / "log"),
    ):
        pass
