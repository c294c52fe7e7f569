"""What settings of gRPC's core do to headgate's transport: `python -m headgate.benchmarks.grpc_experiments`.

Each setting of GRPC_EXPERIMENTS is given to an echo server of its own; they are measured in turns.
"""

from __future__ import annotations

from contextlib import ExitStack

from headgate.benchmarks import echo
from headgate.benchmarks.calls import cases
from headgate.benchmarks.http2 import Call
from headgate.benchmarks.load import Sample, Target, run_load
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.servers import running

SETTINGS = (
    "",
    "-event_engine_listener",
    "-event_engine_callback_cq",
    "fuse_filters",
    "pollset_alternative",
    "memory_optimization_01,memory_optimization_02",
    "use_call_event_engine_in_completion_queue",
)
_REPEAT = 6


def main() -> None:
    """Print the best of the repeats for each setting: CPU µs a request at 64 and 1 in flight, and the latency at 1."""
    request = next(case.call.request for case in cases() if case.name == "ModelInfer")
    call = Call(echo.UNARY, request, is_stream=False)
    server_processors, load_processors = split_processors()
    with ExitStack() as stack:
        with running_on(server_processors):
            servers = {
                setting: stack.enter_context(
                    running("headgate.benchmarks.echo", "headgate", environment={"GRPC_EXPERIMENTS": setting})
                )
                for setting in SETTINGS
            }
        stack.enter_context(running_on(load_processors))
        samples: dict[tuple[str, int], list[Sample]] = {}
        for _ in range(_REPEAT):
            for setting, server in servers.items():
                for concurrency in (64, 1):
                    target = Target(server.port, server.pid, call, len(request))
                    samples.setdefault((setting, concurrency), []).append(run_load(target, concurrency, 0.15, 0.5))
    print(f"{'GRPC_EXPERIMENTS':50}{'CPU at 64':>11}{'CPU at 1':>10}{'p50 at 1':>10}")
    for setting in SETTINGS:
        many, one = samples[setting, 64], samples[setting, 1]
        cpu_many, cpu_one = min(sample.cpu_us for sample in many), min(sample.cpu_us for sample in one)
        p50 = min(sample.p50_us for sample in one)
        print(f"{setting or '(none)':50}{cpu_many:11.1f}{cpu_one:10.1f}{p50:10.0f}")


if __name__ == "__main__":
    main()
