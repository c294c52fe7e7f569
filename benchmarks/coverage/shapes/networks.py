"""Small versions of the networks that people train: free sizes, transformers, recurrent and convolutional networks."""

from typing import Any

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from headgate.benchmarks.coverage.cases import Case, integers, normal, pixels, words


def _of(values: tuple[int | None, ...], stack: list[Any], dtype: str = "float32") -> Any:
    return keras.Sequential([keras.Input(values, dtype=dtype, name="x"), *stack])


class Positions(kl.Layer):
    def call(self, tokens: Any) -> Any:
        return ops.arange(ops.shape(tokens)[1])[np.newaxis] + ops.zeros_like(tokens)


def _transformer() -> Any:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = kl.Embedding(20, 8, mask_zero=True)(tokens) + kl.Embedding(64, 8)(Positions()(tokens))
    x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4)(x, x))
    x = kl.LayerNormalization()(x + kl.Dense(8)(kl.Dense(16, activation="gelu")(x)))
    return keras.Model(tokens, kl.Dense(3, activation="softmax", name="label")(kl.GlobalAveragePooling1D()(x)))


def _encoder_decoder() -> Any:
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    memory = kl.Embedding(20, 8)(source)
    memory = kl.LayerNormalization()(memory + kl.MultiHeadAttention(2, 4)(memory, memory))
    x = kl.Embedding(20, 8)(target)
    x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True))
    x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4)(x, memory))
    return keras.Model([source, target], kl.Dense(20, name="next")(x))


def _vision_transformer() -> Any:
    x = image = keras.Input((16, 16, 3), name="x")
    x = kl.Reshape((16, 8))(kl.Conv2D(8, 4, strides=4)(x))
    x = x + kl.Embedding(16, 8)(ops.arange(16))
    x = x + kl.MultiHeadAttention(2, 4)(kl.LayerNormalization()(x), kl.LayerNormalization()(x))
    return keras.Model(image, kl.Dense(5)(x[:, 0]))


def _unet() -> Any:
    x = image = keras.Input((None, None, 3), name="x")
    skip = kl.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = kl.Conv2D(8, 3, padding="same", activation="relu")(kl.MaxPooling2D()(skip))
    x = kl.Concatenate()([kl.Conv2DTranspose(4, 2, strides=2, padding="same")(x), skip])
    return keras.Model(image, kl.Conv2D(2, 1, activation="softmax", name="mask")(x))


def _squeeze_and_excite() -> Any:
    x = image = keras.Input((None, None, 3), name="x")
    x = kl.Conv2D(8, 3, padding="same")(x)
    weights = kl.Dense(8, activation="sigmoid")(kl.Dense(2, activation="swish")(kl.GlobalAveragePooling2D()(x)))
    return keras.Model(image, kl.Multiply()([x, kl.Reshape((1, 1, 8))(weights)]))


def _tagger() -> Any:
    return _of(
        (None,),
        [
            kl.Embedding(20, 6, mask_zero=True),
            kl.Bidirectional(kl.LSTM(5, return_sequences=True)),
            kl.TimeDistributed(kl.Dense(3, activation="softmax")),
        ],
        "int32",
    )


def _text_classifier() -> Any:
    vectorize = kl.TextVectorization(output_sequence_length=6)
    vectorize.adapt(np.array(["the cat sat on the mat", "a dog and a cat"]))
    return _of((1,), [vectorize, kl.Embedding(12, 4), kl.GlobalAveragePooling1D(), kl.Dense(2)], "string")


def _augmented() -> Any:
    augmentation = [kl.RandomFlip(), kl.RandomRotation(0.1), kl.RandomZoom(0.1), kl.RandomContrast(0.1)]
    stack = [*augmentation, kl.Rescaling(1 / 255), kl.Conv2D(4, 3), kl.GlobalAveragePooling2D(), kl.Dense(2)]
    return _of((12, 12, 3), stack)


def _forecaster() -> Any:
    return _of(
        (8, 3), [kl.Conv1D(8, 3, padding="causal", activation="relu"), kl.GRU(6), kl.Dense(4), kl.Reshape((4, 1))]
    )


def _raw_pictures() -> Any:
    stack = [kl.Resizing(12, 12), kl.Rescaling(1 / 255), kl.Conv2D(4, 3), kl.Flatten(), kl.Dense(2)]
    return _of((None, None, 3), stack)


def _audio() -> Any:
    return _of(
        (2000,),
        [
            kl.MelSpectrogram(256, 128, num_mel_bins=16),
            kl.Reshape((16, -1, 1)),
            kl.Conv2D(2, 3),
            kl.Flatten(),
            kl.Dense(2),
        ],
    )


def _autoencoder() -> Any:
    return _of(
        (8, 8, 1),
        [
            kl.Conv2D(4, 3, strides=2, padding="same", activation="elu"),
            kl.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
        ],
    )


def _stateful() -> Any:
    return keras.Sequential([keras.Input(batch_shape=(2, 6, 3), name="x"), kl.LSTM(4, stateful=True), kl.Dense(2)])


CASES = [
    Case(
        "Network/transformer classifier, variable length",
        _transformer,
        {"tokens": integers(20, None)},
        outputs=["label"],
    ),
    Case(
        "Network/encoder and decoder, variable length",
        _encoder_decoder,
        {"source": integers(20, None), "target": integers(20, None)},
        outputs=["next"],
    ),
    Case("Network/vision transformer", _vision_transformer, {"x": normal(16, 16, 3)}),
    Case("Network/U-Net, variable size", _unet, {"x": normal(None, None, 3)}, outputs=["mask"], free=(8, 12)),
    Case("Network/squeeze and excite, variable size", _squeeze_and_excite, {"x": normal(None, None, 3)}),
    Case("Network/tagger, bidirectional, masked, variable length", _tagger, {"x": integers(20, None)}),
    Case(
        "Network/text classifier",
        _text_classifier,
        {"x": words(["The cat sat.", "a dog", "nothing known"], 1)},
        examples=True,
    ),
    Case("Network/augmentation in the model", _augmented, {"x": pixels(12, 12, 3)}),
    Case("Network/forecaster", _forecaster, {"x": normal(8, 3)}),
    Case("Network/pictures of any size", _raw_pictures, {"x": pixels(None, None, 3)}),
    Case("Network/audio", _audio, {"x": normal(2000)}),
    Case("Network/convolutional autoencoder", _autoencoder, {"x": normal(8, 8, 1)}),
    Case(
        "Network/stateful LSTM",
        _stateful,
        {"x": normal(6, 3)},
        refused="its answer depends on the calls before, and its batch size is fixed",
    ),
]
