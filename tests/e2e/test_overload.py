"""More requests than a model can serve, from clients that wait no longer than their deadlines."""

import grpc
import numpy as np
import pytest

from headgate.benchmarks.address import Address
from headgate.benchmarks.generator import ClosedLoop, LoadGenerator, OpenLoop
from headgate.benchmarks.headers import status_name
from headgate.benchmarks.model_calls import ModelCalls
from headgate.benchmarks.models import IMAGE, INPUT, write_cnn
from headgate.benchmarks.schedule import Phase
from headgate.benchmarks.servers import running
from headgate.benchmarks.workloads import make_call
from headgate.foreign.open_inference import ModelInferRequest

REFUSALS = {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}
#: So many full batches outlast the load that comes behind them, on a fast machine too.
BATCH, BATCHES = 64, 60


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    repository = tmp_path_factory.mktemp("models")
    write_cnn(repository)
    with running("headgate.cli", "serve", str(repository), "--port", "0") as server:
        yield Address(f"127.0.0.1:{server.port}")


@pytest.fixture(scope="module")
def calls(address):
    with ModelCalls(address, "cnn") as calls:
        yield calls


@pytest.fixture(scope="module")
def generator():
    with LoadGenerator() as generator:
        yield generator


def statuses(tally):
    return {status_name(status) for status in tally.errors}


@pytest.mark.slow
def test_the_excess_is_refused_and_the_rest_answered(address, calls, generator):
    call = make_call(calls, "cnn", "ModelInfer")
    capacity = generator.run(address, call, ClosedLoop(BATCH, 1.0)).throughput
    before = calls.statistics().inference_count
    # Without other work on the machine, a full batch takes a third of this.
    limited = make_call(calls, "cnn", "ModelInfer", timeout_s=3 * BATCH / capacity)
    result = generator.run(address, limited, OpenLoop([Phase(3 * capacity, 2.0)], warmup_s=0, is_poisson=True))
    assert result.requests.ok > 0
    assert result.requests.failed > 0
    assert result.requests.ok + result.requests.failed == result.requests.offered
    assert statuses(result.requests) <= REFUSALS
    # Answered behind the last batch.
    calls.check(call)
    ran = calls.statistics().inference_count - before
    assert result.requests.ok <= ran < result.requests.offered
    after = generator.run(address, call, ClosedLoop(4, 0.5))
    assert after.requests.ok > 0
    assert after.requests.failed == 0


@pytest.mark.slow
def test_what_cannot_be_in_time_is_never_run(address, calls, generator):
    call = make_call(calls, "cnn", "ModelInfer", timeout_s=0.02)
    before = calls.statistics().inference_count
    full = ModelInferRequest(model_name="cnn", raw_input_contents=[np.zeros((BATCH, *IMAGE), np.float32).tobytes()])
    full.inputs.add(name=INPUT, datatype="FP32", shape=[BATCH, *IMAGE])
    with address.channel() as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        waiting = [infer.future(full.SerializeToString()) for _ in range(BATCHES)]
        # Calls of one connection reach the server in the order in which they began.
        channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"")
        result = generator.run(address, call, OpenLoop([Phase(500, 0.3)], warmup_s=0))
        assert not waiting[-1].done()
        assert all(future.code() is grpc.StatusCode.OK for future in waiting)
    assert result.requests.ok == 0
    assert result.requests.failed == result.requests.offered == 150
    assert statuses(result.requests) <= REFUSALS
    calls.check(call)
    assert calls.statistics().inference_count - before == BATCHES * BATCH + 1
