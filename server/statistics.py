"""What a model has done since it was loaded: plain counters, read by the statistics calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from headgate.server.inference import InferenceRequest


@dataclass(slots=True)
class Duration:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, count: int, ns: int) -> None:
        """Count more."""
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchDurations:
    """The stages of executed batches: counted once a batch."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def add(self, count: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """Count more."""
        self.compute_input.add(count, input_ns)
        self.compute_infer.add(count, infer_ns)
        self.compute_output.add(count, output_ns)


class Statistics:
    """Counters of one model version, since it was loaded.

    Attributes:
        success, fail: requests, from arrival to answer.
        queue: requests, from arrival to the start of their batch.
        stages: requests; each adds the whole time of its batch.
        batches: by batch size in rows; each executed batch adds its time once.
        inference_count: rows that ran.
        execution_count: batches that ran.
        cancelled, expired, refused: requests that did not run, or not all their parts, since the client had gone, since
            their deadline passed or their queue timeout ended while they waited, or since the queue was full or their
            deadline too close.
        lock: held while several counters change together, and while the answers that they count are sent; hold it to
            read them together.
        last_inference_ms: when a batch last ran, in milliseconds since 1970; 0 if never.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.success = Duration()
        self.fail = Duration()
        self.queue = Duration()
        self.stages = BatchDurations()
        self.batches: dict[int, BatchDurations] = {}
        self.inference_count = 0
        self.execution_count = 0
        self.cancelled = 0
        self.expired = 0
        self.refused = 0
        self.last_inference_ms = 0

    def record_batch(
        self,
        requests: Sequence[InferenceRequest],
        rows: int,
        started_ns: int,
        input_ns: int,
        infer_ns: int,
        output_ns: int,
    ) -> None:
        """Count a batch that ran: when it started, and how long its stages took.

        A request that runs in parts is counted with the last of them; the time of each part adds to its time.
        """
        members = len(requests)
        count = sum([not request.parts_after for request in requests])
        waited_ns = members * started_ns - sum([request.arrived_ns for request in requests])
        batch_ns = input_ns + infer_ns + output_ns
        with self.lock:
            self.success.add(count, waited_ns + members * batch_ns)
            self.queue.add(count, waited_ns)
            self.stages.add(count, members * input_ns, members * infer_ns, members * output_ns)
            durations = self.batches.get(rows)
            if durations is None:
                durations = self.batches[rows] = BatchDurations()
            durations.add(1, input_ns, infer_ns, output_ns)
            self.inference_count += rows
            self.execution_count += 1
            self.last_inference_ms = time.time_ns() // 1_000_000

    def record_failure(self, request: InferenceRequest) -> None:
        """Count a request that ran and failed."""
        with self.lock:
            self.fail.add(1, time.perf_counter_ns() - request.arrived_ns)
