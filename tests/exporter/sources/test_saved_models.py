import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session

from headgate.exporter import export_model
from headgate.exporter.errors import ModelLoadError, UnsafeModelError
from headgate.exporter.sources import saved_models
from headgate.exporter.sources.keras_models import load_source
from headgate.exporter.tracing.traced_models import trace


class Module(tf.Module):
    def __init__(self):
        super().__init__("module")
        self.matrix = tf.Variable(np.arange(6).reshape(3, 2) / 7, dtype="float32")

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="x")])
    def __call__(self, x):
        return {"species": tf.nn.softmax(x @ self.matrix)}

    @tf.function(input_signature=[tf.TensorSpec((None, 3), name="left"), tf.TensorSpec((None, 2), name="right")])
    def both(self, left, right):
        return tf.sigmoid(left @ self.matrix + right), right


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "module"
    module = Module()
    tf.saved_model.save(module, path, signatures={"serving_default": module.__call__, "both": module.both})
    return path


@pytest.fixture
def saved_function(tmp_path):
    """Save one function of `x`, a vector of strings."""

    def save(function):
        module = tf.Module()
        module.function = tf.function(function, input_signature=[tf.TensorSpec((None,), tf.string, name="x")])
        tf.saved_model.save(module, tmp_path / "evil", signatures=module.function)
        return tmp_path / "evil"

    return save


def test_a_signature_names_inputs_and_outputs(folder, tmp_path, exported, rng):
    file = exported(export_model(folder, tmp_path).path)
    assert file.inputs == {"x": ["batch", 3]}
    assert file.outputs == {"species": ["batch", 2]}
    assert file.signature.heads[0].WhichOneof("kind") == "multiclass"
    assert len(file.signature.provenance.source_sha256) == 64
    x = rng.normal(size=(5, 3)).astype("float32")
    np.testing.assert_allclose(file.run(x=x)[0], Module()(x)["species"], rtol=1e-5)


def test_another_signature(folder, tmp_path, exported):
    file = exported(export_model(folder, tmp_path, signature="both", heads={"output_1": None}).path)
    assert set(file.inputs) == {"left", "right"}
    assert set(file.outputs) == {"output_0", "output_1"}


def test_signatures_that_are_not_there(folder, tmp_path):
    with pytest.raises(ModelLoadError, match="has no signature 'nope', but 'both', 'serving_default'; choose one"):
        load_source(folder, safe_mode=True, signature="nope")
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(ModelLoadError, match="is no SavedModel, so it has no signature 'x'"):
        load_source(path, safe_mode=True, signature="x")


def test_what_keras_exports(tmp_path, exported, two_heads):
    two_heads().export(tmp_path / "flowers", verbose=False)
    examples = {"numbers": np.ones((3, 4)), "words": np.ones((3, 5), "int32")}
    file = exported(export_model(tmp_path / "flowers", tmp_path / "models", examples=examples).path)
    assert file.inputs["words"] == ["batch", "words_dim_1"]
    assert [head.WhichOneof("kind") for head in file.signature.heads] == ["regression", "multiclass"]


def test_functions_in_memory(tmp_path, exported):
    module = Module()
    assert set(exported(export_model(module, tmp_path).path).inputs) == {"x"}
    for source, signature in ((module.both, None), (module, "both")):
        report = export_model(source, tmp_path, name="both", signature=signature, heads={"output_1": None})
        assert set(exported(report.path).inputs) == {"left", "right"}


def test_functions_without_a_signature():
    with pytest.raises(ModelLoadError, match=r"has no tf\.function 'nope', but '__call__', 'both'; choose one"):
        load_source(Module(), safe_mode=True, signature="nope")
    source = load_source(tf.function(lambda x: x), safe_mode=True)
    with pytest.raises(ModelLoadError, match=r"the inputs of function 'lambda' are not known.*input_signature"):
        trace(source.model)


