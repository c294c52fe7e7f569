"""Keypoints heads: points of interest, from heatmaps or from coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import sigmoid
from headgate.decoders.decoder import Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_names,
    check_uncalibrated,
    describe_units,
    enum_name,
)
from headgate.decoders.options import DecodeOptions
from headgate.decoders.pictures import image_size_of, picture_shape
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOGITS, Head, KeypointsHead, TensorSpec
from headgate.v1.columns import BoolArray, FloatArray, KeypointsColumns
from headgate.v1.tensors import format_spec


@dataclass(frozen=True, slots=True, eq=False)
class Heatmaps:
    """Where the points are in an output of heatmaps.

    Attributes:
        axis: of the points in the output.
        stride: pixels of the image, along each side, for one of a heatmap.
        refine: whether to look for the point between a heatmap's pixels.
        logits: whether heatmaps hold logits.
    """

    axis: int
    stride: int
    refine: bool
    logits: bool

    def find(self, output: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float32], tuple[int, int]]:
        """Find the brightest pixel of each heatmap; of pixels that are alike, the first row by row.

        Returns:
            Where it is in the image, (x, y) of each [rows, points, 2]; its value [rows, points]; the image's (width,
            height).
        """
        heatmaps = np.moveaxis(output, self.axis, 1)
        rows, points, height, width = heatmaps.shape
        flat = heatmaps.reshape(rows, points, height * width)
        if not height * width:
            # Where there is no pixel there is no point.
            flat = np.full((rows, points, 1), np.nan, np.float32)
        brightest = flat.argmax(axis=2)
        values = np.take_along_axis(flat, brightest[..., None], axis=2)[..., 0]
        y, x = np.divmod(brightest, width)
        places = np.stack([x, y], axis=2, dtype=np.float64)
        if self.refine:
            places[..., 0] += self._offsets(flat, brightest, 1, (x > 0) & (x < width - 1))
            places[..., 1] += self._offsets(flat, brightest, width, (y > 0) & (y < height - 1))
        scores = sigmoid(values) if self.logits else values.astype(np.float32)
        return places * self.stride, scores, (width * self.stride, height * self.stride)

    def _offsets(
        self, flat: FloatArray, brightest: NDArray[np.intp], step: int, inside: BoolArray
    ) -> NDArray[np.float64]:
        """Return how far from the brightest pixels, -0.5 to 0.5, a Gaussian through them and their neighbours peaks.

        Its logarithm is a parabola. 0 where there is none, and at the heatmaps' borders.
        """
        neighbours = brightest[..., None] + np.array([-step, 0, step])
        values = np.take_along_axis(flat, neighbours.clip(0, flat.shape[2] - 1), axis=2).astype(np.float64)
        # Of logits, the logarithm of sigmoid.
        logarithms = -np.logaddexp(0, -values) if self.logits else np.log(values)
        before, at, after = np.moveaxis(logarithms, 2, 0)
        offsets = (before - after) / (2 * (before - 2 * at + after))
        return np.where(inside & np.isfinite(offsets), offsets, 0)


@dataclass(frozen=True, slots=True, eq=False)
class KeypointsDecoder(Decoder):
    """Finds points in heatmaps, or reads their coordinates, and gives them in pixels or relative to the image.

    Attributes:
        names: one a point.
        image_size: (width, height) in pixels; None where it is not known.
        heatmaps: how to find points in them; None for coordinates.
        relative: whether the model's coordinates are fractions of the image's sides.
    """

    names: tuple[str, ...]
    image_size: tuple[int, int] | None
    heatmaps: Heatmaps | None
    relative: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> KeypointsDecoder:
        """Make the decoder of a keypoints head; raises HeadError."""
        kind = head.keypoints
        check_uncalibrated(head)
        size = image_size_of(head)
        heatmaps = None
        if kind.form == KeypointsHead.FORM_HEATMAPS:
            check_activation(head, (ACTIVATION_LINEAR, *PROBABILISTIC))
            _check_unset(head, "relative")
            shape, axis = picture_shape(head, outputs)
            check_names(head, "keypoints.names", kind.names, shape[axis], describe_units(head, shape[axis]))
            heatmaps = Heatmaps(axis, kind.stride or 1, kind.refine, head.activation == ACTIVATION_LOGITS)
        elif kind.form == KeypointsHead.FORM_COORDINATES:
            check_activation(head, [ACTIVATION_LINEAR])
            _check_unset(head, "layout", "refine", "stride")
            points = len(kind.names)
            check_names(head, "keypoints.names", kind.names, max(1, points), "a point has a name")
            spec = outputs[head.output]
            shape = (-1, *spec.shape[1:])
            if shape[1:] not in ((2 * points,), (3 * points,), (points, 2), (points, 3)):
                problem = (
                    f"has {points} entries, '{head.output}' is {format_spec(spec)}; give one for each 2 or 3 numbers"
                )
                raise HeadError(head.name, "keypoints.names", problem)
        else:
            form = enum_name(KeypointsHead.Form, kind.form)
            raise HeadError(head.name, "keypoints.form", f"is {form}; give FORM_HEATMAPS or FORM_COORDINATES")
        return cls(head.name, {head.output: shape}, tuple(kind.names), size, heatmaps, kind.relative)

    def check(self, options: DecodeOptions) -> None:
        """Raise ValueError where relative coordinates are asked for and the image's size is not known."""
        if options.relative_coordinates and not (self.relative or self.heatmaps or self.image_size):
            raise ValueError(
                f"head '{self.head}' cannot give relative coordinates: the image's size is not known; ask for pixels"
            )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> KeypointsColumns:
        (output,) = outputs
        size = self.image_size
        scores: NDArray[np.float32] | None
        if self.heatmaps:
            places, scores, enlarged = self.heatmaps.find(output)
            size = size or enlarged
        else:
            points = len(self.names)
            numbers = output.reshape(len(output), points, math.prod(output.shape[1:]) // points)
            places = numbers[..., :2].astype(np.float64)
            scores = numbers[..., 2].astype(np.float32) if numbers.shape[2] == 3 else None
        relative = options.relative_coordinates or (self.relative and size is None)
        if relative and not self.relative:
            places /= np.array(size)
        elif self.relative and not relative:
            places *= np.array(size)
        return _columns(places, scores, self.names, relative)


def _columns(
    places: NDArray[np.float64], scores: NDArray[np.float32] | None, names: tuple[str, ...], relative: bool
) -> KeypointsColumns:
    coordinates = places.astype(np.float32)
    valid: BoolArray = np.logical_and.reduce(np.isfinite(coordinates), axis=(1, 2))
    if scores is not None:
        valid &= np.logical_and.reduce(np.isfinite(scores), axis=1)
        scores[~valid] = np.nan
    coordinates[~valid] = np.nan
    return KeypointsColumns(coordinates, names, valid, relative, scores)


def _check_unset(head: Head, *fields: str) -> None:
    for field in fields:
        if getattr(head.keypoints, field):
            form = enum_name(KeypointsHead.Form, head.keypoints.form)
            raise HeadError(head.name, f"keypoints.{field}", f"is set, {form} has none; leave it out")
