"""The counters: what perf_analyzer subtracts and divides must add up."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from headgate.server.statistics import Statistics

NS = st.integers(0, 10**9)
BATCHES = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 9), NS), min_size=1, max_size=6), NS, NS, NS, NS), max_size=20
)


def record(statistics, batches):
    """Record batches of requests (rows, nanoseconds waited), with the times of their stages."""
    for requests, started_after, *stages in batches:
        started = 10**10 + started_after
        members = [SimpleNamespace(rows=rows, arrived_ns=started - waited, parts_after=0) for rows, waited in requests]
        statistics.record_batch(members, sum(rows for rows, _ in requests), started, *stages)


@given(BATCHES)
def test_sums(batches):
    statistics = Statistics()
    record(statistics, batches)
    requests = [(rows, waited, stages) for members, _, *stages in batches for rows, waited in members]
    assert statistics.inference_count == sum(rows for rows, _, _ in requests)
    assert statistics.execution_count == len(batches)
    assert (statistics.queue.count, statistics.queue.ns) == (len(requests), sum(waited for _, waited, _ in requests))
    stages = statistics.stages
    for i, duration in enumerate((stages.compute_input, stages.compute_infer, stages.compute_output)):
        assert (duration.count, duration.ns) == (len(requests), sum(stages[i] for _, _, stages in requests))
    # A request's time is its wait and the whole of its batch.
    assert statistics.success.count == len(requests)
    assert statistics.success.ns == statistics.queue.ns + sum(
        duration.ns for duration in (stages.compute_input, stages.compute_infer, stages.compute_output)
    )


@given(BATCHES)
def test_batches_by_size(batches):
    statistics = Statistics()
    record(statistics, batches)
    by_size = statistics.batches
    assert (
        sum(size * durations.compute_infer.count for size, durations in by_size.items()) == statistics.inference_count
    )
    assert sum(durations.compute_infer.count for durations in by_size.values()) == statistics.execution_count
    assert sum(durations.compute_output.ns for durations in by_size.values()) == sum(batch[-1] for batch in batches)


@given(BATCHES, BATCHES)
def test_counters_only_grow(first, second):
    def numbers(statistics):
        return [
            statistics.success.count, statistics.success.ns, statistics.queue.ns, statistics.inference_count,
            statistics.execution_count, statistics.last_inference_ms,
        ]  # fmt: skip

    statistics = Statistics()
    assert numbers(statistics) == [0] * 6
    record(statistics, first)
    before = numbers(statistics)
    record(statistics, second)
    assert all(now >= then for now, then in zip(numbers(statistics), before, strict=True))


def test_failures():
    statistics = Statistics()
    statistics.record_failure(SimpleNamespace(arrived_ns=0))
    assert statistics.fail.count == 1
    assert statistics.fail.ns > 0
    assert statistics.success.count == statistics.execution_count == 0
