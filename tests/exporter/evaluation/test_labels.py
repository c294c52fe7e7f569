import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as reference

from headgate.v1 import ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, Head

ROWS = 60
LABELS = ["setosa", "versicolor", "virginica"]


def head(activation=ACTIVATION_PROBABILITIES, **kind):
    return Head(name="species", output="out", activation=activation, **kind)


def averages(y, decided):
    found = {}
    for average in ("macro", "micro", "weighted"):
        values = reference.precision_recall_fscore_support(y, decided, average=average, zero_division=0)
        found |= {
            f"{name}_{average}": value for name, value in zip(("precision", "recall", "f1"), values, strict=False)
        }
    return found


def naive_ece(confidences, hits, bins=15):
    """Sum over bins of their part of the rows times |frequency - confidence|."""
    total = 0.0
    for low in np.arange(bins) / bins:
        chosen = (confidences >= low) & ((confidences < low + 1 / bins) | (low + 1 / bins > 1 - 1e-9))
        if chosen.any():
            total += chosen.mean() * abs(hits[chosen].mean() - confidences[chosen].mean())
    return total


@pytest.fixture
def logits(rng):
    y = rng.integers(0, 3, ROWS)
    return y, np.float32(rng.normal(size=(ROWS, 3)) + 1.5 * np.eye(3)[y])


def test_multiclass(evaluate, table_of, logits):
    y, out = logits
    found = evaluate(head(ACTIVATION_LOGITS, multiclass={"labels": LABELS, "top_k": 2}), out, y=y)
    p = softmax(out.astype(float), axis=1)
    decided = p.argmax(axis=1)
    expected = averages(y, decided) | {
        "accuracy": reference.accuracy_score(y, decided),
        "balanced_accuracy": reference.balanced_accuracy_score(y, decided),
        "top_2_accuracy": reference.top_k_accuracy_score(y, p, k=2),
        "roc_auc": reference.roc_auc_score(y, p, multi_class="ovr"),
        "pr_auc": reference.average_precision_score(np.eye(3)[y], p),
        "log_loss": reference.log_loss(y, p),
        "brier": ((p - np.eye(3)[y]) ** 2).sum(axis=1).mean(),
        "ece": naive_ece(p.max(axis=1), decided == y),
    }
    assert found.scores.metrics == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    recalls = reference.recall_score(y, decided, average=None)
    assert [line["recall"] for line in table_of(found, "labels").values()] == pytest.approx(recalls.tolist())
    [matrix] = [figure for figure in found.scores.figures if figure.title == "Confusion matrix"]
    np.testing.assert_array_equal(matrix.counts, reference.confusion_matrix(y, decided))


def test_invalid_rows_are_wrong_and_give_no_probabilities(evaluate, logits):
    y, out = logits
    out[[0, 20]] = np.nan
    found = evaluate(head(ACTIVATION_LOGITS, multiclass={"labels": LABELS}), out, y=y)
    valid = np.isfinite(out).all(axis=1)
    decided = np.where(valid, out.argmax(axis=1), -1)
    assert found.invalid_rows == [0, 20]
    metrics = found.scores.metrics
    assert metrics["accuracy"] == (decided == y).mean()
    assert metrics["recall_macro"] == pytest.approx(
        np.mean([(decided == label)[y == label].mean() for label in range(3)])
    )
    assert metrics["log_loss"] == pytest.approx(reference.log_loss(y[valid], softmax(out[valid].astype(float), axis=1)))
    [matrix] = [figure for figure in found.scores.figures if figure.title == "Confusion matrix"]
    assert matrix.columns[-1] == "(none)"
    assert matrix.counts[:, -1].sum() == 2


def test_classes_that_no_row_has(evaluate):
    p = np.float32([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1]])
    metrics = evaluate(head(multiclass={"labels": LABELS}), p, y=[0, 1, 1]).scores.metrics
    assert (metrics["accuracy"], metrics["balanced_accuracy"], metrics["f1_macro"], metrics["roc_auc"]) == (1, 1, 1, 1)
    one = evaluate(head(multiclass={"labels": LABELS}), p, y=[1, 1, 1])
    assert np.isnan(one.scores.metrics["roc_auc"])
    assert one.to_dict()["metrics"]["roc_auc"] is None


