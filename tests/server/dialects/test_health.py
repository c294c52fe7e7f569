"""gRPC's health checks, asked by grpcio-health-checking's client."""

import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headgate.foreign import health
from headgate.foreign import open_inference as oip
from headgate.server import Server, ServerSettings
from headgate.server.dialects.health import HealthDialect
from headgate.v1 import ListModelsRequest, Model

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
WAIT_S = 20
SERVICES = [
    "headgate.v1.PredictionService",
    "inference.GRPCInferenceService",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
]


@pytest.fixture
def stub(calls):
    return health_pb2_grpc.HealthStub(calls.channel)


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_check(stub, service):
    assert stub.Check(health_pb2.HealthCheckRequest(service=service)).status == SERVING


def test_check_of_an_unknown_service(stub):
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == f"there is no service 'nothing'; this server has {', '.join(SERVICES)}"


def test_list(calls):
    # grpcio-health-checking has no List yet.
    method = calls.channel.unary_unary(
        "/grpc.health.v1.Health/List", response_deserializer=health.HealthListResponse.FromString
    )
    statuses = method(b"").statuses
    assert {name: status.status for name, status in statuses.items()} == dict.fromkeys(["", *SERVICES], SERVING)


def test_watch_of_an_unknown_service(stub):
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="nothing"))
    assert next(watch).status == SERVICE_UNKNOWN
    watch.cancel()


def test_a_server_is_alive_but_not_ready_while_it_loads(repository, connect):
    """Health, readiness and models, asked between one model and the next."""
    server = Server(ServerSettings(repository=repository, port=0))
    seen = []

    def look(model):
        if len(seen) > 1:
            return
        calls = connect(server)
        serving = health_pb2_grpc.HealthStub(calls.channel).Check(health_pb2.HealthCheckRequest()).status
        ready = calls.channel.unary_unary(
            "/inference.GRPCInferenceService/ServerReady", response_deserializer=oip.ServerReadyResponse.FromString
        )(b"").ready
        states = [each.state for each in calls.list_models(ListModelsRequest()).models]
        seen.append((serving, ready, states.count(Model.STATE_READY), states.count(Model.STATE_LOADING) > 0))

    server.start(look)
    try:
        assert seen == [(NOT_SERVING, False, 1, True), (NOT_SERVING, False, 2, True)]
        stub = health_pb2_grpc.HealthStub(connect(server).channel)
        assert stub.Check(health_pb2.HealthCheckRequest()).status == SERVING
    finally:
        server.stop()


def test_watchers_hear_of_the_shutdown(tmp_path, write_model, serve, connect):
    write_model(tmp_path, "price")
    server = serve(tmp_path)
    watch = health_pb2_grpc.HealthStub(connect(server).channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == SERVING
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    assert next(watch).status == NOT_SERVING
    with pytest.raises(grpc.RpcError) as caught:
        next(watch)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    stopping.join(WAIT_S)
    assert not stopping.is_alive()


class FakeCall:
    def __init__(self):
        self.request = b""
        self.pushed = []

    def push(self, response):
        self.pushed.append(health_pb2.HealthCheckResponse.FromString(response).status)

    def watch_cancellation(self, callback):
        self.cancel = callback


def test_watchers_that_went_are_forgotten():
    dialect = HealthDialect([])
    watch = dialect.methods()["/grpc.health.v1.Health/Watch"].handle
    gone, there = FakeCall(), FakeCall()
    watch(gone)
    watch(there)
    gone.cancel()
    gone.cancel()
    dialect.set_serving(True)
    assert gone.pushed == [NOT_SERVING]
    assert there.pushed == [NOT_SERVING, SERVING]
