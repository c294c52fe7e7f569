"""Augmentation of pictures: in an exported model, these layers pass on what they get, or act without chance."""

from headgate.benchmarks.coverage.cases import layer, normal, pixels

_PICTURE = pixels(12, 13, 3)

CASES = [
    layer("AugMix", "plain", _PICTURE),
    layer("CutMix", "plain", _PICTURE),
    layer("MixUp", "plain", _PICTURE),
    layer("RandAugment", "plain", _PICTURE),
    layer("RandomBrightness", "plain", _PICTURE, factor=0.2),
    layer("RandomColorDegeneration", "plain", _PICTURE, factor=0.2),
    layer("RandomColorJitter", "plain", _PICTURE, brightness_factor=0.2),
    layer("RandomContrast", "plain", _PICTURE, factor=0.2),
    layer("RandomCrop", "plain", _PICTURE, height=6, width=5),
    layer("RandomCrop", "other aspect ratio", _PICTURE, height=6, width=10),
    layer("RandomElasticTransform", "plain", _PICTURE),
    layer("RandomErasing", "plain", _PICTURE),
    layer("RandomFlip", "plain", _PICTURE),
    layer("RandomGaussianBlur", "plain", _PICTURE),
    layer("RandomGrayscale", "plain", _PICTURE),
    layer("RandomHue", "plain", _PICTURE, factor=0.2),
    layer("RandomInvert", "plain", _PICTURE),
    layer("RandomPerspective", "plain", _PICTURE),
    layer("RandomPosterization", "plain", _PICTURE, factor=4),
    layer("RandomRotation", "plain", _PICTURE, factor=0.2),
    layer("RandomSaturation", "plain", _PICTURE, factor=0.2),
    layer("RandomSharpness", "plain", _PICTURE, factor=0.2),
    layer("RandomShear", "plain", _PICTURE),
    layer("RandomTranslation", "plain", _PICTURE, height_factor=0.2, width_factor=0.2),
    layer("RandomZoom", "plain", _PICTURE, height_factor=0.2),
    layer("RandomFlip", "variable size", pixels(None, None, 3)),
    layer(
        "MaxNumBoundingBoxes",
        "plain",
        normal(5, 4),
        max_number=3,
    ),
]
