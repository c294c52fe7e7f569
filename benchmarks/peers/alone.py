"""onnxruntime alone: what all servers share, and none can be faster than."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headgate.benchmarks.load import Sample, percentiles_us
from headgate.benchmarks.models import INPUT, OUTPUT
from headgate.benchmarks.peers.workload import open_session


def run_alone(path: Path, row: NDArray[np.float32], batch: int, warmup_s: float, seconds: float) -> Sample:
    """Run a model on batches, one after the other; a row counts as a request, the latency is that of its batch.

    Args:
        path: of the ONNX file.
        row: float32 [1, ...].
        batch: rows.
        warmup_s: how long it runs before it is measured.
        seconds: how long it is measured.
    """
    session = open_session(path)
    features = {INPUT: np.repeat(row, batch, axis=0)}
    latencies_ns: list[int] = []
    warm = time.perf_counter_ns() + int(warmup_s * 1e9)
    while time.perf_counter_ns() < warm:
        session.run([OUTPUT], features)
    start, start_cpu = now, _ = time.perf_counter_ns(), time.process_time_ns()
    end = start + int(seconds * 1e9)
    while now < end:
        before = now
        session.run([OUTPUT], features)
        now = time.perf_counter_ns()
        latencies_ns.append(now - before)
    p50_us, p99_us = percentiles_us(latencies_ns, (50, 99))
    cpu_ns = time.process_time_ns() - start_cpu
    return Sample(batch * len(latencies_ns), now - start, cpu_ns, 0, p50_us, p99_us)
