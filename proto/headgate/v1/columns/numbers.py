"""Columns of heads that give numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from headgate.v1.columns.layout import BoolArray, Columns, FloatArray, IntArray, PerRow, Shared, TextArray


@dataclass(slots=True)
class RegressionColumns(Columns):
    """Numbers in the targets' own units.

    Attributes:
        values: float64 [rows, targets].
        valid: bool [rows]; False where the model gave NaN.
        target_names: one a target, or empty.
        units: one a target, one for all, or empty.
        lower, upper: float64 [rows, targets], the interval of `confidence_level`; None without.
        confidence_level: how often the interval holds the true value; 0 without intervals.
    """

    values: Annotated[FloatArray, PerRow(np.float64, "targets")]
    valid: BoolArray
    target_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    lower: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    upper: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    confidence_level: float = 0.0


@dataclass(slots=True)
class QuantileColumns(Columns):
    """Quantiles in the targets' own units.

    Attributes:
        values: float64 [rows, targets, levels], ascending along the last axis.
        medians: float64 [rows, targets]; NaN where the levels do not reach from 0.5 or less to 0.5 or more.
        levels: float64 [levels].
        valid: bool [rows]; False where the model gave NaN.
        target_names, units, lower, upper, confidence_level: as in RegressionColumns.
    """

    values: Annotated[FloatArray, PerRow(np.float64, "targets", "levels")]
    medians: Annotated[FloatArray, PerRow(np.float64, "targets")]
    levels: Annotated[FloatArray, Shared(np.float64, "levels")]
    valid: BoolArray
    target_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    lower: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    upper: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    confidence_level: float = 0.0


@dataclass(slots=True)
class CountColumns(Columns):
    """Expected counts, or other numbers that are never negative.

    Attributes:
        means: float64 [rows, targets].
        valid: bool [rows]; False where the model gave NaN, or a negative number.
        target_names, units, lower, upper, confidence_level: as in RegressionColumns.
    """

    means: Annotated[FloatArray, PerRow(np.float64, "targets")]
    valid: BoolArray
    target_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    lower: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    upper: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    confidence_level: float = 0.0


@dataclass(slots=True)
class MeanVarianceColumns(Columns):
    """The mean and the standard deviation of a Gaussian for each target, in the targets' own units.

    Attributes:
        means: float64 [rows, targets].
        standard_deviations: float64 [rows, targets].
        valid: bool [rows]; False where the model gave NaN, a negative spread, or what is not finite.
        target_names, units, lower, upper, confidence_level: as in RegressionColumns.
    """

    means: Annotated[FloatArray, PerRow(np.float64, "targets")]
    standard_deviations: Annotated[FloatArray, PerRow(np.float64, "targets")]
    valid: BoolArray
    target_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    lower: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    upper: Annotated[FloatArray | None, PerRow(np.float64, "targets", level="confidence_level")] = None
    confidence_level: float = 0.0


@dataclass(slots=True)
class AnomalyColumns(Columns):
    """How unusual each row is.

    Attributes:
        scores: float32 [rows].
        valid: bool [rows]; False where the model gave NaN.
        threshold: what was compared with; NaN for a head without.
        anomalous: bool [rows]; None for a head without a threshold.
        percentiles: float32 [rows], 0 to 100, the part of held-out data that is as usual or more; None for a head
            that does not know it.
    """

    scores: Annotated[FloatArray, PerRow(np.float32)]
    valid: BoolArray
    threshold: float
    anomalous: Annotated[BoolArray | None, PerRow(np.bool_)] = None
    percentiles: Annotated[FloatArray | None, PerRow(np.float32)] = None


@dataclass(slots=True)
class EmbeddingColumns(Columns):
    """A vector for each row, and the nearest prototypes.

    Attributes:
        valid: bool [rows]; False where the model gave NaN, or a vector without a direction that has to have one.
        vectors: float32 [rows, dimensions]; None where float16 was asked for.
        half_vectors: float16 [rows, dimensions]; None unless it was asked for.
        labels: str [rows, k], the nearest first; "" in invalid rows. None for a head without prototypes.
        indices: int32 [rows, k], among the head's prototypes; -1 in invalid rows.
        similarities: float32 [rows, k], cosines.
    """

    valid: BoolArray
    vectors: Annotated[FloatArray | None, PerRow(np.float32, "dimensions")] = None
    half_vectors: Annotated[FloatArray | None, PerRow(np.float16, "dimensions", as_bytes=True)] = None
    labels: Annotated[TextArray | None, PerRow(object, "k")] = None
    indices: Annotated[IntArray | None, PerRow(np.int32, "k")] = None
    similarities: Annotated[FloatArray | None, PerRow(np.float32, "k")] = None
