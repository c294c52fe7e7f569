"""The whole way, from real Keras models to files that onnxruntime runs."""

import hashlib
import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from headgate.exporter import ExportError, ExportReport, export_model
from headgate.exporter.errors import ConversionError, ModelLoadError, RepositoryError, VerificationError
from headgate.v1 import ACTIVATION_PROBABILITIES, DataType
from headgate.v1.signatures import SCHEMA_VERSION

layers = keras.layers


def image_model():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPool2D(),
            layers.DepthwiseConv2D(3),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )


def normalized_model():
    normalization = layers.Normalization(name="normalization")
    normalization.adapt(np.random.default_rng(0).normal(50, 9, (200, 4)).astype("float32"))
    return keras.Sequential([keras.Input((4,), name="x"), normalization, layers.Dense(2, name="y")], name="normalized")


def recurrent_model():
    return keras.Sequential(
        [
            keras.Input((None, 3), name="series"),
            layers.LSTM(5, return_sequences=True),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(1, activation="sigmoid", name="alarm"),
        ],
        name="recurrent",
    )


def nested_model():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")], name="inner")
    outer_input = keras.Input((4,), name="x")
    return keras.Model(outer_input, inner(layers.Dense(4, activation="swish")(outer_input)), name="nested")


def attention_model():
    tokens = keras.Input((6, 8), name="tokens")
    attended = layers.MultiHeadAttention(2, 4)(layers.LayerNormalization()(tokens), tokens)
    return keras.Model(tokens, layers.Dense(1, name="score")(layers.GlobalMaxPool1D()(attended)), name="attention")


@keras.saving.register_keras_serializable("headgate_tests")
class SubclassedModel(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3, activation="softmax")

    def call(self, x):
        return self.dense(x)


def subclassed_model():
    model = SubclassedModel(name="subclassed")
    model(np.zeros((2, 4), "float32"))
    return model


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (image_model, (8, 8, 1)),
        (normalized_model, (4,)),
        (recurrent_model, (7, 3)),
        (nested_model, (4,)),
        (attention_model, (6, 8)),
        (subclassed_model, (4,)),
    ],
)
def test_the_file_computes_what_keras_predicts(make, shape, tmp_path, exported, rng):
    model = make()
    report = export_model(model, tmp_path)
    file = exported(report.path)
    for rows in (1, 5, 33):
        inputs = rng.normal(size=(rows, *shape)).astype("float32")
        (output,) = file.run(**{next(iter(file.inputs)): inputs})
        np.testing.assert_allclose(output, model.predict(inputs, verbose=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 15, 17])
def test_older_operator_sets(opset, tmp_path, exported):
    report = export_model(image_model(), tmp_path, opset=opset)
    versions = {entry.domain: entry.version for entry in exported(report.path).model.opset_import}
    assert versions[""] == report.signature.provenance.opset == opset


