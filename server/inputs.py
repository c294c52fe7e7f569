"""A request's tensors against what the model takes: checked before the queue, so that no bad one can fail a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.server.errors import InvalidArgumentError, StartupError
from headgate.server.inference import InferenceRequest, InputBuffer, ShapeGroup
from headgate.server.joining import InputJoiner
from headgate.server.padding import ModelPadding, element_of
from headgate.server.vocabulary import Vocabulary
from headgate.v1 import DataType, InputMeaning, Padding, TensorSpec
from headgate.v1.input_meanings import abridged, check_input_meanings
from headgate.v1.tensors import NUMPY_DTYPES, convert, data_type_name, format_shape, format_spec, text_array

# protobuf looks enum values up by name, each time: too slow for every request.
_UNSPECIFIED = DataType.DATA_TYPE_UNSPECIFIED
_STRING = DataType.DATA_TYPE_STRING
# `bytes | memoryview` would be made anew for every request.
_RAW = (bytes, memoryview)
#: No message could hold such a row.
_MAX_ROW_ELEMENTS = 2**31
#: What a model computes from its free sizes alone, such as positions, takes memory without a single element sent.
_MAX_ABSENT_ELEMENTS = 2**20
#: Each takes about a microsecond.
_MAX_EMPTY_ROWS = 2**16
#: numpy has no arrays of more dimensions. The product of the sizes of very many would take minutes.
_MAX_DIMENSIONS = 64


def read_shape(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that came with a tensor.

    Raises:
        InvalidArgumentError: it has more dimensions than any model takes.
    """
    if len(sizes) > _MAX_DIMENSIONS:
        raise InvalidArgumentError(f"input '{name}' has {len(sizes)} dimensions; no model takes more than a few")
    return tuple(sizes)


@dataclass(frozen=True, slots=True)
class ListedElements:
    """Elements in a list of a message, which are read when it is known that so many of their kind fit.

    Attributes:
        size: how many there are said to be.
        is_text: whether they are text, else numbers.
        read: returns them, in one dimension.
    """

    size: int
    is_text: bool
    read: Callable[[], NDArray[Any]]


class GivenTensor(NamedTuple):
    """A tensor as a dialect read it.

    Attributes:
        name: "" means the model's only input.
        shape: None means "work it out from the number of elements".
        data: raw little-endian elements of the model's type, or others to be converted to it.
        data_type: what the elements are said to be; DATA_TYPE_UNSPECIFIED means that nothing is said.
    """

    name: str
    shape: tuple[int, ...] | None
    data: bytes | memoryview | NDArray[Any] | ListedElements
    data_type: DataType = _UNSPECIFIED


