"""Servers that share a port, here as objects of one process."""

import contextlib
import logging
import socket
import time

import grpc
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headgate.foreign import open_inference as oip
from headgate.server import Server, ServerSettings
from headgate.server.processors import available_processors
from headgate.server.transport import Method, TransportOptions
from headgate.server.transport.listening import reserve_port
from headgate.server.workers import ALONE, CUDA_REGIONS, Workers, first_answer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(params=["completion-queue", "public-api"])
def workers(request, tmp_path, monkeypatch, write_model):
    """Two servers on one port, each with its models `price` and `iris`; they neither listen nor have loaded yet."""
    for name in ("price", "iris"):
        write_model(tmp_path / "models", name)
    # Paths of sockets are short, those of temporary folders may not be.
    monkeypatch.chdir(tmp_path)
    with reserve_port(TransportOptions(port=0)) as port:
        settings = ServerSettings(repository=tmp_path / "models", port=port, transport=request.param)
        servers = [Server(settings, Workers(("unix:0", "unix:1"), index)) for index in range(2)]
        yield servers
        for server in servers:
            server.stop()


@pytest.fixture
def ask():
    """Call a method of the Open Inference Protocol on a worker of its own choice: `ask(0, "ServerReady")`."""

    def ask(index, name, request=b"", alone=False, timeout=None):
        response = getattr(oip, f"{name}Response")
        with grpc.insecure_channel(f"unix:{index}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            method = channel.unary_unary(
                f"/inference.GRPCInferenceService/{name}",
                request_serializer=lambda message: message if message == b"" else message.SerializeToString(),
                response_deserializer=response.FromString,
            )
            return method(request, timeout, [(ALONE, "1")] if alone else [])

    return ask


def infer(ask, infer_request, index, times):
    for i in range(times):
        ask(index, "ModelInfer", infer_request("price", x=np.array([[i, 2]], np.float32)))


def start(servers):
    for server in servers:
        server.start()


def test_statistics_are_the_sum(workers, ask, infer_request):
    start(workers)
    infer(ask, infer_request, 0, 3)
    infer(ask, infer_request, 1, 4)
    alone = [ask(index, "ModelStatistics", alone=True) for index in range(2)]
    price = [next(each for each in answer.model_stats if each.name == "price") for answer in alone]
    assert [each.inference_count for each in price] == [3, 4]
    for index in range(2):
        both = ask(index, "ModelStatistics")
        assert [each.name for each in both.model_stats] == ["iris", "price"]
        total = both.model_stats[1]
        assert (total.inference_count, total.execution_count, total.inference_stats.success.count) == (7, 7, 7)
        assert total.inference_stats.queue.ns == sum(each.inference_stats.queue.ns for each in price)
        assert total.last_inference == price[1].last_inference
        (batch,) = total.batch_stats
        assert (batch.batch_size, batch.compute_infer.count) == (1, 7)
        assert batch.compute_infer.ns == sum(each.batch_stats[0].compute_infer.ns for each in price)
    only = ask(0, "ModelStatistics", oip.ModelStatisticsRequest(name="iris"))
    assert [(each.name, each.inference_count) for each in only.model_stats] == [("iris", 0)]


def test_worker_that_is_not_there_is_left_out_until_it_is_back(workers, ask, infer_request, tmp_path):
    start(workers)
    infer(ask, infer_request, 0, 3)
    infer(ask, infer_request, 1, 4)
    workers[1].stop()
    assert ask(0, "ModelStatistics").model_stats[1].inference_count == 3
    again = Server(workers[0].settings, Workers(("unix:0", "unix:1"), 1))
    workers.append(again)
    again.start()
    infer(ask, infer_request, 1, 1)
    assert ask(0, "ModelStatistics").model_stats[1].inference_count == 4


def test_tls_is_for_the_port_alone(tmp_path, monkeypatch, write_model):
    write_model(tmp_path / "models", "price")
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path("cert")
    certificate.private_key_pem.write_to_path("key")
    with reserve_port(TransportOptions(port=0)) as port, contextlib.ExitStack() as stack:
        settings = ServerSettings(repository=tmp_path / "models", port=port, tls_cert="cert", tls_key="key")
        for index in range(2):
            server = Server(settings, Workers(("unix:0", "unix:1"), index))
            stack.callback(server.stop)
            server.start()
        credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            answer = channel.unary_unary("/inference.GRPCInferenceService/ModelStatistics")(b"")
        assert [each.name for each in oip.ModelStatisticsResponse.FromString(answer).model_stats] == ["price"]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"")


