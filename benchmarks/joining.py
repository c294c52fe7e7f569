"""What it costs to join a batch's inputs, in new memory and in memory that was used before:
`python -m headgate.benchmarks.joining`.

Medians for batches of 64 one-row requests, whose elements are new objects each time, as in a server. The crossover of
the two is `headgate.server.joining.LARGE_BYTES`.
"""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from types import SimpleNamespace
from typing import Any

from headgate.server import joining
from headgate.server.inference import InferenceRequest
from headgate.server.joining import InputJoiner
from headgate.v1 import DataType, TensorSpec

_REQUESTS = 64


def main() -> None:
    """Print a table: microseconds and page faults a batch, by bytes a row."""
    print(f"{'bytes a row':>12}{'MiB a batch':>13}{'new, µs':>10}{'faults':>8}{'used, µs':>10}{'faults':>8}")
    for row_bytes in (40, 1_000, 4_000, 8_000, 16_000, 32_000, 64_000, 150_000, 600_000, 3_000_000):
        new, used = (_cost(row_bytes, large_bytes) for large_bytes in (sys.maxsize, 0))
        print(
            f"{row_bytes:12}{row_bytes * _REQUESTS / 2**20:13.2f}"
            + "".join(f"{us:10.1f}{n:8}" for us, n in (new, used))
        )


def _cost(row_bytes: int, large_bytes: int) -> tuple[float, int]:
    """Return the medians of microseconds and page faults that a batch costs; large ones reuse memory."""
    joining.LARGE_BYTES = large_bytes
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_UINT8, shape=[-1, row_bytes])
    joiner = InputJoiner(0, spec)
    call: Any = SimpleNamespace(deadline=math.inf)
    renderer: Any = None
    costs = []
    for _ in range(max(20, min(1000, 10**9 // (row_bytes * _REQUESTS)))):
        requests = [InferenceRequest(call, [bytes(bytearray(row_bytes))], 1, (), renderer) for _ in range(_REQUESTS)]
        faults, start = _page_faults(), time.perf_counter()
        joiner.join(requests, _REQUESTS)
        costs.append((time.perf_counter() - start, _page_faults() - faults))
    return statistics.median([cost[0] for cost in costs]) * 1e6, round(statistics.median([cost[1] for cost in costs]))


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    main()
