import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import brier_score_loss, log_loss

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.calibration.metrics import probability_metrics
from headgate.exporter.calibration.probabilities import (
    ModelProbabilities,
    choose_scaling,
    cross_validated,
    fit_scaling,
)
from headgate.exporter.errors import CalibrationError
from headgate.v1 import DataType, Head, ProbabilityCalibration, TensorSpec

METHODS = ("temperature", "platt", "isotonic")
LABELS = ["a", "b", "c", "d"]


def binary(rows=2000, seed=0):
    """A model whose logits are twice as large as they should be, and shifted."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (rows, 1))
    targets = (rng.random((rows, 1)) < expit(logits / 2 + 0.3)).astype(np.int64)
    return ModelProbabilities(logits, expit(logits), targets, exclusive=False, labels=["yes"])


def multiclass(rows=2000, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 4, (rows, 4)).astype(np.float32).astype(np.float64)
    cumulated = softmax(logits / 3, axis=1).cumsum(axis=1)
    classes = (rng.random((rows, 1)) > cumulated).sum(axis=1)
    logs = log_softmax(logits, axis=1)
    odds = logs - np.log(-np.expm1(logs))
    return logits, ModelProbabilities(odds, np.exp(logs), np.eye(4, dtype=np.int64)[classes], True, LABELS)


class Scores(ClassifierMixin, BaseEstimator):
    def __init__(self, classes):
        self.classes = classes
        self.classes_ = np.arange(classes)

    def fit(self, X, y):
        return self

    def decision_function(self, X):
        return X

    def predict(self, X):
        return X.argmax(axis=1)


class Probabilities(Scores):
    decision_function = property()

    def predict_proba(self, X):
        return X


def scikit_learn(scores, classes, method):
    model = (Probabilities if method == "isotonic" else Scores)(classes.max() + 1)
    method = {"platt": "sigmoid"}.get(method, method)
    return CalibratedClassifierCV(FrozenEstimator(model), method=method).fit(scores, classes).predict_proba(scores)


def decoded(kind, output, scaling):
    head = Head(name="h", output="y", activation="ACTIVATION_LOGITS", **kind)
    head.calibration.probabilities.CopyFrom(scaling.message)
    spec = TensorSpec(name="y", datatype=DataType.DATA_TYPE_FP64, shape=[-1, output.shape[1]])
    return decoder_for(head, [spec]).decode({"y": output}, DecodeOptions(include_probabilities=True)).probabilities


@pytest.mark.parametrize("method", METHODS)
def test_the_decoder_gives_what_scikit_learn_gives_for_two_classes(method):
    data = binary()
    if method == "temperature":
        # For scikit-learn the negative label's logit is -z.
        expected = scikit_learn(data.log_odds[:, 0] / 2, data.targets[:, 0], method)
    elif method == "isotonic":
        both = np.concatenate([1 - data.probabilities, data.probabilities], axis=1).astype(np.float32)
        expected = scikit_learn(both, data.targets[:, 0], method)
    else:
        expected = scikit_learn(data.log_odds[:, 0], data.targets[:, 0], method)
    actual = decoded({"binary": {"labels": ["no", "yes"]}}, data.log_odds, fit_scaling(data, method))
    # Isotonic curves are steep, and float32 is where the decoder stands on them.
    np.testing.assert_allclose(actual, expected[:, 1], atol=2e-3 if method == "isotonic" else 2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_decoder_gives_what_scikit_learn_gives_for_several_classes(method):
    logits, data = multiclass()
    classes = data.targets.argmax(axis=1)
    scores = {"temperature": logits, "platt": data.log_odds, "isotonic": data.probabilities}[method]
    expected = scikit_learn(scores, classes, method)
    actual = decoded({"multiclass": {"labels": LABELS}}, logits, fit_scaling(data, method))
    np.testing.assert_allclose(actual, expected, atol=2e-3 if method == "isotonic" else 2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_two_labels_that_exclude_each_other_are_calibrated_as_one(method):
    data = binary()
    logits = np.concatenate([np.zeros_like(data.log_odds), data.log_odds], axis=1)
    both = [np.concatenate([-data.log_odds, data.log_odds], axis=1)]
    both += [np.concatenate([1 - part, part], axis=1) for part in (data.probabilities, data.targets)]
    scaling = fit_scaling(ModelProbabilities(*both, exclusive=True, labels=["no", "yes"]), method)
    actual = decoded({"multiclass": {"labels": ["no", "yes"]}}, logits, scaling)
    expected = decoded({"binary": {"labels": ["no", "yes"]}}, data.log_odds, fit_scaling(data, method))
    np.testing.assert_allclose(actual[:, 1], expected, atol=2e-3 if method == "isotonic" else 2e-6)
    np.testing.assert_allclose(scaling.predict(ModelProbabilities(*both, True, ["no", "yes"])), actual, atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_each_label_of_a_multilabel_head_is_fitted_by_itself(method):
    parts = [binary(300, seed) for seed in range(3)]
    data = ModelProbabilities(
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=1)
            for name in ("log_odds", "probabilities", "targets")
        ),
        exclusive=False,
        labels=["a", "b", "c"],
    )
    together = fit_scaling(data, method).predict(data)
    alone = [fit_scaling(part, method).predict(part) for part in parts]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))
    actual = decoded({"multilabel": {"labels": ["a", "b", "c"]}}, data.log_odds, fit_scaling(data, method))
    np.testing.assert_allclose(actual, together, atol=2e-3 if method == "isotonic" else 2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_label_that_is_never_right_stays_as_it_is(method):
    data = binary(200)
    never = ModelProbabilities(data.log_odds, data.probabilities, np.zeros_like(data.targets), False, ["yes"])
    scaling = fit_scaling(never, method)
    np.testing.assert_array_equal(scaling.predict(never), never.probabilities)
    actual = decoded({"binary": {"labels": ["no", "yes"]}}, data.log_odds, scaling)
    np.testing.assert_allclose(actual, data.probabilities[:, 0], atol=1e-6)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_model_without_an_error_is_not_taken_for_infallible(method):
    """Only probabilities of 0 and 1 would be likely enough; a hundred rows do not show that."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (100, 1))
    odds = (2 * targets - 1) * rng.uniform(1, 2, (100, 1))
    data = ModelProbabilities(odds, expit(odds), targets, False, ["yes"])
    _, metrics = choose_scaling(data, method)
    actual = decoded({"binary": {"labels": ["no", "yes"]}}, odds, fit_scaling(data, method))
    np.testing.assert_allclose(actual, data.probabilities[:, 0], atol=1e-6)
    assert all(metric.after == pytest.approx(metric.before) for metric in metrics)
    # Platt smooths the targets by how many there are.
    assert choose_scaling(data, "auto")[0].method == ProbabilityCalibration.METHOD_PLATT


