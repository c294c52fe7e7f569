"""Embedding heads: a vector for each row, and the stored ones nearest to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import HeadError, check_activation, check_uncalibrated, describe_units, units_of
from headgate.decoders.options import DecodeOptions
from headgate.decoders.ranking import best_first
from headgate.v1 import ACTIVATION_LINEAR, Head, TensorSpec
from headgate.v1.columns import EmbeddingColumns, FloatArray, TextArray
from headgate.v1.tensors import text_array

# A cosine takes some twenty bytes.
_COSINES_TOGETHER = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingDecoder(Decoder):
    """Gives vectors as float32 or float16, and the prototypes of the greatest cosine.

    Rows are invalid that hold numbers beyond the range of the type asked for (65,504 for float16), and those of length
    0 where they need a direction: to be normalised, or compared.

    Attributes:
        normalize: whether vectors are scaled to length 1.
        labels: str [prototypes]; None for a head without prototypes.
        prototypes: float64 [units, prototypes], of length 1.
        top_k: how many of the nearest unless the request says otherwise.
    """

    normalize: bool
    labels: TextArray | None
    prototypes: FloatArray
    top_k: int

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> EmbeddingDecoder:
        """Make the decoder of an embedding head; raises HeadError."""
        kind = head.embedding
        check_activation(head, [ACTIVATION_LINEAR])
        check_uncalibrated(head)
        units = units_of(head, outputs)
        labels: TextArray | None = None
        prototypes: FloatArray = np.empty((units, 0))
        if kind.HasField("prototypes"):
            labels, prototypes = text_array(kind.prototypes.labels), _unit_prototypes(head, units)
        elif kind.top_k:
            raise HeadError(head.name, "embedding.top_k", f"is {kind.top_k}; give prototypes to choose from, or 0")
        return cls(head.name, {head.output: (-1, units)}, kind.normalize, labels, prototypes, kind.top_k or 1)

    def _rows_together(self, outputs: Sequence[FloatArray]) -> int:
        return max(1, _COSINES_TOGETHER // (1 if self.labels is None else len(self.labels)))

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> EmbeddingColumns:
        vectors = outputs[0].astype(np.float32)
        # float64 holds the squares of all float32, and rounds so finely that cosines, rounded to float32, neither
        # depend on the rows that are multiplied together nor leave -1..1.
        units = vectors.astype(np.float64)
        lengths = np.sqrt(np.add.reduce(units * units, axis=1))
        valid = np.isfinite(lengths)
        if self.normalize or self.labels is not None:
            valid &= lengths > 0
            units /= lengths[:, None]
        if self.normalize:
            vectors = units.astype(np.float32)
        halves = None
        if options.half_precision:
            halves = vectors.astype(np.float16)
            valid &= np.isfinite(halves).all(axis=1)
            halves[~valid] = np.nan
        vectors[~valid] = np.nan
        columns = EmbeddingColumns(valid, None if options.half_precision else vectors, halves)
        if self.labels is None:
            return columns
        cosines = (units @ self.prototypes).astype(np.float32)
        cosines[~valid] = np.nan
        nearest = best_first(cosines, min(options.top_k or self.top_k, len(self.labels)))
        similarities = np.take_along_axis(cosines, nearest, axis=1)
        labels = self.labels.take(nearest)
        labels[~valid] = ""
        indices = nearest.astype(np.int32)
        indices[~valid] = -1
        return replace(columns, labels=labels, indices=indices, similarities=similarities)


def _unit_prototypes(head: Head, units: int) -> FloatArray:
    """Return the head's prototypes scaled to length 1, float64 [units, prototypes]; raises HeadError."""
    labels, data = head.embedding.prototypes.labels, head.embedding.prototypes.vectors
    if not labels or "" in labels:
        problem = "has an empty entry; give every vector a name" if labels else "is empty; give one a vector"
        raise HeadError(head.name, "embedding.prototypes.labels", problem)
    size = 4 * units * len(labels)
    if len(data) != size:
        came = f"has {len(data)} bytes, there are {len(labels)} labels, and {describe_units(head, units)}"
        raise HeadError(head.name, "embedding.prototypes.vectors", f"{came}; give {size} bytes of float32")
    with np.errstate(invalid="ignore"):
        vectors = np.frombuffer(data, "<f4").reshape(-1, units).astype(np.float64)
    lengths = np.sqrt(np.add.reduce(vectors * vectors, axis=1))
    directed = (lengths > 0) & np.isfinite(lengths)
    if not directed.all():
        index = int(directed.argmin())
        problem = f"{index}, '{labels[index]}', has length {lengths[index]:g}; give finite ones of a length above 0"
        raise HeadError(head.name, "embedding.prototypes.vectors", problem)
    return np.ascontiguousarray((vectors / lengths[:, None]).T)
