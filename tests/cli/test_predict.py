import io
import json
import re
import subprocess
import sys

import keras
import numpy as np
import onnx.parser
import pytest
import trustme
from onnx import helper

from headgate.server import Server, ServerSettings
from headgate.v1 import (
    ACTIVATION_LINEAR,
    ACTIVATION_PROBABILITIES,
    Conformal,
    DataType,
    Head,
    KeypointsHead,
    Signature,
    TensorSpec,
)
from headgate.v1.signatures import METADATA_KEY, signature_to_json

LABELS = ["setosa", "versicolor", "virginica"]
HEADGATE = [sys.executable, "-m", "headgate.cli"]
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.7, 1.5]]


@pytest.fixture(scope="module")
def scores(keras_files):
    """What Keras says about FLOWERS."""
    return keras.saving.load_model(keras_files / "iris.keras").predict(np.array(FLOWERS), verbose=0)


@pytest.fixture
def ask(run, url):
    def ask(model, source, *arguments):
        ended = run("predict", model, "--input", source, "--url", url, "--json", *arguments)
        assert (ended.code, ended.err) == (0, "")
        return json.loads(ended.out)["predictions"]

    return ask


def test_table(run, url, scores):
    ended = run("predict", "iris", "--input", json.dumps(FLOWERS), "--url", url, "--top-k", 2, "--probabilities")
    assert ended.code == 0
    assert "iris version 1" in ended.out
    for row in scores:
        best = np.argsort(-row)[:2]
        assert ", ".join(f"{LABELS[i]} ({row[i]:.4g})" for i in best) in ended.out
        assert "all: " + ", ".join(f"{label} {p:.4g}" for label, p in zip(LABELS, row, strict=True)) in ended.out


def test_json(ask, scores):
    predictions = ask("iris", json.dumps(FLOWERS), "--probabilities", "--version", 1, "--timeout", 60)
    for prediction, row in zip(predictions, scores, strict=True):
        assert prediction["species"]["label"] == LABELS[row.argmax()]
        assert prediction["species"]["probabilities"] == pytest.approx(row.tolist(), rel=1e-4)


def test_threshold(ask):
    house = '{"area": [[0.1]], "rooms": [[1]]}'
    assert [ask("house", house, "--threshold", t)[0]["sold"]["label"] for t in (0, 1)] == ["sold", "open"]


