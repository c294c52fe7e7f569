"""Heads are calibrated on what models of scikit-learn say of real data, taken for raw outputs."""

from itertools import pairwise

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.regression import ConformalizedQuantileRegressor, SplitConformalRegressor
from scipy.stats import beta, betabinom, kstest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingRegressor, IsolationForest
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression, QuantileRegressor
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.calibration.conformal import conformal_rank
from headgate.exporter.calibration.heads import calibrate_head
from headgate.exporter.calibration.held_out import HeldOut, fingerprint
from headgate.exporter.calibration.plan import CalibrationPlan
from headgate.exporter.errors import CalibrationError
from headgate.exporter.labelled_data import LabelledData
from headgate.v1 import Conformal, DataType, Head, TensorSpec

DIGITS = [str(digit) for digit in range(10)]
SPLITS = range(12)


def held_out(outputs, targets):
    outputs = np.asarray(outputs, np.float32)
    spec = TensorSpec(name="y", datatype=DataType.DATA_TYPE_FP32, shape=[-1, *outputs.shape[1:]])
    return HeldOut([spec], {"y": outputs}, np.asarray(targets))


def decode(head, data, **options):
    return decoder_for(head, data.outputs).decode(data.answers, DecodeOptions(**options))


def head_of(kind, activation="LINEAR", name="h", **fields):
    return Head(name=name, output="y", activation=f"ACTIVATION_{activation}", **{kind: fields})


@pytest.fixture(scope="module")
def digits():
    """What naive Bayes, which is far too sure of itself, says of digits."""
    x, y = load_digits(return_X_y=True)
    x_train, x_rest, y_train, y_rest = train_test_split(x, y, train_size=500, random_state=0)
    model = GaussianNB(var_smoothing=0.1).fit(x_train, y_train)
    return held_out(model.predict_joint_log_proba(x_rest), y_rest)


@pytest.fixture(scope="module")
def tumours():
    x, y = load_breast_cancer(return_X_y=True)
    x_train, x_rest, y_train, y_rest = train_test_split(x[:, :6], y, train_size=150, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e3)).fit(x_train, y_train)
    return held_out(4 * model.decision_function(x_rest)[:, None], y_rest)


@pytest.fixture(scope="module")
def diabetes():
    x, y = load_diabetes(return_X_y=True)
    return train_test_split(x, y, train_size=120, random_state=0)


def lac(digits, diabetes):
    return head_of("multiclass", "LOGITS", labels=DIGITS), digits, CalibrationPlan("temperature", prediction_sets="lac")


def aps(digits, diabetes):
    return head_of("multiclass", "LOGITS", labels=DIGITS), digits, CalibrationPlan("temperature", prediction_sets="aps")


def absolute(digits, diabetes):
    x_train, x_rest, y_train, y_rest = diabetes
    scaling = {"mean": [y_train.mean()], "scale": [y_train.std()]}
    model = LinearRegression().fit(x_train, (y_train - y_train.mean()) / y_train.std())
    head = head_of("regression", scaling=scaling)
    return head, held_out(model.predict(x_rest)[:, None], y_rest[:, None]), CalibrationPlan()


def counted(digits, diabetes):
    head, data, plan = absolute(digits, diabetes)
    logs = np.log(np.maximum(decode(head, data).values, 1))
    return head_of("count", "LOG"), held_out(logs, data.targets), plan


def scaled(digits, diabetes):
    x_train, x_rest, y_train, y_rest = diabetes
    means, deviations = BayesianRidge().fit(x_train, y_train).predict(x_rest, return_std=True)
    head = head_of("mean_variance", spread="SPREAD_STANDARD_DEVIATION")
    # As a model that takes itself for three times as exact.
    return head, held_out(np.stack([means, deviations / 3], axis=1), y_rest[:, None]), CalibrationPlan()


def cqr(digits, diabetes):
    x_train, x_rest, y_train, y_rest = diabetes
    levels = [0.05, 0.1, 0.9, 0.95]
    fits = [QuantileRegressor(quantile=level, alpha=0).fit(x_train, y_train) for level in levels]
    outputs = np.stack([fit.predict(x_rest) for fit in fits], axis=1)
    return head_of("quantile", levels=levels), held_out(outputs, y_rest[:, None]), CalibrationPlan()


