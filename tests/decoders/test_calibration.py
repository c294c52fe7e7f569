import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from headgate.decoders import DecodeOptions, HeadError, decoder_for
from headgate.decoders.activations import ABOVE_0, BELOW_1, log_odds, softmax_log_odds
from headgate.decoders.calibration import IsotonicCalibrator
from headgate.v1 import (
    ACTIVATION_LOGITS,
    ACTIVATION_PROBABILITIES,
    BinaryHead,
    Calibration,
    DataType,
    Head,
    IsotonicCurve,
    MulticlassHead,
    MultilabelHead,
    ProbabilityCalibration,
    TensorSpec,
)

TEMPERATURE = ProbabilityCalibration.METHOD_TEMPERATURE
PLATT = ProbabilityCalibration.METHOD_PLATT
ISOTONIC = ProbabilityCalibration.METHOD_ISOTONIC
METHODS = {TEMPERATURE: "temperature", PLATT: "sigmoid", ISOTONIC: "isotonic"}
CLASSES = 4
EVERYTHING = DecodeOptions(include_probabilities=True)
RNG = np.random.default_rng(11)


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose scores are its input."""

    def __init__(self, classes=2):
        self.classes = classes
        self.classes_ = np.arange(classes)

    def fit(self, x, y):
        raise AssertionError("frozen")

    def predict(self, x):
        raise AssertionError("scores are asked for")

    def decision_function(self, x):
        return x[:, 0] if self.classes == 2 else x


class GivenProbabilities(Given):
    decision_function = None

    def predict_proba(self, x):
        return np.hstack([1 - x, x]) if self.classes == 2 else x


def reference(method, scores, y, classes):
    """Fit scikit-learn's calibration; return it and the numbers of our head that say the same."""
    given = (GivenProbabilities if method == ISOTONIC else Given)(classes)
    fitted = CalibratedClassifierCV(FrozenEstimator(given), method=METHODS[method]).fit(scores, y)
    (of_scores,) = fitted.calibrated_classifiers_
    calibrators = of_scores.calibrators
    if method == TEMPERATURE:
        # For two classes scikit-learn's logits are -z and z.
        scale = calibrators[0].beta_ * (2 if classes == 2 else 1)
        return fitted, {"temperatures": [1 / scale]}
    if method == PLATT:
        return fitted, {"slopes": [-each.a_ for each in calibrators], "intercepts": [-each.b_ for each in calibrators]}
    curves = [IsotonicCurve(inputs=each.X_thresholds_, outputs=each.y_thresholds_) for each in calibrators]
    return fitted, {"curves": curves}


def decoder_of(units, activation=ACTIVATION_LOGITS, calibration=None, **kind):
    head = Head(name="h", output="o", activation=activation, **kind)
    if calibration is not None:
        head.calibration.CopyFrom(Calibration(probabilities=ProbabilityCalibration(**calibration)))
    return decoder_for(head, [TensorSpec(name="o", datatype=DataType.DATA_TYPE_FP64, shape=[-1, units])])


def binary(units=1, positive="yes", **fields):
    return decoder_of(units, binary=BinaryHead(labels=["no", "yes"], positive_label=positive), **fields)


def multiclass(classes=CLASSES, **fields):
    return decoder_of(classes, multiclass=MulticlassHead(labels=map(str, range(classes))), **fields)


def multilabel(labels=CLASSES, **fields):
    return decoder_of(labels, multilabel=MultilabelHead(labels=map(str, range(labels))), **fields)


def probabilities(decoder, output):
    return decoder.decode({"o": output}, EVERYTHING).probabilities


@pytest.mark.parametrize("method", METHODS, ids=METHODS.values())
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
@pytest.mark.parametrize("positive", ["no", "yes"])
@pytest.mark.parametrize("units", [1, 2])
def test_binary_heads_agree_with_scikit_learn(units, positive, activation, method):
    z = RNG.normal(scale=4, size=(500, 1))
    y = (RNG.random(500) < scipy.special.expit(z[:, 0] / 2.5 + 0.3)).astype(int)
    fitted, numbers = reference(method, scipy.special.expit(z) if method == ISOTONIC else z, y, 2)
    sign = 1 if positive == "yes" else -1
    output = np.hstack([np.full_like(z, 1.5) - sign * z, np.full_like(z, 1.5)]) if units == 2 else sign * z
    if activation == ACTIVATION_PROBABILITIES:
        output = scipy.special.expit(output) if units == 1 else scipy.special.softmax(output, axis=1)
    decoder = binary(units, positive, activation=activation, calibration={"method": method, **numbers})
    expected = fitted.predict_proba(scipy.special.expit(z) if method == ISOTONIC else z)[:, 1]
    # Curves are steep between neighbours, where float32 is another number than float64.
    tolerance = 1e-4 if method == ISOTONIC else 1e-7
    np.testing.assert_allclose(probabilities(decoder, output), expected, 2e-5, tolerance)
    np.testing.assert_allclose(decoder.log_odds(output), z, 1e-5, 1e-5)


