"""What the decoders of all kinds share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.options import DecodeOptions
from headgate.v1 import Head
from headgate.v1.columns import Columns, FloatArray
from headgate.v1.tensors import format_shape


@dataclass(frozen=True, slots=True, eq=False)
class Decoder(ABC):
    """Turns the raw output of one head into columns. Immutable: any number of threads may share one.

    Attributes:
        head: the head's name.
        units: the last dimension of the output.
    """

    head: str
    units: int

    @classmethod
    @abstractmethod
    def from_head(cls, head: Head, units: int) -> Decoder:
        """Make the decoder of a head of this kind; raises HeadError. `decoder_for` is the way in."""

    def decode(self, output: NDArray[Any], options: DecodeOptions) -> Columns:
        """Decode a batch.

        Args:
            output: float16, float32 or float64 [rows, units]; or [rows] for one unit. Never written to, and the
                columns share no memory with it.
            options: what the request asks for.

        Raises:
            ValueError: the output's shape or type is not what the head reads.
        """
        if output.dtype.kind != "f":
            raise ValueError(f"head '{self.head}' reads floating point numbers, its output holds {output.dtype}")
        if self.units == 1 and output.ndim == 1:
            output = output[:, None]
        if output.ndim != 2 or output.shape[1] != self.units:
            came = format_shape(output.shape)
            raise ValueError(f"head '{self.head}' reads an output of shape [batch,{self.units}], this one has {came}")
        # NaN and infinities are dealt with row by row, and a warning would be an error where the caller made it one.
        with np.errstate(all="ignore"):
            return self._decode(output, options)

    @abstractmethod
    def _decode(self, output: FloatArray, options: DecodeOptions) -> Columns: ...