def test_a_model_whose_best_label_is_always_right_keeps_its_temperature():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 100)
    logits = rng.normal(0, 0.3, (100, 4))
    logits[np.arange(100), classes] += 3
    logs = log_softmax(logits, axis=1)
    odds = logs - np.log(-np.expm1(logs))
    data = ModelProbabilities(odds, np.exp(logs), np.eye(4, dtype=np.int64)[classes], True, LABELS)
    scaling, metrics = choose_scaling(data, "temperature")
    assert list(scaling.temperatures) == [1]
    assert all(metric.after == metric.before for metric in metrics)


def test_of_many_labels_one_method_is_tried(monkeypatch):
    _, data = multiclass()
    # A shift of one label, which a temperature cannot undo.
    shifted = data.log_odds + np.array([2, 0, 0, 0])
    shared = ModelProbabilities(shifted, softmax(shifted, axis=1), data.targets, True, LABELS)
    alone = ModelProbabilities(shifted, expit(shifted), data.targets, False, LABELS)
    assert choose_scaling(shared, "auto")[0].method != ProbabilityCalibration.METHOD_TEMPERATURE
    assert choose_scaling(alone.rows(np.arange(500)), "temperature")[0].temperatures
    monkeypatch.setattr("headgate.exporter.calibration.probabilities.MOST_LABELS", 3)
    assert choose_scaling(shared, "auto")[0].method == ProbabilityCalibration.METHOD_TEMPERATURE
    assert choose_scaling(alone, "auto")[0].method == ProbabilityCalibration.METHOD_PLATT


