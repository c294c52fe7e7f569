import numpy as np
import pytest

from headgate.cli.heads import describe_fitting, describe_head
from headgate.exporter.head_settings import KINDS, message_of
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_PROBABILITIES,
    Calibration,
    CalibrationMetric,
    Conformal,
    ConformalLevel,
    Head,
    ProbabilityCalibration,
    ThresholdChoice,
)

ANCHORS = {"levels": [{"stride": 8, "sizes": [32], "ratios": [0.5, 2]}]}


CASES = [
    (
        "regression",
        {"targets": ["a", "b"], "units": "m", "scaling": {"mean": 3, "log1p": True}},
        "targets a, b; in m; scaled back with mean 3 and scale 1, then expm1",
    ),
    ("quantile", {"levels": [0.05, 0.5, 0.95], "units": "kWh"}, "levels 0.05, 0.5, 0.95; in kWh"),
    ("count", {"units": "visits"}, "in visits"),
    (
        "mean_variance",
        {"spread": "log_variance", "spread_output": "s"},
        "spread log variance; spread output 's'",
    ),
    (
        "binary",
        {"labels": ["no", "yes"], "positive_label": "no", "abstain": {"lower": 0.4, "upper": 0.6}},
        "labels no, yes; no where its probability >= 0.5; neither from 0.4 to less than 0.6",
    ),
    (
        "multiclass",
        {"labels": ["a", "b", "c"], "top_k": 2, "groups": [{"name": "ab", "members": ["a", "b"]}]},
        "3 labels: a, b, c; best 2; groups ab (a, b)",
    ),
    ("multilabel", {"labels": ["a", "b"]}, "2 labels: a, b; thresholds 0.5"),
    ("multilabel", {"labels": ["a", "b"], "thresholds": [0.1, 0.2]}, "2 labels: a, b; thresholds 0.1, 0.2"),
    ("ordinal", {"labels": ["low", "high"], "form": "exceedance"}, "2 labels: low, high; form exceedance"),
    (
        "embedding",
        {"normalize": True, "prototypes": {"labels": ["a"], "vectors": np.ones((1, 3))}},
        "normalize; prototypes (1 label: a, 3 numbers of vectors)",
    ),
    (
        "sequence_tags",
        {"labels": ["O", "B-x"], "scheme": "bio", "mask_output": "m"},
        "2 labels: O, B-x; scheme bio; mask output 'm'",
    ),
    ("ctc", {"labels": ["a", ""], "blank": 1, "beam_width": 8}, "2 labels: a, ; blank 1; beam width 8"),
    ("segmentation", {"labels": ["sky"], "layout": "channels_first"}, "1 label: sky; layout channels first"),
    (
        "detection",
        {"labels": ["cat"], "box_format": "anchor_deltas", "anchors": ANCHORS, "relative": True},
        "1 label: cat; box format anchor deltas; relative; anchors (levels (stride 8, sizes 32, ratios 0.5, 2))",
    ),
    ("keypoints", {"names": ["nose", "ear"], "form": "heatmaps"}, "names nose, ear; form heatmaps"),
    (
        "anomaly",
        {"threshold": 2.5, "score_quantiles": [0, 1, 2], "reconstructed_input": "x"},
        "threshold 2.5; percentiles of 3 scores from 0 to 2; reconstructed input 'x'",
    ),
]


@pytest.mark.parametrize(("kind", "fields", "words"), CASES)
def test_every_kind_in_one_line(kind, fields, words):
    head = message_of(Head, {"name": "h", "output": "y", "activation": ACTIVATION_LINEAR, kind: fields}, "")
    assert describe_head(head) == f"h: {kind}, linear of output 'y'; {words}"


def test_no_kind_is_left_out():
    assert {kind for kind, _, _ in CASES} == set(KINDS)


def test_a_kind_of_a_newer_headgate():
    assert describe_head(Head(name="h", output="y")).startswith("h: of a kind that this headgate does not know")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"binary": {}}, "binary, unspecified of output 'y'; labels ;  where its probability >= 0.5"),
        ({"activation": 99, "count": {}}, "count, 99 of output 'y'"),
        ({"count": {}, "calibration": {}}, "count, unspecified of output 'y'; nothing was fitted"),
        (
            {
                "multilabel": {},
                "calibration": {"rows": 3, "probabilities": {"method": 77}, "conformal": {}},
            },
            "multilabel, unspecified of output 'y'; thresholds 0.5; calibrated on 3 rows: 77, intervals at ",
        ),
        ({"detection": {"box_format": 77}}, "detection, unspecified of output 'y'; box format 77"),
    ],
)
def test_heads_that_no_server_would_load(fields, words):
    head = Head(name="h", output="y", **fields)
    assert describe_head(head) == f"h: {words}"
    assert describe_fitting(head) is not None


def test_calibration_in_words():
    head = Head(
        name="ill",
        output="y",
        activation=ACTIVATION_PROBABILITIES,
        description="by the radiologist",
        confidence_level=0.9,
        calibration=Calibration(
            rows=500,
            data_sha256="5e1f",
            fitted_at="2025-01-01T00:00:00Z",
            versions={"scikit-learn": "1.7", "numpy": "2.1"},
            probabilities=ProbabilityCalibration(method="METHOD_ISOTONIC"),
            conformal=Conformal(
                method="METHOD_ABSOLUTE", rows=400, levels=[ConformalLevel(level=0.9, quantiles=[41, 2])]
            ),
            thresholds=[
                ThresholdChoice(label=label, criterion="f1", threshold=0.3, precision=0.9, recall=0.8) for label in "ab"
            ],
            metrics=[CalibrationMetric(metric="log_loss", before=0.5, after=0.25)],
        ),
    )
    head.multilabel.labels.extend(["a", "b"])
    assert describe_head(head) == (
        "ill: multilabel, probabilities of output 'y'; by the radiologist; 2 labels: a, b; thresholds 0.5; "
        "confidence level 0.9; "
        "calibrated on 500 rows: isotonic, log loss 0.5 -> 0.25, intervals at 0.9, thresholds by f1"
    )
    assert describe_fitting(head) == [
        "ill: on 500 rows, SHA-256 5e1f, fitted 2025-01-01T00:00:00Z, numpy 2.1, scikit-learn 1.7",
        "ill: absolute on 400 rows, q at 0.9: 41, 2",
        "ill: threshold of a 0.3 by f1; precision 0.9, recall 0.8 where it was chosen",
        "ill: threshold of b 0.3 by f1; precision 0.9, recall 0.8 where it was chosen",
    ]
