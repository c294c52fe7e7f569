import keras
import numpy as np
import pytest
from keras import layers

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter import export_model
from headgate.exporter.errors import HeadInferenceError
from headgate.v1 import AnomalyHead, Head

ERRORS = {
    "squared": lambda x, reconstruction: np.square(x - reconstruction),
    "absolute": lambda x, reconstruction: np.abs(x - reconstruction),
}


def anomaly(of="x", error="squared", **fields):
    return {"kind": "anomaly", "reconstructed_input": of, "reconstruction_error": error} | fields


@pytest.fixture
def autoencoder():
    x = keras.Input((6,), name="x")
    code = layers.Dense(2, activation="relu", name="code")(x)
    model = keras.Model(x, layers.Dense(6, name="decoded")(code), name="autoencoder")
    model.compile(loss="mse")
    return model


@pytest.mark.parametrize("error", ERRORS)
def test_an_autoencoder_exports_its_error(error, autoencoder, tmp_path, exported, rng):
    report = export_model(
        autoencoder,
        tmp_path,
        heads={"decoded": anomaly(error=error, name="unusual", threshold=0.5)},
        examples=rng.normal(size=(9, 6)),
    )
    opened = exported(report.path)
    assert opened.outputs == {"decoded": ["batch"]}
    x = rng.normal(size=(5, 6)).astype(np.float32)
    [scores] = opened.run(x=x)
    expected = ERRORS[error](x, autoencoder.predict(x, verbose=0)).mean(axis=1)
    np.testing.assert_allclose(scores, expected, 1e-5)
    [head] = opened.signature.heads
    assert (head.name, head.anomaly.reconstructed_input, head.anomaly.threshold) == ("unusual", "x", 0.5)
    assert {"random", "given"} <= {check.inputs for check in opened.signature.verification.checks}
    columns = decoder_for(head, opened.signature.outputs).decode({"decoded": scores}, DecodeOptions())
    np.testing.assert_array_equal(columns.anomalous, scores >= 0.5)


def test_pictures_of_bytes_beside_another_output(tmp_path, exported, rng):
    pixels = keras.Input((8, 8, 1), dtype="uint8", name="the pixels")
    code = layers.Conv2D(2, 3, strides=2, padding="same")(layers.Rescaling(1 / 255)(pixels))
    decoded = layers.Rescaling(255.0, name="decoded")(layers.Conv2DTranspose(1, 3, strides=2, padding="same")(code))
    labels = layers.Dense(3, activation="softmax", name="label")(layers.Flatten()(code))
    model = keras.Model(pixels, {"picture": decoded, "label": labels})
    heads = {"picture": Head(anomaly=AnomalyHead(reconstructed_input="the pixels", reconstruction_error=2))}
    opened = exported(export_model(model, tmp_path, heads=heads, name="pictures").path)
    x = rng.integers(0, 256, (3, 8, 8, 1), np.uint8)
    answers = dict(zip(opened.outputs, opened.run(the_pixels=x), strict=True))
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(answers["label"], expected["label"], 1e-4)
    # In float32: bytes would wrap around.
    errors = np.abs(x.astype(float) - expected["picture"]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(answers["picture"], errors, 1e-4)
    heads = {head.output: head for head in opened.signature.heads}
    assert heads["picture"].anomaly.reconstructed_input == "the_pixels"


def test_sequences_of_any_length(tmp_path, exported, rng):
    steps = keras.Input((None, 3), name="x")
    model = keras.Model(steps, layers.Dense(3, name="decoded")(layers.GRU(4, return_sequences=True)(steps)))
    opened = exported(export_model(model, tmp_path, heads={"decoded": anomaly()}, name="sequences").path)
    for length in (2, 7):
        x = rng.normal(size=(4, length, 3)).astype(np.float32)
        expected = np.square(x - model.predict(x, verbose=0)).mean(axis=(1, 2))
        np.testing.assert_allclose(opened.run(x=x)[0], expected, 1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (anomaly(of="y"), r"output 'decoded': reconstructed_input is 'y', the model's inputs are 'x'$"),
        (anomaly(error="cubed"), r"output 'decoded': anomaly.reconstruction_error is 'cubed'; give 'squared'"),
        (
            {"kind": "anomaly", "reconstructed_input": "x"},
            r"output 'decoded': reconstructed_input and reconstruction_error go together; give both$",
        ),
    ],
)
def test_reconstructions_of_nothing_are_refused(setting, message, autoencoder, tmp_path):
    with pytest.raises(HeadInferenceError, match=message):
        export_model(autoencoder, tmp_path, heads={"decoded": setting})
    assert not list(tmp_path.iterdir())


def test_reconstructions_of_another_shape_are_refused(dense, tmp_path):
    with pytest.raises(HeadInferenceError) as caught:
        export_model(dense(3), tmp_path, heads={"out": anomaly()})
    assert str(caught.value) == (
        "output 'out' of shape [batch,3] cannot be compared with input 'x', float32 of shape [batch,4]; "
        "a reconstruction has the shape of its input, of numbers"
    )
