"""Stored vectors that embedding heads compare with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from headgate.exporter.errors import HeadInferenceError
from headgate.v1 import Prototypes


def prototypes(labels: Sequence[object], vectors: ArrayLike) -> Prototypes:
    """Make the prototypes of an embedding head.

    Args:
        labels: one a vector; several vectors may share one.
        vectors: [labels, units] of numbers, as the model gives them; their length does not matter.

    Raises:
        HeadInferenceError: there are not as many labels as vectors, or a vector is not finite or has length 0.

    >>> made = prototypes(["cat", "dog"], [[1, 0, 0], [0.5, 0.5, 0]])
    >>> list(made.labels), len(made.vectors)
    (['cat', 'dog'], 24)
    """
    try:
        array = np.asarray(vectors)
    except ValueError as error:
        raise HeadInferenceError(f"the vectors of prototypes are no array: {error}; give one size to all") from None
    if array.dtype.kind not in "fiub" or array.ndim != 2 or len(array) != len(labels):
        raise HeadInferenceError(
            f"prototypes have {len(labels)} labels and vectors of shape {list(array.shape)} and type {array.dtype}; "
            "give numbers of shape [labels, units]"
        )
    with np.errstate(over="ignore"):
        array = array.astype("<f4")
    bad = ~(np.isfinite(array).all(axis=1) & array.any(axis=1))
    if bad.any():
        index = int(bad.argmax())
        raise HeadInferenceError(
            f"the prototype of '{labels[index]}' at {index} is not finite or has length 0 in float32; leave it out"
        )
    return Prototypes(labels=[str(label) for label in labels], vectors=array.tobytes())
