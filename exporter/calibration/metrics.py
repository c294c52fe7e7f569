"""How good probabilities are."""

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.evaluation.reliability import reliability
from headgate.v1.columns import FloatArray

_SMALLEST = np.finfo(np.float64).eps


def probability_metrics(probabilities: FloatArray, targets: NDArray[np.int64], exclusive: bool) -> dict[str, float]:
    """Return "ece", "brier" and "log_loss"; of several labels that do not exclude each other the means over them.

    * ece: the expected calibration error in 15 bins of equal width: of the positive label's probability, or where
      labels exclude each other of that of the most probable (https://arxiv.org/abs/1706.04599).
    * brier: mean((p - y)^2); where labels exclude each other summed over them, 0 to 2.
    * log_loss: mean(-ln p) of what was right, in nats; p counts as 2.2e-16 at least.

    Args:
        probabilities: float64 [rows, labels].
        targets: int64 [rows, labels], 1 where the label is right.
        exclusive: whether exactly one label of a row is right.

    >>> metrics = probability_metrics(np.array([[0.8], [0.4]]), np.array([[1], [0]]), exclusive=False)
    >>> {name: round(value, 3) for name, value in metrics.items()}
    {'ece': 0.3, 'brier': 0.1, 'log_loss': 0.367}
    """
    errors = (probabilities - targets) ** 2
    if exclusive:
        best = probabilities.argmax(axis=1)[:, None]
        confidences, hits = (np.take_along_axis(array, best, axis=1) for array in (probabilities, targets))
        brier, of_right = errors.sum(axis=1).mean(), probabilities[targets == 1]
    else:
        confidences, hits = probabilities, targets
        brier, of_right = errors.mean(), np.where(targets == 1, probabilities, 1 - probabilities)
    gaps = [
        reliability(confidence, hit == 1).expected_calibration_error
        for confidence, hit in zip(confidences.T, hits.T, strict=True)
    ]
    return {
        "ece": float(np.mean(gaps)),
        "brier": float(brier),
        "log_loss": float(-np.log(np.maximum(of_right, _SMALLEST)).mean()),
    }
