"""Decoded predictions as numpy columns: what a decoder makes, a `Prediction` message carries and a client returns.

One dataclass a kind of head. All arrays of one object have one entry a row along axis 0, those of which rows own
different numbers of entries excepted; `headgate.v1.columns.layout` tells which are which.
"""

import numpy as np

from headgate.v1 import prediction_pb2 as pb
from headgate.v1.columns.images import DetectionColumns, KeypointsColumns, SegmentationColumns
from headgate.v1.columns.labels import BinaryColumns, MulticlassColumns, MultilabelColumns, OrdinalColumns
from headgate.v1.columns.layout import (
    BoolArray,
    Columns,
    FloatArray,
    IntArray,
    OffsetArray,
    TextArray,
    join_columns,
    layout_of,
    read_columns,
)
from headgate.v1.columns.numbers import (
    AnomalyColumns,
    CountColumns,
    EmbeddingColumns,
    MeanVarianceColumns,
    QuantileColumns,
    RegressionColumns,
)
from headgate.v1.columns.sequences import CtcColumns, SequenceTagsColumns

__all__ = [
    "AnomalyColumns",
    "BinaryColumns",
    "BoolArray",
    "Columns",
    "CountColumns",
    "CtcColumns",
    "DetectionColumns",
    "EmbeddingColumns",
    "FloatArray",
    "IntArray",
    "KeypointsColumns",
    "MeanVarianceColumns",
    "MulticlassColumns",
    "MultilabelColumns",
    "OffsetArray",
    "OrdinalColumns",
    "QuantileColumns",
    "RegressionColumns",
    "SegmentationColumns",
    "SequenceTagsColumns",
    "TextArray",
    "columns_from_prediction",
    "join_columns",
]

_KINDS: dict[str, type[Columns]] = {
    layout_of(kind).kind: kind
    for kind in (
        RegressionColumns,
        BinaryColumns,
        MulticlassColumns,
        MultilabelColumns,
        QuantileColumns,
        CountColumns,
        MeanVarianceColumns,
        OrdinalColumns,
        EmbeddingColumns,
        SequenceTagsColumns,
        CtcColumns,
        SegmentationColumns,
        DetectionColumns,
        KeypointsColumns,
        AnomalyColumns,
    )
}


def columns_from_prediction(prediction: pb.Prediction, rows: int) -> Columns:
    """Read the columns of a Prediction for `rows` rows.

    Raises:
        ValueError: the prediction is of a kind that this release does not know.
    """
    valid = np.ones(rows, np.bool_)
    valid[list(prediction.invalid_rows)] = False
    kind = prediction.WhichOneof("columns")
    if kind is None:
        raise ValueError(
            f"head '{prediction.head}' answers with a kind of prediction that this client does not know; "
            "upgrade headgate"
        )
    return read_columns(_KINDS[kind], getattr(prediction, kind), valid)