def test_sets_of_labels(evaluate, table_of, rng):
    p, y = rng.dirichlet([1, 1, 1], ROWS), rng.integers(0, 3, ROWS)
    levels = [{"level": 0.6, "quantiles": [0.5]}, {"level": 0.9, "quantiles": [0.85]}]
    conformal = {"method": "METHOD_LAC", "rows": 50, "levels": levels}
    found = evaluate(head(multiclass={"labels": LABELS}, calibration={"conformal": conformal}), p, y=y)
    for level, q in ((0.6, 0.5), (0.9, 0.85)):
        inside = np.float32(p) >= 1 - q
        line = table_of(found, "sets")[level]
        assert line["coverage"] == pytest.approx(inside[np.arange(ROWS), y].mean())
        assert line["mean_size"] == pytest.approx(inside.sum(axis=1).mean())
    # Invalid rows are not covered, and make sets no smaller.
    p[:7] = np.nan
    found = evaluate(head(multiclass={"labels": LABELS}, calibration={"conformal": conformal}), p, y=y)
    inside = np.float32(p) >= 0.5
    assert table_of(found, "sets")[0.6]["coverage"] == pytest.approx(inside[np.arange(ROWS), y].mean())
    assert table_of(found, "sets")[0.6]["mean_size"] == pytest.approx(inside[7:].sum(axis=1).mean())


def test_rows_that_are_abstained_from_are_left_out_of_decisions(evaluate):
    p, y = np.float32([[0.9, 0.1], [0.55, 0.45], [0.2, 0.8], [0.51, 0.49]]), [0, 1, 1, 1]
    kind = {"labels": ["a", "b"], "abstain_below": 0.6}
    metrics = evaluate(head(multiclass=kind), p, y=y).scores.metrics
    assert (metrics["abstained"], metrics["accuracy"]) == (0.5, 1)
    kind = {"labels": ["a", "b"], "abstain": {"lower": 0.4, "upper": 0.6}}
    metrics = evaluate(head(binary=kind), p[:, 1:], y=y).scores.metrics
    assert (metrics["abstained"], metrics["accuracy"]) == (0.5, 1)


@pytest.mark.parametrize("positive", [0, 1])
def test_binary(evaluate, rng, positive):
    y = rng.integers(0, 2, ROWS)
    out = np.float32(rng.normal(size=(ROWS, 1)) + y[:, None])
    kind = {"labels": ["no", "yes"], "positive_label": ["no", "yes"][positive], "threshold": 0.6}
    found = evaluate(head(ACTIVATION_LOGITS, binary=kind), out, y=y).scores.metrics
    truth, p = y == positive, expit(out[:, 0].astype(float) * (1 if positive else -1))
    decided = p >= 0.6
    precision, recall, f1, _ = reference.precision_recall_fscore_support(truth, decided, average="binary")
    expected = averages(truth, decided) | {
        "accuracy": reference.accuracy_score(truth, decided),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, decided),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "roc_auc": reference.roc_auc_score(truth, p),
        "pr_auc": reference.average_precision_score(truth, p),
        "log_loss": reference.log_loss(truth, p),
        "brier": reference.brier_score_loss(truth, p),
        "ece": naive_ece(p, truth),
    }
    assert found == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}


def test_another_threshold_and_the_cost_of_errors(evaluate):
    p, y = np.float32([[0.1], [0.4], [0.6], [0.9]]), [0, 1, 0, 1]
    choice = {"criterion": "cost:false_positive=1,false_negative=5", "threshold": 0.3}
    ill = head(binary={"labels": ["no", "yes"], "threshold": 0.3}, calibration={"thresholds": [choice]})
    [chart] = [one for one in evaluate(ill, p, y=y).scores.figures if one.title.startswith("Cost")]
    assert "false positive 1, false negative 5" in chart.title
    curve, chosen = chart.series
    assert dict(zip(np.round(curve.x, 6).tolist(), curve.y, strict=True))[0.4] == 0.25
    assert (chosen.x, chosen.y) == ([0.3], [0.25])
    assert evaluate(ill, p, threshold=0.7, y=y).scores.metrics["recall"] == 0.5