def test_inputs_outputs_and_heads_of_a_model_with_several(tmp_path, exported, two_heads, rng):
    model = two_heads({"price": "mse", "species": "sparse_categorical_crossentropy"})
    report = export_model(model, tmp_path, labels=["a", "b", "c"], units="EUR")
    file = exported(report.path)
    assert file.inputs == {"numbers": ["batch", 4], "words": ["batch", "words_dim_1"]}
    assert file.outputs == {"price": ["batch", 1], "species": ["batch", 3]}
    price, species = file.signature.heads
    assert (price.name, price.output, price.WhichOneof("kind")) == ("price", "price", "regression")
    assert list(price.regression.units) == ["EUR"]
    assert list(species.multiclass.labels) == ["a", "b", "c"]

    inputs = {"numbers": rng.normal(size=(5, 4)).astype("float32"), "words": rng.integers(0, 6, (5, 9)).astype("int32")}
    for output, expected in zip(file.run(**inputs), model.predict(inputs, verbose=0), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_outputs_are_called_by_the_keys_of_a_dictionary(tmp_path, exported, two_heads):
    report = export_model(two_heads(outputs=("asked price", "species/1")), tmp_path)
    assert list(exported(report.path).outputs) == ["asked_price", "species_1"]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_and_the_model_in_memory_give_the_same(suffix, tmp_path, exported, dense, rng):
    model = dense(3, "softmax", "sparse_categorical_crossentropy")
    path = tmp_path / f"iris-2{suffix}"
    model.save(path)
    from_file = export_model(path, tmp_path / "models")
    from_memory = export_model(model, tmp_path / "models", name="memory")
    assert (from_file.name, from_memory.name) == ("iris-2", "memory")
    assert from_file.signature.heads == from_memory.signature.heads
    x = rng.normal(size=(4, 4)).astype("float32")
    np.testing.assert_array_equal(exported(from_file.path).run(x=x), exported(from_memory.path).run(x=x))

    provenance = from_file.signature.provenance
    assert provenance.source_file == path.name
    assert provenance.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (from_memory.signature.provenance.source_file, from_memory.signature.provenance.source_sha256) == ("", "")


def test_a_subclassed_model_is_loaded_from_a_file(tmp_path, exported):
    path = tmp_path / "subclassed.keras"
    subclassed_model().save(path)
    file = exported(export_model(path, tmp_path / "models").path)
    assert (file.inputs, file.outputs) == ({"input": ["batch", 4]}, {"output": ["batch", 3]})
    assert file.signature.heads[0].WhichOneof("kind") == "multiclass"


def test_the_signature_tells_everything(tmp_path, exported, dense, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    report = export_model(
        dense(1, "sigmoid", "binary_crossentropy", name="tumour"),
        tmp_path,
        labels=["benign", "malignant"],
        positive_label="benign",
        threshold=0.31,
        examples=np.ones((2, 4)),
    )
    signature = exported(report.path).signature
    assert signature == report.signature
    assert signature.schema_version == SCHEMA_VERSION
    assert [(i.name, i.datatype, list(i.shape)) for i in signature.inputs] == [("x", DataType.DATA_TYPE_FP32, [-1, 4])]
    assert [(o.name, list(o.shape)) for o in signature.outputs] == [("tumour", [-1, 1])]
    (head,) = signature.heads
    assert head.activation == ACTIVATION_PROBABILITIES
    assert list(head.binary.labels) == ["benign", "malignant"]
    assert (head.binary.positive_label, head.binary.threshold) == ("benign", 0.31)
    checks = [(check.output, check.batch_size, check.inputs) for check in signature.verification.checks]
    assert checks == [("tumour", rows, origin) for origin in ("random", "given") for rows in (1, 3, 17)]
    assert all(check.max_absolute_error < 1e-5 for check in signature.verification.checks)
    assert signature.provenance.exported_at == "2023-11-14T22:13:20Z"
    assert signature.provenance.opset == 18
    expected = {"headgate", "keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime"}
    assert set(signature.provenance.versions) == expected
    assert signature.provenance.versions["keras"] == keras.__version__


def test_two_exports_of_a_file_are_equal_byte_by_byte(tmp_path, dense, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    dense(3, "softmax").save(tmp_path / "m.keras")
    first, second = (export_model(tmp_path / "m.keras", tmp_path / "models").path for _ in range(2))
    assert first.read_bytes() == second.read_bytes()


def test_versions_count_up_and_are_never_overwritten(tmp_path, dense):
    reports = [export_model(dense(), tmp_path, name="price") for _ in range(2)]
    assert [report.path for report in reports] == [tmp_path / "price" / v / "model.onnx" for v in ("1", "2")]
    assert [report.version for report in reports] == [1, 2]
    before = reports[0].path.read_bytes()
    with pytest.raises(RepositoryError, match=r"version 1 of model 'price' exists .* next free one \(3\)"):
        export_model(dense(), tmp_path, name="price", version=1)
    assert reports[0].path.read_bytes() == before
    assert export_model(dense(), tmp_path, name="price", version=9).version == 9
    assert export_model(dense(), tmp_path, name="price").version == 10


def test_progress_names_the_stages(tmp_path, dense):
    stages = []
    report = export_model(dense(), tmp_path, progress=stages.append)
    assert stages == ["import", "load", "infer heads", "convert", "verify", "write"] == list(report.seconds)
    assert isinstance(report, ExportReport)
    assert report.notes[0].startswith("output 'out' is taken as regression: it is linear and the model has no loss")


class EagerOffset(layers.Layer):
    """Adds 0.5 in eager mode only, so that no graph computes what Keras does."""

    def call(self, x):
        return x + 0.5 if tf.executing_eagerly() else x


class Bessel(layers.Layer):
    def call(self, x):
        return tf.math.bessel_i0(x)


def test_an_unfaithful_conversion_is_refused_and_nothing_is_written(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2), EagerOffset(name="out")], name="m")
    wrong = (
        r"output 'out' differs at .*; the first layer that differs is 'out' \(EagerOffset\): max error 0\.5; nothing"
    )
    with pytest.raises(VerificationError, match=wrong):
        export_model(model, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_operations_without_a_counterpart_are_named_with_their_layers(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Bessel(name="odd_one"), layers.Dense(1)], name="m")
    with pytest.raises(ConversionError, match=r"no ONNX counterpart here: BesselI0 \(in layer 'odd_one'\)"):
        export_model(model, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"opset": 12}, ConversionError, "opset is 12; give a number from 13 to 18"),
        ({"name": "a/b"}, RepositoryError, r"'a/b' is no name for a model.*name='a_b'"),
        ({"name": ".."}, RepositoryError, "no name for a model"),
        ({"version": 0}, RepositoryError, "version is 0; give a positive integer"),
        ({"version": "1"}, RepositoryError, "version is '1'; give a positive integer"),
        ({"examples": np.zeros((2, 5))}, ModelLoadError, r"input 'x' have shape \[2,5\], the model takes \[batch,4\]"),
        ({"examples": {"y": np.zeros((2, 4))}}, ModelLoadError, "keys 'y', the model's inputs are 'x'"),
        ({"examples": np.zeros((0, 4))}, ModelLoadError, "at least one"),
    ],
)
def test_arguments_that_do_not_fit(arguments, error, message, tmp_path, dense):
    with pytest.raises(error, match=message) as caught:
        export_model(dense(), tmp_path / "models", **arguments)
    assert isinstance(caught.value, ExportError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "models").exists()


