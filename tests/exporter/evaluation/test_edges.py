"""Data that tell little, for each kind: no valid row, or a single one."""

import json

import numpy as np
import pytest

from headgate.exporter.evaluation.report import report_of
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_PROBABILITIES, Head

#: The kind, the shape of a row of the output, and the targets of one row.
CASES = {
    "regression": ({}, (2,), {"y": [1.0, 2.0]}),
    "quantile": ({"levels": [0.1, 0.5, 0.9]}, (3,), {"y": 1.0}),
    "count": ({}, (1,), {"y": 1.0}),
    "mean_variance": ({"spread": "SPREAD_VARIANCE"}, (2,), {"y": 1.0}),
    "binary": ({"labels": ["a", "b"], "abstain": {"lower": 0.0, "upper": 1.0}}, (1,), {"y": 1}),
    "multiclass": ({"labels": ["a", "b"], "abstain_below": 1.0}, (2,), {"y": 1}),
    "multilabel": ({"labels": ["a", "b"]}, (2,), {"y": [1, 0]}),
    "ordinal": ({"labels": ["a", "b", "c"], "form": "FORM_CUMULATIVE"}, (2,), {"y": 1}),
    "anomaly": ({"threshold": 0.5}, (1,), {"y": 1}),
    "segmentation": ({"labels": ["a", "b"]}, (2, 3, 2), {"y": np.zeros((2, 3))}),
    "sequence_tags": ({"labels": ["O", "B-x", "I-x"], "scheme": "SCHEME_BIO"}, (4, 3), {"y": [0, 1, 2, -1]}),
    "ctc": ({"labels": ["a", ""]}, (3, 2), {"y": "b"}),
    "embedding": (
        {"prototypes": {"labels": ["a", "b"], "vectors": np.float32([[-1, 0], [0, 1]]).tobytes()}},
        (2,),
        {"y": "a"},
    ),
    "keypoints": ({"names": ["a", "b"], "form": "FORM_COORDINATES"}, (4,), {"y": np.ones((2, 2))}),
    "detection": (
        {"labels": ["a", "b"], "box_format": "BOX_FORMAT_XYXY"},
        (3, 6),
        {"y_boxes": [0, 0, 1, 1], "y_labels": 0, "y_counts": 1},
    ),
}
LINEAR = {"regression", "quantile", "count", "mean_variance", "anomaly", "keypoints", "embedding"}


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("is_valid", [False, True])
@pytest.mark.parametrize("kind", CASES)
def test_all_that_is_known_is_told(evaluate, kind, is_valid, rows):
    fields, shape, target = CASES[kind]
    head = Head(
        name="it",
        output="out",
        activation=ACTIVATION_LINEAR if kind in LINEAR else ACTIVATION_PROBABILITIES,
        **{kind: fields},
    )
    out = np.full((rows, *shape), 0.5 if is_valid else np.nan)
    found = evaluate(head, out, **{name: [value] * rows for name, value in target.items()})
    assert found.invalid_rows == ([] if is_valid else list(range(rows)))
    json.dumps(found.to_dict(), allow_nan=False)
    assert "it" in report_of("page", {}, [found])
    # Nothing is right by chance.
    if not is_valid:
        for name in ("accuracy", "exact_match", "recall", "token_accuracy", "pixel_accuracy", "map_50", "pck_0.1"):
            assert found.scores.metrics.get(name, 0) in (0, pytest.approx(np.nan, nan_ok=True))


@pytest.mark.parametrize("kind", ["regression", "quantile", "count", "mean_variance", "anomaly", "keypoints"])
def test_infinite_numbers_improve_nothing(evaluate, kind):
    fields, shape, target = CASES[kind]
    head = Head(name="it", output="out", activation=ACTIVATION_LINEAR, **{kind: fields})
    out = np.full((8, *shape), 0.5)
    finite = evaluate(head, out, **{name: [value] * 8 for name, value in target.items()})
    out[3] = np.inf
    found = evaluate(head, out, **{name: [value] * 8 for name, value in target.items()})
    json.dumps(found.to_dict(), allow_nan=False)
    assert "it" in report_of("page", {}, [found])
    for name in ("mae", "rmse", "pinball_loss", "mean_distance"):
        assert not found.scores.metrics.get(name, np.inf) < finite.scores.metrics.get(name, np.inf)
    if kind == "regression":
        assert found.scores.metrics["r2"] == -np.inf


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_what_is_no_probability_is_measured_all_the_same(evaluate, kind):
    fields, shape, target = CASES[kind]
    head = Head(name="it", output="out", activation=ACTIVATION_PROBABILITIES, **{kind: fields})
    out = np.linspace(-3, 3, 8).reshape(8, *[1] * len(shape)) * np.ones(shape)
    found = evaluate(head, out, **{name: [value] * 8 for name, value in target.items()})
    assert found.scores.metrics["brier"] > 1
    assert "it" in report_of("page", {}, [found])
