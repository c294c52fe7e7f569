"""Convolutions."""

import itertools
from typing import Any

from headgate.benchmarks.coverage.cases import layer, normal

_SHAPES = {1: (11, 4), 2: (11, 10, 4), 3: (7, 6, 8, 4)}
_VARIANTS: dict[str, dict[str, Any]] = {
    "valid": {},
    "same": {"padding": "same"},
    "strides": {"strides": 2},
    "strides, same": {"strides": 2, "padding": "same"},
    "dilation": {"dilation_rate": 2},
    "dilation, same": {"dilation_rate": 2, "padding": "same"},
    "groups": {"groups": 2},
    "groups, strides": {"groups": 2, "strides": 2, "padding": "same"},
    "no bias, relu": {"use_bias": False, "activation": "relu"},
}
_TRANSPOSED: dict[str, dict[str, Any]] = {
    "valid": {},
    "same": {"padding": "same"},
    "strides": {"strides": 2},
    "strides, same": {"strides": 2, "padding": "same"},
    "output padding": {"strides": 2, "padding": "same", "output_padding": 1},
    "dilation": {"dilation_rate": 2},
}
_DEPTHWISE: dict[str, dict[str, Any]] = {
    "valid": {},
    "same": {"padding": "same"},
    "strides": {"strides": 2, "padding": "same"},
    "multiplier": {"depth_multiplier": 2},
    "dilation": {"dilation_rate": 2},
}

CASES = [
    *(
        layer(f"Conv{rank}D", variant, normal(*shape), filters=6, kernel_size=3, **options)
        for (rank, shape), (variant, options) in itertools.product(_SHAPES.items(), _VARIANTS.items())
    ),
    layer("Conv1D", "causal", normal(11, 4), filters=6, kernel_size=3, padding="causal"),
    layer("Conv1D", "causal, dilation", normal(11, 4), filters=6, kernel_size=3, padding="causal", dilation_rate=2),
    layer("Conv1D", "variable length", normal(None, 4), filters=6, kernel_size=3, padding="same"),
    layer("Conv1D", "causal, variable length", normal(None, 4), filters=6, kernel_size=3, padding="causal"),
    layer("Conv2D", "channels_first", normal(4, 11, 10), filters=6, kernel_size=3, data_format="channels_first"),
    layer("Conv2D", "variable size", normal(None, None, 4), filters=6, kernel_size=3, padding="same"),
    layer(
        "Conv2D", "variable size, strides", normal(None, None, 4), filters=6, kernel_size=3, padding="same", strides=2
    ),
    layer("Conv2D", "kernel and strides by axis", normal(11, 10, 4), filters=6, kernel_size=(3, 1), strides=(1, 2)),
    layer(
        "Conv2D",
        "groups, channels_first",
        normal(4, 11, 10),
        filters=6,
        kernel_size=3,
        groups=2,
        data_format="channels_first",
    ),
    layer("Conv2D", "as many groups as channels", normal(11, 10, 4), filters=8, kernel_size=3, groups=4),
    layer("Conv2D", "groups, variable size", normal(None, None, 4), filters=6, kernel_size=3, groups=2, padding="same"),
    *(
        layer(f"Conv{rank}DTranspose", variant, normal(*shape), filters=6, kernel_size=3, **options)
        for (rank, shape), (variant, options) in itertools.product(_SHAPES.items(), _TRANSPOSED.items())
    ),
    layer(
        "Conv2DTranspose", "channels_first", normal(4, 11, 10), filters=6, kernel_size=3, data_format="channels_first"
    ),
    layer(
        "Conv2DTranspose", "variable size", normal(None, None, 4), filters=6, kernel_size=3, strides=2, padding="same"
    ),
    layer(
        "Conv2DTranspose", "kernel 4, strides 2", normal(5, 5, 4), filters=6, kernel_size=4, strides=2, padding="same"
    ),
    *(
        layer(f"DepthwiseConv{rank}D", variant, normal(*_SHAPES[rank]), kernel_size=3, **options)
        for rank, (variant, options) in itertools.product((1, 2), _DEPTHWISE.items())
    ),
    layer("DepthwiseConv2D", "channels_first", normal(4, 11, 10), kernel_size=3, data_format="channels_first"),
    layer("DepthwiseConv2D", "variable size", normal(None, None, 4), kernel_size=3, padding="same"),
    *(
        layer(f"SeparableConv{rank}D", variant, normal(*_SHAPES[rank]), filters=6, kernel_size=3, **options)
        for rank, (variant, options) in itertools.product((1, 2), _DEPTHWISE.items())
    ),
    layer(
        "SeparableConv2D", "channels_first", normal(4, 11, 10), filters=6, kernel_size=3, data_format="channels_first"
    ),
]
