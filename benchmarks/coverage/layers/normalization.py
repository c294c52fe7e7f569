"""Normalisation, learned and by statistics."""

from typing import Any

import numpy as np
from keras import layers as kl

from headgate.benchmarks.coverage.cases import layer, normal, padded

_DATA = np.random.default_rng(1).normal(3, 2, (50, 5)).astype("float32")


def _after_convolution(instance: kl.Layer, x: list[Any]) -> Any:
    return instance(kl.Conv2D(8, 3, padding="same")(x[0]))


CASES = [
    layer("BatchNormalization", "rank 2", normal(5)),
    layer("BatchNormalization", "rank 4", normal(6, 6, 5)),
    layer("BatchNormalization", "axis 1", normal(5, 6, 6), axis=1),
    layer("BatchNormalization", "no center, no scale", normal(6, 6, 5), center=False, scale=False),
    layer("BatchNormalization", "renorm", normal(6, 6, 5), renorm=True),
    layer("BatchNormalization", "masked", padded(6, 5)),
    layer("LayerNormalization", "last axis", normal(6, 5)),
    layer("LayerNormalization", "two axes", normal(6, 5), axis=(1, 2)),
    layer("LayerNormalization", "axis 1", normal(6, 5), axis=1),
    layer("LayerNormalization", "no center, no scale", normal(6, 5), center=False, scale=False),
    layer("LayerNormalization", "variable length", normal(None, 5)),
    *(
        layer(kind, "of one pixel, after a convolution", normal(1, 1, 8), call=_after_convolution)
        for kind in ("BatchNormalization", "LayerNormalization", "RMSNormalization")
    ),
    layer("GroupNormalization", "groups", normal(6, 6, 8), groups=4),
    layer("GroupNormalization", "instance", normal(6, 6, 8), groups=-1),
    layer("GroupNormalization", "one group", normal(6, 6, 8), groups=1),
    layer("GroupNormalization", "axis 1", normal(8, 6, 6), groups=4, axis=1),
    layer("GroupNormalization", "variable size", normal(None, None, 8), groups=4),
    layer("RMSNormalization", "last axis", normal(6, 5)),
    layer("RMSNormalization", "two axes", normal(6, 5), axis=(1, 2)),
    layer("UnitNormalization", "last axis", normal(6, 5)),
    layer("UnitNormalization", "axis 1", normal(6, 5), axis=1),
    layer("Normalization", "adapted", normal(5), adapt=_DATA),
    layer("Normalization", "given", normal(5), mean=3.0, variance=2.0),
    layer("Normalization", "given by feature", normal(3), mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]),
    layer("Normalization", "all axes", normal(5), adapt=_DATA, axis=None),
    layer("Normalization", "invert", normal(5), adapt=_DATA, invert=True),
    layer("Normalization", "images", normal(8, 8, 5), adapt=_DATA.reshape(5, 5, 2, 5)),
]
