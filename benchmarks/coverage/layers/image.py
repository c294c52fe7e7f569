"""Layers that resize and crop pictures, and those that equalise them."""

from functools import partial
from typing import Any

from keras import layers as kl

from headgate.benchmarks.coverage.cases import layer, pixels


class Equalizer(kl.Layer):
    """Calls an Equalization: a functional model cannot, since Keras 3.15 takes its output for its input."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.equalization = kl.Equalization(**options)

    def call(self, inputs: Any) -> Any:
        return self.equalization(inputs)


#: Eagerly, CenterCrop enlarges what is too small; in a graph of free size it does not. (Resizing of bytes, which eager
#: calls round, is exported as `predict` computes it: tests/exporter/proof.)
_TWO_ANSWERS = "Keras itself answers otherwise in a graph (predict) than eagerly"
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5")

CASES = [
    *(
        layer("Resizing", f"{how}, smaller", pixels(13, 12, 3), height=5, width=7, interpolation=how)
        for how in _INTERPOLATIONS
    ),
    *(
        layer("Resizing", f"{how}, larger", pixels(6, 5, 3), height=13, width=11, interpolation=how)
        for how in _INTERPOLATIONS
    ),
    *(
        layer("Resizing", f"{how}, variable size", pixels(None, None, 3), height=9, width=10, interpolation=how)
        for how in ("nearest", "bilinear", "bicubic", "area", "lanczos3")
    ),
    *(
        layer("Resizing", f"{how}, antialias", pixels(13, 12, 3), height=5, width=7, interpolation=how, antialias=True)
        for how in ("bilinear", "bicubic", "lanczos3")
    ),
    layer("Resizing", "crop_to_aspect_ratio", pixels(13, 12, 3), height=5, width=7, crop_to_aspect_ratio=True),
    layer("Resizing", "pad_to_aspect_ratio", pixels(13, 12, 3), height=5, width=7, pad_to_aspect_ratio=True),
    layer("Resizing", "channels_first", pixels(3, 13, 12), height=5, width=7, data_format="channels_first"),
    layer("CenterCrop", "plain", pixels(12, 13, 3), height=6, width=5),
    layer("CenterCrop", "variable size", pixels(None, None, 3), height=6, width=5, refused=_TWO_ANSWERS),
    layer("CenterCrop", "larger than the picture", pixels(6, 5, 3), height=9, width=8),
    layer("CenterCrop", "channels_first", pixels(3, 12, 13), height=6, width=5, data_format="channels_first"),
    layer("AutoContrast", "plain", pixels(8, 8, 3)),
    layer("Equalization", "plain", pixels(8, 8, 3), make=Equalizer),
    layer("Equalization", "bins", pixels(8, 8, 3), make=partial(Equalizer, bins=64)),
    layer("Solarization", "plain", pixels(8, 8, 3), addition_factor=0.1, threshold_factor=0.5),
    layer("ContrastLimitedAdaptiveHistogramEqualization", "plain", pixels(16, 16, 3), tile_grid_size=(2, 2)),
]
