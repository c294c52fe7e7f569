"""The dialect `inference.GRPCInferenceService`: raw tensors by the Open Inference Protocol, as Triton speaks it."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.foreign import open_inference as oip
from headgate.server.dialects.messages import parse
from headgate.server.dialects.request_cache import PreparedRequest, RequestCache
from headgate.server.errors import InvalidArgumentError, NotFoundError, ServerError, UnimplementedError
from headgate.server.inference import InferenceRequest, Outputs
from headgate.server.inputs import GivenTensor
from headgate.server.model import MODEL_FILE, LoadedModel
from headgate.server.repository import ModelEntry, ModelRepository
from headgate.server.statistics import BatchDurations, Duration
from headgate.server.transport import Call, Method, MethodKind
from headgate.v1 import DataType, TensorSpec
from headgate.v1.encoding import encode_varint, tag_of
from headgate.v1.signatures import METADATA_KEY, signature_to_json
from headgate.v1.tensors import NUMPY_DTYPES, data_type_name

SERVICE = oip.SERVICE
#: What this server has beyond the six calls of the specification; clients turn features on by these names.
EXTENSIONS = ("model_configuration", "statistics", "binary_tensor_data", "parameters")

# The protocol's names are ours, but for text.
_NAMES = {data_type: data_type_name(data_type).replace("STRING", "BYTES") for data_type in NUMPY_DTYPES}
_DATA_TYPES = {name: data_type for data_type, name in _NAMES.items()}
#: Where typed contents of each type travel. FP16 can only be raw.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_STRING = DataType.DATA_TYPE_STRING
_LENGTH = struct.Struct("<I")
_ID = tag_of(oip.ModelInferResponse, "id")
_RAW_OUTPUT_CONTENTS = tag_of(oip.ModelInferResponse, "raw_output_contents")
_INFER_RESPONSE = tag_of(oip.ModelStreamInferResponse, "infer_response")


class OpenInferenceDialect:
    """GRPCInferenceService on a model repository."""

    def __init__(self, repository: ModelRepository, server_version: str) -> None:
        self._repository = repository
        self._server_version = server_version
        self._requests = RequestCache(functools.partial(self._prepare, streamed=False))
        self._stream_requests = RequestCache(functools.partial(self._prepare, streamed=True))

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        handlers = {
            "ServerLive": Method(self._server_live),
            "ServerReady": Method(self._server_ready),
            "ModelReady": Method(self._model_ready),
            "ServerMetadata": Method(self._server_metadata),
            "ModelMetadata": Method(self._model_metadata),
            "ModelConfig": Method(self._model_config),
            "ModelStatistics": Method(self._model_statistics),
            "ModelInfer": Method(self._model_infer),
            "ModelStreamInfer": Method(self._model_stream_infer, MethodKind.ORDERED_STREAM, _render_error),
        }
        return {f"/{SERVICE.full_name}/{name}": method for name, method in handlers.items()}

    def _server_live(self, call: Call) -> None:
        parse(oip.ServerLiveRequest, call.request)
        call.reply(oip.ServerLiveResponse(live=True).SerializeToString())

    def _server_ready(self, call: Call) -> None:
        parse(oip.ServerReadyRequest, call.request)
        call.reply(oip.ServerReadyResponse(ready=self._repository.is_ready).SerializeToString())

    def _model_ready(self, call: Call) -> None:
        request = parse(oip.ModelReadyRequest, call.request)
        try:
            ready = self._entry(request).model is not None
        except NotFoundError:
            ready = False
        call.reply(oip.ModelReadyResponse(ready=ready).SerializeToString())

    def _server_metadata(self, call: Call) -> None:
        parse(oip.ServerMetadataRequest, call.request)
        response = oip.ServerMetadataResponse(name="headgate", version=self._server_version, extensions=EXTENSIONS)
        call.reply(response.SerializeToString())

    def _model_metadata(self, call: Call) -> None:
        model = self._model(parse(oip.ModelMetadataRequest, call.request))
        response = oip.ModelMetadataResponse(
            name=model.name,
            versions=[str(model.version)],
            platform="onnxruntime_onnx",
            inputs=[_tensor_metadata(spec) for spec in model.session.inputs],
            outputs=[_tensor_metadata(spec) for spec in model.session.outputs],
        )
        if model.signature.heads:
            response.properties[METADATA_KEY] = signature_to_json(model.signature)
        call.reply(response.SerializeToString())

    def _model_config(self, call: Call) -> None:
        model = self._model(parse(oip.ModelConfigRequest, call.request))
        call.reply(oip.ModelConfigResponse(config=_model_config(model)).SerializeToString())

    def _model_statistics(self, call: Call) -> None:
        request = parse(oip.ModelStatisticsRequest, call.request)
        entries = [self._entry(request)] if request.name else list(self._repository)
        statistics = [_model_statistics(entry.model) for entry in entries if entry.model]
        call.reply(oip.ModelStatisticsResponse(model_stats=statistics).SerializeToString())

    def _model_infer(self, call: Call) -> None:
        self._requests.prepare(call.request).submit(call)

    def _model_stream_infer(self, call: Call) -> None:
        self._stream_requests.prepare(call.request).submit(call)

    def _prepare(self, request: bytes, streamed: bool) -> PreparedRequest:
        message = parse(oip.ModelInferRequest, request)
        model = self._repository.model(message.model_name, _read_version(message.model_version))
        if message.parameters:
            _check_parameters(message.parameters)
        inputs, rows, group = model.inputs.bind(_read_tensors(message))
        outputs = _read_outputs(message.outputs) if message.outputs else ()
        renderer = model.renderer(TensorRenderer, outputs, streamed)
        return PreparedRequest(model, inputs, rows, group, renderer, message.id)

    def _entry(self, request: Any) -> ModelEntry:
        return self._repository.entry(request.name, _read_version(request.version))

    def _model(self, request: Any) -> LoadedModel:
        return self._repository.model(request.name, _read_version(request.version))


class TensorRenderer:
    """Writes each request's rows of the outputs as a ModelInferResponse (in a ModelStreamInferResponse if streamed).

    An answer is put together from serialised parts, which protobuf allows: fields may be concatenated on the wire.
    """

    def __init__(self, model: LoadedModel, outputs: tuple[str, ...], streamed: bool) -> None:
        """Choose the outputs by name; none means all.

        Raises:
            InvalidArgumentError: the model has no output of that name.
        """
        specs = {spec.name: (index, spec) for index, spec in enumerate(model.session.outputs)}
        unknown = [name for name in outputs if name not in specs]
        if unknown:
            known = ", ".join(f"'{name}'" for name in specs)
            raise InvalidArgumentError(f"model '{model.name}' has no output '{unknown[0]}'; it has {known}")
        self._outputs = [specs[name] for name in outputs or specs]
        self._name = model.name
        self._version = str(model.version)
        self._streamed = streamed
        self._constant_parts: dict[Any, bytes] = {}

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request."""
        arrays = [outputs[index] for index, _ in self._outputs]
        item_shapes = tuple([array.shape[1:] for array in arrays])
        buffers = [_row_slicer(array) for array in arrays]
        for request in requests:
            parts: list[bytes | memoryview] = [self._constant_part(request.rows, item_shapes)]
            if request.id:
                parts += _field(_ID, request.id.encode())
            for rows in buffers:
                parts += _field(_RAW_OUTPUT_CONTENTS, rows(request.start, request.stop))
            if self._streamed:
                parts[:0] = (_INFER_RESPONSE, encode_varint(sum(map(len, parts))))
            yield b"".join(parts)

    def _constant_part(self, rows: int, item_shapes: tuple[tuple[int, ...], ...]) -> bytes:
        part = self._constant_parts.get((rows, item_shapes))
        if part is None:
            tensors = [
                {"name": spec.name, "datatype": _NAMES[spec.datatype], "shape": (rows, *item_shape)}
                for (_, spec), item_shape in zip(self._outputs, item_shapes, strict=True)
            ]
            response = oip.ModelInferResponse(model_name=self._name, model_version=self._version, outputs=tensors)
            part = response.SerializeToString()
            # Free dimensions can make any number of shapes.
            if len(self._constant_parts) >= 1024:
                self._constant_parts.clear()
            self._constant_parts[rows, item_shapes] = part
        return part


