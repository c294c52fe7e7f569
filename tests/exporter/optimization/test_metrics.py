import numpy as np
import pytest
from sklearn import metrics as reference

from headgate.exporter.errors import OptimizationError
from headgate.exporter.evaluation.models import SCORERS
from headgate.exporter.labelled_data import labelled_data
from headgate.exporter.optimization.metrics import BOUNDED_METRICS, SCORES, agreement_data, fidelity, metrics_of
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_LOG,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    DataType,
    Head,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TargetScaling,
    TensorSpec,
)

X = TensorSpec(name="features", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2])
SPECIES = Head(
    name="species",
    output="out",
    activation=ACTIVATION_PROBABILITIES,
    multiclass=MulticlassHead(labels=["setosa", "versicolor", "virginica"]),
)
ILL = Head(name="ill", output="p", activation=ACTIVATION_PROBABILITIES, binary=BinaryHead(labels=["no", "yes"]))
TAGS = Head(name="tags", output="t", activation=ACTIVATION_PROBABILITIES, multilabel=MultilabelHead(labels=["a", "b"]))
PRICE = Head(
    name="price",
    output="z",
    activation=ACTIVATION_LINEAR,
    regression=RegressionHead(scaling=TargetScaling(mean=[10.0], scale=[2.0])),
)
INPUTS = np.zeros((4, 2), np.float32)


def data(head, y, **more):
    return labelled_data([X], [head], {"x": INPUTS, "y": y, **more})


def test_accuracy_is_the_part_of_the_rows_that_are_right():
    raw = np.float32([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.0, 0.4, 0.6]])
    assert metrics_of(data(SPECIES, [0, 2, 1, 2]), {"out": raw}, [SPECIES]) == {("species", "accuracy"): 0.75}


def test_binary_decisions_are_made_at_the_heads_threshold():
    raw = np.float32([[0.4], [0.6], [0.9], [0.1]])
    strict = Head()
    strict.CopyFrom(ILL)
    strict.binary.threshold = 0.7
    y = ["no", "yes", "yes", "no"]
    assert metrics_of(data(ILL, y), {"p": raw}, [ILL])["ill", "accuracy"] == 1
    assert metrics_of(data(strict, y), {"p": raw}, [strict])["ill", "accuracy"] == 0.75


def test_every_label_of_a_multilabel_head_counts():
    raw = np.float32([[0.9, 0.1], [0.9, 0.9], [0.1, 0.1], [np.nan, 0.9]])
    y = np.array([[1, 0], [1, 0], [0, 0], [1, 1]])
    assert metrics_of(data(TAGS, y), {"t": raw}, [TAGS])["tags", "accuracy"] == 5 / 8


def test_numbers_are_compared_in_the_targets_own_unit(rng):
    y = rng.normal(10, 2, 4)
    raw = np.float32((y - 10) / 2 + [[0.1], [-0.1], [0.2], [0.0]][0])[:, None]
    values = metrics_of(data(PRICE, y), {"z": raw}, [PRICE])
    predicted = raw[:, 0].astype(float) * 2 + 10
    assert values["price", "mae"] == pytest.approx(reference.mean_absolute_error(y, predicted), rel=1e-5)
    assert values["price", "r2"] == pytest.approx(reference.r2_score(y, predicted), rel=1e-5)


def test_numbers_of_other_kinds_are_decoded_too(rng):
    raw = np.float32(rng.normal(size=(4, 1)))
    counts = Head(name="visits", output="v", activation=ACTIVATION_LOG, count={})
    y = rng.poisson(2, 4)
    mae = reference.mean_absolute_error(y, np.exp(raw[:, 0].astype(float)))
    assert metrics_of(data(counts, y), {"v": raw}, [counts])["visits", "mae"] == pytest.approx(mae)


