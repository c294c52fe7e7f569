import json
import re
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from sklearn import metrics as reference

from headgate.client import Client
from headgate.exporter.model_files import add_metadata
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_PROBABILITIES, Head, Signature, TensorSpec
from headgate.v1.signatures import METADATA_KEY, SCHEMA_VERSION, signature_to_json

SPEC_NAMES = {"inputs": "x", "outputs": "tags"}


@pytest.fixture
def models(repository, tmp_path):
    """A repository of one model, with the heads `price` and `sold` (binary)."""
    shutil.copytree(repository / "house", tmp_path / "models" / "house")
    return tmp_path / "models"


@pytest.fixture
def data(tmp_path, models):
    """Labelled data, and the probabilities that the model gives for it."""
    rng = np.random.default_rng(4)
    area, rooms = rng.normal(size=(60, 1)), rng.integers(-3, 3, (60, 1))
    session = onnxruntime.InferenceSession(models / "house" / "1" / "model.onnx")
    p = session.run(["sold"], {"area": np.float32(area), "rooms": np.int32(rooms)})[0][:, 0]
    sold = (rng.random(60) < p).astype(int)
    np.savez(tmp_path / "test.npz", area=area, rooms=rooms, sold=sold)
    return tmp_path / "test.npz", sold, p


def shown(run, *arguments):
    return json.loads(run("threshold", *arguments, "--json").out)


def test_the_thresholds_that_there_are(run, models):
    facts = shown(run, models / "house")
    assert facts["thresholds"] == [{"head": "sold", "label": "", "value": 0.5, "origin": "default"}]
    assert "sold: 0.5, default" in run("threshold", models / "house").out


def test_what_other_thresholds_lead_to(run, models, data):
    path, sold, p = data
    facts = shown(run, models / "house", path, "--criterion", "cost:false_positive=1,false_negative=5")
    [comparison] = facts["comparisons"]
    [choice] = comparison["choices"]
    assert comparison["costs"] == {"false_positive": 1, "false_negative": 5}
    for line in comparison["trade_offs"]:
        (_, false), (missed, _) = reference.confusion_matrix(sold, p >= np.float64(line["threshold"]))
        assert (line["false_positives"], line["false_negatives"], line["cost"]) == (false, missed, false + 5 * missed)
    assert choice["threshold"] == min(comparison["trade_offs"], key=lambda line: line["cost"])["threshold"]
    assert "written" not in facts
    table = run("threshold", models / "house", path).out
    for text in (
        "positives",
        "balanced_accuracy",
        "recall>=0.95",
        "a false positive costs 1, a false negative 5",
        "Precision and recall are those of the rows that choose: expect a little less of others.",
    ):
        assert text in table


def test_a_chosen_threshold_makes_a_version_that_is_served(run, models, data, serving):
    path, sold, p = data
    facts = shown(run, models / "house", path, "--criterion", "recall>=0.9", "--write")
    assert facts["written"] == str(models / "house" / "2" / "model.onnx")
    [threshold] = facts["thresholds"]
    assert reference.recall_score(sold, p >= threshold["value"]) >= 0.9
    assert threshold["origin"].startswith("recall>=0.9: precision ")
    assert threshold["origin"].endswith(" on 60 rows")
    arrays = np.load(path)
    inputs = {"area": np.float32(arrays["area"]), "rooms": np.int32(arrays["rooms"])}
    with serving(models) as url, Client(url) as client:
        assert client.model("house").model.version == 2
        sold_or_not = client.predict("house", inputs)["sold"]
    assert sold_or_not.threshold == threshold["value"]
    np.testing.assert_array_equal(sold_or_not.positives, p >= threshold["value"])


def test_a_given_threshold_in_place(run, models, serving):
    facts = shown(run, models / "house" / "1", "--set", "0.31", "--in-place")
    assert facts["written"] == str(models / "house" / "1" / "model.onnx")
    assert facts["thresholds"] == [{"head": "sold", "label": "", "value": 0.31, "origin": "given"}]
    assert [folder.name for folder in (models / "house").iterdir()] == ["1"]
    with serving(models) as url, Client(url) as client:
        assert client.predict("house", {"area": [[1.0]], "rooms": [[2]]})["sold"].threshold == 0.31


def test_a_file_of_its_own_is_changed_itself(run, models, tmp_path):
    file = shutil.copy(models / "house" / "1" / "model.onnx", tmp_path / "house.onnx")
    assert run("threshold", file, "--set", "0.31").code == 0
    assert shown(run, file)["thresholds"][0]["value"] == 0.31


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--head", "price", "--set", "0.3"], "no head 'price' with thresholds; those with thresholds are sold"),
        (["--head", "sold/open", "--set", "0.3"], "no threshold for 'open'"),
        (["--set", "1.3"], "binary.threshold holds 1.3; give numbers in 0..1"),
        (["{inverted}", "--criterion", "precision>=0.99", "--write"], "no threshold reaches"),
        (["{data}", "--criterion", "luck"], "thresholds are not chosen by 'luck'"),
        (["{unlabelled}"], "no head 'sold' with targets; those with targets are 'price'"),
    ],
)
def test_mistakes(refused, models, data, tmp_path, arguments, message):
    unlabelled = tmp_path / "unlabelled.npz"
    np.savez(unlabelled, area=[[1.0], [2.0]], rooms=[[1], [2]], price=[3.0, 4.0])
    inverted = tmp_path / "inverted.npz"
    np.savez(inverted, **{**np.load(data[0]), "sold": data[2] < np.median(data[2])})
    before = (models / "house" / "1" / "model.onnx").read_bytes()
    given = [text.format(data=data[0], unlabelled=unlabelled, inverted=inverted) for text in arguments]
    assert message in refused("threshold", models / "house", *given)
    assert [folder.name for folder in (models / "house").iterdir()] == ["1"]
    assert (models / "house" / "1" / "model.onnx").read_bytes() == before


