import json
import shutil
import subprocess
import sys

import onnx
import pytest
from google.protobuf import json_format
from onnx import TensorProto, helper

from headgate.cli.signatures import describe_verification
from headgate.exporter.model_files import add_metadata
from headgate.v1 import ParityCheck, Signature, Tolerance, Verification
from headgate.v1.signatures import METADATA_KEY, signature_to_json


@pytest.fixture
def plain_onnx(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.INT64, ["n", None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, ["n", None, 2])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "plain.onnx")
    return tmp_path / "plain.onnx"


def test_table(run, repository):
    ended = run("inspect", repository / "house")
    assert ended.code == 0
    for text in (
        "house/1/model.onnx",
        "area: FP32 [batch,1]",
        "rooms: INT32 [batch,1]",
        "price: regression, linear of output 'price'; in EUR; scaled back with mean 210.5 and scale 88",
        "sold: binary, probabilities of output 'sold'; labels open, sold; sold where its probability >= 0.5",
        "calibration   none",
        "proven equal to Keras at graph optimization level 'all'",
        "golden.binpb, 3 rows, which servers run before the model is ready",
        "price: random batch of 1, largest |onnx - keras|",
        "price: allowed ",
        "from house.keras, SHA-256",
        "tf2onnx",
    ):
        assert text in ended.out


def test_8_bits_are_not_called_proven():
    checks, tolerances = [ParityCheck(output="y")], [Tolerance(output="y", rule="int8")]
    verdict, *_ = describe_verification(Verification(checks=checks, tolerances=tolerances))
    assert verdict.startswith("near Keras, as far as the figures under 'optimized' tell")


def test_golden_examples_that_are_gone_or_damaged(run, repository, tmp_path):
    version = shutil.copytree(repository / "iris" / "1", tmp_path / "iris" / "1")
    golden = version / "golden.binpb"
    golden.write_bytes(golden.read_bytes()[:-1])
    assert "golden.binpb keeps servers from serving the model: it is damaged" in run("inspect", version).out
    golden.unlink()
    assert "golden.binpb is missing, so that servers compare nothing" in run("inspect", version).out


def test_json(run, repository):
    facts = json.loads(run("inspect", repository / "iris", "--json").out)
    file = repository / "iris" / "1" / "model.onnx"
    assert (facts["file"], facts["bytes"]) == (str(file), file.stat().st_size)
    assert facts["outputs"] == [{"name": "species", "datatype": "DATA_TYPE_FP32", "shape": ["-1", "3"]}]
    signature = json_format.ParseDict(facts["signature"], Signature())
    assert list(signature.heads[0].multiclass.labels) == ["setosa", "versicolor", "virginica"]


def test_json_has_no_infinity(run, strict, plain_onnx):
    tolerance = Tolerance(output="y", rule="int8", absolute=float("inf"))
    signature = Signature(schema_version=1, verification=Verification(tolerances=[tolerance]))
    add_metadata(plain_onnx, METADATA_KEY, signature_to_json(signature))
    facts = strict(run("inspect", plain_onnx, "--json").out)
    # protobuf has words for it, which it reads again.
    assert json_format.ParseDict(facts["signature"], Signature()) == signature


def test_latest_version(run, repository, tmp_path):
    content = (repository / "iris" / "1" / "model.onnx").read_bytes()
    for version in ("2", "10", "backup"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.onnx").write_bytes(content)
    assert json.loads(run("inspect", tmp_path, "--json").out)["file"] == str(tmp_path / "10" / "model.onnx")
    assert json.loads(run("inspect", tmp_path / "2", "--json").out)["file"] == str(tmp_path / "2" / "model.onnx")


def test_file_without_a_signature(run, plain_onnx):
    ended = run("inspect", plain_onnx)
    assert ended.code == 0
    assert "x: INT64 [batch,any,2]" in ended.out
    assert "none: the file does not say what its outputs mean" in ended.out
    assert json.loads(run("inspect", plain_onnx, "--json").out)["signature"] is None


def test_signature_that_cannot_be_read(refused, plain_onnx):
    model = onnx.load(plain_onnx)
    helper.set_model_props(model, {"headgate.signature": "nonsense"})
    onnx.save(model, plain_onnx)
    assert "no signature" in refused("inspect", plain_onnx)


def test_no_onnx_file(refused, tmp_path):
    (tmp_path / "model.onnx").write_text("nonsense")
    assert "cannot be loaded by onnxruntime" in refused("inspect", tmp_path / "model.onnx")


def test_nothing_there(refused, tmp_path):
    assert "there is no file or folder" in refused("inspect", tmp_path / "nothing")
    assert "no model's folder" in refused("inspect", tmp_path)


def test_what_is_no_model_but_holds_or_makes_one(refused, repository, keras_files):
    line = refused("inspect", repository)
    assert f"is a model repository; give one of its models: {repository}/house, {repository}/iris" in line
    line = refused("inspect", keras_files / "iris.keras")
    assert "is a Keras file; `headgate export` makes an ONNX file of it" in line


def test_needs_no_tensorflow(repository):
    code = f"""
import sys
from headgate.cli import main
try:
    main(["inspect", {str(repository / "iris")!r}])
finally:
    print(*{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert "onnxruntime" in loaded
    assert not {"tensorflow", "keras", "onnx", "tf2onnx"} & set(loaded)
