"""How often nothing must be ready before a turn of the I/O loop ends: `python -m headgate.benchmarks.idle_polls`.

The more polls, the larger the batches, and the more of them find nothing. Each number of polls is given to a server of
its own; they are measured in turns, with ModelInfer on an MLP that runs on the I/O thread.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from headgate.benchmarks.address import Address
from headgate.benchmarks.calls import MODEL, cases
from headgate.benchmarks.load import Sample, Target, run_load
from headgate.benchmarks.model_calls import Breakdown, ModelCalls
from headgate.benchmarks.models import write_mlp
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.servers import running
from headgate.cli import main as run_command
from headgate.cli.serve import GRPC_ENVIRONMENT
from headgate.server.transport import completion_queue

POLLS = (0, 1, 2, 4, 8, 16)
_REPEAT = 7
_SECONDS = 0.7


def main() -> None:
    """Print medians for each number of polls: CPU µs a request and rows a batch at 64 in flight, and p50 at 1."""
    case = next(case for case in cases() if case.name == "ModelInfer")
    server_processors, load_processors = split_processors()
    with ExitStack() as stack:
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-benchmarks-")))
        write_mlp(repository, MODEL).parents[1].joinpath("config.toml").write_text('[execution]\nmode = "inline"\n')
        with running_on(server_processors):
            servers = {
                polls: stack.enter_context(
                    running("headgate.benchmarks.idle_polls", str(polls), str(repository), environment=GRPC_ENVIRONMENT)
                )
                for polls in POLLS
            }
        stack.enter_context(running_on(load_processors))
        many: dict[int, list[tuple[Sample, float]]] = {}
        one: dict[int, list[Sample]] = {}
        for _ in range(_REPEAT):
            for polls, server in servers.items():
                target = Target(server.port, server.pid, case.call, None)
                with ModelCalls(Address(f"127.0.0.1:{server.port}"), MODEL) as calls:
                    before = calls.statistics()
                    sample = run_load(target, 64, 0.15, _SECONDS)
                    breakdown = Breakdown.between(before, calls.statistics())
                many.setdefault(polls, []).append((sample, breakdown.batch_rows if breakdown else 0.0))
                one.setdefault(polls, []).append(run_load(target, 1, 0.15, _SECONDS))
    print(f"{'polls':>6}{'CPU at 64':>12}{'rows a batch':>14}{'p50 at 1':>10}")
    for polls in POLLS:
        cpu = statistics.median(sample.cpu_us for sample, _ in many[polls])
        rows = statistics.median(rows for _, rows in many[polls])
        print(f"{polls:6}{cpu:12.1f}{rows:14.1f}{statistics.median(sample.p50_us for sample in one[polls]):10.0f}")


def serve(polls: int, repository: str) -> None:
    """Serve with a number of polls."""
    completion_queue._IDLE_POLLS = polls
    run_command(["serve", repository, "--port", "0"])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        serve(int(sys.argv[1]), sys.argv[2])
    else:
        main()
