import importlib
import json
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from headgate.exporter import export_model
from headgate.exporter.errors import HeadInferenceError, ModelLoadError, UnsafeModelError
from headgate.exporter.sources.custom_objects import import_custom_objects
from headgate.exporter.sources.keras_models import load_source


@pytest.fixture
def lambda_model():
    layers = [keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2, output_shape=(4,)), keras.layers.Dense(1)]
    return keras.Sequential(layers, name="doubled")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_with_code_need_safe_mode_off(suffix, lambda_model, tmp_path):
    path = tmp_path / f"doubled{suffix}"
    lambda_model.save(path)
    with pytest.raises(ModelLoadError, match=r"holds code \(a Lambda layer\).*safe_mode=False"):
        export_model(path, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    assert export_model(path, tmp_path / "models", safe_mode=False).version == 1


def test_lambda_layers_in_memory_are_the_callers_own(lambda_model, tmp_path):
    assert export_model(lambda_model, tmp_path).name == "doubled"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.keras", None, "there is no file"),
        ("notes.txt", b"hello", r"does not end in \.keras or \.h5"),
        ("broken.keras", b"hello", "is a damaged zip archive"),
        ("broken.h5", b"hello", "is a damaged HDF5 file"),
        ("other.keras", b"PK\5\6" + bytes(18), r"has no member 'config\.json', so it is no Keras model"),
        ("other.h5", b"\x89HDF\r\n\x1a\n", "is a damaged HDF5 file"),
        ("m.weights.h5", b"", "holds weights only"),
    ],
)
def test_files_that_are_no_models(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_source(path, safe_mode=True)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(
        ModelLoadError, match=r"is a folder without 'config\.json' or 'saved_model\.pb', so it is no model"
    ):
        load_source(tmp_path, safe_mode=True)


def test_other_objects_are_no_models():
    with pytest.raises(ModelLoadError, match=r"got an object of type keras.*Dense; give a keras\.Model"):
        load_source(keras.layers.Dense(1), safe_mode=True)


def test_a_model_without_weights():
    with pytest.raises(ModelLoadError, match=r"model 'later' is not built.*call it once"):
        load_source(keras.Sequential([keras.layers.Dense(1)], name="later"), safe_mode=True)


_DOUBLED = """
import keras

class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


@pytest.fixture
def own_layer(tmp_path, monkeypatch):
    """A module in the current folder, and a file that holds a layer of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_layers.py").write_text(_DOUBLED)
    with monkeypatch.context() as context:
        context.syspath_prepend(tmp_path)
        module = importlib.import_module("own_layers")
    yield module, tmp_path
    del sys.modules["own_layers"]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("safe_mode", [True, False])
def test_classes_of_ones_own(suffix, safe_mode, own_layer):
    module, folder = own_layer
    path = folder / f"m{suffix}"
    keras.Sequential([keras.Input((4,)), module.Doubled(name="doubled")]).save(path)
    with pytest.raises(
        ModelLoadError, match=r"uses 'Doubled', which is not known here.*custom_objects='module:Doubled'"
    ):
        load_source(path, safe_mode=safe_mode)
    for given in ({"Doubled": module.Doubled}, "own_layers:Doubled", ["own_layers:Doubled"]):
        loaded = load_source(path, safe_mode=safe_mode, custom_objects=import_custom_objects(given))
        assert type(loaded.model.layers[-1]) is module.Doubled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own_layers", "is not module:Class"),
        ("own_layers:a.b", "is not module:Class"),
        (":Doubled", "is not module:Class"),
        ("own_layers:Tripled", "cannot be imported: module 'own_layers' has no attribute 'Tripled'"),
        ("nowhere.at_all:Doubled", "cannot be imported: No module named 'nowhere'"),
        ("broken_layers:Doubled", "cannot be imported: invalid syntax"),
    ],
)
def test_custom_objects_that_cannot_be_imported(text, message, own_layer):
    _, folder = own_layer
    (folder / "broken_layers.py").write_text("class")
    before = list(sys.path)
    with pytest.raises(ModelLoadError, match=message) as caught:
        import_custom_objects([text])
    assert "\n" not in str(caught.value)
    assert sys.path == before


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_loss_that_is_not_known_does_not_hinder(suffix, tmp_path, dense):
    def own_loss(y_true, y_pred):
        return keras.ops.mean(y_true - y_pred)

    path = tmp_path / f"m{suffix}"
    dense(3, "softmax", own_loss).save(path)
    report = export_model(path, tmp_path / "models")
    assert report.signature.heads[0].WhichOneof("kind") == "multiclass"
    assert report.notes[0].startswith("the loss could not be loaded")
    given = export_model(path, tmp_path / "models", custom_objects={"own_loss": own_loss}, dry_run=True)
    assert "the loss could not be loaded" not in " ".join(given.notes)
    dense(1, None, own_loss).save(path)
    with pytest.raises(HeadInferenceError, match="it is linear, trained with a custom loss, which is not known here"):
        export_model(path, tmp_path / "models")