def test_question_that_is_open_when_it_stops(workers, ask, infer_request):
    start(workers)
    with grpc.insecure_channel("unix:0", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelStatistics")
        method(b"")
        futures = [method.future(b"") for _ in range(20)]
        workers[0].stop()
        # gRPC's core cancels what arrives while it shuts down.
        codes = {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert {future.code() for future in futures} <= codes


def test_unknown_model(workers, ask):
    start(workers)
    with pytest.raises(grpc.RpcError) as caught:
        ask(0, "ModelStatistics", oip.ModelStatisticsRequest(name="nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "there is no model 'nothing'; this server has 'iris', 'price'"


def assert_no_answer_while_one_hangs(workers, ask, method, timeout_s):
    workers[0].start()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("1")
        silent.listen()
        with pytest.raises(grpc.RpcError) as caught:
            ask(0, method, timeout=timeout_s)
    assert caught.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)


def test_worker_that_hangs(workers, ask):
    """Its silence is no answer: the sum would be wrong."""
    assert_no_answer_while_one_hangs(workers, ask, "ModelStatistics", 1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["completion-queue"], indirect=True)
def test_worker_that_hangs_for_long(workers, ask):
    """After 20 s gRPC gives up connecting, as it does where nobody listens."""
    assert_no_answer_while_one_hangs(workers, ask, "LogSettings", 22)


def test_question_whose_deadline_has_passed(monkeypatch, tmp_path):
    """It may have waited for its turn behind others."""
    monkeypatch.chdir(tmp_path)

    class Late:
        request = b""
        deadline = time.time() - 3

        def metadata(self, key):
            return None

        def reply(self, response):
            raise AssertionError(response)

        def fail(self, error):
            self.error = error

    late, nothing = Late(), Method(lambda call: None, merge=first_answer)
    group = Workers(("unix:0", "unix:1"), 0)
    names = [f"/inference.GRPCInferenceService/{name}" for name in ("ModelStatistics", "ServerReady", "ModelReady")]
    methods = group.shared_methods(dict.fromkeys(names, nothing), lambda: True)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind("1")
        silent.listen()
        methods[names[0]].handle(late)
        group.close()
    assert late.error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert str(late.error) == "the deadline passed while the request waited for its turn; nobody was asked"


def test_ready_once_all_are(workers, ask):
    def states():
        with grpc.insecure_channel("unix:0", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status
        model = ask(0, "ModelReady", oip.ModelReadyRequest(name="price")).ready
        return ask(0, "ServerReady").ready, model, health

    workers[0].listen()
    assert states() == (False, False, NOT_SERVING)
    workers[0].load()
    assert states() == (False, False, NOT_SERVING)
    workers[0].set_ready()
    assert states() == (True, True, SERVING)
    assert not ask(0, "ModelReady", oip.ModelReadyRequest(name="nothing")).ready


def test_handles_of_cuda_regions_are_for_workers_alone(workers):
    workers[0].listen()
    codes = []
    for address in ("unix:0", f"127.0.0.1:{workers[0].port}"):
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            codes.append(channel.unary_unary(CUDA_REGIONS).future(b"").code())
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED]


def test_processors_are_shared(tmp_path, write_model, caplog):
    write_model(tmp_path, "price", config='[execution]\nmode = "threads"\n')
    processors = available_processors()
    for count, threads in ((1, processors), (processors, 1), (2 * processors, 1)):
        caplog.clear()
        server = Server(ServerSettings(repository=tmp_path), Workers(("unix:none",) * count, 0))
        with caplog.at_level(logging.INFO, "headgate"):
            server.load()
        server.stop()
        assert f"1 x {threads} threads" in caplog.text


def test_what_the_others_have(workers):
    first, second = (server._workers for server in workers)
    assert (first.models(), first.system_regions(), first.cuda_regions()) == (None, [], [])
    workers[1].listen()
    # What is being loaded will be there.
    assert first.models() == [("iris", "1"), ("price", "1")]
    workers[1].load()
    assert first.models() == [("iris", "1"), ("price", "1")]
    workers[1].repository.unload(workers[1].repository.entry("price"))
    assert first.models() == [("iris", "1")]
    assert (second.system_regions(), second.cuda_regions()) == ([], [])
