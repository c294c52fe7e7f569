import json

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.exporter.errors import ModelLoadError, UnsafeModelError
from headgate.exporter.sources.configs import check_config, read_config

layers = keras.layers


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def layer(class_name, module="keras.layers", /, **config):
    return {"module": module, "class_name": class_name, "config": {"name": "odd", **config}, "registered_name": None}


def inside(config):
    """Where a layer may hide: in a model in a model, after layers that are harmless."""
    inner = layer("Sequential", "keras", layers=[layer("Dense", units=3), config])
    return layer("Functional", "keras.src.models.functional", layers=[inner])


CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAA", "defaults": None, "closure": None}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        # CVE-2024-3660: bytecode; in a place of its own, and as the old format writes it.
        (layer("Lambda", function=CODE), r"holds code \(a Lambda layer\) in layer 'odd'"),
        (layer("Lambda", function=["4wEAAAAAAAAA", None, None], function_type="lambda"), "holds code"),
        (layer("Lambda", function=function("keras.ops", "relu"), output_shape=CODE), "holds code"),
        (layer("Dense", units=3, activation=CODE), r"holds code \(a lambda\)"),
        ({**CODE, "registered_name": "Mine>Known"}, r"holds code \(a lambda\)"),
        # CVE-2025-1550, -8747, -9906: any function by its name, those of Keras itself among them.
        (layer("Lambda", function=function("os", "system")), r"calls 'os\.system'"),
        (layer("Lambda", function=function("keras.utils", "get_file")), r"calls 'keras\.utils\.get_file'"),
        (layer("Lambda", function=function("keras.models", "load_model")), r"calls 'keras\.models\.load_model'"),
        (layer("Lambda", function=function("keras", "utils.get_file")), r"calls 'keras\.utils\.get_file'"),
        (layer("Lambda", function=function("keras.losses", "deserialize")), r"calls 'keras\.losses\.deserialize'"),
        (layer("Lambda", function=layer("get_file", "keras.utils")), "holds code"),
        (layer("Lambda", function="system", function_type="function", module="os"), "calls 'system'"),
        (layer("Lambda", function="system", registered_name="Mine>Known"), "calls 'system'"),
        (function("keras.config", "enable_unsafe_deserialization"), "calls 'keras.config.enable_unsafe"),
        (layer("Dense", units=3, activation=layer("get_file", "keras.utils")), r"uses 'keras\.utils\.get_file'"),
        (layer("Popen", "subprocess", args="true"), "uses 'Popen', which is not known here"),
        (layer("Model", "keras_evil"), "uses 'Model', which is not known here"),
        # CVE-2025-12058: the words of a file on this computer, or of a server.
        (
            layer("StringLookup", vocabulary="/etc/passwd"),
            r"reads the vocabulary of layer 'odd' from the file '/etc/pa",
        ),
        (layer("TextVectorization", vocabulary="http://10.0.0.1/"), "reads the vocabulary of layer 'odd'"),
        (
            layer("SentencePieceTokenizer", "keras_hub.tokenizers", proto="/etc/passwd"),
            "reads the proto of layer 'odd'",
        ),
        # CVE-2026-1462, CVE-2025-49655, and layers of Keras 2.
        (layer("TFSMLayer", filepath="/tmp/evil"), r"holds code \(a TensorFlow SavedModel in layer 'odd'\)"),
        (layer("TorchModuleWrapper", "keras.src.utils.torch_utils", module="gASV"), "a pickled PyTorch module"),
        (layer("TensorFlowOpLayer", node_def="ReadFile"), "a TensorFlow operation"),
        (layer("TFOpLambda", function="io.read_file"), r"calls 'tf\.io\.read_file'"),
        (layer("TFOpLambda", function="py_function"), r"calls 'tf\.py_function'"),
        (layer("TFOpLambda", function="compat.v1.read_file"), r"calls 'tf\.compat\.v1\.read_file'"),
        (layer("TFOpLambda", function=None), r"calls 'tf\.None'"),
        ({"class_name": "__typespec__", "module": "os", "spec_name": "x", "config": []}, "takes a type from 'os'"),
        (layer(["Dense"]), r'has a class called \["Dense"\]'),
    ],
)
def test_what_runs_code_or_reads_files_is_refused(config, message):
    for hidden in (config, inside(config), layer("Dense", units=3, deep=[[config]])):
        with pytest.raises(ModelLoadError, match=message) as caught:
            check_config(json.loads(json.dumps(hidden)), {"Mine>Known"})
        assert isinstance(caught.value, UnsafeModelError) or "not known" in message or "called" in message


def test_what_the_caller_vouches_for_passes():
    check_config(layer("Attention", "my_layers") | {"registered_name": "Mine>Attention"}, {"Mine>Attention"})
    check_config(layer("Attention", "my_layers") | {"registered_name": "Attention"}, {"Attention"})
    check_config(layer("Lambda", function=function("builtins", "double")), {"double"})
    check_config(layer("Words", "my_layers", vocabulary="small") | {"registered_name": "Words"}, {"Words"})


def test_names_need_not_be_hashable():
    config = layer("Dense", "keras.layers") | {"registered_name": [1]}
    check_config(config, {"Dense"})
    with pytest.raises(UnsafeModelError):
        check_config(function("keras.ops", {"a": 1}), {"Dense"})


def test_keras_own_models_pass():
    image = keras.Input((16, 16, 3), name="image")
    words = keras.Input((1,), dtype="string")
    pixels = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3, activation=keras.ops.tanh)(layers.RandomFlip()(image)))
    looked_up = layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")(words)
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(2, "gelu", dtype="mixed_float16")])
    recurrent = layers.Bidirectional(layers.GRU(2))(keras.ops.reshape(pixels, (-1, 2, 1)))
    joined = layers.Concatenate()([inner(layers.Concatenate()([pixels, looked_up])), recurrent])
    dense = layers.Dense(1, kernel_initializer=keras.initializers.HeNormal(seed=1), kernel_regularizer="l2")
    model = keras.Model([image, words], layers.Lambda(keras.ops.sigmoid)(dense(joined)))
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model.compile(keras.optimizers.Adam(schedule), loss=keras.losses.Huber(), metrics=["mae", keras.metrics.AUC()])
    config = keras.saving.serialize_keras_object(model)
    check_config(read_config(json.dumps(config)))


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300])
def test_nesting_bombs(text):
    with pytest.raises(ModelLoadError, match="has a configuration of more than 200 levels"):
        read_config(text)


@pytest.mark.parametrize("text", ["", "{", "\0", b"\xff\xfe{"])
def test_configurations_that_are_no_json(text):
    with pytest.raises(ModelLoadError, match="has a configuration that is no JSON"):
        read_config(text)


keys = st.sampled_from(["class_name", "config", "module", "registered_name", "function", "name", "vocabulary"])
names = st.sampled_from(["Lambda", "function", "TFOpLambda", "__typespec__", "Dense", "keras"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | names,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(keys, values, max_size=6),
    max_leaves=20,
)


def test_names_in_messages_are_printable():
    with pytest.raises(UnsafeModelError, match=r"uses 'None\.\\n\\x1b\[2J', which is no part of a model"):
        check_config({"class_name": "\n\x1b[2J"})


@given(json_values)
def test_any_configuration_passes_or_is_refused_in_one_line(value):
    message = ""
    try:
        check_config(read_config(json.dumps(value)), {"Known"})
    except ModelLoadError as error:
        message = str(error)
    assert message.isprintable()
