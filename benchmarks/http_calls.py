"""What a call over HTTP costs beside the same over gRPC: `python -m headgate.benchmarks.http_calls`.

Both go to the same server, which shares one processor with its HTTP process; the load generator has the others.
"""

from __future__ import annotations

import http.client
import json
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

from headgate.benchmarks.calls import MODEL, cases
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.http1 import Post
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.load import Row, Target, run_load
from headgate.benchmarks.models import INPUT, LAYERS, write_mlp
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.servers import RunningServer, running

_CONCURRENCIES = (1, 16)
_REPEAT = 5
_SECONDS = 1.0
_WARMUP_S = 0.3


def main() -> None:
    """Print medians for each call: requests/s, p50, and the CPU time of server and HTTP process together."""
    server_processors, load_processors = split_processors()
    with ExitStack() as stack:
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-benchmarks-")))
        write_mlp(repository, MODEL)
        with running_on(server_processors):
            server = stack.enter_context(
                running("headgate.cli", "serve", str(repository), "--port", "0", "--http-port", "0")
            )
        stack.enter_context(running_on(load_processors))
        targets = _targets(server)
        rows = [Row("headgate", name, concurrency) for name in targets for concurrency in _CONCURRENCIES]
        for _ in range(_REPEAT):
            for row in rows:
                row.samples.append(run_load(targets[row.call], row.concurrency, _WARMUP_S, _SECONDS))
    print(f"{'call':30}{'in flight':>10}{'requests/s':>12}{'p50 us':>9}{'CPU us a request':>18}")
    for row in rows:
        rate, p50, cpu = map(row.median, ("requests_per_s", "p50_us", "cpu_us"))
        print(f"{row.call:30}{row.concurrency:10}{rate:12,.0f}{p50:9,.0f}{cpu:18,.0f}")


def _targets(server: RunningServer) -> dict[str, Target]:
    calls = {case.name: case.call for case in cases() if case.server == "headgate"}
    row = np.linspace(-1, 1, LAYERS[0], dtype=np.float32)
    tensor = {"name": INPUT, "datatype": "FP32", "shape": [1, len(row)]}
    binary = tensor | {"parameters": {"binary_data_size": row.nbytes}}
    head = json.dumps({"inputs": [binary], "parameters": {"binary_data_output": True}}).encode()
    length = ("Inference-Header-Content-Length", str(len(head)))
    path = f"/v2/models/{MODEL}"
    asked: dict[str, Call | Post] = {
        "gRPC ModelInfer": calls["ModelInfer"],
        "HTTP infer, binary": Post(f"{path}/infer", head + row.tobytes(), "application/octet-stream", (length,)),
        "HTTP infer, JSON": _post(f"{path}/infer", {"inputs": [tensor | {"data": row.tolist()}]}),
        "gRPC Predict": calls["Predict"],
        "HTTP predict": _post(f"{path}/predict", {"inputs": [row.tolist()]}),
    }
    return {name: _target(server, call) for name, call in asked.items()}


def _post(path: str, body: object) -> Post:
    return Post(path, json.dumps(body).encode(), "application/json")


def _target(server: RunningServer, call: Call | Post) -> Target:
    if isinstance(call, Call):
        return Target(server.port, server.pid, call, None)
    assert server.http_port is not None
    with closing(http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=5)) as connection:
        connection.request("POST", call.path, call.body, {"Content-Type": call.content_type, **dict(call.fields)})
        response = connection.getresponse()
        answer = response.read()
    if response.status != 200:
        raise BenchmarkError(f"{call.path} answers {response.status}: {answer!r}")
    return Target(server.http_port, server.pid, call, len(answer))


if __name__ == "__main__":
    main()