#: A model of four numbers, each of whose heads reads them in its own way.
FOUR = (
    "g (float[batch,4] x) => (float[batch,4] y, float[batch,2,2,1] map) <int64[4] shape = {0,2,2,1}>"
    "{ y = Identity(x) map = Reshape(x, shape) }"
)
FOUR_HEADS = [
    Head(
        name="letter",
        output="y",
        activation=ACTIVATION_PROBABILITIES,
        multiclass={"labels": "abcd", "groups": [{"name": "early", "members": "ab"}]},
        calibration={"conformal": {"method": Conformal.METHOD_LAC, "levels": [{"level": 0.9, "quantiles": [0.75]}]}},
    ),
    Head(name="vector", output="y", activation=ACTIVATION_LINEAR, embedding={}),
    Head(
        name="mask",
        output="map",
        activation=ACTIVATION_PROBABILITIES,
        segmentation={"labels": ["sky", "road"], "thresholds": [0.15]},
    ),
    Head(
        name="joint",
        output="y",
        activation=ACTIVATION_LINEAR,
        keypoints={
            "names": ["left", "right"],
            "form": KeypointsHead.FORM_COORDINATES,
            "image_width": 10,
            "image_height": 5,
        },
    ),
]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Where the model `four` is served."""
    folder = tmp_path_factory.mktemp("models")
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {FOUR}')
    spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 4])
    signature = signature_to_json(Signature(schema_version=1, inputs=[spec], heads=FOUR_HEADS))
    helper.set_model_props(model, {METADATA_KEY: signature})
    (folder / "four" / "1").mkdir(parents=True)
    (folder / "four" / "1" / "model.onnx").write_bytes(model.SerializeToString())
    server = Server(ServerSettings(repository=folder, port=0))
    server.start()
    yield f"localhost:{server.port}"
    server.stop()


@pytest.fixture
def ask_four(run, four):
    """Ask `four` about one row."""

    def ask_four(*arguments):
        ended = run("predict", "four", "-i", "[[0.12345, 0.2, 0.27655, 0.4]]", "--url", four, "--json", *arguments)
        assert (ended.code, ended.err) == (0, "")
        [row] = json.loads(ended.out)["predictions"]
        return row

    return ask_four


def test_options_that_change_what_is_answered(ask_four):
    plain = ask_four()
    assert set(plain["letter"]) == {"label", "index", "score"}
    assert plain["vector"]["vector"] == [0.12345, 0.2, 0.27655, 0.4]
    assert plain["mask"]["class_map"] == [[0, 1], [1, 1]]
    assert (plain["joint"]["points"][1], plain["joint"]["relative"]) == (
        {"name": "right", "x": 0.27655, "y": 0.4},
        False,
    )

    assert [each["label"] for each in ask_four("--level", 0.9)["letter"]["set"]] == ["d", "c"]
    assert ask_four("--groups")["letter"]["groups"] == [{"label": "early", "score": pytest.approx(0.32345)}]
    halves = ask_four("--half-precision")["vector"]["vector"]
    assert halves == pytest.approx([0.12345, 0.2, 0.27655, 0.4], 1e-3)
    assert halves[0] != 0.12345
    assert ask_four("--masks", "run-lengths")["mask"]["runs"] == {"sky": [0, 1, 3], "road": [1, 3]}
    assert set(ask_four("--masks", "none")["mask"]) == {"height", "width", "areas"}
    joint = ask_four("--relative")["joint"]
    assert (joint["points"][1], joint["relative"]) == ({"name": "right", "x": 0.027655, "y": 0.08}, True)


def test_how_sure_a_model_is_of_a_row(ask_four, run, four):
    p = np.array([0.12345, 0.2, 0.27655, 0.4])
    letter = ask_four("--entropy", "--margin")["letter"]
    assert letter["entropy"] == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
    assert letter["margin"] == pytest.approx(0.4 - 0.27655, rel=1e-5)
    row = ["predict", "four", "-i", "[[0.12345, 0.2, 0.27655, 0.4]]", "--url", four]
    table = run(*row, "--entropy", "--margin", "--groups").out
    for text in (f"entropy: {letter['entropy']:.4g}", f"margin: {letter['margin']:.4g}", "groups: early 0.323"):
        assert text in table


def test_json_has_no_infinity(run, strict, url):
    ended = run("predict", "house", "--input", '{"area": [[1e999]], "rooms": [[1]]}', "--url", url, "--json")
    [row] = strict(ended.out)["predictions"]
    assert row["price"]["values"] == [{"unit": "EUR", "value": None}]


def test_masks_of_no_such_kind(run, four):
    ended = run("predict", "four", "-i", "[[1, 2, 3, 4]]", "--url", four, "--masks", "polygons")
    assert ended.code == 2
    assert "'class-map', 'run-lengths', 'none'" in ended.err


@pytest.mark.parametrize("source", ["json", "npy", "npz", "named npz", "csv", "csv with header", "stdin"])
def test_sources(ask, tmp_path, monkeypatch, source):
    path = tmp_path / f"flowers.{source.split()[-1] if 'npz' in source else source.split()[0]}"
    match source:
        case "json":
            path.write_text(json.dumps(FLOWERS))
        case "npy":
            np.save(path, FLOWERS)
        case "npz":
            np.savez(path, FLOWERS)
        case "named npz":
            np.savez(path, features=FLOWERS)
        case "csv" | "csv with header":
            header = "a,b,c,d\n" if "header" in source else ""
            path.write_text(header + "\n".join(",".join(map(str, row)) for row in FLOWERS) + "\n")
        case "stdin":
            monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(FLOWERS)))
            path = "-"
    assert ask("iris", path) == ask("iris", json.dumps(FLOWERS))


def test_csv_with_a_column_for_each_input(ask, tmp_path):
    (tmp_path / "houses.csv").write_text("rooms,area\n3,70.5\n4,110\n")
    expected = ask("house", '{"area": [[70.5], [110]], "rooms": [[3], [4]]}')
    assert ask("house", tmp_path / "houses.csv") == expected
    assert expected[0]["price"]["values"][0]["unit"] == "EUR"


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        ("nothing", "[[1, 2, 3, 4]]", "no model 'nothing'"),
        ("iris", "[1, 2, 3, 4]", "first dimension is the batch"),
        ("iris", "[[1, 2, 3]]", "[1,3], the model takes [batch,4]"),
        ("iris", "[[1, 2], [3]]", "no array"),
        ("iris", "[[1, 2", "no valid JSON"),
        ("iris", "flowers.txt", "give a .npy, .npz, .json or .csv file"),
        ("iris", "/no/such.npy", "/no/such.npy: No such file"),
        ("house", "[[1]]", "2 inputs"),
        ("house", '{"area": [[1]], "rooms": [[1.5]]}', "INT32"),
    ],
)
def test_mistakes(refused, url, model, source, message):
    assert message in refused("predict", model, "--input", source, "--url", url)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"nonsense", "cannot be read by numpy"),
        ("x.json", b"{", "no valid JSON"),
        ("x.csv", b"1,2,3,4\n5,6\n", "same number of columns"),
        ("x.csv", b"", "same number of columns"),
        ("x.csv", b"1,2,3,4\n1,2,3,x\n", "'x'"),
    ],
)
def test_files_that_cannot_be_read(refused, url, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refused("predict", "iris", "--input", tmp_path / name, "--url", url)


def test_no_server(refused):
    line = refused("predict", "iris", "--input", "[[1]]", "--url", "localhost:1")
    assert line.startswith("error: localhost:1: ")
    assert line.endswith("; --url takes host:port of a server that runs\n")


def test_no_tls_where_it_is_asked_for(run, url):
    """In a process of its own, on whose stderr gRPC could write, too."""
    command = [*HEADGATE, "predict", "iris", "--input", "[[1]]", "--url", url, "--tls"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert re.fullmatch(r"error: .*; --url takes host:port of a server that runs with TLS\n", ended.stderr)


@pytest.mark.parametrize("source", ["[[1, 2, 3, 4]]", "x.csv"])
def test_a_model_that_is_not_loaded(refused, serving, repository, tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("1,2,3,4\n")
    with serving(repository, "--model-control", "explicit") as url:
        assert "model 'iris' is not ready: UNLOADED" in refused("predict", "iris", "--input", source, "--url", url)


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A folder of certificates and keys."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("localhost", "client@example.org"):
        certificate = authority.issue_cert(name)
        certificate.private_key_pem.write_to_path(str(folder / f"{name}-key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    (folder / "text.pem").write_text("no PEM")
    return folder


@pytest.fixture(scope="module")
def secure(repository, pem):
    """Where a server listens that wants its clients' certificates too."""
    settings = ServerSettings(
        repository=repository,
        port=0,
        tls_cert=pem / "localhost.pem",
        tls_key=pem / "localhost-key.pem",
        tls_client_ca=pem / "ca.pem",
    )
    server = Server(settings)
    server.start()
    yield f"localhost:{server.port}"
    server.stop()


