import json
import os
import re
import signal
import subprocess

import numpy as np
import pytest

from .conftest import HEADGATE


def test_says_what_it_wrote(exported):
    ended, repository = exported
    assert f"{repository}/iris/1/model.onnx: iris version 1" in ended.out
    assert "features: FP32 [batch,4]" in ended.out
    assert "3 labels: setosa, versicolor, virginica" in ended.out
    assert re.search(r"parity +species: \|onnx - keras\| up to \S+, \S+ of the value, in \d comparisons", ended.out)
    assert re.search(r"size +[\d.]+ \w+, \d+ nodes, opset 18", ended.out)
    assert re.search(r"seconds +[\d.]+: import [\d.]+, load .*, write [\d.]+", ended.out)
    assert ended.err == ""


def heads_of(run, folder):
    signature = json.loads(run("inspect", folder, "--json").out)["signature"]
    return {head["name"]: head for head in signature["heads"]}


def test_meaning_of_several_heads(run, repository):
    heads = heads_of(run, repository / "house")
    assert heads["price"]["regression"] == {"units": ["EUR"], "scaling": {"mean": [210.5], "scale": [88.0]}}
    assert heads["sold"]["binary"] == {"labels": ["open", "sold"]}


def test_all_that_can_be_said(run, keras_files, tmp_path):
    (tmp_path / "labels.txt").write_text("offen\nverkauft, bezahlt\n", encoding="utf-8")
    np.savez(tmp_path / "examples.npz", area=np.ones((2, 1)), rooms=np.ones((2, 1), "int32"))
    ended = run(
        "export", keras_files / "house.keras", tmp_path / "models", "--name", "flat", "--version", 7,
        "--head", "price=regression", "--labels", f"sold=@{tmp_path}/labels.txt", "--positive-label", "offen",
        "--threshold", "0.25", "--units", "EUR", "--target-mean", "1.5", "--target-log1p",
        "--examples", tmp_path / "examples.npz", "--opset", 17,
    )  # fmt: skip
    assert ended.code == 0
    assert "flat version 7" in ended.out
    heads = heads_of(run, tmp_path / "models" / "flat" / "7")
    assert heads["price"]["regression"] == {"units": ["EUR"], "scaling": {"mean": [1.5], "log1p": True}}
    assert heads["sold"]["binary"] == {
        "labels": ["offen", "verkauft, bezahlt"],
        "positive_label": "offen",
        "threshold": 0.25,
    }
    signature = json.loads(run("inspect", tmp_path / "models" / "flat", "--json").out)["signature"]
    assert signature["provenance"]["opset"] == 17
    assert "given" in {check["inputs"] for check in signature["verification"]["checks"]}


def test_padding(run, keras_files, tmp_path):
    ended = run("export", keras_files / "review.keras", tmp_path, "--pad", "tokens:1")
    assert ended.code == 0
    for shown in (ended.out, run("inspect", tmp_path / "review").out):
        assert re.search(r"padding +tokens, axis 1, is filled up with 0\s", shown)
    signature = json.loads(run("inspect", tmp_path / "review", "--json").out)["signature"]
    assert signature["paddings"] == [{"inputs": [{"input": "tokens", "axis": 1}]}]


def test_output_without_a_head(run, keras_files, tmp_path):
    assert run("export", keras_files / "house.keras", tmp_path, "--head", "price=none").code == 0
    assert list(heads_of(run, tmp_path / "house")) == ["sold"]


def test_calibration_on_held_out_data(run, refused, keras_files, tmp_path):
    rng = np.random.default_rng(0)
    area, rooms = rng.random((60, 1)), rng.integers(1, 5, (60, 1)).astype("int32")
    sold = np.array(["open", "sold"])[np.arange(60) % 2]
    np.savez(tmp_path / "held_out.npz", area=area, rooms=rooms, price=200 * area + 50 * rooms, sold=sold)
    arguments = [
        "export", keras_files / "house.keras", tmp_path / "models", "--labels", "sold=open,sold",
        "--calibrate", tmp_path / "held_out.npz", "--choose-threshold", "sold=recall>=0.9",
    ]  # fmt: skip
    ended = run(*arguments, "--confidence-levels", "0.5,0.9", "--calibration-method", "platt")
    assert ended.code == 0, ended.err
    assert "calibrated on 60 rows: platt" in ended.out
    assert "intervals at 0.5, 0.9" in ended.out
    assert "threshold by recall>=0.9" in ended.out
    assert re.search(r"calibrate [\d.]+", ended.out)
    heads = heads_of(run, tmp_path / "models" / "house")
    assert heads["price"]["calibration"]["conformal"]["method"] == "METHOD_ABSOLUTE"
    assert heads["sold"]["binary"]["threshold"] == heads["sold"]["calibration"]["thresholds"][0]["threshold"]
    assert "threshold" in run("inspect", tmp_path / "models" / "house").out
    # Whoever measures on the same rows is told; on others there is nothing to tell.
    np.savez(tmp_path / "test.npz", area=area[::-1], rooms=rooms, price=200 * area + 50 * rooms, sold=sold)
    seen = [run("evaluate", tmp_path / "models" / "house", tmp_path / f"{name}.npz") for name in ("held_out", "test")]
    assert [one.out.count("looks better on them than it is") for one in seen] == [2, 0]
    facts = json.loads(run("evaluate", tmp_path / "models" / "house", tmp_path / "held_out.npz", "--json").out)
    assert [head["is_calibration_data"] for head in facts["heads"]] == [True, True]
    assert "--choose-threshold is to choose one" in refused(*arguments, "--threshold", "0.4")
    assert "give --calibration-method none" not in refused(*arguments, "--confidence-levels", "0.999")
    assert "level 0.999 takes 999 rows, there are 60" in refused(*arguments, "--confidence-levels", "0.999")
    assert "give it as --calibrate" in refused(*arguments[:5], "--prediction-sets", "lac")
    unused = refused(*arguments, "--prediction-sets", "lac")
    assert "--prediction-sets lac is for heads of kind 'multiclass', and the calibration data has targets for" in unused


