"""A head's columns as those of a DataFrame: one row an example."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from numpy.typing import NDArray

from headgate.v1.columns import (
    AnomalyColumns,
    BinaryColumns,
    Columns,
    CountColumns,
    CtcColumns,
    DetectionColumns,
    EmbeddingColumns,
    KeypointsColumns,
    MeanVarianceColumns,
    MulticlassColumns,
    MultilabelColumns,
    OffsetArray,
    OrdinalColumns,
    QuantileColumns,
    RegressionColumns,
    SegmentationColumns,
    SequenceTagsColumns,
)

#: By name: an array [rows] or [rows, ...], a list with an array for each row, or None for what is not there.
Frame = dict[str, Any]


def frame_of(columns: Columns) -> Frame:
    """Return arrays [rows] and lists of as many arrays, by the names that `Predictions.to_pandas` lists."""
    named = {"valid": columns.valid, **_FRAMES[type(columns)](columns)}
    return {
        name: list(values) if getattr(values, "ndim", 1) > 1 else values
        for name, values in named.items()
        if values is not None
    }


def _split(offsets: OffsetArray | None, **entries: NDArray[Any] | None) -> Frame:
    """Return a list of each row's own entries, for each array of entries."""
    if offsets is None:
        return {}
    bounds = list(pairwise(offsets.tolist()))
    return {name: [array[start:stop] for start, stop in bounds] for name, array in entries.items() if array is not None}


def _binary(columns: BinaryColumns) -> Frame:
    return {
        "label": columns.labels,
        "probability": columns.probabilities,
        "positive": columns.positives,
        "abstained": columns.abstained,
    }


def _multiclass(columns: MulticlassColumns) -> Frame:
    frame = {
        "label": columns.labels,
        "index": columns.indices,
        "score": columns.scores,
        "abstained": columns.abstained,
        "entropy": columns.entropies,
        "margin": columns.margins,
        "probabilities": columns.probabilities,
    }
    if columns.top_labels.shape[1] > 1:
        frame |= {name: getattr(columns, name) for name in ("top_labels", "top_indices", "top_scores")}
    frame |= _split(columns.set_offsets, set_labels=columns.set_labels, set_indices=columns.set_indices)
    if columns.group_scores is not None:
        frame |= {f"group.{name}": columns.group_scores[:, place] for place, name in enumerate(columns.group_names)}
    return frame


def _ordinal(columns: OrdinalColumns) -> Frame:
    return {
        "label": columns.labels,
        "rank": columns.ranks,
        "score": columns.scores,
        "expected_rank": columns.expected_ranks,
        "probabilities": columns.probabilities,
    }


def _multilabel(columns: MultilabelColumns) -> Frame:
    labels = _split(columns.offsets, labels=columns.labels, indices=columns.indices, scores=columns.scores)
    return {**labels, "probabilities": columns.probabilities}


def _regression(columns: RegressionColumns) -> Frame:
    return _targets(columns, value=columns.values)


def _count(columns: CountColumns) -> Frame:
    return _targets(columns, mean=columns.means)


def _mean_variance(columns: MeanVarianceColumns) -> Frame:
    return _targets(columns, mean=columns.means, standard_deviation=columns.standard_deviations)


def _quantile(columns: QuantileColumns) -> Frame:
    levels = {f"quantile_{level:g}": columns.values[:, :, place] for place, level in enumerate(columns.levels)}
    return _targets(columns, median=columns.medians, **levels)


def _targets(
    columns: RegressionColumns | CountColumns | MeanVarianceColumns | QuantileColumns, **numbers: NDArray[Any]
) -> Frame:
    if columns.lower is not None and columns.upper is not None:
        numbers |= {"lower": columns.lower, "upper": columns.upper}
    count = next(iter(numbers.values())).shape[1]
    names = columns.target_names or (range(count) if count > 1 else ())
    prefixes = [f"{name}." for name in names] or [""]
    return {prefix + name: array[:, place] for place, prefix in enumerate(prefixes) for name, array in numbers.items()}


def _anomaly(columns: AnomalyColumns) -> Frame:
    return {"score": columns.scores, "anomalous": columns.anomalous, "percentile": columns.percentiles}


def _embedding(columns: EmbeddingColumns) -> Frame:
    return {
        "vector": columns.half_vectors if columns.vectors is None else columns.vectors,
        "labels": columns.labels,
        "indices": columns.indices,
        "similarities": columns.similarities,
    }


def _sequence_tags(columns: SequenceTagsColumns) -> Frame:
    steps = _split(
        columns.offsets, labels=columns.labels, indices=columns.indices, scores=columns.scores, steps=columns.steps
    )
    spans = _split(
        columns.span_offsets,
        span_labels=columns.span_labels,
        span_scores=columns.span_scores,
        span_starts=columns.span_starts,
        span_ends=columns.span_ends,
    )
    return steps | spans


def _ctc(columns: CtcColumns) -> Frame:
    k = columns.texts.shape[1]
    tokens = _split(columns.token_offsets, tokens=columns.tokens)["tokens"]
    frame = {"text": columns.texts[:, 0], "log_probability": columns.log_probabilities[:, 0], "tokens": tokens[::k]}
    if k > 1:
        frame |= {"top_texts": columns.texts, "top_log_probabilities": columns.log_probabilities}
    return frame


def _segmentation(columns: SegmentationColumns) -> Frame:
    frame: Frame = {f"area.{label}": columns.areas[:, place] for place, label in enumerate(columns.labels)}
    frame["class_map"] = columns.class_maps
    # One list for each label of each row.
    for runs in _split(columns.run_offsets, runs=columns.runs).values():
        count = len(columns.labels)
        frame |= {f"runs.{label}": runs[place::count] for place, label in enumerate(columns.labels)}
    return frame


def _keypoints(columns: KeypointsColumns) -> Frame:
    frame: Frame = {}
    for place, name in enumerate(columns.names):
        frame |= {f"{name}.x": columns.points[:, place, 0], f"{name}.y": columns.points[:, place, 1]}
        if columns.scores is not None:
            frame[f"{name}.score"] = columns.scores[:, place]
    return frame


def _detection(columns: DetectionColumns) -> Frame:
    return _split(
        columns.offsets,
        labels=columns.labels,
        indices=columns.indices,
        scores=columns.scores,
        boxes=columns.boxes,
    )


_FRAMES: dict[type[Columns], Callable[[Any], Frame]] = {
    AnomalyColumns: _anomaly,
    BinaryColumns: _binary,
    CountColumns: _count,
    CtcColumns: _ctc,
    DetectionColumns: _detection,
    EmbeddingColumns: _embedding,
    KeypointsColumns: _keypoints,
    MeanVarianceColumns: _mean_variance,
    MulticlassColumns: _multiclass,
    MultilabelColumns: _multilabel,
    OrdinalColumns: _ordinal,
    QuantileColumns: _quantile,
    RegressionColumns: _regression,
    SegmentationColumns: _segmentation,
    SequenceTagsColumns: _sequence_tags,
}