def covered(head, data, level):
    columns = decode(head, data, confidence_level=level)
    if head.HasField("multiclass"):
        rows = np.repeat(np.arange(len(data)), np.diff(columns.set_offsets))
        return np.bincount(rows, columns.set_indices == data.targets[rows], len(data)) > 0
    return ((columns.lower <= data.targets) & (data.targets <= columns.upper))[:, 0]


@pytest.mark.parametrize("case", [lac, aps, absolute, counted, scaled, cqr])
def test_intervals_and_sets_hold_the_truth_as_often_as_they_say(case, digits, diabetes):
    """Of m new rows, as many are covered as the beta-binomial distribution of k of n calibrated rows has it."""
    head, data, plan = case(digits, diabetes)
    rates = []
    for seed in SPLITS:
        fitted_rows, new_rows = train_test_split(np.arange(len(data)), test_size=0.5, random_state=seed)
        fitted, notes = calibrate_head(head, data.rows(fitted_rows), plan)
        assert not notes
        new = data.rows(new_rows)
        for entry in fitted.calibration.conformal.levels:
            rows = fitted.calibration.conformal.rows
            rank = conformal_rank(rows, entry.level)
            expected = betabinom(len(new), rank, rows + 1 - rank)
            count = np.count_nonzero(covered(fitted, new, entry.level))
            least, most = expected.ppf([1e-4, 1 - 1e-4])
            # Sets of APS always hold the best label, and so the truth as often as that is right.
            floor = np.count_nonzero(decode(fitted, new).indices == new.targets) if case is aps else 0
            assert least <= count <= max(most, floor), f"split {seed}, level {entry.level}"
            rates.append(count - max(expected.mean(), floor))
    # Over all splits it is neither too often nor too rarely.
    assert np.mean(rates) / len(new) == pytest.approx(0, abs=0.02)


def of_labels(rng, rows):
    """A model of four classes that is right one time in three."""
    targets, logits = rng.integers(0, 4, rows), rng.normal(size=(rows, 4))
    logits[np.arange(rows), targets] += 0.3
    return held_out(logits, targets)


def of_numbers(rng, rows):
    widths = rng.uniform(0.5, 2, rows)
    outputs = np.stack([np.zeros(rows), widths], axis=1)
    return held_out(outputs, rng.normal(0, widths)[:, None])


def of_quantiles(rng, rows):
    widths = rng.uniform(0.5, 2, rows)
    return held_out(np.stack([-widths, widths], axis=1), rng.normal(0, widths)[:, None])