def test_ranges_of_8_bits_from_a_table(run, refused, keras_files, tmp_path):
    rows = np.random.default_rng(0).uniform(0, 100, (60, 4)).round(3).tolist()
    lines = ["a,b,c,d", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    arguments = ["export", keras_files / "iris.keras", tmp_path / "models", "--int8-data", tmp_path / "rows.csv"]
    ended = run(*arguments, "--int8", "static", "--feature-names", "d,c,b,a", "--max-metric-loss", "0.2")
    assert ended.code == 0, ended.err
    assert "(60 given rows)" in ended.out
    assert "--int8-data is for --int8 static" in refused(*arguments)
    assert "the rows of --int8-data have the keys 'a', 'b', 'c', 'd'" in refused(*arguments, "--int8", "static")
    np.savez(tmp_path / "held_out.npz", x=rows, y=np.zeros(60, int))
    unused = refused(*arguments[:3], "--labelled", tmp_path / "held_out.npz")
    assert "--labelled measures what --fp16, --int8 and --optimize cost" in unused


def test_head_with_an_activation(run, keras_files, tmp_path):
    ended = run("export", keras_files / "house.keras", tmp_path, "--head", "price=binary:logits", "--dry-run")
    assert "price: binary, logits of output 'price'" in ended.out


def test_dry_run(run, keras_files, tmp_path):
    ended = run("export", keras_files / "house.keras", tmp_path / "models", "--dry-run", "--triton-config")
    assert ended.code == 0
    assert re.search(rf"dry run +{tmp_path}/models/house/1/model.onnx: house version 1, not written", ended.out)
    assert "area: FP32 [batch,1]" in ended.out
    assert "price: regression" in ended.out
    assert "--head price=multiclass" in ended.out
    assert "parity" not in ended.out
    assert "headgate serve" not in ended.out
    assert not (tmp_path / "models").exists()


def test_heads_from_a_file(run, keras_files, tmp_path):
    (tmp_path / "labels.txt").write_text("healthy\nlesion\n")
    (tmp_path / "heads.toml").write_text("""
        [lesion]
        kind = "segmentation"
        labels_file = "labels.txt"
        thresholds = 0.3
        [raw]
        kind = "none"
    """)
    ended = run(
        "export", keras_files / "scan.keras", tmp_path / "models", "--heads", tmp_path / "heads.toml",
        "--head", "raw=regression",
    )  # fmt: skip
    assert ended.code == 0
    heads = heads_of(run, tmp_path / "models" / "scan")
    assert heads["lesion"]["segmentation"] == {"labels": ["healthy", "lesion"], "thresholds": [0.3]}
    # What is typed counts more than what the file says.
    assert "regression" in heads["raw"]


def test_a_first_file_of_heads(run, refused, keras_files, tmp_path):
    scan, file = keras_files / "scan.keras", tmp_path / "heads.toml"
    ended = run("export", scan, tmp_path / "models", "--dry-run", "--write-heads", file)
    assert ended.code == 0
    text = file.read_text()
    assert re.search(r'^\["lesion"\]  # FP32 \[batch,6,6,1\]$', text, re.MULTILINE)
    assert re.search(r'^kind = "\?"  # one of segmentation, keypoints, anomaly, none', text, re.MULTILINE)
    assert re.search(r"^# what output 'lesion' means cannot be told: it has shape .* no loss$", text, re.MULTILINE)
    assert "table [lesion]: kind is '?'" in refused("export", scan, tmp_path / "models", "--heads", file)
    file.write_text(text.replace('"?"', '"segmentation"', 1).replace('"?"', '"none"'))
    assert run("export", scan, tmp_path / "models", "--heads", file).code == 0
    assert "heads.toml is there already" in refused("export", scan, tmp_path, "--dry-run", "--write-heads", file)


def test_dry_run_shows_all_and_says_what_is_missing(run, keras_files, tmp_path):
    ended = run("export", keras_files / "scan.keras", tmp_path, "--dry-run")
    assert ended.code == 1
    assert re.search(r"undecided +what output 'lesion' means cannot be told", ended.out)
    assert re.search("error: what output 'lesion' means cannot be told: .*--head lesion=segmentation", ended.err)
    shown = run("export", keras_files / "scan.keras", tmp_path, "--dry-run", "--json")
    assert list(json.loads(shown.out)["undecided"]) == ["lesion", "raw"]


def test_json(run, keras_files, tmp_path):
    shown = json.loads(run("export", keras_files / "house.keras", tmp_path, "--json").out)
    assert shown["file"] == f"{tmp_path}/house/1/model.onnx"
    assert shown["bytes"] == (tmp_path / "house" / "1" / "model.onnx").stat().st_size
    assert [head["name"] for head in shown["signature"]["heads"]] == ["price", "sold"]
    assert "--head price=multiclass" in shown["notes"][0]
    planned = json.loads(run("export", keras_files / "house.keras", tmp_path, "--json", "--dry-run").out)
    assert (planned["written"], planned["version"], planned["bytes"]) == (False, 2, 0)
    assert planned["signature"]["heads"] == shown["signature"]["heads"]


def test_triton_config_beside_the_versions(run, refused, keras_files, tmp_path):
    from headgate.server.model_folder import find_models

    arguments = ("export", keras_files / "iris.keras", tmp_path, "--triton-config", "--labels", "a,b,c")
    assert run(*arguments).code == 0
    assert (tmp_path / "iris" / "species_labels.txt").read_text() == "a\nb\nc\n"
    assert 'label_filename: "species_labels.txt"' in (tmp_path / "iris" / "config.pbtxt").read_text()
    assert [folder.name for folder in find_models(tmp_path)] == ["iris"]
    (tmp_path / "iris" / "config.pbtxt").write_text("max_batch_size: 8")
    assert "leave --triton-config out" in refused(*arguments)
    assert not (tmp_path / "iris" / "2").exists()


GATE = """
import keras
import tensorflow as tf

class Gate(keras.layers.Layer):
    '''Holds the comparison with Keras up until it is interrupted: nobody writes to the FIFO.'''
    def call(self, x):
        if tf.executing_eagerly():
            open("gate").read()
        return x
"""


def test_ctrl_c_leaves_nothing_and_verbose_hides_nothing(tmp_path, monkeypatch):
    (tmp_path / "gates.py").write_text(GATE)
    os.mkfifo(tmp_path / "gate")
    monkeypatch.syspath_prepend(tmp_path)
    import keras
    from gates import Gate

    keras.Sequential([keras.Input((4,)), Gate(), keras.layers.Dense(1, name="price")]).save(tmp_path / "house.keras")
    command = [*HEADGATE, "export", "house.keras", "models", "--custom-object", "gates:Gate", "--verbose"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "stage: verify" in line:
                process.send_signal(signal.SIGINT)
        process.wait(60)
    assert process.returncode == 130
    assert any("tf2onnx" in line for line in said)
    assert any(re.match(r"I\d{4} ", line) for line in said)
    assert "Traceback" not in "".join(said)
    assert not (tmp_path / "models").exists()


def test_notes_speak_of_options(run, keras_files, tmp_path):
    ended = run("export", keras_files / "house.keras", tmp_path)
    assert "--head price=multiclass" in ended.out
    assert "--labels" in ended.out


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("nothing", [], "there is no file"),
        ("iris", ["--labels", "a,b"], "2 entries.*3 units|3 units.*2"),
        ("iris", ["--labels", "@/no/such/file"], "/no/such/file: No such file"),
        ("iris", ["--head", "species=bogus"], "'bogus'"),
        ("iris", ["--examples", "/no/such.npy"], "/no/such.npy: No such file"),
        ("iris", ["--opset", "99"], "opset is 99"),
        ("review", ["--pad", "tokens"], "'tokens' is not INPUT:AXIS"),
        ("review", ["--pad", "tokens:1=5"], "padding changes output 'good'"),
        ("iris", ["--pad", "features:1"], "axis 1 of input 'features', which has the fixed size 4"),
        ("iris", ["--name", "a/b"], "no name for a model.*--name "),
        ("code", [], "--unsafe"),
        ("code", ["--unsafe"], "--head doubled=regression"),
    ],
)
def test_mistakes(refused, keras_files, tmp_path, model, arguments, message):
    line = refused("export", keras_files / f"{model}.keras", tmp_path / "models", *arguments)
    assert re.search(message, line)
    assert not (tmp_path / "models").exists()


def test_version_that_is_taken(refused, keras_files, repository):
    assert "version 1" in refused("export", keras_files / "iris.keras", repository, "--version", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--head", "species"],
        ["--threshold", "x"],
        ["--target-mean", "x"],
        ["--labels", "a", "--labels", "b=c"],
        ["--version", 0],
        ["--write-heads", "heads.toml"],
    ],
)
def test_wrong_usage(run, keras_files, tmp_path, arguments):
    ended = run("export", keras_files / "iris.keras", tmp_path, *arguments)
    assert ended.code == 2
    assert arguments[0] in ended.err
