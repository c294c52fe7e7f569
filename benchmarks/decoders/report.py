"""The timings of a run as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headgate.benchmarks.decoders.timing import Timing
from headgate.benchmarks.machine import software

_NOTES = """\
Calls in one process on one processor, the contenders of a case in turn: their median time, and that of the fastest
sample, which other load and the machine's slow phases disturb least. The last two columns compare each with headgate's
decoder in the same round, by medians: its time as a multiple of headgate's, and how much longer headgate's takes.
"""


def page(machine: dict[str, Any], timings: Sequence[Timing]) -> str:
    """Return a page of Markdown with a table for each case."""
    opening = [
        "# Decoders beside their floors and what people use\n",
        f"{machine['cpu']}, {machine['date']}, {software(machine)}\n",
        _NOTES,
    ]
    return "\n".join([*opening, *(line for timing in timings for line in table(timing))])


def table(timing: Timing) -> Iterator[str]:
    """Yield the lines of one case's table."""
    yield f"## {timing.case.name}\n"
    yield f"Goal: {timing.case.goal}." + (f" Note: {timing.case.note}." if timing.case.note else "") + "\n"
    yield "| contender | time | fastest | x headgate | headgate longer by |"
    yield "|---|---:|---:|---:|---:|"
    for contender in timing.samples:
        longer = timing.beyond(contender)
        times = _in_units(timing.median(contender)), _in_units(min(timing.samples[contender]))
        figures = *times, f"{timing.ratio(contender):.2f}"
        yield f"| {contender} | {' | '.join(figures)} | {_in_units(longer) if longer > 0 else ''} |"
    yield ""


def to_json(machine: dict[str, Any], timings: Sequence[Timing]) -> dict[str, Any]:
    """Return all figures, in seconds, ready for JSON."""
    return {
        "machine": machine,
        "cases": [
            {
                "name": timing.case.name,
                "goal": timing.case.goal,
                "note": timing.case.note,
                "contenders": {
                    name: {"median": timing.median(name), "ratio": timing.ratio(name), "samples": samples}
                    for name, samples in timing.samples.items()
                },
            }
            for timing in timings
        ],
    }


def _in_units(seconds: float) -> str:
    for unit, size in (("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
