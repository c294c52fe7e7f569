"""What each model has done, as `headgate.v1` tells it."""

from __future__ import annotations

from headgate.server.repository import ModelEntry
from headgate.v1 import ModelStatistics


def describe_statistics(entry: ModelEntry) -> ModelStatistics:
    """Make the ModelStatistics of a version; without counters where it is not loaded."""
    described = ModelStatistics(name=entry.name, version=entry.version, state=f"STATE_{entry.state.name}")
    model = entry.model
    if model is None:
        return described
    counted = model.statistics
    with counted.lock:
        described.succeeded, described.request_ns = counted.success.count, counted.success.ns
        described.queue_ns = counted.queue.ns
        described.failed = counted.fail.count
        for rows in sorted(counted.batches):
            stages = counted.batches[rows]
            described.batches.add(
                rows=rows,
                count=stages.compute_infer.count,
                input_ns=stages.compute_input.ns,
                infer_ns=stages.compute_infer.ns,
                output_ns=stages.compute_output.ns,
            )
    described.refused, described.expired, described.cancelled = counted.refused, counted.expired, counted.cancelled
    described.queued = model.scheduler.queued
    return described
