"""Every architecture of keras.applications, with random weights and small pictures."""

import inspect
from functools import partial
from typing import Any

import keras

from headgate.benchmarks.coverage.cases import Case, pixels

#: The smallest size, in pixels, of those that need more than 32.
_SIZES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
#: How much of their scale normalisations keep, where random weights make so deep a network answer to the last bit of
#: its pictures.
_SCALES = {"EfficientNetV2L": 0.9}


def _build(name: str, size: int) -> Any:
    # Of random weights the softmax is often 1 for the same class whatever the picture, which any model is equal to.
    options = {"weights": None, "classes": 10, "classifier_activation": None}
    model = getattr(keras.applications, name)(input_shape=(size, size, 3), **options)
    if name in _SCALES:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.gamma.assign(layer.gamma * _SCALES[name])
    return model


_NAMES = sorted(
    name
    for name, value in vars(keras.applications).items()
    if inspect.isfunction(value) and "weights" in inspect.signature(value).parameters
)

CASES = [
    Case(f"{name}/{size}x{size}", partial(_build, name, size), {"input_layer": pixels(size, size, 3)})
    for name in _NAMES
    for size in [_SIZES.get(name, 32)]
]
