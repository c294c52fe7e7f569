import grpc
import pytest

from headgate.server.transport import Method, MethodKind, Remaining, TransportOptions
from headgate.server.transport.completion_queue import CompletionQueueTransport
from headgate.server.transport.public_api import PublicApiTransport

from .handlers import echo


@pytest.fixture(params=[CompletionQueueTransport, PublicApiTransport], ids=["completion-queue", "public-api"])
def create(request):
    """The class of a transport; all tests run with each."""
    return request.param


@pytest.fixture
def start(create):
    """Start transports that end with the test: `start({"/t/m": Method(handle)}, **options)`."""
    transports = []

    def start(methods, on_drained=lambda: Remaining.NOTHING, **options):
        transport = create(methods, on_drained, TransportOptions(**{"port": 0} | options))
        transports.append(transport)
        transport.start()
        return transport

    yield start
    for transport in transports:
        transport.drain(0)
        transport.close()


@pytest.fixture
def connect():
    """Connect to a transport, or an address, without sharing connections: `connect(transport, credentials)`."""
    channels = []

    def connect(to, credentials=None, options=(), **arguments):
        address = to if isinstance(to, str) else f"127.0.0.1:{to.port}"
        options = [("grpc.use_local_subchannel_pool", 1), *options]
        if credentials is None:
            channels.append(grpc.insecure_channel(address, options, **arguments))
        else:
            channels.append(grpc.secure_channel(address, credentials, options, **arguments))
        return channels[-1]

    yield connect
    for channel in channels:
        channel.close()


@pytest.fixture
def serve(start, connect):
    """A channel to a server of one method, /t/m, and of /t/echo."""

    def serve(handle, kind=MethodKind.UNARY, render_error=None, client_options=(), **options):
        methods = {"/t/m": Method(handle, kind, render_error), "/t/echo": Method(echo)}
        return connect(start(methods, **options), options=client_options)

    return serve
