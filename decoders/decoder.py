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
from headgate.v1.columns import Columns, join_columns
from headgate.v1.tensors import format_shape


class DecodeError(ValueError):
    """The outputs do not have the sizes or types that a head reads, or are larger than it can take."""


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
            DecodeError: an output's shape or type is not what the head reads, it is too large for the head, or another
                one has other rows.
            KeyError: an output that the head reads is missing.
        """
        arrays = [self._checked(name, outputs[name], shape) for name, shape in self.reads.items()]
        if arrays[0].dtype.kind != "f":
            # No model's, but a caller's own.
            arrays[0] = arrays[0].astype(np.float64)
        rows = len(arrays[0])
        if len(arrays) > 1:
            self._check_rows(arrays)
        # NaN and infinities are dealt with row by row, and a warning would be an error where the caller made it one.
        with np.errstate(all="ignore"):
            together = self._rows_together(arrays)
            if rows <= together:
                return self._decode(arrays, options)
            starts = range(0, rows, together)
            return join_columns(
                [self._decode([array[start : start + together] for array in arrays], options) for start in starts]
            )

    def check(self, options: DecodeOptions) -> None:  # noqa: B027  # Most kinds have nothing to refuse.
        """Raise ValueError for options that this head cannot fulfil, such as a confidence level that it lacks."""

    @abstractmethod
    def _decode(self, outputs: Sequence[NDArray[Any]], options: DecodeOptions) -> Columns:
        """Decode outputs of the shapes of `reads`, in its order."""

    def _rows_together(self, outputs: Sequence[NDArray[Any]]) -> int:
        """Return how many rows of the outputs to decode at once; of kinds that need much memory a row, not all."""
        return len(outputs[0])

    def _check_rows(self, outputs: Sequence[NDArray[Any]]) -> None:
        if len({len(output) for output in outputs}) > 1:
            each = zip(self.reads, outputs, strict=True)
            came = ", ".join(f"'{name}' has {len(output)}" for name, output in each)
            raise DecodeError(f"head '{self.head}' reads as many rows of each output: {came}; give them of one batch")

    def _checked(self, name: str, output: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if output.dtype.kind not in "fiub":
            raise DecodeError(f"head '{self.head}' reads numbers, output '{name}' holds {output.dtype}")
        if output.ndim == 1 and shape == (-1, 1):
            output = output[:, None]
        if not output.flags.c_contiguous:
            # Sums depend on the order of elements in memory: rows give the same alone as together.
            output = np.ascontiguousarray(output)
        # One row has little more to do than this check.
        if output.shape[1:] == shape[1:] and output.shape:
            return output
        sizes = zip(shape, output.shape, strict=False)
        if output.ndim != len(shape) or any(expected not in (-1, came) for expected, came in sizes):
            raise DecodeError(
                f"head '{self.head}' reads output '{name}' of shape {format_shape(shape)}, "
                f"this one has {format_shape(output.shape)}"
            )
        return output
