import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from headgate.exporter.calibration.held_out import fingerprint
from headgate.exporter.errors import EvaluationError, VerificationError
from headgate.exporter.evaluation.models import evaluate_model, open_model
from headgate.exporter.evaluation.scorer import EvaluationSettings
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_PROBABILITIES, Head

PRICE = Head(name="price", output="out", activation=ACTIVATION_LINEAR, regression={})
THINGS = Head(
    name="things",
    output="out",
    activation=ACTIVATION_PROBABILITIES,
    detection={"labels": ["a", "b"], "box_format": "BOX_FORMAT_XYXY"},
)


@pytest.mark.parametrize("batch_rows", [1, 3, None])
def test_batches_do_not_matter(model_file, rng, batch_rows):
    settings = EvaluationSettings(batch_rows=batch_rows)
    model = open_model(model_file([1], PRICE))
    x, y = rng.normal(size=(11, 1)), rng.normal(size=11)
    seen = []
    [scorer] = evaluate_model(
        model, model.read({"x": x, "y": y}), settings=settings, progress=lambda done, rows: seen.append((done, rows))
    )
    assert scorer.evaluation().scores.metrics["mae"] == pytest.approx(np.abs(np.float32(x)[:, 0] - y).mean())
    assert seen[-1] == (11, 11)


@pytest.mark.parametrize("fitted", ["calibration", "threshold", None])
def test_rows_that_the_head_was_fitted_to_are_known_again(model_file, rng, fitted):
    head = Head(name="ill", output="out", activation=ACTIVATION_PROBABILITIES, binary={"labels": ["no", "yes"]})
    data = {"x": rng.random((20, 1)), "y": rng.integers(0, 2, 20)}
    data_sha256 = fingerprint(open_model(model_file([1], head)).read(data))
    head.calibration.data_sha256 = data_sha256 if fitted == "calibration" else "other"
    head.calibration.thresholds.add(criterion="f1", data_sha256=data_sha256 if fitted == "threshold" else "")
    model = open_model(model_file([1], head))
    [scorer] = evaluate_model(model, model.read(data))
    assert scorer.evaluation().is_calibration_data == (fitted is not None)
    data["y"][0] = 1 - data["y"][0]
    [scorer] = evaluate_model(model, model.read(data))
    assert not scorer.evaluation().is_calibration_data


def test_boxes_of_each_batch_are_its_own(model_file, rng):
    model = open_model(model_file([4, 6], THINGS))
    x = rng.random((10, 4, 6))
    x[..., 2:4] += x[..., :2]
    counts = rng.integers(0, 3, 10)
    boxes = np.concatenate([x[row, :count, :4] for row, count in enumerate(counts)])
    data = {"x": x, "y_boxes": boxes, "y_labels": rng.integers(0, 2, len(boxes)), "y_counts": counts}
    found = []
    for batch_rows in (1, 4, 10):
        [scorer] = evaluate_model(model, model.read(data), settings=EvaluationSettings(batch_rows=batch_rows))
        found.append(scorer.evaluation().scores.metrics)
    assert found[0] == found[1] == found[2]
    assert found[0]["map_50"] > 0


def test_one_of_several_heads(model_file):
    other = Head(name="size", output="out", activation=ACTIVATION_LINEAR, regression={})
    model = open_model(model_file([1], PRICE, other))
    data = model.read({"x": [[1.0]], "price": [1.0]})
    assert [scorer.head.name for scorer in evaluate_model(model, data)] == ["price"]
    with pytest.raises(EvaluationError, match="no head 'size' with targets; those with targets are 'price'"):
        evaluate_model(model, data, "size")


def test_a_file_that_does_not_say_what_its_outputs_mean(tmp_path):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "plain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    with pytest.raises(EvaluationError, match="does not say what its outputs mean"):
        open_model(path)
    path.write_text("nonsense")
    with pytest.raises(VerificationError, match="onnxruntime cannot load"):
        open_model(path)


def test_a_head_that_contradicts_the_model(model_file):
    with pytest.raises(EvaluationError, match=r"regression\.units"):
        open_model(
            model_file(
                [1], Head(name="price", output="out", regression={"units": ["EUR", "mm"]}, activation=ACTIVATION_LINEAR)
            )
        )


def test_a_signature_of_outputs_that_the_graph_has_not(model_file):
    path = model_file([1], PRICE)
    model = onnx.load(path)
    model.graph.output[0].name = model.graph.node[0].output[0] = "other"
    onnx.save(model, path)
    with pytest.raises(EvaluationError, match="its signature has the outputs 'out', its graph has not"):
        open_model(path)


def test_a_graph_that_gives_other_rows(model_file):
    path = model_file([4, 6], THINGS)
    model = onnx.load(path)
    model.graph.node[0].CopyFrom(helper.make_node("ReduceMax", ["x"], ["out"], axes=[0]))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    model = open_model(path)
    data = {"x": np.ones((3, 4, 6)), "y_boxes": np.zeros((0, 4)), "y_labels": np.zeros(0, int), "y_counts": [0] * 3}
    with pytest.raises(EvaluationError, match=r"gives output 'out' of shape \[1, 4, 6\] for 3 rows"):
        evaluate_model(model, model.read(data))


def test_a_threshold_that_no_head_heeds(model_file):
    model = open_model(model_file([1], PRICE))
    with pytest.raises(EvaluationError, match=r"a threshold is for heads of kind 'binary', .*, not 'regression'"):
        evaluate_model(model, model.read({"x": [[1.0]], "y": [1.0]}), settings=EvaluationSettings(threshold=0.5))