LOSSES = {"text": "mse", "list": ["mae"], "dict": {"y": "mse"}, "object": keras.losses.Huber()}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_the_loss_of_a_file_tells_what_its_output_means(loss, suffix, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="y")], name="model")
    model.compile("adam", loss, metrics=["mae"])
    model.save(tmp_path / f"m{suffix}")
    report = export_model(tmp_path / f"m{suffix}", tmp_path / "models", dry_run=True)
    assert [head.WhichOneof("kind") for head in report.signature.heads] == ["regression"]
    assert report.notes == ()


def test_optimizers_and_metrics_of_a_file_are_not_loaded(tmp_path):
    """Keras under PyTorch writes optimizers whose modules import PyTorch."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="y")], name="model")
    model.compile("adam", "mse", metrics=[lambda y_true, y_pred: 0.0])
    path = tmp_path / "m.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    module = "keras.src.backend.torch.optimizers.torch_adam"
    config["compile_config"]["optimizer"] |= {"module": module, "registered_name": "Adam"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"config.json": json.dumps(config)}).items():
            archive.writestr(name, content)
    report = export_model(path, tmp_path / "models", dry_run=True)
    assert [head.WhichOneof("kind") for head in report.signature.heads] == ["regression"]
    assert report.notes == ()
    assert module not in sys.modules


def test_a_model_that_was_built_by_training(tmp_path, exported, rng):
    model = keras.Sequential([keras.layers.Dense(1, name="y")], name="trained")
    model.compile(loss="mse")
    model.fit(rng.normal(size=(8, 3)), rng.normal(size=8), verbose=0)
    file = exported(export_model(model, tmp_path).path)
    assert list(file.inputs.values()) == [["batch", 3]]
    np.testing.assert_allclose(
        file.session.run(None, {next(iter(file.inputs)): np.ones((5, 3), "float32")})[0],
        model.predict(np.ones((5, 3)), verbose=0),
        rtol=1e-5,
    )


def _leave_a_trace(x):
    # The names of this module are not there when Keras has loaded it.
    open("ran", "w").close()
    return x


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_nothing_runs_before_the_file_is_refused(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Only what is called <lambda> is stored as code.
    code = _leave_a_trace.__code__.replace(co_name="<lambda>")
    function = type(_leave_a_trace)(code, globals(), "<lambda>")
    keras.Sequential([keras.Input((4,)), keras.layers.Lambda(function, output_shape=(4,))]).save(f"evil{suffix}")
    with pytest.raises(UnsafeModelError, match="holds code"):
        load_source(f"evil{suffix}", safe_mode=True)
    assert not Path("ran").exists()
    load_source(f"evil{suffix}", safe_mode=False).model(np.ones((1, 4)))
    assert Path("ran").exists()


def test_vocabularies_in_files_of_this_computer(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((1,), dtype="string"), keras.layers.StringLookup(vocabulary=["a", "b"])]).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["vocabulary"] = str(words)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"config.json": json.dumps(config)}).items():
            archive.writestr(name, content)
    with pytest.raises(
        UnsafeModelError, match=r"reads the vocabulary of layer '\w+' from the file '.*words\.txt'.*safe"
    ):
        load_source(path, safe_mode=True)


def test_folders_of_keras(tmp_path, dense, exported):
    dense(3, "softmax", "categorical_crossentropy").save(tmp_path / "unzipped", zipped=False)
    report = export_model(tmp_path / "unzipped", tmp_path / "models")
    assert report.name == "unzipped"
    assert report.signature.heads[0].WhichOneof("kind") == "multiclass"


def test_files_of_keras_2_without_tf_keras(tmp_path, monkeypatch):
    path = tmp_path / "old.keras"
    config = {"module": "tf_keras.src.engine.functional", "class_name": "Functional", "config": {}}
    with zipfile.ZipFile(Path(__file__).parent / "files" / "jax.keras") as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.writestr("model.weights.h5", weights)
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ModelLoadError, match=r"was saved by Keras 2\.15\.0 and cannot be loaded by Keras 3.*pip install"
    ):
        load_source(path, safe_mode=True)