@pytest.mark.parametrize(
    ("head", "draw", "plan"),
    [
        (head_of("multiclass", "LOGITS", labels=list("abcd")), of_labels, CalibrationPlan("none")),
        (
            head_of("multiclass", "LOGITS", labels=list("abcd")),
            of_labels,
            CalibrationPlan("none", prediction_sets="lac"),
        ),
        (head_of("mean_variance", spread="SPREAD_STANDARD_DEVIATION"), of_numbers, CalibrationPlan()),
        (head_of("quantile", levels=[0.1, 0.9]), of_quantiles, CalibrationPlan()),
        (
            head_of("regression"),
            lambda rng, rows: held_out(np.zeros((rows, 1)), rng.normal(size=(rows, 1))),
            CalibrationPlan(),
        ),
    ],
    ids=["aps", "lac", "scaled", "cqr", "absolute"],
)
def test_with_few_rows_the_coverage_is_that_of_the_rank_and_no_other(head, draw, plan):
    """Mean coverage is k / (n + 1): with 19 rows, one rank beside it would be off by 0.05."""
    rows, rng = 19, np.random.default_rng(4)
    new = draw(rng, 2000)
    rates = []
    for _ in range(150):
        fitted, _ = calibrate_head(head, draw(rng, rows), plan)
        rates.append(covered(fitted, new, 0.8).mean())
    rank = conformal_rank(rows, 0.8)
    expected = beta(rank, rows + 1 - rank)
    assert kstest(rates, expected.cdf).pvalue > 1e-3
    assert np.mean(rates) == pytest.approx(expected.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("head", "units"),
    [
        (head_of("regression", scaling={"mean": [0.1], "scale": [0.3], "log1p": True}), 1),
        (head_of("mean_variance", spread="SPREAD_STANDARD_DEVIATION"), 2),
        (head_of("quantile", levels=[0.1, 0.9], scaling={"mean": [0.1], "scale": [0.3]}), 2),
    ],
    ids=["absolute", "scaled", "cqr"],
)
def test_rows_that_are_alike_are_covered_together(head, units):
    """Where many rows lie on the very end of their interval, rounding must not leave them all out."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        outputs = np.repeat(np.abs(rng.normal(3, 1, (1, units))), 200, axis=0)
        data = held_out(outputs, rng.choice([0.1, 0.2, 0.3, 0.7], (200, 1)))
        fitted, _ = calibrate_head(head, data, CalibrationPlan())
        for entry in fitted.calibration.conformal.levels:
            assert covered(fitted, data, entry.level).mean() >= entry.level


@pytest.mark.parametrize("case", [lac, aps, absolute, scaled, cqr])
def test_the_rows_of_the_calibration_itself_are_covered_as_they_were_counted(case, digits, diabetes):
    head, data, plan = case(digits, diabetes)
    fitted, _ = calibrate_head(head, data, CalibrationPlan("none", prediction_sets=plan.prediction_sets))
    for entry in fitted.calibration.conformal.levels:
        rank = conformal_rank(len(data), entry.level)
        count = np.count_nonzero(covered(fitted, data, entry.level))
        # One row lies on the very end of its interval.
        assert count >= rank - 1
        assert count <= rank + 1 or case is aps


@pytest.mark.parametrize("case", [lac, aps, absolute, scaled, cqr])
def test_higher_levels_hold_all_that_lower_ones_do(case, digits, diabetes):
    head, data, plan = case(digits, diabetes)
    fitted, _ = calibrate_head(head, data, plan)
    levels = [entry.level for entry in fitted.calibration.conformal.levels]
    assert levels[:2] == [0.8, 0.9]
    assert fitted.confidence_level == 0.9
    columns = [decode(fitted, data, confidence_level=level) for level in levels]
    for inner, outer in pairwise(columns):
        if head.HasField("multiclass"):
            assert (np.diff(inner.set_offsets) <= np.diff(outer.set_offsets)).all()
            sets = [
                set(zip(np.repeat(np.arange(len(data)), np.diff(one.set_offsets)), one.set_indices, strict=True))
                for one in (inner, outer)
            ]
            assert sets[0] <= sets[1]
            assert case is lac or np.diff(inner.set_offsets).min() > 0
        elif case is not cqr or inner.confidence_level != 0.8:
            # Of CQR other quantiles are widened from level 0.9 on.
            assert (inner.lower >= outer.lower).all()
            assert (inner.upper <= outer.upper).all()


class Prefit(ClassifierMixin, RegressorMixin, BaseEstimator):
    """Says of a row what stands in it."""

    def __init__(self, classes=0):
        self.classes = classes
        self.classes_ = np.arange(classes)

    def fit(self, X, y=None):
        return self

    def predict_proba(self, X):
        return X

    def predict(self, X):
        return X.argmax(axis=1) if self.classes else X[:, 0]


class Column(Prefit):
    def __init__(self, column=0):
        super().__init__()
        self.column = column

    def predict(self, X):
        return X[:, self.column]


def test_lac_sets_are_those_of_mapie(digits):
    head = head_of("multiclass", "LOGITS", labels=DIGITS)
    plan = CalibrationPlan("none", confidence_levels=[0.8, 0.95], prediction_sets="lac")
    known, new = digits.rows(np.arange(600)), digits.rows(np.arange(600, len(digits)))
    fitted, _ = calibrate_head(head, known, plan)
    known_p, new_p = (decode(head, data, include_probabilities=True).probabilities for data in (known, new))
    mapie = SplitConformalClassifier(Prefit(10), confidence_level=[0.8, 0.95], prefit=True)
    _, expected = mapie.conformalize(known_p.astype(float), known.targets).predict_set(new_p.astype(float))
    for position, level in enumerate([0.8, 0.95]):
        columns = decode(fitted, new, confidence_level=level)
        actual = np.zeros((len(new), 10), bool)
        actual[np.repeat(np.arange(len(new)), np.diff(columns.set_offsets)), columns.set_indices] = True
        np.testing.assert_array_equal(actual, expected[:, :, position])


def test_absolute_intervals_are_those_of_mapie(digits, diabetes):
    head, data, plan = absolute(digits, diabetes)
    fitted, _ = calibrate_head(head, data, plan)
    values = decode(head, data).values
    mapie = SplitConformalRegressor(Prefit(), confidence_level=[0.8, 0.9, 0.95], prefit=True)
    _, expected = mapie.conformalize(values, data.targets[:, 0]).predict_interval(values)
    for position, level in enumerate([0.8, 0.9, 0.95]):
        columns = decode(fitted, data, confidence_level=level)
        np.testing.assert_allclose(columns.lower[:, 0], expected[:, 0, position])
        np.testing.assert_allclose(columns.upper[:, 0], expected[:, 1, position])


def test_cqr_intervals_are_those_of_mapie(digits, diabetes):
    head, data, _ = cqr(digits, diabetes)
    fitted, _ = calibrate_head(head, data, CalibrationPlan(confidence_levels=[0.9]))
    values = decode(head, data, confidence_level=0).values[:, 0]
    estimators = [Column(0), Column(3), Column(1)]
    mapie = ConformalizedQuantileRegressor(estimators, confidence_level=0.9, prefit=True)
    mapie.conformalize(values, data.targets[:, 0])
    _, expected = mapie.predict_interval(values, symmetric_correction=True)
    columns = decode(fitted, data, confidence_level=0.9)
    np.testing.assert_allclose(columns.lower[:, 0], expected[:, 0, 0])
    np.testing.assert_allclose(columns.upper[:, 0], expected[:, 1, 0])


def test_probabilities_become_better_on_rows_that_nothing_was_fitted_on(digits, tumours):
    for head, data in (
        (head_of("multiclass", "LOGITS", labels=DIGITS), digits),
        (head_of("binary", "LOGITS", labels=["malignant", "benign"]), tumours),
    ):
        known, new = data.rows(np.arange(0, len(data), 2)), data.rows(np.arange(1, len(data), 2))
        fitted, _ = calibrate_head(head, known, CalibrationPlan("temperature"))
        before, after = (
            log_loss(
                new.targets,
                decode(one, new, include_probabilities=True, confidence_level=0).probabilities.astype(float),
            )
            for one in (head, fitted)
        )
        assert after < before
        own, _, promised = fitted.calibration.metrics
        assert own.after < own.before
        assert promised.after < promised.before


def test_what_was_chosen_is_what_the_head_decides(tumours):
    head = head_of("binary", "LOGITS", labels=["malignant", "benign"])
    fitted, _ = calibrate_head(head, tumours, CalibrationPlan(), "f1")
    [choice] = fitted.calibration.thresholds
    assert fitted.binary.threshold == choice.threshold
    positives = decode(fitted, tumours).positives
    probabilities = decode(fitted, tumours).probabilities
    scores = [f1_score(tumours.targets, probabilities >= threshold) for threshold in np.unique(probabilities)]
    assert f1_score(tumours.targets, positives) == pytest.approx(max(scores))
    assert (positives & (tumours.targets == 1)).sum() / tumours.targets.sum() == pytest.approx(choice.recall)
    assert fitted.calibration.rows == len(tumours)


def test_the_positive_label_may_be_the_first(tumours):
    fitted = [
        calibrate_head(
            head_of("binary", "LOGITS", labels=["malignant", "benign"], positive_label=label),
            tumours,
            CalibrationPlan("platt"),
            "recall>=0.95",
        )[0]
        for label in ("malignant", "benign")
    ]
    first, second = (decode(head, tumours) for head in fitted)
    np.testing.assert_allclose(first.probabilities, 1 - second.probabilities, atol=1e-4)
    assert (first.positives & (tumours.targets == 0)).sum() >= 0.95 * (tumours.targets == 0).sum()
    briers = [head.calibration.metrics[1].after for head in fitted]
    assert briers[0] == pytest.approx(briers[1], rel=1e-3)


def test_each_label_gets_a_threshold_of_its_own(digits):
    """Three questions about digits: is it even, is it large, is it eleven?"""
    targets = np.stack([digits.targets % 2 == 0, digits.targets > 6, np.zeros(len(digits))], axis=1).astype(np.int64)
    outputs = np.random.default_rng(0).normal(2 * targets - 1, 1.5)
    outputs[targets[:, 1].argmin(), 1] = 9
    head = head_of("multilabel", "LOGITS", labels=["even", "large", "eleven"])
    fitted, notes = calibrate_head(head, held_out(outputs, targets), CalibrationPlan(), "precision>=0.8")
    assert [choice.label for choice in fitted.calibration.thresholds] == ["even", "large"]
    assert all(choice.precision >= 0.8 for choice in fitted.calibration.thresholds)
    assert fitted.multilabel.thresholds[2] == 0.5
    assert "'eleven' are in no row" in notes[0]
    with pytest.raises(CalibrationError, match=r"head 'h': label 'large': no threshold reaches precision>=0.99"):
        calibrate_head(head, held_out(outputs, targets), CalibrationPlan("none"), "precision>=0.99")


def test_a_part_of_the_rows_scales_probabilities_and_another_makes_sets(digits):
    head = head_of("multiclass", "LOGITS", labels=DIGITS)
    fitted, _ = calibrate_head(head, digits, CalibrationPlan("temperature"))
    assert fitted.calibration.rows == len(digits)
    assert fitted.calibration.conformal.rows == len(digits) // 2
    assert fitted.calibration.conformal.method == Conformal.METHOD_APS
    whole, _ = calibrate_head(head, digits, CalibrationPlan("none"))
    assert whole.calibration.conformal.rows == len(digits)
    few = digits.rows(np.arange(40))
    with pytest.raises(CalibrationError, match=r"takes 99 rows, there are 20.*of 40 rows 20 scale.*'none'"):
        calibrate_head(head, few, CalibrationPlan("temperature", confidence_levels=[0.99]))
    for rows, scaled in ((1, 1), (38, 19)):
        with pytest.raises(CalibrationError, match=rf"{scaled} rows are too few .* \(of {rows} rows {scaled} scale"):
            calibrate_head(head, digits.rows(np.arange(rows)), CalibrationPlan())
    # Of a single label there is nothing to scale, and all rows make its sets.
    alone = held_out(np.zeros((30, 1)), np.zeros(30, np.int64))
    fitted, _ = calibrate_head(head_of("multiclass", "LOGITS", labels=["it"]), alone, CalibrationPlan())
    assert fitted.calibration.conformal.rows == 30


@pytest.mark.parametrize(
    ("rows", "levels", "least"), [(300, [0.9, 0.999], 1998), (30, None, 39), (39, [0.99], 198), (197, [0.99], 198)]
)
def test_as_many_rows_as_both_parts_take_are_asked_for(digits, rows, levels, least):
    head = head_of("multiclass", "LOGITS", labels=DIGITS)
    with pytest.raises(CalibrationError, match=f"make sets: give {least} in all, or calibration_method='none'"):
        calibrate_head(head, digits.rows(np.arange(rows)), CalibrationPlan(confidence_levels=levels))
    if least <= len(digits):
        calibrate_head(head, digits.rows(np.arange(least)), CalibrationPlan(confidence_levels=levels))


def test_labels_without_rows_are_named(digits, tumours):
    known = digits.rows(np.flatnonzero(~np.isin(digits.targets, (3, 4))))
    _, notes = calibrate_head(head_of("multiclass", "LOGITS", labels=DIGITS), known, CalibrationPlan())
    assert notes == ["head 'h': no row of the calibration data is '3', '4'; what is fitted does not know them"]
    few = digits.rows(np.flatnonzero(digits.targets == 1)[:60])
    _, [note] = calibrate_head(head_of("multiclass", "LOGITS", labels=DIGITS), few, CalibrationPlan())
    assert "'0', '2', '3', '4', '5' and 4 more;" in note
    for label, position in (("malignant", 0), ("benign", 1)):
        one = tumours.rows(np.flatnonzero(tumours.targets == position))
        head = head_of("binary", "LOGITS", labels=["malignant", "benign"])
        fitted, notes = calibrate_head(head, one, CalibrationPlan())
        assert notes == [f"head 'h': all rows of the calibration data are '{label}', so that its probabilities stay"]
        assert not fitted.calibration.HasField("probabilities")


def test_the_same_rows_give_the_same_numbers(digits):
    head = head_of("multiclass", "LOGITS", labels=DIGITS)
    first, second = (calibrate_head(head, digits, CalibrationPlan("temperature"))[0] for _ in range(2))
    assert first == second


def test_several_targets_have_intervals_of_their_own(diabetes):
    x_train, x_rest, y_train, y_rest = diabetes
    model = GradientBoostingRegressor(n_estimators=10, random_state=0).fit(x_train, y_train)
    values = model.predict(x_rest)
    data = held_out(np.stack([values, 10 * values], axis=1), np.stack([y_rest, 10 * y_rest], axis=1))
    fitted, _ = calibrate_head(head_of("regression"), data, CalibrationPlan(confidence_levels=[0.9]))
    [entry] = fitted.calibration.conformal.levels
    assert entry.quantiles[1] == pytest.approx(10 * entry.quantiles[0], rel=1e-5)
    one = HeldOut(data.outputs, data.answers, data.targets[:, :1])
    with pytest.raises(CalibrationError, match="the targets are 1 numbers a row; give 2"):
        calibrate_head(head_of("regression"), one, CalibrationPlan())


@pytest.mark.parametrize("lower_is_anomalous", [False, True])
def test_anomalies_are_what_few_usual_rows_reach(lower_is_anomalous):
    x, y = load_breast_cancer(return_X_y=True)
    forest = IsolationForest(random_state=0).fit(x[y == 1][:150])
    scores = forest.score_samples(x[150:]) * (1 if lower_is_anomalous else -1)
    targets = 1 - y[150:]
    head = head_of("anomaly", lower_is_anomalous=lower_is_anomalous)
    data = held_out(scores[:, None], targets)
    fitted, _ = calibrate_head(head, data, CalibrationPlan(), "percentile:90")
    columns = decode(fitted, data)
    assert columns.anomalous[targets == 0].mean() == pytest.approx(0.1, abs=0.005)
    [choice] = fitted.calibration.thresholds
    assert columns.anomalous[targets == 1].mean() == pytest.approx(choice.recall)
    assert targets[columns.anomalous].mean() == pytest.approx(choice.precision)
    assert len(fitted.anomaly.score_quantiles) == 101
    assert np.quantile(columns.percentiles[targets == 0], [0.25, 0.75]) == pytest.approx([25, 75], abs=1)
    by_recall, _ = calibrate_head(head, data, CalibrationPlan(), "recall>=0.9")
    assert decode(by_recall, data).anomalous[targets == 1].mean() >= 0.9


def test_usual_rows_with_finite_scores_are_needed():
    for scores, targets in (([1, 2], [1, 1]), ([1, np.inf], [0, 0])):
        with pytest.raises(CalibrationError, match="scores of rows that are not anomalous, all finite"):
            calibrate_head(head_of("anomaly"), held_out(np.array(scores)[:, None], targets), CalibrationPlan())


@pytest.mark.parametrize("lower_is_anomalous", [False, True])
def test_anomalous_rows_may_have_infinite_scores(lower_is_anomalous):
    sign = -1 if lower_is_anomalous else 1
    data = held_out(sign * np.array([[1], [2], [3], [2.5], [9], [np.inf]]), [0, 0, 0, 1, 1, 1])
    head = head_of("anomaly", lower_is_anomalous=lower_is_anomalous)
    fitted, _ = calibrate_head(head, data, CalibrationPlan(), "precision>=1")
    assert fitted.anomaly.threshold == sign * 6
    assert decode(fitted, data).anomalous.tolist() == [False, False, False, False, True, True]


@pytest.mark.parametrize("method", ["auto", "temperature", "platt", "isotonic"])
@pytest.mark.parametrize(("kind", "units"), [("binary", 1), ("multiclass", 2), ("multiclass", 3), ("multilabel", 2)])
def test_logits_may_be_infinite(kind, units, method, rng):
    logits = rng.normal(0, 4, (400, units))
    is_true = rng.random((400, units)) < 1 / (1 + np.exp(-logits / 2))
    logits[0], is_true[0] = -np.inf, False
    logits[0, -1] = 1 if kind == "multiclass" else -np.inf
    targets = {"binary": is_true[:, 0], "multilabel": is_true}.get(kind, np.where(is_true, logits, -99).argmax(axis=1))
    labels = [str(label) for label in range(max(units, 2))]
    head, data = head_of(kind, "LOGITS", labels=labels), held_out(logits, targets.astype(np.int64))
    fitted, _ = calibrate_head(head, data, CalibrationPlan(method))
    assert fitted.calibration.probabilities.method or method == "auto"
    assert decode(fitted, data).valid.all()
    assert all(np.isfinite([metric.before, metric.after]).all() for metric in fitted.calibration.metrics)


def test_a_standard_deviation_of_zero_makes_no_interval():
    data = held_out(np.stack([np.arange(20), np.zeros(20)], axis=1), np.arange(20)[:, None] + 1)
    head = head_of("mean_variance", spread="SPREAD_STANDARD_DEVIATION")
    with pytest.raises(
        CalibrationError, match=r"head 'h': answers that hold the truth at level 0\.8 would have no end"
    ):
        calibrate_head(head, data, CalibrationPlan())


def test_rows_without_an_answer_are_left_out(diabetes):
    *_, y_rest = diabetes
    values = np.full((len(y_rest), 1), y_rest.mean())
    values[:7] = np.nan
    fitted, [note] = calibrate_head(head_of("regression"), held_out(values, y_rest[:, None]), CalibrationPlan())
    assert fitted.calibration.rows == len(y_rest) - 7
    assert f"no valid answer for 7 of {len(y_rest)} rows" in note
    with pytest.raises(CalibrationError, match="no valid answer for any of 7 rows"):
        calibrate_head(head_of("regression"), held_out(values[:7], y_rest[:7, None]), CalibrationPlan())


def test_the_level_that_a_head_is_to_answer_with_has_to_be_calibrated(digits, diabetes):
    head, data, _ = absolute(digits, diabetes)
    head.confidence_level = 0.95
    assert calibrate_head(head, data, CalibrationPlan())[0].confidence_level == 0.95
    with pytest.raises(CalibrationError, match=r"head 'h': it is to answer with level 0.95, which is not calibrated"):
        calibrate_head(head, data, CalibrationPlan(confidence_levels=[0.5]))


def test_an_abstain_band_that_leaves_the_chosen_threshold_out_is_refused(tumours):
    head = head_of("binary", "LOGITS", labels=["malignant", "benign"], abstain={"lower": 0.98, "upper": 0.99})
    head.binary.threshold = 0.985
    fitted, [note] = calibrate_head(head, tumours, CalibrationPlan())
    assert fitted.binary.threshold == 0.985
    assert note == "head 'h': its threshold is compared with calibrated probabilities from now on"
    with pytest.raises(CalibrationError, match=r"binary\.abstain"):
        calibrate_head(head, tumours, CalibrationPlan(), "f1")


def test_kinds_without_anything_to_fit_stay_as_they_are():
    head = head_of("ordinal", "LOGITS", labels=["low", "high"], form="FORM_EXCEEDANCE")
    same, notes = calibrate_head(head, held_out(np.zeros((3, 1)), [0, 1, 0]), CalibrationPlan())
    assert same == head
    assert notes == ["head 'h' is ordinal, a kind for which nothing is calibrated"]


def test_the_fingerprint_is_of_names_types_shapes_and_elements():
    base = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    text = {"x": np.array(["ab", "c"], object)}
    variants = [
        LabelledData(base, {"y": np.array([0, 1])}, "labelled"),
        LabelledData(base, {"z": np.array([0, 1])}, "labelled"),
        LabelledData(base, {"y": np.array([1, 0])}, "labelled"),
        LabelledData({"x": base["x"].astype(np.float64)}, {"y": np.array([0, 1])}, "labelled"),
        LabelledData({"x": base["x"].reshape(3, 2)}, {"y": np.array([0, 1])}, "labelled"),
        LabelledData(text, {"y": np.array([0, 1])}, "labelled"),
        LabelledData({"x": np.array(["a", "bc"], object)}, {"y": np.array([0, 1])}, "labelled"),
    ]
    assert len({fingerprint(data) for data in variants}) == len(variants)
    assert fingerprint(variants[0]) == fingerprint(LabelledData(dict(base), {"y": np.array([0, 1])}, "given"))
