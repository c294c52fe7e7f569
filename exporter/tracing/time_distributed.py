"""Keras' TimeDistributed layers over any number of steps, traced as one batch of all steps.

Keras loops over a free number of steps in a way that tf2onnx gets wrong, silently. In inference mode layers treat each
row by itself, so that the steps of all rows can be rows of one batch.
"""

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def steps_as_rows(layers: Iterable[Any]) -> Iterator[None]:
    """Let TimeDistributed layers among these call what they wrap once, while the context lasts."""
    import keras

    known = [layer for layer in layers if type(layer) is keras.layers.TimeDistributed]
    for layer in known:
        # Not by assignment: Keras tracks what is assigned to a layer.
        vars(layer)["call"] = functools.partial(_call, layer)
    try:
        yield
    finally:
        for layer in known:
            vars(layer).pop("call", None)


def _call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    import keras

    if inputs.shape[1] is not None or training:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    ops = keras.ops
    batch, steps = ops.shape(inputs)[:2]
    keywords: dict[str, Any] = {}
    if layer.layer._call_has_mask_arg and mask is not None:
        keywords["mask"] = ops.reshape(mask, (-1, *ops.shape(mask)[2:]))
    if layer.layer._call_has_training_arg:
        keywords["training"] = training
    outputs = layer.layer.call(ops.reshape(inputs, (-1, *ops.shape(inputs)[2:])), **keywords)
    return ops.reshape(outputs, (batch, steps, *ops.shape(outputs)[1:]))
