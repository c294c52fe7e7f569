import socket

import pytest

from headgate.server.transport import Method, MethodKind, Remaining, TransportOptions
from headgate.server.transport.completion_queue import CompletionQueueTransport

UNARY, STREAM = "/test.Service/Unary", "/test.Service/Stream"


@pytest.fixture(scope="module")
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def serve():
    """Start a server in this process whose unary and stream method are handled by one function; return its port."""
    transports = []

    def serve(handle, **options):
        methods = {UNARY: Method(handle), STREAM: Method(handle, MethodKind.ORDERED_STREAM)}
        transport = CompletionQueueTransport(
            methods, lambda: Remaining.NOTHING, TransportOptions(**{"port": 0} | options)
        )
        transport.start()
        transports.append(transport)
        return transport.port

    yield serve
    for transport in transports:
        transport.drain(5)
        transport.close()
