"""Shapes of models: how layers are put together, where the model comes from, and what it computes in."""

from headgate.benchmarks.coverage.cases import Case
from headgate.benchmarks.coverage.shapes import functional, networks, precision, sources, subclassed

CASES: list[Case] = [
    *functional.CASES,
    *subclassed.CASES,
    *networks.CASES,
    *precision.CASES,
    *sources.CASES,
]
