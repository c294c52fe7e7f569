"""Layers that merge several inputs."""

from keras import layers as kl

from headgate.benchmarks.coverage.cases import layer, normal

_ELEMENTWISE = ("Add", "Average", "Maximum", "Minimum", "Multiply")

CASES = [
    *(layer(kind, "three", normal(6, 5), normal(6, 5), normal(6, 5)) for kind in _ELEMENTWISE),
    *(layer(kind, "broadcast", normal(6, 5), normal(1, 5)) for kind in _ELEMENTWISE),
    layer("Subtract", "two", normal(6, 5), normal(6, 5)),
    layer("Subtract", "broadcast", normal(6, 5), normal(1, 5)),
    layer("Concatenate", "last axis", normal(6, 5), normal(6, 3)),
    layer("Concatenate", "axis 1", normal(6, 5), normal(2, 5), axis=1),
    layer("Concatenate", "axis 1, variable", normal(None, 5), normal(2, 5), axis=1),
    layer("Dot", "vectors", normal(5), normal(5), axes=1),
    layer("Dot", "matrices", normal(6, 5), normal(5, 3), axes=(2, 1)),
    layer("Dot", "rank 3 and 2", normal(6, 5), normal(5), axes=(2, 1)),
    layer("Dot", "normalized", normal(5), normal(5), axes=1, normalize=True),
    layer(
        "Add",
        "of masked inputs",
        normal(6, 5),
        normal(6, 5),
        call=lambda instance, x: instance([kl.Masking()(x[0]), kl.Masking()(x[1])]),
    ),
]
