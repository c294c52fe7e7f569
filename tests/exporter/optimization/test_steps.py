import keras
import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from headgate.exporter import export_model
from headgate.exporter.errors import OptimizationError
from headgate.exporter.libraries import quiet
from headgate.exporter.optimization.steps import OptimizationPlan
from headgate.server.session import Session


@pytest.fixture(scope="module")
def digits():
    """Digits of scikit-learn: training images, test images, training labels, test labels."""
    images, labels = load_digits(return_X_y=True)
    return train_test_split(images.reshape(-1, 8, 8, 1).astype(np.float32), labels, random_state=0)


def balance_of(images):
    return images[:, :, :4].mean(axis=(1, 2, 3)) - images[:, :, 4:].mean(axis=(1, 2, 3))


@pytest.fixture(scope="module")
def network(digits):
    """A convolutional network that tells digits apart, and says how much brighter its left half is."""
    train, _, labels, _ = digits
    keras.utils.set_random_seed(0)
    with quiet():
        image = keras.Input((8, 8, 1), name="image")
        hidden = keras.layers.Conv2D(16, 3, activation="relu")(keras.layers.Rescaling(1 / 16)(image))
        hidden = keras.layers.BatchNormalization()(hidden)
        hidden = keras.layers.Conv2D(16, 3, activation="relu")(hidden)
        hidden = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(hidden))
        digit = keras.layers.Dense(10, activation="softmax", name="digit")(hidden)
        balance = keras.layers.Dense(1, name="balance")(hidden)
        model = keras.Model(image, [digit, balance], name="digits")
        model.compile(keras.optimizers.Adam(0.01), loss=["sparse_categorical_crossentropy", "mse"])
        model.fit(train, [labels, balance_of(train)], epochs=6, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="module")
def labelled(digits):
    _, test, _, labels = digits
    return {"image": test, "digit": labels, "balance": balance_of(test)}


def export(network, tmp_path, **arguments):
    report = export_model(network, tmp_path, **arguments)
    [*steps] = report.signature.optimizations
    session = Session(report.path, "CPUExecutionProvider", intra_op_threads=1)
    return report, steps, session


def metric(step, name):
    return next(change for change in step.metrics if change.metric == name)


def data_types(report):
    return {tensor.data_type for tensor in onnx.load(report.path).graph.initializer if np.prod(tensor.dims) >= 256}


@pytest.mark.parametrize(
    ("arguments", "kind", "type_of_weights"),
    [
        ({"fp16": True}, "float16", onnx.TensorProto.FLOAT16),
        ({"int8": "dynamic"}, "int8_dynamic", onnx.TensorProto.INT8),
        ({"int8": "static"}, "int8_static", onnx.TensorProto.INT8),
    ],
)
def test_smaller_models_are_as_good(arguments, kind, type_of_weights, network, digits, labelled, tmp_path):
    _, test, _, labels = digits
    report, [step], session = export(network, tmp_path, labelled=labelled, **arguments)
    assert (step.kind, step.device) == (kind, "")
    assert data_types(report) == {type_of_weights}
    assert step.size_after_bytes < 0.6 * step.size_before_bytes
    assert report.path.stat().st_size > step.size_after_bytes
    accuracy = metric(step, "accuracy")
    with quiet():
        answers = network.predict(test, verbose=0)[0].argmax(axis=1)
    assert (accuracy.head, accuracy.rows, accuracy.targets) == ("digit", len(test), "labelled")
    assert accuracy.before == pytest.approx((answers == labels).mean())
    assert accuracy.before > 0.9
    # What the file is said to do is what it does, where it is served.
    served = np.concatenate([session.run([test[start : start + 32]])[0] for start in range(0, len(test), 32)])
    assert accuracy.after == pytest.approx((served.argmax(axis=1) == labels).mean(), abs=0.003)
    assert accuracy.before - accuracy.after <= 0.01
    assert {change.metric for change in step.metrics} == {"accuracy", "r2", "mae", "fidelity"}
    fidelities = {change.head: change.after for change in step.metrics if change.metric == "fidelity"}
    assert fidelities.keys() == {"digit", "balance"}
    assert min(fidelities.values()) > 0.95
    for deviation in step.deviations:
        assert 0 < deviation.max_from_keras < 0.3 * deviation.largest
    rules = {tolerance.rule.partition(",")[0] for tolerance in report.signature.verification.tolerances}
    assert rules == {"float16" if kind == "float16" else "int8"}
    [note] = [note for note in report.notes if note.startswith(kind)]
    assert "on this machine's CPU" in note
    assert {spec.datatype for spec in report.signature.outputs} == {spec.datatype for spec in session.outputs}


def test_onnxruntime_rewrites_the_graph_at_export(network, tmp_path, rng):
    report, [step], session = export(network, tmp_path, optimize="cpu")
    assert (step.kind, step.device) == ("offline", "cpu")
    assert metric(step, "accuracy").after == 1
    operators = {(node.domain, node.op_type) for node in onnx.load(report.path).graph.node}
    assert ("com.microsoft", "FusedConv") in operators
    assert not {"nchwc", "com.microsoft.nchwc"} & {domain for domain, _ in operators}
    assert [spec.name for spec in session.inputs] == ["image"]


def test_steps_follow_each_other(network, digits, tmp_path):
    report, steps, _ = export(network, tmp_path, int8="dynamic", optimize="cpu", examples=digits[1][:64])
    assert [step.kind for step in steps] == ["int8_dynamic", "offline"]
    assert steps[0].size_after_bytes == steps[1].size_before_bytes
    assert {change.targets for step in steps for change in step.metrics} == {"given"}
    assert report.signature.verification.tolerances[0].rule.startswith("int8")
    assert [file.name for file in report.path.parent.iterdir() if file.is_dir()] == []


