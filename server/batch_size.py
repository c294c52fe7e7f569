"""How many rows of a model run at once, found by running it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from headgate.server.errors import StartupError
from headgate.server.session import Session, example_inputs

_log = logging.getLogger(__name__)

#: Takes rows, and returns the seconds that a batch of them takes.
TimeBatch = Callable[[int], float]

_REPEATS = 5
#: Slow batches are run less often.
_ENOUGH_S = 1.0
#: What a batch costs beside its run, about (docs/decisions/0006-queueing.md): threads take turns, and caches are cold.
_BATCH_S = 1e-3
#: By how much a row has to become cheaper for larger batches to be worth their latency.
_GAIN = 0.03


def time_batch(session: Session, rows: int, path: Path) -> float:
    """Warm every batch size up, and return the seconds that a batch of zeros takes (the best of a few).

    Infinite where zeros are no valid input.

    Raises:
        StartupError: an output does not have as many rows.
    """
    inputs = example_inputs(session.inputs, rows)
    try:
        session.warm_up(rows)
        seconds: list[float] = []
        while len(seconds) < _REPEATS and sum(seconds) < _ENOUGH_S:
            start = time.perf_counter()
            outputs = session.run(inputs)
            seconds.append(time.perf_counter() - start)
    except Exception as error:
        # Zeros, or free dimensions of size 1, may be no valid input of a sound model.
        _log.warning("%s cannot be warmed up with zeros, so that its first requests will be slower: %s", path, error)
        return math.inf
    for spec, output in zip(session.outputs, outputs, strict=True):
        if np.ndim(output) == 0 or len(output) != rows:
            raise StartupError(
                f"output '{spec.name}' has shape {list(np.shape(output))} for a batch of {rows} rows; "
                "its first dimension must be the batch"
            )
    return min(seconds)


def largest_batch(seconds: TimeBatch, rows: int, rows_s: float, most_rows: int, limit_s: float) -> tuple[int, float]:
    """Return how many rows, `rows` times a power of two, take less than a limit, and the seconds that they take.

    >>> largest_batch(lambda rows: rows * 1e-6, 64, 64e-6, 1024, 500e-6)
    (256, 0.000256)
    """
    while 2 * rows <= most_rows and (larger_s := seconds(2 * rows)) < limit_s:
        rows, rows_s = 2 * rows, larger_s
    return rows, rows_s


def best_batch(seconds: TimeBatch, most_rows: int) -> tuple[int, float]:
    """Return the fewest rows that cost about as little each as rows in any batch do, and the seconds that they take.

    More would wait longer for each other, and gain nothing. Larger batches are not tried once doubling them twice has
    brought little: those of slow models take long.

    >>> best_batch(lambda rows: 0.010 + rows * 0.001, 64)
    (64, 0.074)
    >>> best_batch(lambda rows: rows * 0.002, 64)
    (16, 0.032)
    """
    sizes: list[tuple[int, float]] = []
    rows = 1
    while rows <= most_rows:
        sizes.append((rows, seconds(rows)))
        if len(sizes) > 2 and _cost(*sizes[-1]) > (1 - _GAIN) * _cost(*sizes[-3]):
            break
        rows *= 2
    least = min(_cost(*size) for size in sizes)
    return next(size for size in sizes if (1 - _GAIN) * _cost(*size) <= least)


def _cost(rows: int, seconds: float) -> float:
    return (seconds + _BATCH_S) / rows
