"""What headgate is to reach, as ratios to a reference measured in the same run, which hold on other machines too."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.benchmarks.load import Row

_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio that is to be no greater than a target.

    Attributes:
        quantity: an attribute of samples.
        of, to: server, call and requests in flight of the numerator and of the denominator.
    """

    name: str
    at_most: float
    quantity: str
    of: _Key
    to: _Key


@dataclass(frozen=True, slots=True)
class Ratio:
    """What was measured of a goal: the median over the repeats of the ratio within each, and the extremes."""

    goal: Goal
    median: float
    lowest: float
    highest: float

    @property
    def is_reached(self) -> bool:
        return self.median <= self.goal.at_most


GOALS = (
    Goal(
        "ModelInfer / aio unary, CPU at 64",
        0.30,
        "cpu_us",
        ("headgate", "ModelInfer", 64),
        ("grpc.aio echo", "unary", 64),
    ),
    Goal(
        "ModelStreamInfer / aio unary, CPU at 64",
        0.19,
        "cpu_us",
        ("headgate", "ModelStreamInfer", 64),
        ("grpc.aio echo", "unary", 64),
    ),
    Goal(
        "ModelInfer / aio unary, p50 at 1",
        0.65,
        "p50_us",
        ("headgate", "ModelInfer", 1),
        ("grpc.aio echo", "unary", 1),
    ),
    Goal(
        "the same with --busy-poll-us 0",
        0.65,
        "p50_us",
        ("no polling", "ModelInfer", 1),
        ("grpc.aio echo", "unary", 1),
    ),
    Goal(
        "Predict / ModelInfer, CPU at 64",
        1.15,
        "cpu_us",
        ("headgate", "Predict", 64),
        ("headgate", "ModelInfer", 64),
    ),
)


def ratios(rows: Sequence[Row]) -> list[Ratio]:
    """Compare what was measured with the goals."""
    by_key = {(row.server, row.call, row.concurrency): row for row in rows}
    result = []
    for goal in GOALS:
        pairs = zip(by_key[goal.of].samples, by_key[goal.to].samples, strict=True)
        values = [getattr(sample, goal.quantity) / getattr(reference, goal.quantity) for sample, reference in pairs]
        result.append(Ratio(goal, statistics.median(values), min(values), max(values)))
    return result