def save_v2(x):
    tf.raw_ops.SaveV2(prefix="/tmp/evil", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    return x


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: tf.map_fn(tf.io.read_file, x), "ReadFile"),
        (lambda x: tf.io.matching_files(x), "MatchingFiles"),
        (lambda x: tf.py_function(lambda y: y, [x], tf.string), "EagerPyFunc"),
        (lambda x: tf.numpy_function(lambda y: y, [x], tf.string), "PyFunc"),
        (save_v2, "SaveV2"),
    ],
)
def test_programs_are_refused(function, operation, saved_function):
    path = saved_function(function)
    with pytest.raises(UnsafeModelError, match=rf"\({operation}\) that does more than compute; .*safe_mode=False"):
        load_source(path, safe_mode=True)
    load_source(path, safe_mode=False)


@pytest.fixture
def changed(folder, tmp_path):
    """Write the SavedModel anew, its program changed: without variables, which come after."""

    def write(change):
        saved_model = saved_model_pb2.SavedModel()
        saved_model.ParseFromString((folder / "saved_model.pb").read_bytes())
        change(saved_model.meta_graphs[0])
        (tmp_path / "saved_model.pb").write_bytes(saved_model.SerializeToString())

    return write


def saver_of(meta_graph):
    name = meta_graph.saver_def.restore_op_name
    return next(node for node in meta_graph.graph_def.node if node.name == name)


def call_saver(meta_graph):
    library = meta_graph.graph_def.library
    function = next(one for one in library.function if "signature_wrapper" in one.signature.name)
    call = function.node_def.add(name="evil", op="PartitionedCall")
    call.attr["f"].func.name = saver_of(meta_graph).attr["f"].func.name


def publish_saver(meta_graph):
    node = next(node for node in meta_graph.object_graph_def.nodes if node.HasField("function"))
    node.function.concrete_functions[:] = [saver_of(meta_graph).attr["f"].func.name]


def be_saver(meta_graph):
    saver_of(meta_graph).op = "WriteFile"


def be_saver_of_version_1(meta_graph):
    meta_graph.ClearField("object_graph_def")
    saver_of(meta_graph).op = "SaveV2"


@pytest.mark.parametrize(
    ("change", "operation"),
    [
        (call_saver, r"'evil' \(PartitionedCall\)"),
        (publish_saver, r"'.*' \((SaveV2|RestoreV2|ShardedFilename|MergeV2Checkpoints)\)"),
        (be_saver, r"'.*' \(WriteFile\)"),
        (be_saver_of_version_1, r"'.*' \((SaveV2|RestoreV2|ShardedFilename|MergeV2Checkpoints)\)"),
    ],
)
def test_passing_for_what_saves_the_variables_is_refused(change, operation, changed, tmp_path):
    changed(change)
    with pytest.raises(UnsafeModelError, match=rf"has an operation {operation} that does more"):
        load_source(tmp_path, safe_mode=True)


def test_every_operation_that_names_a_file_or_a_program_is_refused():
    listed = op_def_pb2.OpList()
    listed.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    suspicious = re.compile(r"(^|_)(files?|filenames?|path|prefix|descriptor_source|memory_region_name|send_device)$")
    passing = []
    for op in listed.op:
        names = [argument.name for argument in (*op.attr, *op.input_arg)]
        refused = saved_models._PROGRAM_OP.search(op.name) or saved_models._CHECKPOINT_OP.fullmatch(op.name)
        if any(map(suspicious.search, names)) and not refused:
            passing.append(op.name)
    # TensorFlow cannot run that one on a CPU.
    assert set(passing) <= {"DTensorRestoreV2"}


def test_assets_that_lead_out(changed, tmp_path):
    changed(lambda meta_graph: meta_graph.asset_file_def.add(filename="../../etc/passwd"))
    with pytest.raises(ModelLoadError, match=r"has an asset '\.\./\.\./etc/passwd', which leads out of the folder"):
        load_source(tmp_path, safe_mode=True)


@pytest.mark.parametrize(
    ("content", "message"), [(b"hello", "has a damaged saved_model.pb"), (b"", "cannot be loaded as a SavedModel")]
)
def test_damaged_folders(content, message, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_source(tmp_path, safe_mode=True)
    assert "\n" not in str(caught.value)