@pytest.mark.parametrize("method", METHODS, ids=METHODS.values())
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
def test_multiclass_heads_agree_with_scikit_learn(activation, method):
    logits = RNG.normal(scale=3, size=(600, CLASSES))
    p = scipy.special.softmax(logits, axis=1)
    y = np.array([RNG.choice(CLASSES, p=row) for row in scipy.special.softmax(logits / 2, axis=1)])
    scores = {TEMPERATURE: logits, PLATT: scipy.special.logit(p), ISOTONIC: p}[method]
    fitted, numbers = reference(method, scores, y, CLASSES)
    output = logits if activation == ACTIVATION_LOGITS else p
    decoder = multiclass(activation=activation, calibration={"method": method, **numbers})
    np.testing.assert_allclose(probabilities(decoder, output), fitted.predict_proba(scores), 2e-5, 1e-7)
    np.testing.assert_allclose(decoder.log_odds(output), scipy.special.logit(p), 1e-6, 1e-9)


@pytest.mark.parametrize("method", METHODS, ids=METHODS.values())
@pytest.mark.parametrize("activation", [ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES])
def test_each_label_of_multilabel_heads_agrees_with_scikit_learn(activation, method):
    z = RNG.normal(scale=4, size=(300, 3))
    p = scipy.special.expit(z)
    fields, expected = {"method": method}, []
    for label in range(3):
        y = (RNG.random(300) < scipy.special.expit(z[:, label] / (1 + label))).astype(int)
        scores = (p if method == ISOTONIC else z)[:, [label]]
        fitted, numbers = reference(method, scores, y, 2)
        expected.append(fitted.predict_proba(scores)[:, 1])
        for name, entries in numbers.items():
            fields.setdefault(name, []).extend(entries)
    output = z if activation == ACTIVATION_LOGITS else p
    decoder = multilabel(3, activation=activation, calibration=fields)
    np.testing.assert_allclose(probabilities(decoder, output), np.transpose(expected), 2e-5, 1e-7)
    np.testing.assert_allclose(decoder.log_odds(output), z, 1e-5, 1e-5)


def test_one_temperature_may_do_for_all_labels():
    output = RNG.normal(size=(5, 3))
    one, each = (multilabel(3, calibration={"method": TEMPERATURE, "temperatures": [2.5] * count}) for count in (1, 3))
    np.testing.assert_array_equal(probabilities(one, output), probabilities(each, output))
    np.testing.assert_allclose(probabilities(one, output), scipy.special.expit(output / 2.5), 1e-6)


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 4), st.integers(2, 6)), elements=st.floats(-345, 345)),
)
def test_log_odds_of_softmax_agree_with_the_definition(logits):
    with np.errstate(all="ignore"):
        actual = softmax_log_odds(logits)
    for row, values in zip(logits, actual, strict=True):
        for k, value in enumerate(values):
            expected = row[k] - scipy.special.logsumexp(np.delete(row, k))
            np.testing.assert_allclose(value, expected, 1e-9, 1e-9)


def test_log_odds_of_softmax_are_infinite_only_where_a_logit_is():
    with np.errstate(all="ignore"):
        odds = multiclass(3).log_odds(np.array([[0, -np.inf, -np.inf], [3e38, -3e38, 0]], np.float32))
    assert np.isfinite(odds).tolist() == [[True, False, False], [True, True, True]]
    assert (odds[:, 0] > 700).all()
    assert (odds[:, 1:] < -700).all()