class TestTls:
    def test_mutual(self, ask, secure, pem):
        certificate = (
            "--tls-cert",
            pem / "client@example.org.pem",
            "--tls-key",
            pem / "client@example.org-key.pem",
        )
        assert len(ask("iris", json.dumps(FLOWERS), "--url", secure, "--tls-ca", pem / "ca.pem", *certificate)) == 2

    @pytest.mark.parametrize("flags", [[], ["--tls"], ["--tls-ca", "ca.pem"]])
    def test_a_server_that_is_not_trusted_or_does_not_trust(self, refused, secure, pem, flags):
        flags = [pem / flag if flag.endswith("pem") else flag for flag in flags]
        line = refused("predict", "iris", "--input", "[[1]]", "--url", secure, *flags)
        assert line.startswith(f"error: {secure}: ")

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--tls-cert", "localhost.pem"], "give both --tls-cert and --tls-key"),
            (["--tls-key", "localhost-key.pem"], "give both --tls-cert and --tls-key"),
            (["--tls-ca", "nothing.pem"], "nothing.pem: No such file or directory"),
            (["--tls-ca", "text.pem"], "text.pem cannot be used: "),
            (["--tls-cert", "localhost.pem", "--tls-key", "client@example.org-key.pem"], "cannot be used: "),
        ],
    )
    def test_files_that_cannot_be_used(self, refused, pem, flags, message):
        flags = [pem / flag if flag.endswith("pem") else flag for flag in flags]
        assert message in refused("predict", "iris", "--input", "[[1]]", "--url", "localhost:1", *flags)