class ModelInput:
    """One input of a model, against which tensors are checked."""

    def __init__(self, spec: TensorSpec, meaning: InputMeaning | None = None, needs_elements: str = "") -> None:
        """Take what the model and its signature say of the input, and what of the model takes no rows without elements.

        Raises:
            StartupError: the input has no free batch dimension.
        """
        if not spec.shape or spec.shape[0] >= 0:
            raise StartupError(
                f"input '{spec.name}' has shape {format_shape(spec.shape)}; "
                "its first dimension must be a free batch dimension"
            )
        if 0 in spec.shape:
            raise StartupError(f"input '{spec.name}' of shape {format_shape(spec.shape)} has no elements")
        self.spec = spec
        self.name = spec.name
        self.data_type = spec.datatype
        self.dtype = NUMPY_DTYPES[spec.datatype]
        self.item_shape = tuple(spec.shape[1:])
        self.is_fixed = all(size >= 0 for size in self.item_shape)
        self.is_text = spec.datatype == _STRING
        self._needs_elements = needs_elements
        self._is_bool = spec.datatype == DataType.DATA_TYPE_BOOL
        self._row_elements = math.prod(self.item_shape) if self.is_fixed else 0
        self._features = list(meaning.tabular.feature_names) if meaning else []
        self.vocabulary = Vocabulary.of(meaning)
        self.checks_elements = self._is_bool or self.vocabulary is not None

    def bind(self, tensor: GivenTensor) -> tuple[InputBuffer, tuple[int, ...]]:
        """Check a tensor; return its elements and its full shape.

        Raises:
            InvalidArgumentError: its type, shape or size does not fit.
        """
        data = tensor.data
        if tensor.data_type not in (self.data_type, _UNSPECIFIED):
            raise self._wrong_type(data_type_name(tensor.data_type))
        if self.is_text and isinstance(data, _RAW) and not data:
            data = np.empty(0, object)
        count = len(data) // self.dtype.itemsize if isinstance(data, _RAW) else data.size
        shape = self._infer_shape(count) if tensor.shape is None else tensor.shape
        self._check_shape(shape)
        if not isinstance(data, _RAW):
            self._check_count(count, shape)
        if isinstance(data, ListedElements):
            if data.is_text != self.is_text:
                raise self._wrong_type("text" if data.is_text else "numbers")
            data = data.read()
            self._check_count(data.size, shape)
        buffer = self._bind_raw(data, shape) if isinstance(data, _RAW) else self._convert(data)
        if self.vocabulary is not None:
            elements = buffer if isinstance(buffer, np.ndarray) else np.frombuffer(buffer, self.dtype)
            self.vocabulary.check(self.name, elements, shape)
        return buffer, shape

    def _check_count(self, count: int, shape: Sequence[int]) -> None:
        if count != math.prod(shape):
            raise InvalidArgumentError(
                f"input '{self.name}' of shape {format_shape(shape)} takes {math.prod(shape)} elements, {count} came"
            )

    def _bind_raw(self, data: bytes | memoryview, shape: tuple[int, ...]) -> bytes | memoryview:
        if self.is_text:
            raise InvalidArgumentError(
                f"input '{self.name}' takes text, which cannot travel as raw bytes; fill `strings`"
            )
        expected = math.prod(shape) * self.dtype.itemsize
        if len(data) != expected:
            raise InvalidArgumentError(
                f"input '{self.name}' of {data_type_name(self.data_type)} {format_shape(shape)} "
                f"takes {expected} bytes, {len(data)} came"
            )
        # What else a byte may hold is neither true nor false, and would be sent back as it came.
        if self._is_bool and data and (largest := np.frombuffer(data, np.uint8).max()) > 1:
            raise InvalidArgumentError(f"input '{self.name}' of BOOL has a byte of {largest}; send 0 or 1")
        return data

    def _convert(self, array: NDArray[Any]) -> InputBuffer:
        if self.is_text != (array.dtype == object):
            raise self._wrong_type("text" if array.dtype == object else str(array.dtype))
        if self.is_text:
            return self._decode_text(array)
        if array.dtype == self.dtype:
            return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        converted, lost = convert(array, self.dtype)
        if lost.any():
            raise InvalidArgumentError(
                f"input '{self.name}' takes {data_type_name(self.data_type)}, which cannot hold {array[lost][0]}"
            )
        return converted.tobytes()

    def _decode_text(self, array: NDArray[Any]) -> NDArray[np.object_]:
        # onnxruntime takes `str`; of `bytes` it would take the repr.
        try:
            return text_array(element.decode() if isinstance(element, bytes) else element for element in array.ravel())
        except UnicodeDecodeError as error:
            came = error.object[:40].decode(errors="backslashreplace")
            raise InvalidArgumentError(f"input '{self.name}' takes text in UTF-8, which '{came}' is not") from None

    def _wrong_type(self, came: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"input '{self.name}' has type {came}, the model takes {format_spec(self.spec)}")

    def _infer_shape(self, count: int) -> tuple[int, ...]:
        if not self.is_fixed:
            raise InvalidArgumentError(
                f"input '{self.name}' came without a shape, which the model's {format_shape(self.spec.shape)} "
                "leaves open; give it"
            )
        if not count:
            raise InvalidArgumentError(
                f"input '{self.name}' came without elements and without a shape, the model takes "
                f"{format_shape(self.spec.shape)}; give a shape of 0 rows if there are none"
            )
        if not self._row_elements or count % self._row_elements:
            raise InvalidArgumentError(
                f"input '{self.name}' came without a shape and with {count} elements, which is no multiple "
                f"of the {self._row_elements} in a row of {format_shape(self.spec.shape)}"
            )
        return (count // self._row_elements, *self.item_shape)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        item_shape = shape[1:]
        if self.is_fixed and item_shape == self.item_shape and shape and shape[0] >= 0:
            return
        fits = (
            len(shape) == len(self.spec.shape)
            and shape[0] >= 0
            and all(given >= 0 and size in (given, -1) for size, given in zip(self.item_shape, item_shape, strict=True))
        )
        if fits and 0 in shape:
            self._check_empty(shape)
            return
        fits = fits and math.prod(item_shape) < _MAX_ROW_ELEMENTS
        if not fits and self._features and len(shape) == 2 and shape[0] >= 0:
            raise InvalidArgumentError(
                f"input '{self.name}' has {shape[1]} columns, the model takes {len(self._features)}: "
                f"{abridged(self._features)}"
            )
        if not fits:
            raise InvalidArgumentError(
                f"input '{self.name}' has shape [{','.join(map(str, shape))}], "
                f"the model takes {format_shape(self.spec.shape)}{self._shape_advice(shape)}"
            )

    def _shape_advice(self, shape: tuple[int, ...]) -> str:
        if shape == self.item_shape:
            return f"; send one row as [{','.join(map(str, (1, *shape)))}]"
        if min(shape, default=0) < 0:
            return "; give the real size of every dimension"
        return ""

    def _check_empty(self, shape: tuple[int, ...]) -> None:
        if 0 in shape[1:] and self._needs_elements:
            raise InvalidArgumentError(
                f"input '{self.name}' has shape {format_shape(shape)}, and so rows without elements, which this model "
                f"cannot be given: {self._needs_elements}"
            )
        # Otherwise a few bytes could ask for any number of rows, or for rows of any size.
        if shape[0] > _MAX_EMPTY_ROWS or math.prod(filter(None, shape)) > _MAX_ABSENT_ELEMENTS:
            raise InvalidArgumentError(
                f"input '{self.name}' has shape {format_shape(shape)} and no elements; then there can be at most "
                f"{_MAX_EMPTY_ROWS} rows, and all sizes but 0 can make at most {_MAX_ABSENT_ELEMENTS}"
            )


class ModelInputs:
    """All inputs of a model."""

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec] = (),
        paddings: Iterable[Padding] = (),
        pad_to_bucket: bool = False,
        meanings: Iterable[InputMeaning] = (),
        needs_elements: str = "",
    ) -> None:
        """Take what the model and its signature say of the inputs.

        Args:
            specs: the inputs.
            outputs: the outputs, which paddings may name.
            paddings: the axes along which requests are filled up to share a batch.
            pad_to_bucket: whether they are filled up to the next power of two, and not just to the largest of the
                batch: for devices that are slow on a shape that is new to them.
            meanings: what the elements of inputs mean.
            needs_elements: what of the model takes no rows without elements, and why, in a few words; "" if all takes
                them.

        Raises:
            StartupError: an input has no free batch dimension.
            ValueError: a padding names what the model does not have, or what cannot be filled up; or a meaning does
                not fit its input.
        """
        meanings = list(meanings)
        check_input_meanings(meanings, specs)
        by_input = {meaning.input: meaning for meaning in meanings}
        self.inputs = [ModelInput(spec, by_input.get(spec.name), needs_elements) for spec in specs]
        #: Whether single elements of requests are checked, and not just their number and type.
        self.checks_elements = any(model_input.checks_elements for model_input in self.inputs)
        self.padding = ModelPadding(paddings, specs, outputs)
        self._joiners = [
            InputJoiner(index, spec, self.padding.fills.get(index), pad_to_bucket) for index, spec in enumerate(specs)
        ]
        self._ones = {mask: element_of(specs[mask], 1) for mask in self.padding.masks}
        self._index = {model_input.name: index for index, model_input in enumerate(self.inputs)}
        self._is_fixed = all(model_input.is_fixed for model_input in self.inputs)

    def bind(self, tensors: Sequence[GivenTensor]) -> tuple[list[InputBuffer], int, ShapeGroup]:
        """Check the tensors of a request; return its buffers in the model's order, its rows, and its shape group.

        Raises:
            InvalidArgumentError: an input is missing, unknown, given twice, of a wrong type or shape, or of other rows
                than the first; or sizes differ that are padded together.
        """
        if len(self.inputs) == 1 and len(tensors) == 1 and tensors[0].name in ("", self.inputs[0].name):
            buffer, shape = self.inputs[0].bind(tensors[0])
            return [buffer], shape[0], () if self._is_fixed else self.padding.group((shape[1:],))
        bound = self._bind(tensors)
        first, (_, (rows, *_)) = next(iter(bound.items()))
        for index, (_, shape) in bound.items():
            if shape[0] != rows:
                raise InvalidArgumentError(
                    f"input '{self.inputs[index].name}' has {shape[0]} rows, input '{self.inputs[first].name}' has "
                    f"{rows}; all inputs of a request have the same number"
                )
        for mask, (index, axis) in self.padding.masks.items():
            if mask not in bound:
                size = bound[index][1][axis + 1]
                ones = np.full(rows * size, self._ones[mask])
                bound[mask] = ones.view(np.uint8).data, (rows, size)
        ordered = [bound[index] for index in range(len(self.inputs))]
        group = () if self._is_fixed else self.padding.group(tuple(shape[1:] for _, shape in ordered))
        return [buffer for buffer, _ in ordered], rows, group

    def join(self, requests: Sequence[InferenceRequest], rows: int) -> list[NDArray[Any]]:
        """Put the inputs of a batch together: one array [rows, ...] for each input of the model.

        Large arrays are overwritten by the next batch that the same thread joins.
        """
        return [joiner.join(requests, rows) for joiner in self._joiners]

    def _bind(self, tensors: Sequence[GivenTensor]) -> dict[int, tuple[InputBuffer, tuple[int, ...]]]:
        """Return the elements and the shape of each tensor by the index of its input; masks may be missing."""
        given: dict[int, GivenTensor] = {}
        for tensor in tensors:
            index = self._index.get(tensor.name)
            if index is None:
                raise InvalidArgumentError(f"there is no input '{tensor.name}'; the model takes {self._describe()}")
            if index in given:
                raise InvalidArgumentError(f"input '{tensor.name}' came twice; send it once")
            given[index] = tensor
        missing = [
            name for name, index in self._index.items() if index not in given and index not in self.padding.masks
        ]
        if missing:
            names = ", ".join(f"'{name}'" for name in missing)
            raise InvalidArgumentError(f"input {names} is missing; the model takes {self._describe()}")
        return {index: self.inputs[index].bind(given[index]) for index in sorted(given)}

    def _describe(self) -> str:
        return ", ".join(f"'{model_input.name}' ({format_spec(model_input.spec)})" for model_input in self.inputs)
