"""Calibration of exported models: held-out data goes through the ONNX file that is served."""

import keras
import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.metrics import f1_score, log_loss
from sklearn.preprocessing import StandardScaler

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter import export_model
from headgate.exporter.errors import CalibrationError, ModelLoadError, VerificationError
from headgate.exporter.libraries import quiet
from headgate.exporter.proof.sessions import run_in_batches
from headgate.v1 import ProbabilityCalibration
from headgate.v1.golden import GOLDEN_FILE, golden_from_bytes


def shuffled(load):
    x, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return StandardScaler().fit_transform(x).astype(np.float32)[order], y[order]


@pytest.fixture(scope="module")
def tumours():
    return shuffled(load_breast_cancer)


@pytest.fixture(scope="module")
def network(tumours):
    """A network that was trained for so long on so few rows that it is too sure of itself."""
    x, y = tumours
    keras.utils.set_random_seed(0)
    with quiet():
        layers = [keras.layers.Dense(32, "relu"), keras.layers.Dense(1, name="diagnosis")]
        model = keras.Sequential([keras.Input((30,), name="cells"), *layers], name="tumours")
        model.compile(keras.optimizers.Adam(0.02), keras.losses.BinaryCrossentropy(from_logits=True))
        model.fit(x[:120], y[:120], epochs=60, batch_size=120, verbose=0)
    return model


def predictions(report, exported, inputs, **options):
    [head] = report.signature.heads
    session = exported(report.path).session
    names = [spec.name for spec in report.signature.outputs]
    answers = dict(zip(names, session.run(names, inputs), strict=True))
    return decoder_for(head, report.signature.outputs).decode(answers, DecodeOptions(**options))


