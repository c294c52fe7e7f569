"""The outputs of a batch as ModelInferResponses: elements, their best classes, or what was written to shared memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.foreign import open_inference as oip
from headgate.foreign.bytes_tensors import join_elements
from headgate.server.dialects.open_inference_classes import Classifier
from headgate.server.dialects.open_inference_parameters import NamedRegion, read_class_count, read_region, write_region
from headgate.server.dialects.open_inference_tensors import NAMES
from headgate.server.errors import InvalidArgumentError
from headgate.server.inference import InferenceRequest, Outputs, Renderer
from headgate.server.model import LoadedModel
from headgate.server.padding import own_outputs
from headgate.server.regions import RegionSlice
from headgate.server.shared_memory import SharedMemory
from headgate.v1.encoding import delimited, encode_varint, tag_of

_ID = tag_of(oip.ModelInferResponse, "id")
_RAW_OUTPUT_CONTENTS = tag_of(oip.ModelInferResponse, "raw_output_contents")
_INFER_RESPONSE = tag_of(oip.ModelStreamInferResponse, "infer_response")
#: Of all rows of a request. Each is a text of its own, which takes about a microsecond.
_MAX_CLASSES = 100_000


class RequestedOutput(NamedTuple):
    """An output that a request asks for.

    Attributes:
        classes: how many of the best it wants instead of the elements; 0 for those.
        region: where in shared memory it is to be; None for the answer.
    """

    name: str
    classes: int = 0
    region: RegionSlice | None = None


def read_outputs(message: Any, memory: SharedMemory, most: int) -> tuple[RequestedOutput, ...]:
    """Read what a ModelInferRequest asks for; nothing means all outputs of the model, which has `most`.

    Raises:
        InvalidArgumentError: an output is asked for twice, or a parameter is wrong.
        NotFoundError: one names a region that is not there.
        UnimplementedError: one names a region, and shared memory is not allowed.
    """
    outputs: dict[str, RequestedOutput] = {}
    # One more than there are is one twice, or one that the model does not have.
    for output in message.outputs[: most + 1]:
        name = output.name
        if name in outputs:
            raise InvalidArgumentError(f"output '{name}' is asked for twice; name it once")
        outputs[name] = _read_output(output, memory) if output.parameters else RequestedOutput(name)
    return tuple(outputs.values())


def _read_output(output: Any, memory: SharedMemory) -> RequestedOutput:
    classes, region = read_class_count(output), read_region(output)
    if classes and region is not None:
        raise InvalidArgumentError(
            f"output '{output.name}' is asked for as classes and in shared memory; choose one of the two"
        )
    return RequestedOutput(output.name, classes, None if region is None else memory.output(*region))


def renderer_of(model: LoadedModel, outputs: tuple[RequestedOutput, ...], streamed: bool, rows: int) -> Renderer:
    """Return what makes the answers; requests that want the same share it, but for those with memory of their own.

    Raises:
        InvalidArgumentError: the model has no output of that name, or not with classes, or not with so many.
    """
    regions = [output.region for output in outputs]
    if any(regions):
        outputs = tuple([output._replace(region=None) for output in outputs])
    renderer: TensorRenderer = model.renderer(TensorRenderer, outputs, streamed)
    if rows * renderer.classes > _MAX_CLASSES:
        raise InvalidArgumentError(
            f"{rows} rows with {renderer.classes} classes each are asked for; ask for at most {_MAX_CLASSES} classes "
            "in all, of fewer rows or fewer of each"
        )
    return RegionRenderer(renderer, regions) if any(regions) else renderer


class TensorRenderer:
    """Writes each request's rows of the outputs as a ModelInferResponse (in a ModelStreamInferResponse if streamed).

    An answer is put together from serialised parts, which protobuf allows: fields may be concatenated on the wire.

    Attributes:
        classes: how many a row has at most, in all outputs that are asked for with them.
    """

    def __init__(self, model: LoadedModel, outputs: tuple[RequestedOutput, ...], streamed: bool) -> None:
        """Choose the outputs; none means all.

        Raises:
            InvalidArgumentError: the model has no output of that name, or not with classes.
        """
        specs = {spec.name: (index, spec) for index, spec in enumerate(model.session.outputs)}
        unknown = [output.name for output in outputs if output.name not in specs]
        if unknown:
            known = ", ".join(f"'{name}'" for name in specs)
            raise InvalidArgumentError(f"model '{model.name}' has no output '{unknown[0]}'; it has {known}")
        self._outputs = outputs or tuple(map(RequestedOutput, specs))
        self._indices = [specs[output.name][0] for output in self._outputs]
        self._classifiers = [
            (position, Classifier(model, specs[output.name][1], output.classes))
            for position, output in enumerate(self._outputs)
            if output.classes
        ]
        self.classes = sum([classifier.count for _, classifier in self._classifiers])
        self._datatypes = [
            "BYTES" if output.classes else NAMES[specs[output.name][1].datatype] for output in self._outputs
        ]
        self._opening: dict[str, Any] = {"model_name": model.name, "model_version": str(model.version)}
        if streamed:
            # Each request of a stream has one response.
            self._opening["parameters"] = {"triton_final_response": {"bool_param": True}}
        self._streamed = streamed
        self._is_padded = bool(model.inputs.padding.outputs)
        self._constant_parts: dict[Any, bytes] = {}

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request."""
        item_shapes, slicers = self._read(outputs)
        for request in requests:
            start, stop = request.start, request.stop
            if self._is_padded:
                item_shapes, slicers = self._read(own_outputs(outputs, request))
                start, stop = 0, request.rows
            key = request.rows, item_shapes
            parts: list[bytes | memoryview] = [self._constant_parts.get(key) or self._constant_part(*key)]
            if request.id:
                parts += delimited(_ID, request.id.encode())
            for rows in slicers:
                parts += delimited(_RAW_OUTPUT_CONTENTS, rows(start, stop))
            if self._streamed:
                parts[:0] = (_INFER_RESPONSE, encode_varint(sum(map(len, parts))))
            yield b"".join(parts)

    def render_to(self, regions: Sequence[RegionSlice | None], outputs: Outputs, request: InferenceRequest) -> bytes:
        """Write outputs of a request to the regions that they are to be in, and return the answer.

        Raises:
            InvalidArgumentError: an output is larger than its part of a region, or cannot be written there.
        """
        item_shapes, slicers = self._read(own_outputs(outputs, request))
        contents, places = [], []
        for output, rows, region in zip(self._outputs, slicers, regions, strict=True):
            elements = rows(0, request.rows)
            contents.append(bytes(elements) if region is None else b"")
            places.append(None if region is None else _write(output.name, elements, region))
        rest = oip.ModelInferResponse(id=request.id, raw_output_contents=contents).SerializeToString()
        key = request.rows, item_shapes, tuple(places)
        answer: bytes = (self._constant_parts.get(key) or self._constant_part(*key)) + rest
        return b"".join(delimited(_INFER_RESPONSE, answer)) if self._streamed else answer

    def _read(self, outputs: Outputs) -> tuple[tuple[tuple[int, ...], ...], list[Any]]:
        """Return of each chosen output the shape of a row, and what `_row_slicer` makes of it."""
        arrays = [outputs[index] for index in self._indices]
        for position, classifier in self._classifiers:
            arrays[position] = classifier.classify(outputs)
        return tuple([array.shape[1:] for array in arrays]), [_row_slicer(array) for array in arrays]

    def _constant_part(
        self, rows: int, item_shapes: tuple[tuple[int, ...], ...], places: tuple[NamedRegion | None, ...] = ()
    ) -> bytes:
        """Make the part that answers share of as many rows and of these shapes, in these places in shared memory."""
        tensors = [
            {"name": output.name, "datatype": datatype, "shape": (rows, *item_shape)}
            for output, datatype, item_shape in zip(self._outputs, self._datatypes, item_shapes, strict=True)
        ]
        response = oip.ModelInferResponse(**self._opening, outputs=tensors)
        for tensor, place in zip(response.outputs, places, strict=False):
            if place is not None:
                write_region(tensor, place)
        part: bytes = response.SerializeToString()
        # Free dimensions can make any number of shapes.
        if len(self._constant_parts) >= 1024:
            self._constant_parts.clear()
        self._constant_parts[(rows, item_shapes, places) if places else (rows, item_shapes)] = part
        return part


