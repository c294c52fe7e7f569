import socket

import pytest

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.servers import running


@pytest.mark.parametrize("transport", ["headgate", "aio"])
def test_runs_and_ends(transport):
    with running("headgate.benchmarks.echo", transport) as server:
        socket.create_connection(("127.0.0.1", server.port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_a_server_that_does_not_start(capfd):
    with (
        pytest.raises(BenchmarkError, match=r"ended before it was ready; `.* -m headgate.benchmarks.echo twisted`"),
        running("headgate.benchmarks.echo", "twisted"),
    ):
        pass
    assert "usage" in capfd.readouterr().err