def test_temperature_is_found_again():
    _, data = multiclass(20_000)
    [temperature] = fit_scaling(data, "temperature").message.temperatures
    assert temperature == pytest.approx(3, rel=0.05)


def test_classes_without_rows_do_not_matter_to_the_temperature():
    _, data = multiclass(500)
    kept = data.rows(np.flatnonzero(data.targets[:, 2] == 0))
    scaling = fit_scaling(kept, "temperature")
    [temperature] = scaling.message.temperatures
    assert scaling.predict(data).shape == (500, 4)

    def loss(temperature):
        return log_loss(kept.targets, softmax(np.log(kept.probabilities) / temperature, axis=1))

    assert loss(temperature) <= min(loss(temperature * 1.01), loss(temperature / 1.01))


@pytest.mark.parametrize("method", METHODS)
def test_cross_validation_measures_rows_that_were_left_out(method):
    data = binary(1000)
    crossed = cross_validated(data, method)
    np.testing.assert_array_equal(crossed, cross_validated(data, method))
    everywhere = probability_metrics(fit_scaling(data, method).predict(data), data.targets, exclusive=False)
    left_out = probability_metrics(crossed, data.targets, exclusive=False)
    assert left_out["log_loss"] > everywhere["log_loss"]


def test_the_best_method_is_chosen_and_isotonic_only_with_enough_rows():
    data = binary(5000)
    kinked = (data.probabilities > 0.4).astype(float) * 0.5 + 0.25
    rng = np.random.default_rng(0)
    steps = ModelProbabilities(
        data.log_odds, data.probabilities, (rng.random(kinked.shape) < kinked).astype(np.int64), False, ["yes"]
    )
    names = {1: "temperature", 2: "platt", 3: "isotonic"}
    assert names[choose_scaling(data, "auto")[0].method] == "platt"
    assert names[choose_scaling(steps, "auto")[0].method] == "isotonic"
    assert names[choose_scaling(steps.rows(np.arange(900)), "auto")[0].method] != "isotonic"


def test_a_calibrated_model_stays_as_it_is():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 1, (400, 1))
    targets = (rng.random((400, 1)) < expit(logits)).astype(np.int64)
    data = ModelProbabilities(logits, expit(logits), targets, False, ["yes"])
    scaling, metrics = choose_scaling(data, "auto")
    assert scaling is None
    assert all(metric.before == metric.after for metric in metrics)


def test_metrics_are_better_after_where_the_model_was_wrong():
    _, metrics = choose_scaling(multiclass()[1], "auto")
    assert [metric.metric for metric in metrics] == ["ece", "brier", "log_loss"]
    assert all(metric.after < metric.before for metric in metrics)


def test_metrics_are_those_of_scikit_learn():
    data = binary(300)
    metrics = probability_metrics(data.probabilities, data.targets, exclusive=False)
    assert metrics["log_loss"] == pytest.approx(log_loss(data.targets, data.probabilities))
    assert metrics["brier"] == pytest.approx(brier_score_loss(data.targets, data.probabilities))
    _, data = multiclass(300)
    metrics = probability_metrics(data.probabilities, data.targets, exclusive=True)
    assert metrics["log_loss"] == pytest.approx(log_loss(data.targets, data.probabilities))
    classes = data.targets.argmax(axis=1)
    assert metrics["brier"] == pytest.approx(brier_score_loss(classes, data.probabilities))


@pytest.mark.parametrize("method", ["auto", "none", *METHODS])
def test_what_is_no_probability_is_refused(method):
    data = binary(50)
    logits = ModelProbabilities(data.log_odds, data.log_odds, data.targets, exclusive=False, labels=["yes"])
    with pytest.raises(CalibrationError, match=r"probabilities are from -.* to .*; give the head the activation"):
        choose_scaling(logits, method)


def test_too_few_rows_are_refused():
    with pytest.raises(CalibrationError, match="19 rows are too few"):
        choose_scaling(binary(19), "auto")
    _, data = multiclass(500)
    kept = data.rows(np.flatnonzero(data.targets[:, 2] == 0))
    with pytest.raises(CalibrationError, match="platt scaling needs rows of every label, and there are none of 'c'"):
        choose_scaling(kept, "platt")
    assert choose_scaling(kept, "auto")[0].temperatures
