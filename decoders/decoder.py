"""What the decoders of all kinds share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.options import DecodeOptions
from headgate.v1 import Head, TensorSpec
from headgate.v1.columns import Columns
from headgate.v1.tensors import format_shape


@dataclass(frozen=True, slots=True, eq=False)
class Decoder(ABC):
    """Turns the raw outputs of one head into columns. Immutable: any number of threads may share one.

    Attributes:
        head: the head's name.
        reads: the outputs that it reads, the head's own first, and their shapes; -1 for free sizes.
    """

    head: str
    reads: Mapping[str, tuple[int, ...]]

    @classmethod
    @abstractmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> Decoder:
        """Make the decoder of a head of this kind; raises HeadError. `decoder_for` is the way in.

        Args:
            head: what the output means.
            outputs: the model's outputs by name; the head's own is among them and holds floating point numbers.
        """

    def decode(self, outputs: Mapping[str, NDArray[Any]], options: DecodeOptions) -> Columns:
        """Decode a batch.

        Args:
            outputs: the model's raw outputs by name, [rows, ...]; or [rows] for one unit. Never written to, and the
                columns share no memory with them.
            options: what the request asks for; see `check`.

        Raises:
            ValueError: an output's shape or type is not what the head reads.
            KeyError: an output that the head reads is missing.
        """
        arrays = [self._checked(name, outputs[name], shape) for name, shape in self.reads.items()]
        # NaN and infinities are dealt with row by row, and a warning would be an error where the caller made it one.
        with np.errstate(all="ignore"):
            return self._decode(arrays, options)

    def check(self, options: DecodeOptions) -> None:  # noqa: B027  # Most kinds have nothing to refuse.
        """Raise ValueError for options that this head cannot fulfil, such as a confidence level that it lacks."""

    @abstractmethod
    def _decode(self, outputs: Sequence[NDArray[Any]], options: DecodeOptions) -> Columns:
        """Decode outputs of the shapes of `reads`, in its order."""

    def _checked(self, name: str, output: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if output.dtype.kind not in "fiub":
            raise ValueError(f"head '{self.head}' reads numbers, output '{name}' holds {output.dtype}")
        if output.ndim == 1 and shape == (-1, 1):
            output = output[:, None]
        sizes = zip(shape, output.shape, strict=False)
        if output.ndim != len(shape) or any(expected not in (-1, came) for expected, came in sizes):
            raise ValueError(
                f"head '{self.head}' reads output '{name}' of shape {format_shape(shape)}, "
                f"this one has {format_shape(output.shape)}"
            )
        return output
