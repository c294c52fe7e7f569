"""Every activation of keras.activations, as the activation of a layer."""

from functools import partial

import keras

from headgate.benchmarks.coverage.cases import Case, layer, uniform

_NO_ACTIVATIONS = ("deserialize", "get", "serialize")

#: Those that cannot be called without arguments.
_ARGUMENTS = {"threshold": {"threshold": 0.3, "default_value": -1.0}}

_NAMES = sorted(
    name
    for name, value in vars(keras.activations).items()
    if callable(value) and not isinstance(value, type) and name not in _NO_ACTIVATIONS
)

#: Far enough out to see what saturates.
CASES: list[Case] = [
    layer(
        "Activation",
        name,
        uniform(-12, 12, 64),
        activation=partial(getattr(keras.activations, name), **_ARGUMENTS.get(name, {})),
    )
    for name in _NAMES
]
