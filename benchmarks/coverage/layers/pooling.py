"""Pooling, by windows, over everything, and to a given size."""

from typing import Any

from keras import layers as kl

from headgate.benchmarks.coverage.cases import layer, normal, padded

_SHAPES = {1: (11, 4), 2: (11, 10, 4), 3: (7, 6, 8, 4)}
_VARIANTS: dict[str, dict[str, Any]] = {
    "valid": {"pool_size": 2},
    "same": {"pool_size": 2, "padding": "same"},
    "strides": {"pool_size": 3, "strides": 2, "padding": "same"},
}


def _padded(instance: kl.Layer, x: list[Any]) -> Any:
    return instance(kl.ZeroPadding2D()(kl.Conv2D(8, 3)(x[0])))


CASES = [
    *(
        layer(f"{how}Pooling{rank}D", variant, normal(*shape), **options)
        for how in ("Max", "Average")
        for rank, shape in _SHAPES.items()
        for variant, options in _VARIANTS.items()
    ),
    *(
        layer(f"{how}Pooling2D", "channels_first", normal(4, 11, 10), pool_size=2, data_format="channels_first")
        for how in ("Max", "Average")
    ),
    *(
        # onnxruntime merges the padding into the pooling, where it would be left out of the maximum.
        layer(f"{how}Pooling2D", "padded with zeros", normal(8, 8, 2), call=_padded, pool_size=3, strides=2)
        for how in ("Max", "Average")
    ),
    *(layer(f"{how}Pooling2D", "variable size", normal(None, None, 4), pool_size=2) for how in ("Max", "Average")),
    *(
        layer(f"{how}Pooling1D", "variable length, same", normal(None, 4), pool_size=2, padding="same")
        for how in ("Max", "Average")
    ),
    *(
        layer(f"Global{how}Pooling{rank}D", variant, normal(*shape), keepdims=keepdims)
        for how in ("Max", "Average")
        for rank, shape in _SHAPES.items()
        for variant, keepdims in (("plain", False), ("keepdims", True))
    ),
    *(layer(f"Global{how}Pooling2D", "variable size", normal(None, None, 4)) for how in ("Max", "Average")),
    *(
        layer(f"Global{how}Pooling2D", "channels_first", normal(4, 11, 10), data_format="channels_first")
        for how in ("Max", "Average")
    ),
    layer(
        "GlobalAveragePooling1D",
        "masked",
        padded(6, 4),
        call=lambda instance, x: instance(kl.Masking()(x[0])),
    ),
    *(
        layer(f"Adaptive{how}Pooling{rank}D", variant, normal(*shape), output_size=size)
        for how in ("Max", "Average")
        for rank, shape in {1: (12, 4), 2: (12, 8, 4), 3: (4, 8, 12, 4)}.items()
        for variant, size in (("even", 4), ("uneven", 3))
    ),
    *(
        layer(
            f"Adaptive{how}Pooling2D",
            "channels_first",
            normal(4, 11, 10),
            output_size=(3, 2),
            data_format="channels_first",
        )
        for how in ("Max", "Average")
    ),
]