@pytest.mark.parametrize("row", [[np.nan, 0, 0], [np.inf, 0, 0], [np.inf, np.inf, 0], [-np.inf] * 3], ids=str)
@pytest.mark.parametrize("method", METHODS, ids=METHODS.values())
def test_rows_without_an_answer_are_invalid(method, row):
    fields = {
        TEMPERATURE: {"temperatures": [2]},
        PLATT: {"slopes": [0.0] * 3, "intercepts": [1.0] * 3},
        ISOTONIC: {"curves": [IsotonicCurve(inputs=[0.5], outputs=[0.5])] * 3},
    }[method]
    decoder = multiclass(3, calibration={"method": method, **fields})
    columns = decoder.decode({"o": np.array([row, [0, -np.inf, -np.inf]])}, EVERYTHING)
    assert columns.valid.tolist() == [False, True]
    assert np.isnan(columns.probabilities[0]).all()
    np.testing.assert_allclose(columns.probabilities[1].sum(), 1, 1e-6)


def test_where_the_slope_is_0_the_intercept_says_all():
    fields = {"method": PLATT, "slopes": [0.0, 1.0], "intercepts": [1.0, 0.0]}
    for activation in (ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES):
        decoder = multilabel(2, activation=activation, calibration=fields)
        output = np.array([[np.inf, 0], [-np.inf, 0], [3, 0]]) if activation == ACTIVATION_LOGITS else np.eye(2)
        expected = np.full(len(output), scipy.special.expit(1))
        np.testing.assert_allclose(probabilities(decoder, output)[:, 0], expected, 1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "calibration",
    [
        {"method": TEMPERATURE, "temperatures": [2]},
        {"method": PLATT, "slopes": [0], "intercepts": [1]},
        {"method": ISOTONIC, "curves": [IsotonicCurve(inputs=[0.5], outputs=[0.5])]},
    ],
)
@pytest.mark.parametrize("units", [1, 2])
def test_probabilities_that_are_no_numbers_are_invalid(units, calibration, bad):
    decoder = binary(units, activation=ACTIVATION_PROBABILITIES, calibration=calibration)
    output = np.full((2, units), 0.5)
    output[0, 0] = bad
    assert decoder.decode({"o": output}, EVERYTHING).valid.tolist() == [False, True]


def test_probabilities_of_0_and_1_stay_finite():
    with np.errstate(all="ignore"):
        odds = log_odds(np.array([0, 1, 0.5], np.float32))
    np.testing.assert_allclose(odds, [np.log(ABOVE_0), np.log(BELOW_1 / (1 - np.float64(BELOW_1))), 0], 1e-6)
    decoder = binary(activation=ACTIVATION_PROBABILITIES, calibration={"method": TEMPERATURE, "temperatures": [4]})
    low, high = probabilities(decoder, np.array([[0.0], [1.0]])).tolist()
    assert 0 < low < 0.01
    assert 0.98 < high < 0.99


def test_the_best_of_hardly_possible_classes_is_still_found():
    """Each by itself is less probable than the least float32."""
    slopes, intercepts = [1.0, 2, 1], [-150.0, -152, -154]
    decoder = multiclass(3, calibration={"method": PLATT, "slopes": slopes, "intercepts": intercepts})
    output = np.array([[0.5, 1, 0], [1, 0, 3]], np.float32)
    log_odds = scipy.special.logit(scipy.special.softmax(output.astype(float), axis=1))
    expected = scipy.special.expit(log_odds * slopes + intercepts)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(decoder, output), expected, 1e-5)


def test_where_no_class_is_possible_all_are_alike():
    curve = IsotonicCurve(inputs=[0, 1], outputs=[0, 0])
    decoder = multiclass(4, calibration={"method": ISOTONIC, "curves": [curve] * 4})
    np.testing.assert_array_equal(probabilities(decoder, np.eye(4)), np.full((4, 4), 0.25))


@st.composite
def curves(draw):
    inputs = sorted(draw(st.sets(st.floats(0, 1, width=32), min_size=1, max_size=8)))
    return inputs, sorted(draw(st.lists(st.floats(0, 1), min_size=len(inputs), max_size=len(inputs))))


@given(st.lists(curves(), min_size=1, max_size=4), st.data())
def test_isotonic_curves_agree_with_numpys_interpolation(points, data):
    calibrator = IsotonicCalibrator.from_curves([IsotonicCurve(inputs=x, outputs=y) for x, y in points])
    near = sorted({each for x, _ in points for each in x})
    elements = st.sampled_from([0.0, -0.0, 1.0, 1.0000001, *near]) | st.floats(0, 1, width=32)
    p = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(0, 5)), len(points)), elements=elements))
    with np.errstate(all="ignore"):
        actual = calibrator(p)
    assert actual.dtype == np.float64
    for column, (x, y) in enumerate(points):
        # Numbers below the normal ones of float32 are one.
        x, inside = np.maximum(x, ABOVE_0), np.maximum(p[:, column], ABOVE_0)
        expected = np.array([np.interp(value, *_last_of_each(x, y)) for value in inside])
        np.testing.assert_allclose(actual[:, column], expected.reshape(-1), 1e-5, 1e-7)