def _field(tag: bytes, value: bytes | memoryview) -> tuple[bytes, bytes, bytes | memoryview]:
    return tag, encode_varint(len(value)), value


def _row_slicer(array: NDArray[Any]) -> Any:
    """Return a function from rows (start, stop) to their elements as raw bytes."""
    if array.dtype == object:
        return lambda start, stop: _join_strings(array[start:stop])
    row_bytes = array.nbytes // len(array) if len(array) else 0
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return lambda start, stop: data[start * row_bytes : stop * row_bytes]


def _join_strings(elements: NDArray[Any]) -> bytes:
    encoded = [element.encode() if isinstance(element, str) else bytes(element) for element in elements.ravel()]
    return b"".join([part for element in encoded for part in (_LENGTH.pack(len(element)), element)])


def _split_strings(raw: bytes, name: str) -> NDArray[Any]:
    elements = []
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        if start > len(raw):
            break
        position = start + _LENGTH.unpack_from(raw, position)[0]
        elements.append(raw[start:position])
    if position != len(raw):
        raise InvalidArgumentError(
            f"input '{name}' is no valid BYTES tensor: each element is a little-endian uint32 length and that many "
            f"bytes, but {len(raw)} bytes end within an element"
        )
    return _object_array(elements)


def _object_array(elements: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def _read_tensors(message: Any) -> list[GivenTensor]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidArgumentError(
            f"the request has {len(message.inputs)} inputs and {len(raw)} entries in raw_input_contents; "
            "send one for each input"
        )
    tensors = []
    for index, tensor in enumerate(message.inputs):
        data_type = _DATA_TYPES.get(tensor.datatype)
        if data_type is None:
            raise InvalidArgumentError(
                f"input '{tensor.name}' has datatype '{tensor.datatype}'; known are {', '.join(_DATA_TYPES)}"
            )
        if tensor.parameters:
            _refuse_shared_memory(tensor.name, tensor.parameters)
        if not raw:
            data: Any = _read_contents(tensor)
        elif tensor.HasField("contents"):
            raise InvalidArgumentError(
                f"input '{tensor.name}' has contents beside the request's raw_input_contents; send one of the two"
            )
        else:
            data = raw[index] if data_type != _STRING else _split_strings(raw[index], tensor.name)
        tensors.append(GivenTensor(tensor.name, tuple(tensor.shape), data, data_type))
    return tensors


def _read_contents(tensor: Any) -> NDArray[Any]:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidArgumentError(f"input '{tensor.name}' of {tensor.datatype} can only travel in raw_input_contents")
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if filled not in ([], [field]):
        raise InvalidArgumentError(
            f"input '{tensor.name}' of {tensor.datatype} travels in {field}, this one has {', '.join(filled)}"
        )
    elements = getattr(tensor.contents, field)
    if field == "bytes_contents":
        return _object_array(elements)
    wide = {"int_contents": np.int32, "uint_contents": np.uint32}
    dtype = NUMPY_DTYPES[_DATA_TYPES[tensor.datatype]]
    array = np.array(elements, wide.get(field, dtype))
    narrow = array.astype(dtype)
    if not np.array_equal(narrow, array) and dtype.kind in "iu":
        raise InvalidArgumentError(f"input '{tensor.name}' holds numbers that {tensor.datatype} cannot")
    return narrow


def _read_version(version: str) -> int:
    if not version:
        return 0
    if not re.fullmatch("[1-9][0-9]{0,18}", version):
        raise InvalidArgumentError(
            f"the model version is '{version}'; give a positive integer, or nothing for the latest"
        )
    return int(version)


def _read_outputs(outputs: Any) -> tuple[str, ...]:
    for output in outputs:
        if output.parameters:
            _refuse_shared_memory(output.name, output.parameters)
            if "classification" in output.parameters:
                raise UnimplementedError(
                    "the classification extension is not served; headgate.v1.PredictionService answers with labels"
                )
    return tuple([output.name for output in outputs])


def _check_parameters(parameters: Any) -> None:
    for key in parameters:
        if key.startswith("triton_") and key != "triton_enable_empty_final_response":
            raise InvalidArgumentError(f"parameter '{key}' is not known; names that begin with triton_ are reserved")


def _refuse_shared_memory(name: str, parameters: Any) -> None:
    if "shared_memory_region" in parameters:
        raise UnimplementedError(
            f"'{name}' names a shared memory region, which this server does not serve; send the tensor itself"
        )


def _render_error(call: Call, error: ServerError) -> bytes:
    try:
        request_id = oip.ModelInferRequest.FromString(call.request).id
    except Exception:
        request_id = ""
    response = oip.ModelStreamInferResponse(error_message=str(error))
    response.infer_response.id = request_id
    return bytes(response.SerializeToString())


def _tensor_metadata(spec: TensorSpec) -> Any:
    return oip.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=_NAMES[spec.datatype], shape=spec.shape)