def test_multilabel(evaluate, table_of, rng):
    y, p = rng.integers(0, 2, (ROWS, 3)), np.float32(rng.random((ROWS, 3)))
    thresholds = [0.3, 0.5, 0.7]
    found = evaluate(head(multilabel={"labels": LABELS, "thresholds": thresholds}), p, y=y)
    decided = p >= thresholds
    columns = list(zip(y.T, decided.T, p.T, strict=True))
    expected = averages(y, decided) | {
        "exact_match": reference.accuracy_score(y, decided),
        "accuracy": 1 - reference.hamming_loss(y, decided),
        "balanced_accuracy": np.mean([reference.balanced_accuracy_score(truth, d) for truth, d, _ in columns]),
        "roc_auc": reference.roc_auc_score(y, p),
        "pr_auc": reference.average_precision_score(y, p),
        "log_loss": np.mean([reference.log_loss(truth, scores) for truth, _, scores in columns]),
        "brier": np.mean([reference.brier_score_loss(truth, scores) for truth, _, scores in columns]),
        "ece": np.mean([naive_ece(scores.astype(float), truth) for truth, _, scores in columns]),
    }
    assert found.scores.metrics == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    line = table_of(found, "labels")["virginica"]
    assert line["threshold"] == 0.7
    assert line["f1"] == pytest.approx(reference.f1_score(y[:, 2], decided[:, 2]))
    assert line["rows"] == y[:, 2].sum()


def test_all_labels_of_an_invalid_row_are_wrong(evaluate):
    p = np.float32([[0.9, 0.1], [np.nan, 0.1]])
    metrics = evaluate(head(multilabel={"labels": ["a", "b"]}), p, y=[[1, 0], [1, 0]]).scores.metrics
    assert (metrics["accuracy"], metrics["exact_match"]) == (0.5, 0.5)


def test_ordinal(evaluate, rng):
    y, out = rng.integers(0, 4, ROWS), np.sort(rng.random((ROWS, 3)), axis=1)[:, ::-1]
    found = evaluate(head(ordinal={"labels": list("abcd"), "form": "FORM_EXCEEDANCE"}), out, y=y).scores.metrics
    ranks = (np.float32(out) > 0.5).sum(axis=1)
    p = -np.diff(np.float32(out), prepend=1, append=0, axis=1).astype(float)
    expected = averages(y, ranks) | {
        "accuracy": reference.accuracy_score(y, ranks),
        "balanced_accuracy": reference.balanced_accuracy_score(y, ranks),
        "rank_mae": np.abs(y - ranks).mean(),
        "quadratic_weighted_kappa": reference.cohen_kappa_score(y, ranks, weights="quadratic"),
        "roc_auc": reference.roc_auc_score(np.eye(4)[y], p),
        "pr_auc": reference.average_precision_score(np.eye(4)[y], p),
        "log_loss": reference.log_loss(y, p),
        "brier": ((p - np.eye(4)[y]) ** 2).sum(axis=1).mean(),
        "ece": naive_ece(p.max(axis=1), p.argmax(axis=1) == y),
    }
    assert found == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}


def test_reliability_shows_how_many_predictions_each_point_stands_for(evaluate):
    out, y = np.float32([[0.9]] * 8 + [[0.1]] * 2), [1] * 8 + [0] * 2
    reliability = evaluate(head(binary={"labels": ["no", "yes"]}), out, y=y).scores.figures[0]
    [bars, points] = reliability.series
    assert (bars.style, bars.x.tolist(), bars.y.tolist()) == ("bars", pytest.approx([0.1, 0.9]), [0.2, 0.8])
    assert points.y.tolist() == [0, 1]


@pytest.mark.parametrize("cost", ["abc", "1e999", "nan", ""])
def test_costs_that_are_none(evaluate, cost):
    choice = {"criterion": f"cost:false_positive={cost},false_negative=1", "threshold": 0.5}
    kind = head(binary={"labels": ["no", "yes"]}, calibration={"thresholds": [choice]})
    charts = [figure.title for figure in evaluate(kind, [[0.4], [0.6]], y=[0, 1]).scores.figures]
    assert "Cost by threshold: yes (false positive 1, false negative 1)" in charts
