"""Segmentation heads: a label for each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders.activations import round_up
from headgate.decoders.decoder import DecodeError, Decoder
from headgate.decoders.heads import (
    PROBABILISTIC,
    HeadError,
    check_activation,
    check_count,
    check_names,
    check_thresholds,
    check_uncalibrated,
    describe_units,
)
from headgate.decoders.options import DecodeOptions
from headgate.decoders.pictures import picture_shape
from headgate.decoders.run_lengths import runs_of_classes, runs_of_masks
from headgate.v1 import ACTIVATION_LOGITS, Head, MaskEncoding, TensorSpec
from headgate.v1.columns import BoolArray, FloatArray, SegmentationColumns

#: What two bytes tell apart.
_MAX_NUMBERS = 65536
#: Of a map that was enlarged: 8192 x 8192. A head comes with a file that anyone may have written.
_MAX_PIXELS = 2**26


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationDecoder(Decoder):
    """Compares what the units say of a pixel with each other, or each with its threshold.

    Probabilities are never computed: logits have the same order, and thresholds become logits.

    Attributes:
        labels: the head's.
        axis: of the output's units.
        thresholds: float64 [units], applied unless the request has its own; None where the best unit has the pixel.
        overlapping: whether a pixel may have several labels, or none.
        stride: pixels of the answer, along each side, for one of the output.
        logits: whether the output holds logits rather than probabilities.
    """

    labels: tuple[str, ...]
    axis: int
    thresholds: FloatArray | None
    overlapping: bool
    stride: int
    logits: bool

    @classmethod
    def from_head(cls, head: Head, outputs: Mapping[str, TensorSpec]) -> SegmentationDecoder:
        """Make the decoder of a segmentation head; raises HeadError."""
        kind = head.segmentation
        check_activation(head, PROBABILISTIC)
        check_uncalibrated(head)
        shape, axis = picture_shape(head, outputs)
        units = shape[axis]
        labels = 2 if units == 1 and not kind.independent else units
        check_names(head, "segmentation.labels", kind.labels, labels, describe_units(head, units))
        # Of labels that overlap one number more means none.
        limit = _MAX_NUMBERS - kind.independent
        if labels > limit:
            raise HeadError(head.name, "segmentation.labels", f"has {labels} entries; give at most {limit}")
        thresholds = None
        if units == 1 or kind.independent:
            check_count(head, "segmentation.thresholds", kind.thresholds, units)
            check_thresholds(head, "segmentation.thresholds", kind.thresholds)
            thresholds = np.full(units, kind.thresholds or 0.5)
        elif kind.thresholds:
            problem = f"has {len(kind.thresholds)} entries, but a pixel gets its most probable label; give none"
            raise HeadError(head.name, "segmentation.thresholds", problem)
        stride = kind.stride or 1
        # Free sizes count as 1 here, and as what they are when maps are enlarged.
        height, width = (max(1, size) for size in np.delete(shape[1:], axis - 1).tolist())
        if problem := _too_large(height, width, stride):
            raise HeadError(head.name, "segmentation.stride", f"is {stride}, {problem}")
        return cls(
            head.name,
            {head.output: shape},
            tuple(kind.labels),
            axis,
            thresholds,
            kind.independent,
            stride,
            head.activation == ACTIVATION_LOGITS,
        )

    def _decode(self, outputs: Sequence[FloatArray], options: DecodeOptions) -> SegmentationColumns:
        pixels = np.moveaxis(outputs[0], self.axis, -1)
        _, height, width, _ = pixels.shape
        valid = self._valid(pixels)
        # [rows, height, width] of positions in labels, or [rows, height, width, labels] of bools where they overlap.
        drawn = self._masks(pixels, options.threshold) if self.overlapping else self._classes(pixels, options.threshold)
        areas = (drawn.sum(axis=(1, 2)) if self.overlapping else _counts(drawn, len(self.labels))).astype(np.float32)
        areas /= max(1, height * width)
        areas[~valid] = np.nan
        class_maps = run_offsets = runs = None
        if options.mask_encoding == MaskEncoding.MASK_ENCODING_RUN_LENGTHS:
            whole = self._enlarge(drawn[valid])
            own_counts, runs = runs_of_masks(whole) if self.overlapping else runs_of_classes(whole, len(self.labels))
            counts = np.zeros(areas.shape, np.int64)
            counts[valid] = own_counts
            run_offsets = np.concatenate([[0], counts.cumsum()])
        elif options.mask_encoding != MaskEncoding.MASK_ENCODING_NONE:
            class_maps = self._enlarge(self._best(pixels, drawn) if self.overlapping else drawn)
            class_maps[~valid] = 0
        return SegmentationColumns(
            height * self.stride, width * self.stride, self.labels, areas, valid, class_maps, run_offsets, runs
        )

    def _valid(self, pixels: FloatArray) -> BoolArray:
        valid: BoolArray = np.logical_and.reduce(np.isfinite(pixels), axis=(1, 2, 3))
        if not self.logits or valid.all():
            return valid
        if self.thresholds is not None:
            valid = np.logical_and.reduce(~np.isnan(pixels), axis=(1, 2, 3))
        else:
            # Softmax makes no probabilities of +inf, nor of -inf throughout.
            valid = np.logical_and.reduce(np.isfinite(pixels.max(axis=-1)), axis=(1, 2))
        return valid

    def _masks(self, pixels: FloatArray, threshold: float | None) -> BoolArray:
        """Return whether each unit of each pixel is as probable as its threshold: [rows, height, width, units]."""
        limits = np.array(self.thresholds if threshold is None else [threshold])
        if self.logits:
            limits = np.log(limits) - np.log1p(-limits)
        # In the output's own type: comparing in float64 would take a copy.
        masks: BoolArray = pixels >= round_up(limits, pixels.dtype)
        return masks

    def _classes(self, pixels: FloatArray, threshold: float | None) -> NDArray[Any]:
        """Return the position in `labels` for each pixel: [rows, height, width]."""
        best = pixels.argmax(axis=-1) if self.thresholds is None else self._masks(pixels, threshold)[..., 0]
        return best.astype(self._number_type)

    def _best(self, pixels: FloatArray, masks: BoolArray) -> NDArray[Any]:
        """Return the position of the most probable label among those of each pixel, or how many there are for none."""
        # -inf is for labels that the pixel has not, those of probability 0 have the lowest number but that.
        best = np.where(masks, np.maximum(pixels, np.finfo(pixels.dtype).min), -np.inf).argmax(axis=-1)
        best[~masks.any(axis=-1)] = len(self.labels)
        numbers: NDArray[Any] = best.astype(self._number_type)
        return numbers

    @property
    def _number_type(self) -> type[np.unsignedinteger[Any]]:
        return np.uint8 if len(self.labels) + self.overlapping <= 256 else np.uint16

    def _enlarge(self, drawn: NDArray[Any]) -> NDArray[Any]:
        if self.stride == 1:
            return drawn
        if problem := _too_large(drawn.shape[1], drawn.shape[2], self.stride):
            raise DecodeError(f"head '{self.head}' has the stride {self.stride}, {problem}")
        enlarged: NDArray[Any] = drawn.repeat(self.stride, axis=1).repeat(self.stride, axis=2)
        return enlarged


def _too_large(height: int, width: int, stride: int) -> str:
    """Return, in a few words, that maps of this size cannot be enlarged; nothing where they can."""
    height, width = height * stride, width * stride
    if stride == 1 or height * width <= _MAX_PIXELS:
        return ""
    return f"which makes maps of {height} x {width} pixels; give one that makes at most {_MAX_PIXELS} of them"


def _counts(classes: NDArray[Any], labels: int) -> NDArray[np.int64]:
    """Return how many pixels each label has: [rows, labels]."""
    rows = len(classes)
    numbers = classes.reshape(rows, classes[:1].size) + np.arange(0, rows * labels, labels)[:, None]
    return np.bincount(numbers.ravel(), minlength=rows * labels).reshape(rows, labels)
