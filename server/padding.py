"""Padding: requests that differ in a size which the signature declares paddable run as one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.server.errors import InvalidArgumentError
from headgate.server.inference import InferenceRequest, Outputs, ShapeGroup
from headgate.v1 import DataType, Padding, TensorSpec
from headgate.v1.paddings import check_paddings
from headgate.v1.tensors import NUMPY_DTYPES, convert


class PaddedShapes(tuple[tuple[int, ...], ...]):
    """The shape of one row of each input of a request, equal to those of all requests that it can share a batch with.

    Attributes:
        bucket: these shapes with paddable sizes rounded up to the next power of two, which is what is compared. So a
            batch has less than twice the elements of its requests, for each paddable size that an input has.
        padding: of the model.
    """

    bucket: ShapeGroup
    padding: ModelPadding

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PaddedShapes) and self.bucket == other.bucket

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.bucket)


class _Axis(NamedTuple):
    """An axis of a tensor's rows: 0 is the first after the batch."""

    tensor: int
    axis: int


class ModelPadding:
    """The paddings of a model's signature.

    Attributes:
        fills: what each padded input is filled with, by its index.
        masks: for the index of each input that requests may leave out, the axis that it is the mask of.
        outputs: the axes of outputs that are cut back, each with the axis of an input that has the size.
    """

    def __init__(
        self, paddings: Iterable[Padding], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> None:
        """Find what the paddings name.

        Raises:
            ValueError: they name what the model does not have, or cannot be filled up.
        """
        paddings = list(paddings)
        check_paddings(paddings, inputs, outputs)
        self._input_names = [spec.name for spec in inputs]
        output_names = [spec.name for spec in outputs]
        self.fills: dict[int, Any] = {}
        self.masks: dict[int, _Axis] = {}
        self._sizes: list[list[_Axis]] = []
        self.outputs: list[tuple[_Axis, _Axis]] = []
        for padding in paddings:
            axes = [_Axis(self._input_names.index(padded.input), padded.axis - 1) for padded in padding.inputs]
            for (index, _), padded in zip(axes, padding.inputs, strict=True):
                self.fills[index] = element_of(inputs[index], padded.fill)
            for output in padding.outputs:
                self.outputs.append((_Axis(output_names.index(output.output), output.axis - 1), axes[0]))
            if padding.mask:
                mask = self._input_names.index(padding.mask)
                self.fills[mask] = element_of(inputs[mask], 0)
                self.masks[mask] = axes[0]
                axes.append(_Axis(mask, 0))
            self._sizes.append(axes)

    def group(self, item_shapes: ShapeGroup) -> ShapeGroup:
        """Make the shape group of a request of which the shape of one row of each input is given.

        Raises:
            InvalidArgumentError: axes that are padded together differ in size.
        """
        if not self._sizes:
            return item_shapes
        bucket = [list(shape) for shape in item_shapes]
        for (first, first_axis), *others in self._sizes:
            size = item_shapes[first][first_axis]
            bucket[first][first_axis] = rounded = _next_power_of_two(size)
            for index, axis in others:
                if item_shapes[index][axis] != size:
                    names = self._input_names
                    raise InvalidArgumentError(
                        f"input '{names[index]}' has size {item_shapes[index][axis]} along axis {axis + 1}, input "
                        f"'{names[first]}' has {size} along axis {first_axis + 1}; they are padded together, send the "
                        "same size"
                    )
                bucket[index][axis] = rounded
        group = PaddedShapes(item_shapes)
        group.bucket = tuple(map(tuple, bucket))
        group.padding = self
        return group


def own_outputs(outputs: Outputs, request: InferenceRequest) -> list[NDArray[Any]]:
    """Return a request's part of its batch's outputs: its rows, without what comes of padding."""
    own = [output[request.start : request.stop] for output in outputs]
    group = request.group
    if isinstance(group, PaddedShapes):
        for (output, output_axis), (index, axis) in group.padding.outputs:
            own[output] = own[output][(slice(None),) * (output_axis + 1) + (slice(group[index][axis]),)]
    return own


def pad(arrays: Sequence[NDArray[Any]], into: NDArray[Any], fill: Any) -> None:
    """Put arrays [rows, ...] below each other into one [sum of rows, ...] of sizes as large or larger; fill the rest.

    >>> import numpy as np
    >>> joined = np.empty((3, 2))
    >>> pad([np.ones((1, 2)), np.ones((2, 1))], joined, 0)
    >>> joined.tolist()
    [[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    """
    into.fill(fill)
    start = 0
    for array in arrays:
        stop = start + len(array)
        into[(slice(start, stop), *map(slice, array.shape[1:]))] = array
        start = stop


def element_of(spec: TensorSpec, number: float) -> Any:
    """Return what stands for a number in a tensor: a scalar of numpy; of text that is always ""."""
    if spec.datatype == DataType.DATA_TYPE_STRING:
        return ""
    return convert(np.array(number), NUMPY_DTYPES[spec.datatype])[0][()]


def _next_power_of_two(size: int) -> int:
    # What has no elements is by itself: a model may fail on it.
    return 1 << (size - 1).bit_length() if size else 0