def test_the_decoder_of_the_exported_file_gives_calibrated_answers(network, tumours, tmp_path, exported, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    x, y = tumours
    arguments = {"labels": ["malignant", "benign"], "calibration": (x[120:420], y[120:420]), "choose_threshold": "f1"}
    stages = []
    own = export_model(network, tmp_path, labels=["malignant", "benign"])
    report = export_model(network, tmp_path, progress=stages.append, **arguments)
    assert stages.index("convert") < stages.index("calibrate") < stages.index("write")
    parts = [stage.removeprefix("calibrate: ") for stage in stages if stage.startswith("calibrate: ")]
    assert parts[0] == "10 % of 300 rows"
    assert parts[-2:] == ["100 % of 300 rows", "head 'diagnosis'"]
    assert len(parts) == 11
    assert exported(report.path).signature == report.signature
    [head] = report.signature.heads
    calibration = head.calibration
    assert calibration.rows == 300
    assert calibration.fitted_at == "2023-11-14T22:13:20Z"
    assert calibration.versions["scikit-learn"] == sklearn.__version__
    assert len(calibration.data_sha256) == 64
    assert calibration.probabilities.method in (
        ProbabilityCalibration.METHOD_TEMPERATURE,
        ProbabilityCalibration.METHOD_PLATT,
    )
    assert all(metric.after < metric.before for metric in calibration.metrics if metric.metric == "log_loss")
    new = {"cells": x[420:]}
    before, after = (predictions(one, exported, new) for one in (own, report))
    assert log_loss(y[420:], after.probabilities.astype(float)) < log_loss(y[420:], before.probabilities.astype(float))
    assert after.threshold == calibration.thresholds[0].threshold
    assert f1_score(y[420:], after.positives) > 0.9
    # Servers compare what they decode with what was decoded at export.
    golden = golden_from_bytes(
        report.path.with_name(GOLDEN_FILE).read_bytes(), report.signature.verification.golden_examples_sha256
    )
    assert golden.response.predictions[0].binary.threshold == after.threshold
    again = export_model(network, tmp_path, **arguments)
    assert again.signature == report.signature


def test_what_is_calibrated_is_the_model_that_is_served(network, tumours, tmp_path, exported):
    """Eight bits answer otherwise than float32, and what is fitted is fitted to them."""
    x, y = tumours
    arguments = {"calibration": {"cells": x[120:], "diagnosis": y[120:]}, "calibration_method": "platt"}
    wide, narrow = (
        export_model(network, tmp_path, max_metric_loss=0.2, int8=int8, **arguments) for int8 in (None, "dynamic")
    )
    slopes = [report.signature.heads[0].calibration.probabilities.slopes[0] for report in (wide, narrow)]
    assert slopes[0] != slopes[1]
    # Without labelled= the same data measures what the step costs.
    accuracy = next(change for change in narrow.signature.optimizations[0].metrics if change.metric == "accuracy")
    assert (accuracy.rows, accuracy.targets) == (len(x) - 120, "labelled")


def test_each_head_with_targets_is_calibrated(tmp_path, exported):
    flowers, species = shuffled(load_iris)
    inputs = keras.Input((4,), name="flower")
    # Weights that were not trained are as good as any: the promise does not depend on the model.
    species_head = keras.layers.Dense(3, activation="softmax", name="species")(inputs)
    size_head = keras.layers.Dense(1, name="size")(inputs)
    model = keras.Model(inputs, [species_head, size_head], name="iris")
    size = flowers.sum(axis=1)
    data = {"flower": flowers[:120], "species": species[:120]}
    report = export_model(model, tmp_path, calibration=data, labels=["setosa", "versicolor", "virginica"])
    heads = {head.name: head for head in report.signature.heads}
    assert heads["species"].confidence_level == 0.9
    assert heads["species"].calibration.conformal.rows == 60
    assert not heads["size"].HasField("calibration")
    both = export_model(
        model,
        tmp_path,
        calibration=({"flower": flowers}, {"species": species, "size": size}),
        confidence_levels=[0.5, 0.95],
        prediction_sets="aps",
    )
    assert [level.level for level in both.signature.heads[1].calibration.conformal.levels] == [0.5, 0.95]
    assert both.signature.heads[1].confidence_level == 0.5


def test_only_what_calibrated_heads_read_is_kept(tmp_path, monkeypatch):
    """Maps beside a score would fill the memory."""
    kept = []

    def run(session, outputs, inputs, progress):
        kept.extend(outputs)
        return run_in_batches(session, outputs, inputs, progress)

    monkeypatch.setattr("headgate.exporter.calibration.heads.run_in_batches", run)
    inputs = keras.Input((2,), name="x")
    outputs = [keras.layers.Dense(1, name=name)(inputs) for name in ("price", "area")]
    x = np.random.default_rng(0).random((40, 2))
    export_model(keras.Model(inputs, outputs, name="m"), tmp_path, calibration={"x": x, "area": x.sum(axis=1)})
    assert kept == ["area"]


def test_columns_of_a_table_go_where_their_features_are(network, tumours, tmp_path):
    x, y = tumours
    names = [f"c{number}" for number in range(30)]
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(x[120:420], columns=names)
    arguments = {"feature_names": names, "optimize": "cpu"}
    reports = [
        export_model(network, tmp_path, calibration=(one, y[120:420]), labelled=(one, y[120:420]), **arguments)
        for one in (x[120:420], table, table[names[::-1]])
    ]
    numbers = [report.signature.heads[0].calibration.probabilities for report in reports]
    assert numbers[0] == numbers[1] == numbers[2]
    with pytest.raises(ModelLoadError, match="the rows of the labelled data have the columns"):
        export_model(network, tmp_path, feature_names=names, calibration=(table[names[:5]], y[120:420]))


def test_a_dry_run_of_a_head_whose_level_is_to_be_calibrated(tmp_path, dense):
    x = np.random.default_rng(0).random((30, 4))
    arguments = {"heads": {"out": {"kind": "regression", "confidence_level": 0.8}}, "calibration": (x, x.sum(axis=1))}
    looked, exported_ = (export_model(dense(), tmp_path, dry_run=dry, **arguments) for dry in (True, False))
    assert decoder_for(looked.signature.heads[0], looked.signature.outputs)
    assert exported_.signature.heads[0].confidence_level == 0.8


def test_intervals_hold_the_truth_in_the_unit_of_the_target(tmp_path, exported):
    x, y = shuffled(load_diabetes)
    mean, scale = y[:200].mean(), y[:200].std()
    weights = np.linalg.lstsq(x[:200], (y[:200] - mean) / scale)[0]
    model = keras.Sequential([keras.Input((10,), name="x"), keras.layers.Dense(1, name="progression")], name="diabetes")
    model.layers[0].set_weights([weights[:, None], np.zeros(1)])
    report = export_model(
        model,
        tmp_path,
        target_scaling={"mean": mean, "scale": scale},
        calibration=(x[200:340], y[200:340]),
        confidence_levels=[0.8, 0.95],
    )
    columns = predictions(report, exported, {"x": x[340:]}, confidence_level=0.8)
    covered = (columns.lower[:, 0] <= y[340:]) & (y[340:] <= columns.upper[:, 0])
    assert 0.66 <= covered.mean() <= 0.92
    assert predictions(report, exported, {"x": x[340:]}).confidence_level == 0.8


def test_usual_rows_are_enough_for_anomalies(tmp_path, exported):
    x, _ = shuffled(load_wine)
    model = keras.Sequential([keras.Input((13,), name="x"), keras.layers.Dense(1, name="oddness")], name="wine")
    report = export_model(
        model, tmp_path, heads={"oddness": "anomaly"}, calibration={"x": x}, choose_threshold="percentile:95"
    )
    columns = predictions(report, exported, {"x": x})
    assert np.count_nonzero(columns.anomalous) == np.ceil(0.05 * (len(x) - 1))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"choose_threshold": "f1"}, CalibrationError, "give it as calibration="),
        ({"confidence_levels": [0.9]}, CalibrationError, "give it as calibration="),
        ({"calibration": np.zeros((3, 30))}, CalibrationError, r"neither \(x, y\) nor a dictionary"),
        ({"calibration": {"cells": np.zeros((3, 30))}}, ModelLoadError, "no targets"),
        (
            {"calibration": (np.zeros((3, 30)), [0, 1, 1]), "threshold": 0.3, "choose_threshold": "f1"},
            CalibrationError,
            "head 'diagnosis' has the threshold 0.3, and choose_threshold= is to choose one",
        ),
        ({"calibration": (np.zeros((3, 30)), [0, 1, 1])}, CalibrationError, "3 rows are too few to calibrate"),
    ],
)
def test_what_cannot_be_fitted_is_refused_and_nothing_is_written(network, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        export_model(network, tmp_path / "models", **arguments)
    assert not list(tmp_path.glob("models/*/*/model.onnx"))


def test_rows_on_which_the_model_fails_are_named(tmp_path):
    words = keras.Input((3,), dtype="int32", name="words")
    embedded = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(6, 3)(words))
    model = keras.Model(words, keras.layers.Dense(1, name="score")(embedded), name="text")
    with pytest.raises(VerificationError, match="onnxruntime fails on the data that was handed over"):
        export_model(model, tmp_path, calibration=(np.full((20, 3), 99), np.zeros(20)))
