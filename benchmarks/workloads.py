"""A server with both models of the benchmarks, pinned to one processor, and calls to them from random rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from headgate.benchmarks import bodies
from headgate.benchmarks.address import Address
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.model_calls import ModelCalls
from headgate.benchmarks.models import write_cnn, write_mlp
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.servers import RunningServer, running


@contextmanager
def serving() -> Iterator[tuple[RunningServer, Address]]:
    """Serve the models "mlp" and "cnn" on one processor, and run on the others meanwhile.

    Raises:
        BenchmarkError: this is not Linux, or the server does not start.
    """
    server_processors, load_processors = split_processors()
    with ExitStack() as stack:
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-benchmarks-")))
        write_mlp(repository)
        write_cnn(repository)
        with running_on(server_processors):
            server = stack.enter_context(running("headgate.cli", "serve", str(repository), "--port", "0"))
        stack.enter_context(running_on(load_processors))
        yield server, Address(f"127.0.0.1:{server.port}")


def make_call(calls: ModelCalls, model: str, method: str, timeout_s: float | None = None) -> Call:
    """Make requests of one random row, and check that the server answers them."""
    signature = calls.signature()
    inputs = bodies.random_inputs(signature.inputs, 1, {}, signature.input_meanings)
    requests = bodies.predict_requests(signature, model, 0, inputs, 1)
    call = bodies.make_call(requests, raw="Infer" in method, stream="Stream" in method, timeout_s=timeout_s)
    calls.check(call)
    return call