@pytest.mark.parametrize(
    "options", [["--criterion", "f1"], ["{data}", "--write"], ["{data}", "--set", "0.3"], ["--in-place"]]
)
def test_wrong_usage(run, models, data, options):
    assert run("threshold", models / "house", *(option.format(data=data[0]) for option in options)).code == 2


def test_a_model_that_decides_without_thresholds(refused, repository):
    assert "no head of this model decides by a threshold" in refused("threshold", repository / "iris")


@pytest.fixture
def tags(tmp_path):
    """A model whose output is its input, with a multilabel head, and data of which one label is never there."""
    head = Head(
        name="tags", output="tags", activation=ACTIVATION_PROBABILITIES, multilabel={"labels": ["a", "b/c", "d"]}
    )
    path = model_of(tmp_path, head, 3)
    rng = np.random.default_rng(6)
    p, y = np.float32(rng.random((30, 3))), rng.integers(0, 2, (30, 3))
    y[:, 2] = 0
    np.savez(tmp_path / "tags.npz", x=p, y=y)
    return path, tmp_path / "tags.npz"


def test_the_threshold_of_one_label(run, tags):
    model, _ = tags
    facts = shown(run, model, "--head", "tags/b/c", "--set", "0.2")
    assert [(one["label"], one["value"]) for one in facts["thresholds"]] == [("b/c", 0.2)]
    assert [one["value"] for one in shown(run, model)["thresholds"]] == [0.5, 0.2, 0.5]


def test_the_thresholds_of_all_labels_of_which_the_data_tell(run, refused, tags):
    model, data = tags
    facts = shown(run, model, data, "--criterion", "f1", "--write")
    chosen = {one["label"]: one for one in facts["thresholds"]}
    assert chosen["d"]["origin"] == "given"
    assert chosen["d"]["value"] == 0.5
    arrays = np.load(data)
    for position, label in enumerate(["a", "b/c"]):
        scores = [
            reference.f1_score(arrays["y"][:, position], arrays["x"][:, position] >= t)
            for t in arrays["x"][:, position]
        ]
        at = arrays["x"][:, position] >= chosen[label]["value"]
        assert reference.f1_score(arrays["y"][:, position], at) == max(scores)
    assert "label 'd': all 30 rows are negative" in run("threshold", model, data).out
    assert "label 'd': all 30 rows" in refused(
        "threshold", model, data, "--head", "tags/d", "--criterion", "f1", "--write"
    )


def model_of(tmp_path, head, width):
    x, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name in ("x", "tags"))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["tags"])], "identity", [x], [out])
    path = tmp_path / "model-of-its-own.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    specs = {
        key: [TensorSpec(name=name, datatype="DATA_TYPE_FP32", shape=[-1, width])] for key, name in SPEC_NAMES.items()
    }
    signature = Signature(schema_version=SCHEMA_VERSION, heads=[head], **specs)
    add_metadata(path, METADATA_KEY, signature_to_json(signature))
    return path


@pytest.mark.parametrize(("name", "shown_labels"), [("a/b", ["u", "v/w"]), ("a/b/u", ["u"]), ("a/b/v/w", ["v/w"])])
def test_names_with_slashes(run, tmp_path, name, shown_labels):
    head = Head(name="a/b", output="tags", activation=ACTIVATION_PROBABILITIES, multilabel={"labels": ["u", "v/w"]})
    facts = shown(run, model_of(tmp_path, head, 2), "--head", name)
    assert [one["label"] for one in facts["thresholds"]] == shown_labels


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("label", ["z", ""])
def test_a_label_that_is_none(refused, tags, label, with_data):
    model, data = tags
    line = refused("threshold", model, *([data] if with_data else []), "--head", f"tags/{label}")
    assert f"head 'tags' has no threshold for '{label}'; the labels with thresholds are 'a', 'b/c', 'd'" in line


def test_the_percentile_of_an_anomaly_head(run, tmp_path):
    head = Head(name="odd", output="tags", activation=ACTIVATION_LINEAR, anomaly={})
    model = model_of(tmp_path, head, 1)
    np.savez(tmp_path / "usual.npz", x=np.arange(200.0)[:, None])
    facts = shown(run, model, tmp_path / "usual.npz", "--criterion", "percentile:95", "--write")
    [threshold] = facts["thresholds"]
    assert threshold["value"] == np.quantile(np.arange(200), 0.95, method="higher")
    assert threshold["origin"] == "percentile:95 on 200 rows"
    # What takes anomalous rows is said, and what does not is shown.
    table = run("threshold", model, tmp_path / "usual.npz").out
    assert "percentile:99" in table
    assert "f1, balanced_accuracy, " in table
    assert "all 200 rows are negative" in table
    # Precision and recall are of anomalous rows, and there are none.
    assert re.search(r"percentile:99 │ +\S+ │ +- │ +- │", table)
    assert "threshold 190 by percentile:95 on 200 rows" in run("inspect", model).out


def test_missing_onnx(refused, models, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install 'headgate[evaluate]'" in refused("threshold", models / "house")


def test_json_has_no_infinity(run, strict, tmp_path):
    head = Head(name="odd", output="tags", activation=ACTIVATION_LINEAR, anomaly={"threshold": np.inf})
    [threshold] = strict(run("threshold", model_of(tmp_path, head, 1), "--json").out)["thresholds"]
    assert (threshold["head"], threshold["value"]) == ("odd", None)
