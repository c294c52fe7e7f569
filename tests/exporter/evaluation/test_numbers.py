import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from headgate.exporter.errors import EvaluationError
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOG, Head

ROWS = 40


def head(activation=ACTIVATION_LINEAR, **kind):
    return Head(name="price", output="out", activation=activation, **kind)


def test_errors_are_those_of_scikit_learn(evaluate, rng):
    y, out = rng.normal(size=ROWS), np.float32(rng.normal(size=(ROWS, 1)))
    found = evaluate(head(regression={"scaling": {"mean": [10.0], "scale": [2.0]}}), out, y=y)
    predicted = out.astype(float) * 2 + 10
    assert found.scores.metrics == {
        "mae": pytest.approx(reference.mean_absolute_error(y, predicted)),
        "rmse": pytest.approx(reference.root_mean_squared_error(y, predicted)),
        "r2": pytest.approx(reference.r2_score(y, predicted)),
    }
    assert (found.rows, found.invalid_rows) == (ROWS, [])


def test_targets_of_different_units_are_not_averaged(evaluate, table_of, rng):
    y, out = rng.normal(size=(ROWS, 2)), np.float32(rng.normal(size=(ROWS, 2)))
    found = evaluate(head(regression={"targets": ["width", "weight"]}), out, y=y)
    assert found.scores.metrics == {"r2": pytest.approx(reference.r2_score(y, out))}
    assert table_of(found, "targets")["weight"]["mae"] == pytest.approx(np.abs(y - out)[:, 1].mean())


def test_invalid_rows_are_named_and_not_covered(evaluate, table_of, rng):
    y, out = rng.normal(size=ROWS), np.float32(rng.normal(size=(ROWS, 1)))
    out[[3, 30]] = np.nan
    conformal = {"method": "METHOD_ABSOLUTE", "rows": 9, "levels": [{"level": 0.8, "quantiles": [1.5]}]}
    found = evaluate(head(regression={}, calibration={"conformal": conformal}), out, y=y)
    assert found.invalid_rows == [3, 30]
    valid = np.isfinite(out[:, 0])
    assert found.scores.metrics["mae"] == pytest.approx(np.abs(y - out[:, 0])[valid].mean())
    covered = np.count_nonzero(np.abs(y - out[:, 0])[valid] <= 1.5) / ROWS
    assert found.scores.metrics["interval_coverage"] == pytest.approx(covered)
    assert found.scores.metrics["interval_mean_width"] == pytest.approx(3)


def test_counts_are_compared_as_they_are_answered(evaluate, rng):
    y, out = rng.poisson(3, ROWS), np.float32(rng.normal(size=(ROWS, 1)))
    found = evaluate(head(ACTIVATION_LOG, count={}), out, y=y)
    assert found.scores.metrics["mae"] == pytest.approx(np.abs(y - np.exp(out[:, 0].astype(float))).mean())


def test_gaussian_intervals_of_the_usual_levels_or_of_one(evaluate, table_of, rng):
    y, out = rng.normal(size=ROWS), np.float32(np.stack([rng.normal(size=ROWS), rng.uniform(0.5, 2, ROWS)], axis=1))
    gaussian = head(mean_variance={"spread": "SPREAD_STANDARD_DEVIATION"})
    found = table_of(evaluate(gaussian, out, y=y), "intervals")
    assert list(found) == [0.5, 0.8, 0.9, 0.95]
    lower, upper = stats.norm.interval(0.8, *out.T.astype(float))
    assert found[0.8]["coverage"] == pytest.approx(((lower <= y) & (y <= upper)).mean())
    assert found[0.8]["mean_width"] == pytest.approx((upper - lower).mean(), rel=1e-6)
    assert list(table_of(evaluate(gaussian, out, level=0.7, y=y), "intervals")) == [0.7]


def test_quantiles(evaluate, table_of, rng):
    y, out = rng.normal(size=ROWS), np.sort(np.float32(rng.normal(size=(ROWS, 3))), axis=1)
    found = evaluate(head(quantile={"levels": [0.1, 0.5, 0.9]}), out, y=y)
    losses = [reference.mean_pinball_loss(y, out[:, i], alpha=level) for i, level in enumerate((0.1, 0.5, 0.9))]
    metrics = found.scores.metrics
    assert metrics["pinball_loss"] == pytest.approx(np.mean(losses))
    assert metrics["mae"] == pytest.approx(np.abs(y - out[:, 1]).mean())
    assert metrics["interval_coverage"] == pytest.approx(((out[:, 0] <= y) & (y <= out[:, 2])).mean())
    assert table_of(found, "quantiles")[0.9]["part_below"] == pytest.approx((y <= out[:, 2]).mean())


def test_quantiles_without_a_median_have_no_errors(evaluate, rng):
    found = evaluate(head(quantile={"levels": [0.7, 0.9]}), rng.normal(size=(ROWS, 2)), y=rng.normal(size=ROWS))
    assert list(found.scores.metrics) == ["pinball_loss"]


def test_a_level_that_the_head_has_not(evaluate, rng):
    with pytest.raises(EvaluationError, match=r"no intervals of confidence level 0\.9"):
        evaluate(head(regression={}), rng.normal(size=(ROWS, 1)), level=0.9, y=rng.normal(size=ROWS))


def test_targets_of_another_number(evaluate, rng):
    with pytest.raises(EvaluationError, match=r"head 'price' have shape \[7, 2\], its answers \[7, 1\]"):
        evaluate(head(regression={}), rng.normal(size=(ROWS, 1)), y=rng.normal(size=(ROWS, 2)))


def test_charts_say_the_unit(evaluate, rng):
    weights = Head(name="weights", output="out", activation=ACTIVATION_LINEAR, regression={"units": ["kg"]})
    for targets, names in ((1, ["weights"]), (2, ["target 0", "target 1"])):
        figures = evaluate(weights, rng.normal(size=(5, targets)), y=rng.normal(size=(5, targets))).scores.figures
        assert [figure.title for figure in figures] == [f"Residuals: {name}" for name in names]
        assert {(figure.x, figure.y) for figure in figures} == {("predicted [kg]", "target - predicted [kg]")}


def test_no_intervals_where_none_are_asked_for(evaluate, rng):
    gaussian = head(mean_variance={"spread": "SPREAD_VARIANCE"})
    found = evaluate(gaussian, rng.random((5, 2)), level=0, y=rng.random(5))
    assert "intervals" not in [table.title for table in found.scores.tables]
