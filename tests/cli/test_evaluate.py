import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn import metrics as reference

from headgate.cli import arrays

LABELS = ["setosa", "versicolor", "virginica"]


@pytest.fixture
def iris(tmp_path, repository):
    """Labelled data, and the probabilities that the model gives for it."""
    rng = np.random.default_rng(4)
    x, y = np.float32(rng.normal(size=(50, 4))), rng.integers(0, 3, 50)
    np.savez(tmp_path / "test.npz", x=x, y=np.array(LABELS)[y])
    session = onnxruntime.InferenceSession(repository / "iris" / "1" / "model.onnx")
    return tmp_path / "test.npz", y, session.run(None, {"features": x})[0]


@pytest.fixture
def house(tmp_path):
    rng = np.random.default_rng(4)
    arrays = {
        "area": rng.random((20, 1)),
        "rooms": np.ones((20, 1)),
        "price": rng.random(20),
        "sold": rng.integers(0, 2, 20),
    }
    np.savez(tmp_path / "house.npz", **arrays)
    return tmp_path / "house.npz"


def test_table(run, repository, iris):
    data, y, p = iris
    ended = run("evaluate", repository / "iris", data)
    assert ended.code == 0
    assert "species: multiclass, 50 rows" in ended.out
    for text in ("accuracy", f"{(p.argmax(axis=1) == y).mean():.4g}", "versicolor", "confusions", "recall"):
        assert text in ended.out


@pytest.mark.parametrize("version", ["iris", "iris/1", "iris/1/model.onnx"])
def test_json(run, repository, iris, version):
    data, y, p = iris
    facts = json.loads(run("evaluate", repository / version, data, "--json").out)
    assert facts["file"] == str(repository / "iris" / "1" / "model.onnx")
    [head] = facts["heads"]
    assert (head["head"], head["kind"], head["rows"], head["invalid_rows"]) == ("species", "multiclass", 50, [])
    assert head["metrics"]["log_loss"] == pytest.approx(reference.log_loss(y, p), rel=1e-4)
    assert [line["label"] for line in head["tables"]["labels"]] == LABELS


def test_json_has_no_infinity(run, strict, repository, house):
    np.savez(house, area=np.ones((9, 1)), rooms=np.ones((9, 1)), sold=np.ones(9, int))
    [head] = strict(run("evaluate", repository / "house", house, "--json").out)["heads"]
    assert None in head["metrics"].values()


def test_several_heads_or_one(run, repository, house):
    def heads(*options):
        return [
            head["head"]
            for head in json.loads(run("evaluate", repository / "house", house, "--json", *options).out)["heads"]
        ]

    assert heads() == ["price", "sold"]
    assert heads("--head", "sold") == ["sold"]


def test_another_threshold(run, repository, house):
    def metrics(threshold):
        arguments = ["evaluate", repository / "house", house, "--json", "--head", "sold", "--threshold", threshold]
        return json.loads(run(*arguments).out)["heads"][0]["metrics"]

    assert metrics(0)["recall"] == 1
    assert metrics(1)["recall"] == 0


def test_report(run, repository, iris, tmp_path):
    report = tmp_path / "report.html"
    assert run("evaluate", repository / "iris", iris[0], "--report", report).code == 0
    page = report.read_text()
    for text in (
        "species: multiclass, probabilities of output",
        "exported 20",
        "data:image/svg+xml;base64,",
        "roc_auc",
    ):
        assert text in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["iris", "{data}", "--head", "price"], "no head 'price' with targets; those with targets are 'species'"),
        (["iris", "{data}", "--level", "0.9"], "no sets"),
        (["iris", "{array}"], "holds one array without a name"),
        (["house", "{data}"], "the model's inputs are 'area', 'rooms'"),
        (["iris", "nothing.npz"], "nothing.npz"),
        (["rose", "{data}"], "there is no file or folder"),
    ],
)
def test_mistakes(refused, repository, iris, tmp_path, arguments, message):
    np.save(tmp_path / "array.npy", np.zeros((2, 4)))
    model, *others = (text.format(data=iris[0], array=tmp_path / "array.npy") for text in arguments)
    assert message in refused("evaluate", repository / model, *others)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_text("no archive"), "it holds Python objects, or is no such file"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut short"), "not a zip file"),
        (lambda path: np.savez(path, x=np.zeros((2, 4)), y=np.array(["a", None])), "save texts as array.astype(str)"),
        (lambda path: _save_header(path, "(1000000000000,)"), "Unable to allocate"),
        (lambda path: path.write_bytes(_damaged(path)), "Bad CRC-32"),
    ],
)
def test_data_that_is_damaged_or_crafted(refused, repository, tmp_path, write, message):
    path = tmp_path / "data.npz"
    write(path)
    assert message in refused("evaluate", repository / "iris", path)


def _save_header(path, shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())


def _damaged(path):
    np.savez(path, x=np.zeros((50, 4)))
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    return content


def test_data_larger_than_the_memory(refused, repository, tmp_path, monkeypatch):
    """Of zeros, which take little room in a file."""
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((10_000, 4), np.float32))
    monkeypatch.setattr(arrays, "_memory_bytes", lambda: 10_000)
    line = refused("evaluate", repository / "iris", tmp_path / "bomb.npz")
    assert "more than this machine has memory" in line


def test_what_no_head_heeds_is_refused(refused, repository, iris):
    assert "a threshold is for heads of kind 'binary'" in refused(
        "evaluate", repository / "iris", iris[0], "--threshold", "0.3"
    )


def test_the_latest_version_is_what_servers_take_for_it(run, repository, iris, tmp_path):
    shutil.copytree(repository / "iris", tmp_path / "iris")
    for name in ("007", "0", "abc"):
        shutil.copytree(tmp_path / "iris" / "1", tmp_path / "iris" / name)
    facts = json.loads(run("evaluate", tmp_path / "iris", iris[0], "--json").out)
    assert facts["file"] == str(tmp_path / "iris" / "1" / "model.onnx")


def test_wrong_usage(run, repository, iris):
    for options in (["--report", "page.pdf"], ["--threshold", "2"], ["--batch-size", "0"]):
        assert run("evaluate", repository / "iris", iris[0], *options).code == 2


def test_weights_from_elsewhere_are_not_read(refused, repository, iris, tmp_path):
    model = onnx.load(repository / "iris" / "1" / "model.onnx")
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "m.onnx").rename(folder / "m.onnx")
    assert "which is no file in its folder" in refused("evaluate", folder / "m.onnx", iris[0])


def test_missing_matplotlib(refused, repository, iris, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused("evaluate", repository / "iris", iris[0], "--report", tmp_path / "report.html")
    assert "pip install 'headgate[evaluate]'" in line


def test_needs_no_tensorflow(repository, iris, tmp_path):
    code = f"""
import sys
from headgate.cli import main
try:
    main(["evaluate", {str(repository / "iris")!r}, {str(iris[0])!r}, "--report", {str(tmp_path / "report.html")!r}])
finally:
    print(*{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert {"onnxruntime", "sklearn", "matplotlib"} <= set(loaded)
    assert not {"tensorflow", "keras", "tf2onnx"} & set(loaded)
    assert "matplotlib.pyplot" not in loaded