def _last_of_each(inputs, outputs):
    kept = dict(zip(inputs.tolist(), outputs, strict=True))
    return list(kept), list(kept.values())


@given(curves(), hnp.arrays(np.float32, (9, 1), elements=st.floats(0, 1, width=32)))
def test_isotonic_curves_never_fall(curve, p):
    inputs, outputs = curve
    calibrator = IsotonicCalibrator.from_curves([IsotonicCurve(inputs=inputs, outputs=outputs)])
    with np.errstate(all="ignore"):
        calibrated = calibrator(np.sort(p, axis=0))[:, 0]
    assert (np.diff(calibrated) >= -1e-7).all()
    assert ((calibrated >= np.float32(outputs[0]) - 1e-7) & (calibrated <= np.float32(outputs[-1]) + 1e-7)).all()


GOOD_CURVE = IsotonicCurve(inputs=[0, 1], outputs=[0, 1])


@pytest.mark.parametrize(
    ("make", "calibration", "field"),
    [
        (binary, {}, "method"),
        (binary, {"method": 77}, "method"),
        (binary, {"method": TEMPERATURE}, "temperatures"),
        (binary, {"method": TEMPERATURE, "temperatures": [1, 1]}, "temperatures"),
        (binary, {"method": TEMPERATURE, "temperatures": [0]}, "temperatures"),
        (binary, {"method": TEMPERATURE, "temperatures": [-1]}, "temperatures"),
        (binary, {"method": TEMPERATURE, "temperatures": [np.nan]}, "temperatures"),
        (binary, {"method": TEMPERATURE, "temperatures": [np.inf]}, "temperatures"),
        (binary, {"method": TEMPERATURE, "temperatures": [1], "slopes": [1]}, "slopes"),
        (binary, {"method": PLATT, "slopes": [1]}, "intercepts"),
        (binary, {"method": PLATT, "slopes": [1, 1], "intercepts": [0, 0]}, "slopes"),
        (binary, {"method": PLATT, "slopes": [np.inf], "intercepts": [0]}, "slopes"),
        (binary, {"method": PLATT, "slopes": [1], "intercepts": [np.nan]}, "intercepts"),
        (binary, {"method": ISOTONIC}, "curves"),
        (binary, {"method": ISOTONIC, "curves": [GOOD_CURVE] * 2}, "curves"),
        (binary, {"method": ISOTONIC, "curves": [IsotonicCurve()]}, "curves"),
        (binary, {"method": ISOTONIC, "curves": [IsotonicCurve(inputs=[0, 1], outputs=[0])]}, "curves"),
        (binary, {"method": ISOTONIC, "curves": [IsotonicCurve(inputs=[0.5, 0.5], outputs=[0, 1])]}, "curves"),
        (binary, {"method": ISOTONIC, "curves": [IsotonicCurve(inputs=[0, 1], outputs=[1, 0])]}, "curves"),
        (binary, {"method": ISOTONIC, "curves": [IsotonicCurve(inputs=[0, 1.5], outputs=[0, 1])]}, "curves"),
        (binary, {"method": ISOTONIC, "curves": [IsotonicCurve(inputs=[0, 1], outputs=[0, np.nan])]}, "curves"),
        (multiclass, {"method": TEMPERATURE, "temperatures": [1] * CLASSES}, "temperatures"),
        (multiclass, {"method": PLATT, "slopes": [1], "intercepts": [1]}, "slopes"),
        (multiclass, {"method": ISOTONIC, "curves": [GOOD_CURVE]}, "curves"),
        (multilabel, {"method": TEMPERATURE, "temperatures": [1] * 2}, "temperatures"),
        (multilabel, {"method": PLATT, "slopes": [1] * CLASSES, "intercepts": [1]}, "intercepts"),
    ],
)
def test_errors_name_the_field(make, calibration, field):
    with pytest.raises(HeadError) as caught:
        make(calibration=calibration)
    assert caught.value.field == f"calibration.probabilities.{field}"
    assert "\n" not in str(caught.value)


def test_a_single_class_cannot_be_calibrated():
    with pytest.raises(HeadError, match=r"^head 'h': calibration.probabilities is set; "):
        multiclass(1, calibration={"method": TEMPERATURE, "temperatures": [1]})