def test_other_kinds_have_the_scores_of_an_evaluation(rng):
    quantiles = Head(name="price", output="q", activation=ACTIVATION_LINEAR, quantile={"levels": [0.1, 0.5, 0.9]})
    y, raw = rng.normal(5, 2, 4), np.sort(np.float32(rng.normal(5, 2, (4, 3))))
    found = metrics_of(data(quantiles, y), {"q": raw}, [quantiles])
    pinball = [
        reference.mean_pinball_loss(y, raw[:, index], alpha=level) for index, level in enumerate([0.1, 0.5, 0.9])
    ]
    assert found == {
        ("price", "r2"): pytest.approx(reference.r2_score(y, raw[:, 1])),
        ("price", "mae"): pytest.approx(reference.mean_absolute_error(y, raw[:, 1])),
        ("price", "pinball_loss"): pytest.approx(np.mean(pinball)),
    }

    lesions = Head(
        name="lesions", output="m", activation=ACTIVATION_PROBABILITIES, segmentation={"labels": ["a", "b", "c"]}
    )
    scores, true = rng.dirichlet([1, 1, 1], (4, 5, 6)).astype(np.float32), rng.integers(0, 3, (4, 5, 6))
    iou = reference.jaccard_score(true.ravel(), scores.argmax(axis=-1).ravel(), average="macro")
    found = metrics_of(data(lesions, true), {"m": scores}, [lesions])
    assert found == {("lesions", "mean_iou"): pytest.approx(iou)}
    with pytest.raises(
        OptimizationError, match=r"targets for head 'lesions' have shape \[4, 6, 5\], its answers \[4, 5, 6\]"
    ):
        metrics_of(data(lesions, true.transpose(0, 2, 1)), {"m": scores}, [lesions])

    odd = Head(name="odd", output="s", activation=ACTIVATION_LINEAR, anomaly={})
    raw = np.float32([[0.1], [0.7], [0.4], [0.6]])
    assert metrics_of(data(odd, [0, 1, 0, 0]), {"s": raw}, [odd]) == {("odd", "roc_auc"): 1}
    # Without targets there is nothing to compare with.
    assert metrics_of(labelled_data([X], [odd], {"x": INPUTS}), {"s": raw}, [odd]) == {}


def test_each_kind_has_a_metric_to_bound():
    kinds = set(SCORERS) - {"regression", "count", "mean_variance", "binary", "multiclass", "ordinal", "multilabel"}
    assert kinds == set(SCORES)
    assert {names[0] for names in SCORES.values()} <= BOUNDED_METRICS


def test_a_model_agrees_with_itself_and_not_with_nonsense(rng):
    answers = {
        "out": rng.dirichlet([1, 1, 1], 4).astype(np.float32),
        "embedding": np.float32(rng.standard_normal((4, 2, 3))),
        "ids": np.arange(4),
    }
    agreement = agreement_data({"features": INPUTS}, answers, [SPECIES], "random")
    assert metrics_of(agreement, answers, [SPECIES]) == {
        ("species", "accuracy"): 1,
        ("embedding", "r2"): 1,
        ("embedding", "mae"): 0,
    }
    broken = {**answers, "embedding": np.full((4, 2, 3), np.nan, np.float32), "out": np.roll(answers["out"], 1, axis=1)}
    values = metrics_of(agreement, broken, [SPECIES])
    assert values["species", "accuracy"] == 0
    assert values["embedding", "r2"] == -np.inf


def test_fidelity_is_r2_of_all_elements(rng):
    before, noise = rng.normal(5, 2, (40, 3)), rng.normal(0, 1, (40, 3))
    expected = reference.r2_score(before, before + noise, multioutput="variance_weighted")
    assert fidelity(before, before + noise) == pytest.approx(expected, abs=0.01)
    assert fidelity(before, before) == 1
    assert fidelity(before, np.where(noise > 2, np.nan, before)) == -np.inf


def test_what_never_varies_may_be_off_by_a_little():
    constant = np.full((4, 2), 3.0)
    assert fidelity(constant, constant + 1e-4) > 0.99
    assert fidelity(constant, constant + 0.1) < 0
    # A single row tells nothing of how an output varies.
    assert fidelity(constant[:1], constant[:1] * 1.02) < 0
