"""What models compute in: 16 bits, 64 bits, quantized weights."""

from functools import partial
from typing import Any

import keras
from keras import layers as kl

from headgate.benchmarks.coverage.cases import Case, integers, normal, pixels


def _dense(policy: str) -> Any:
    keras.config.set_dtype_policy(policy)
    return keras.Sequential(
        [keras.Input((8,), name="x"), kl.Dense(8, activation="gelu"), kl.Dense(4, activation="softmax")]
    )


def _convolutional(policy: str) -> Any:
    keras.config.set_dtype_policy(policy)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="x"),
            kl.Conv2D(4, 3),
            kl.BatchNormalization(),
            kl.ReLU(),
            kl.MaxPooling2D(),
            kl.Flatten(),
            kl.Dense(2, dtype="float32"),
        ]
    )


def _recurrent(policy: str) -> Any:
    keras.config.set_dtype_policy(policy)
    return keras.Sequential([keras.Input((None, 3), name="x"), kl.LSTM(4), kl.Dense(2)])


def _attentive(policy: str) -> Any:
    keras.config.set_dtype_policy(policy)
    tokens = keras.Input((6,), dtype="int32", name="x")
    x = kl.Embedding(20, 8)(tokens)
    x = kl.LayerNormalization()(x + kl.MultiHeadAttention(2, 4)(x, x))
    return keras.Model(tokens, kl.Dense(2)(kl.GlobalAveragePooling1D()(x)))


def _quantized(mode: str, **options: Any) -> Any:
    stack = [kl.Dense(16, activation="relu"), kl.Dense(4)]
    model = keras.Sequential([keras.Input((8,), name="x"), *stack])
    model.quantize(mode, **options)
    return model


def _quantized_embedding() -> Any:
    model = keras.Sequential(
        [keras.Input((5,), dtype="int32", name="x"), kl.Embedding(10, 8), kl.Flatten(), kl.Dense(4)]
    )
    model.quantize("int8")
    return model


def _integers_out() -> Any:
    x = keras.Input((6,), name="x")
    return keras.Model(x, keras.ops.argmax(kl.Dense(4)(x), axis=-1))


def _flags_out() -> Any:
    x = keras.Input((6,), name="x")
    return keras.Model(x, kl.Dense(4)(x) > 0)


_POLICIES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")

CASES = [
    *(
        Case(f"Precision/{policy}, {kind}", partial(make, policy), {"x": values})
        for policy in _POLICIES
        for kind, make, values in (("dense", _dense, normal(8)), ("convolutions", _convolutional, normal(8, 8, 3)))
    ),
    *(
        Case(f"Precision/{policy}, {kind}", partial(make, policy), {"x": values})
        for policy in _POLICIES[:2]
        for kind, make, values in (("LSTM", _recurrent, normal(None, 3)), ("attention", _attentive, integers(20, 6)))
    ),
    Case("Precision/float64", lambda: _dense("float64"), {"x": normal(8, dtype="float64")}),
    Case("Quantized/int8", lambda: _quantized("int8"), {"x": normal(8)}),
    Case("Quantized/int8, embedding", _quantized_embedding, {"x": integers(10, 5)}),
    Case("Quantized/int4", lambda: _quantized("int4"), {"x": normal(8)}),
    Case(
        "Quantized/float8",
        lambda: _quantized("float8"),
        {"x": normal(8)},
        refused="ONNX has float8 from opset 19 on, tf2onnx writes up to 18",
    ),
    Case(
        "Types/uint8 pictures",
        lambda: keras.Sequential(
            [keras.Input((8, 8, 3), dtype="uint8", name="x"), kl.Rescaling(1 / 255), kl.Flatten(), kl.Dense(2)]
        ),
        {"x": pixels(8, 8, 3, dtype="uint8")},
    ),
    Case(
        "Types/integers out",
        _integers_out,
        {"x": normal(6)},
    ),
    Case("Types/flags out", _flags_out, {"x": normal(6)}),
]