def test_a_step_that_costs_too_much_is_refused(network, labelled, digits, tmp_path):
    """Ranges of nearly black images cut off what brighter ones hold."""
    arguments = {"int8": "static", "int8_data": digits[0][:50] * 0.01, "labelled": labelled}
    message = r"int8_static, the accuracy of 'digit' .* falls from 0\.9\d+ to 0\.\d+ \(450 rows\), allowed is 0.01 less"
    with pytest.raises(OptimizationError, match=message):
        export_model(network, tmp_path / "models", **arguments)
    assert not (tmp_path / "models").exists()
    _, [step], _ = export(network, tmp_path, **arguments, max_metric_loss=100)
    assert metric(step, "accuracy").after < 0.9
    assert step.max_metric_loss == 100


def test_heads_of_other_kinds_are_measured_too(tmp_path, rng):
    image = keras.Input((6, 6, 3), name="image")
    parts = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    parts = keras.layers.Conv2D(4, 1, activation="softmax", kernel_initializer="orthogonal", name="parts")(parts)
    model = keras.Model(image, parts, name="scan")
    x = rng.standard_normal((20, 6, 6, 3)).astype(np.float32)
    with quiet():
        true = model.predict(x, verbose=0).argmax(axis=-1)
    arguments = {"heads": {"parts": {"kind": "segmentation", "labels": list("abcd")}}, "labelled": (x, true)}
    _, [step], _ = export(model, tmp_path, fp16=True, **arguments)
    assert metric(step, "mean_iou").before == 1
    assert 0.98 < metric(step, "mean_iou").after <= 1
    with pytest.raises(
        OptimizationError, match="int8_static, the mean_iou of 'parts' on the labelled data falls from 1 "
    ):
        export_model(model, tmp_path / "models", int8="static", int8_data=x * 0.01, **arguments)


def test_outputs_without_labels_keep_their_fidelity(tmp_path, rng):
    """The labels are of one output, and calibration has seen too little of what the other comes from."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    kind = keras.layers.Dense(3, activation="softmax", kernel_initializer="orthogonal", name="kind")(a)
    model = keras.Model([a, b], [kind, keras.layers.Dense(2, name="numbers")(b)], name="m")
    x = {name: rng.standard_normal((200, 4)).astype(np.float32) for name in "ab"}
    with quiet():
        labels = model.predict(x, verbose=0)[0].argmax(axis=1)
    arguments = {
        "int8": "static",
        "int8_data": x | {"b": x["b"] * 0.01},
        "labelled": x | {"kind": labels},
        "heads": {"numbers": None},
        "max_metric_loss": 0.05,
    }
    message = r"output 'numbers' keeps 0\.0\d+ of how it varies from row to row .*\(200 given rows\), needed is 0.9;"
    with pytest.raises(OptimizationError, match=message):
        export_model(model, tmp_path / "models", **arguments)
    _, [step], _ = export(model, tmp_path, **arguments | {"max_metric_loss": 1})
    assert metric(step, "accuracy").after > 0.95


def test_real_ranges_are_not_tried_on_random_inputs(tmp_path, rng):
    """Random inputs are about 1, which is a single step where real ones reach a thousand."""
    model = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(4, kernel_initializer="orthogonal")])
    _, [step], _ = export(model, tmp_path, int8="static", int8_data=rng.uniform(0, 1000, (100, 8)))
    assert {(change.rows, change.targets) for change in step.metrics} == {(100, "given")}
    assert metric(step, "fidelity").after > 0.99


def test_numbers_beyond_float16_are_refused(tmp_path):
    """The CPU computes them in float32 all the same, so that no answer would tell."""
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Rescaling(1e-4)(keras.ops.square(keras.layers.Rescaling(1e3)(x)))
    model = keras.Model(x, keras.layers.Dense(1, name="y")(hidden), name="m")
    with pytest.raises(OptimizationError, match=r"the value of '.*', which is up to .*e\+06, does not fit"):
        export_model(model, tmp_path / "models", fp16=True)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fp16": True, "int8": "static"}, "fp16=True and int8='static' exclude each other"),
        ({"int8": "4"}, "int8 is '4'; give 'dynamic' or 'static'"),
        ({"int8": "static"}, "give int8_data= or examples="),
        ({"optimize": "tpu"}, "optimize is 'tpu'; give 'cpu' or 'cuda'"),
        ({"fp16": True, "max_metric_loss": float("nan")}, "max_metric_loss is nan; give a number from 0"),
        ({"fp16": True, "max_metric_loss": -1}, "max_metric_loss is -1; give a number from 0"),
        ({"fp16": True, "optimize": "cpu"}, "fp16=True is for GPUs, and optimize='cpu' makes .* float32 again"),
        ({"int8": "dynamic", "int8_data": np.zeros((9, 4))}, "int8_data= is for int8='static'"),
        ({"labelled": (np.zeros((9, 4)), np.zeros(9))}, "labelled= measures what fp16=, int8= and optimize= cost"),
    ],
)
def test_plans_that_cannot_be(arguments, message, dense, tmp_path):
    with pytest.raises(OptimizationError, match=message):
        export_model(dense(), tmp_path, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_cuda_is_refused_where_onnxruntime_has_none(monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(OptimizationError, match="needs an onnxruntime with CUDAExecutionProvider on this machine"):
        OptimizationPlan(optimize="cuda")


def test_without_a_plan_nothing_is_done(dense, tmp_path):
    assert not OptimizationPlan()
    assert list(export_model(dense(), tmp_path).signature.optimizations) == []
