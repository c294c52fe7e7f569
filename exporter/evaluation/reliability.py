"""Whether probabilities come true as often as they say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.v1.columns import BoolArray, FloatArray

#: As in https://arxiv.org/abs/1706.04599.
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Predictions by how probable they were said to be, in bins of equal width; empty bins are left out.

    Attributes:
        confidences: float64 [bins], the mean probability.
        frequencies: float64 [bins], how often it came true.
        counts: int64 [bins].
    """

    confidences: FloatArray
    frequencies: FloatArray
    counts: NDArray[np.int64]

    @property
    def expected_calibration_error(self) -> float:
        """The mean of |frequency - confidence| over all predictions (ECE); NaN without any."""
        gaps = np.abs(self.frequencies - self.confidences)
        return float((gaps * self.counts).sum() / self.counts.sum()) if self.counts.size else np.nan


def reliability(probabilities: FloatArray, is_true: BoolArray, bins: int = BINS) -> Reliability:
    """Return how often predictions came true.

    Args:
        probabilities: [predictions], finite: of the positive label, or of the label that was decided for.
        is_true: [predictions].
        bins: how many; bin i holds i / bins <= probability < (i + 1) / bins, the last one 1 too;
            what is not in 0..1 counts in the first or the last one.

    >>> round(reliability(np.array([0.9, 0.9]), np.array([True, False])).expected_calibration_error, 6)
    0.4
    """
    chosen = (probabilities * bins).clip(0, bins - 1).astype(np.int64)
    counts = np.bincount(chosen, minlength=bins)
    filled = counts > 0
    sums = np.bincount(chosen, probabilities, bins), np.bincount(chosen, is_true, bins)
    confidences, frequencies = (total[filled] / counts[filled] for total in sums)
    return Reliability(confidences, frequencies, counts[filled])
