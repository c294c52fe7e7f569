import keras
import numpy as np
import pytest

from headgate.exporter import export_model
from headgate.exporter.errors import HeadInferenceError, ModelLoadError
from headgate.exporter.keras_models import load_source


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
        ("broken.keras", b"hello", "is no zip archive, as Keras writes them"),
        ("broken.h5", b"hello", "is no HDF5 file, as Keras writes them"),
        ("other.keras", b"PK\5\6" + bytes(18), "cannot be loaded as a Keras model"),
        ("other.h5", b"\x89HDF\r\n\x1a\n", "cannot be loaded as a Keras model"),
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
    with pytest.raises(ModelLoadError, match=r"is a folder; give the path of a .keras or .h5 file"):
        load_source(tmp_path, safe_mode=True)


def test_other_objects_are_no_models():
    with pytest.raises(ModelLoadError, match=r"got an object of type keras.*Dense; give a keras\.Model"):
        load_source(keras.layers.Dense(1), safe_mode=True)


def test_a_model_without_weights():
    with pytest.raises(ModelLoadError, match=r"model 'later' is not built.*call it once"):
        load_source(keras.Sequential([keras.layers.Dense(1)], name="later"), safe_mode=True)


def test_classes_that_are_not_registered_are_named(tmp_path):
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), Doubled()]).save(path)
    with pytest.raises(ModelLoadError, match=r"'Doubled'.*register_keras_serializable"):
        load_source(path, safe_mode=True)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_loss_that_is_not_known_does_not_hinder(suffix, tmp_path, dense):
    def own_loss(y_true, y_pred):
        return keras.ops.mean(y_true - y_pred)

    path = tmp_path / f"m{suffix}"
    dense(3, "softmax", own_loss).save(path)
    report = export_model(path, tmp_path / "models")
    assert report.signature.heads[0].WhichOneof("kind") == "multiclass"
    assert report.notes[0].startswith("the loss could not be loaded")
    dense(1, None, own_loss).save(path)
    with pytest.raises(HeadInferenceError, match="it is linear, trained with a custom loss, which is not known here"):
        export_model(path, tmp_path / "models")


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
