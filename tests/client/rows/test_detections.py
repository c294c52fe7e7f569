import json

import numpy as np

from headgate.client.rows import describe_row, plain_rows
from headgate.v1 import Prediction
from headgate.v1.columns import DetectionColumns, columns_from_prediction
from headgate.v1.encoding import prediction_encoder

COLUMNS = DetectionColumns(
    np.array([0, 2, 2, 2]),
    np.array([[1, 2, 30.25, 40], [0, 0, 5, 6]], np.float32),
    np.array(["cat", "dog"], object),
    np.array([0, 1], np.int32),
    np.array([0.97, 0.31], np.float32),
    np.array([True, True, False]),
)
ROWS = [
    {
        "detections": [
            {"label": "cat", "index": 0, "score": 0.97, "box": [1, 2, 30.25, 40]},
            {"label": "dog", "index": 1, "score": 0.31, "box": [0, 0, 5, 6]},
        ],
        "relative": False,
    },
    {"detections": [], "relative": False},
    None,
]
LINES = ["cat (0.97) at 1, 2, 30.25, 40; dog (0.31) at 0, 0, 5, 6", "no box", "invalid: the model gave NaN"]


def test_rows_of_detections():
    message = Prediction.FromString(prediction_encoder("objects", COLUMNS)(0, 3))
    rows = plain_rows(columns_from_prediction(message, 3))
    assert json.loads(json.dumps(rows)) == ROWS
    assert [describe_row(row) for row in rows] == LINES