class RegionRenderer:
    """Makes the answer of a request that names shared memory for outputs."""

    def __init__(self, tensors: TensorRenderer, regions: Sequence[RegionSlice | None]) -> None:
        """Take what makes answers, and for each output that is asked for where it is to be."""
        self._tensors = tensors
        self._regions = regions

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request.

        Raises:
            InvalidArgumentError: an output is larger than its part of a region, or cannot be written there.
        """
        for request in requests:
            yield self._tensors.render_to(self._regions, outputs, request)


def _write(output: str, elements: bytes | memoryview, region: RegionSlice) -> NamedRegion:
    """Write an output to its part of a region; return where it is."""
    name = region.region.name
    if len(elements) > region.byte_size:
        raise InvalidArgumentError(
            f"output '{output}' has {len(elements)} bytes, its part of shared memory region '{name}' has "
            f"{region.byte_size}"
        )
    region.write(elements)
    return NamedRegion(name, region.offset, len(elements))


def _row_slicer(array: NDArray[Any]) -> Any:
    """Return a function from rows (start, stop) to their elements as raw bytes."""
    if array.dtype == object:
        return lambda start, stop: _join_strings(array[start:stop])
    row_bytes = array.nbytes // len(array) if len(array) else 0
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return lambda start, stop: data[start * row_bytes : stop * row_bytes]


def _join_strings(elements: NDArray[Any]) -> bytes:
    return join_elements([each.encode() if isinstance(each, str) else bytes(each) for each in elements.ravel()])