def test_text_inputs(tmp_path, exported):
    lookup = layers.StringLookup(vocabulary=["red", "green"])
    colour = keras.Input((1,), dtype="string", name="colour")
    scores = layers.Dense(1, name="score")(layers.Flatten()(layers.Embedding(3, 2)(lookup(colour))))
    model = keras.Model(colour, scores, name="colours")
    examples = np.array([["red"], ["green"], ["mauve"]])
    report = export_model(model, tmp_path)
    file = exported(report.path)
    assert file.signature.inputs[0].datatype == DataType.DATA_TYPE_STRING
    np.testing.assert_allclose(
        file.run(colour=examples.astype(object))[0], model.predict(tf.constant(examples), verbose=0), atol=1e-6
    )


def test_half_precision_models_are_compared_more_loosely(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, activation="relu"), layers.Dense(3)], name="half")
    signature = export_model(model, tmp_path).signature
    assert signature.outputs[0].datatype == DataType.DATA_TYPE_FP16
    assert signature.verification.tolerances[0].relative == 2e-2


def test_no_internal_names_are_left_in_the_interface(tmp_path, exported):
    first, second = keras.Input((4,)), keras.Input((4,))
    shared = layers.Dense(2)
    model = keras.Model([first, second], [shared(first), shared(second)])
    file = exported(export_model(model, tmp_path, name="m").path)
    names = [*file.inputs, *file.outputs]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"(input_layer|dense)(_\d+)*", name) for name in names)
    assert "unk__" not in str([value.type for value in (*file.model.graph.input, *file.model.graph.output)])
    assert not file.model.graph.value_info


def test_exports_in_several_threads_do_not_disturb_each_other(dense, tmp_path):
    models = {name: dense(3, "softmax") for name in "abcd"}
    with ThreadPoolExecutor(len(models)) as pool:
        reports = list(pool.map(lambda name: export_model(models[name], tmp_path, name=name), models))
    for report in reports:
        assert [node.name for node in onnx.load(report.path).graph.node] == ["out/MatMul", "out/Softmax"]
    assert [logging.getLogger(name).propagate for name in ("tf2onnx", "tensorflow")] == [False, False]
    assert "set" not in vars(sys.modules["tf2onnx.graph"])