def _model_config(model: LoadedModel) -> Any:
    on_cpu = model.provider == "CPUExecutionProvider"
    batching = model.config.batching
    config = oip.ModelConfig(
        name=model.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=batching.max_batch_size,
        default_model_filename=MODEL_FILE,
        input=[
            oip.ModelInput(name=spec.name, data_type=_config_type(spec), dims=spec.shape[1:])
            for spec in model.session.inputs
        ],
        output=[
            oip.ModelOutput(name=spec.name, data_type=_config_type(spec), dims=spec.shape[1:])
            for spec in model.session.outputs
        ],
    )
    config.version_policy.latest.num_versions = 1
    config.dynamic_batching.max_queue_delay_microseconds = batching.max_queue_delay_us
    config.dynamic_batching.default_queue_policy.max_queue_size = batching.max_queue_size
    kind = oip.ModelInstanceGroup.Kind.Value("KIND_CPU" if on_cpu else "KIND_GPU")
    config.instance_group.add(name=model.name, kind=kind, count=model.config.execution.instances)
    return config


def _config_type(spec: TensorSpec) -> int:
    return int(oip.DataType.Value(f"TYPE_{data_type_name(spec.datatype)}"))


def _model_statistics(model: LoadedModel) -> Any:
    counted = model.statistics
    with counted.lock:
        inference = {
            "success": _duration(counted.success),
            "fail": _duration(counted.fail),
            "queue": _duration(counted.queue),
        }
        return oip.ModelStatistics(
            name=model.name,
            version=str(model.version),
            last_inference=counted.last_inference_ms,
            inference_count=counted.inference_count,
            execution_count=counted.execution_count,
            inference_stats=oip.InferStatistics(**inference, **_stages(counted.stages)),
            batch_stats=[
                oip.InferBatchStatistics(batch_size=size, **_stages(counted.batches[size]))
                for size in sorted(counted.batches)
            ],
        )


def _stages(durations: BatchDurations) -> dict[str, Any]:
    return {
        "compute_input": _duration(durations.compute_input),
        "compute_infer": _duration(durations.compute_infer),
        "compute_output": _duration(durations.compute_output),
    }


def _duration(duration: Duration) -> Any:
    return oip.StatisticDuration(count=duration.count, ns=duration.ns)
