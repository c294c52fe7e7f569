"""Valid requests for the models of a server, to be changed: what is almost right gets past the first checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from headgate.benchmarks import bodies
from headgate.benchmarks.fuzz.models import BYSTANDERS, SHAPES
from headgate.foreign import open_inference as oip
from headgate.foreign import tensorflow_serving as tfs
from headgate.v1 import (
    DataType,
    GetModelRequest,
    GetModelResponse,
    ListModelsResponse,
    PredictOptions,
    PredictRequest,
    Signature,
)
from headgate.v1.tensors import data_type_name, numpy_from_tensor

_PREDICTION = "/headgate.v1.PredictionService"
_INFERENCE = f"/{oip.SERVICE.full_name}"
_SERVING, _MODELS = (f"/{service.full_name}" for service in (tfs.PREDICTION_SERVICE, tfs.MODEL_SERVICE))
_OPTIONS = (
    PredictOptions(),
    PredictOptions(top_k=2, include_probabilities=True, include_entropy=True, threshold=0.5, confidence_level=0.9),
)
_ROWS = 2
#: TensorFlow's names of types that it calls otherwise.
_DT_NAMES = {"FP16": "HALF", "FP32": "FLOAT", "FP64": "DOUBLE"}
#: The size of the shared memory that requests name.
MEMORY_BYTES = 4096
#: Bodies for the models "classes", "pair" and "text", and for other endpoints than those of models.
HTTP_BODIES: tuple[Any, ...] = (
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [0.5] * 8}]},
    {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}],
        "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
    },
    {
        "id": "a",
        "parameters": {"priority": 1, "binary_data_output": True},
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]}],
        "outputs": [{"name": "y", "parameters": {"classification": 2}}],
    },
    {"inputs": [[1, 2, 3, 4]], "options": {"top_k": 2}},
    {"inputs": {"a": [[1, 2]], "b": [[1]]}},
    {"inputs": [{"a": [1, 2], "b": [1]}]},
    {"key": "/nothing", "offset": 0, "byte_size": 64},
    {"parameters": {"unload_dependents": True}},
    {"trace_level": ["OFF"]},
    {"log_info": False},
    {},
)


def infer_request(model: str, datatype: str, shape: Sequence[int], raw: bytes, name: str = "x") -> bytes:
    """Return a serialised ModelInferRequest of one input."""
    request = oip.ModelInferRequest(model_name=model, raw_input_contents=[raw])
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    return bytes(request.SerializeToString())


def valid_requests(channel: grpc.Channel, memory_key: str) -> dict[str, list[bytes]]:
    """Return serialised requests by the path of their method, some with shared memory of a key; none of the bystander's
    model.
    """
    seeds: dict[str, list[bytes]] = defaultdict(list)

    def add(path: str, request: Any) -> None:
        seeds[path].append(request.SerializeToString())

    listed = ListModelsResponse.FromString(channel.unary_unary(f"{_PREDICTION}/ListModels")(b""))
    names = [model.name for model in listed.models if model.name != BYSTANDERS]
    for name in names:
        request = GetModelRequest(name=name, version=1)
        add(f"{_PREDICTION}/GetModel", request)
        answer = GetModelResponse.FromString(
            channel.unary_unary(f"{_PREDICTION}/GetModel")(request.SerializeToString())
        )
        _add_inference(add, name, answer.signature)
        add(f"{_MODELS}/GetModelStatus", tfs.GetModelStatusRequest(model_spec={"name": name}))
        metadata = tfs.GetModelMetadataRequest(model_spec={"name": name}, metadata_field=["signature_def"])
        add(f"{_SERVING}/GetModelMetadata", metadata)
        for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
            add(f"{_INFERENCE}/{method}", oip.RepositoryModelLoadRequest(model_name=name))
        for method in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"):
            add(f"{_INFERENCE}/{method}", oip.ModelReadyRequest(name=name, version="1"))
    config = {"model_config_list": {"config": [{"name": name, "version_labels": {"stable": 1}} for name in names]}}
    add(f"{_MODELS}/HandleReloadConfigRequest", tfs.ReloadConfigRequest(config=config))
    memory = oip.SystemSharedMemoryRegisterRequest(name="region", key=memory_key, byte_size=MEMORY_BYTES)
    add(f"{_INFERENCE}/SystemSharedMemoryRegister", memory)
    return dict(seeds)


def _add_inference(add: Any, name: str, signature: Signature) -> None:
    inputs = bodies.random_inputs(signature.inputs, _ROWS, SHAPES.get(name, {}), signature.input_meanings)
    predict = bodies.predict_requests(signature, name, 0, inputs, _ROWS)[0]
    infer = bodies.infer_request(predict)
    in_memory = oip.ModelInferRequest(model_name=name, inputs=infer.inputs)
    for tensor, raw in zip(in_memory.inputs, infer.raw_input_contents, strict=True):
        tensor.parameters["shared_memory_region"].string_param = "region"
        tensor.parameters["shared_memory_byte_size"].int64_param = len(raw)
    for options in _OPTIONS:
        predict.options.CopyFrom(options)
        for method in ("Predict", "StreamPredict"):
            add(f"{_PREDICTION}/{method}", predict)
    for method in ("ModelInfer", "ModelStreamInfer"):
        add(f"{_INFERENCE}/{method}", infer)
        add(f"{_INFERENCE}/{method}", in_memory)
    spec = {"name": name}
    add(f"{_SERVING}/Predict", tfs.PredictRequest(model_spec=spec, inputs=_tensors(predict)))
    examples = {"example_list": {"examples": _examples(predict)}}
    add(f"{_SERVING}/Classify", tfs.ClassificationRequest(model_spec=spec, input=examples))
    add(f"{_SERVING}/Regress", tfs.RegressionRequest(model_spec=spec, input=examples))
    tasks = [{"model_spec": spec, "method_name": f"tensorflow/serving/{kind}"} for kind in ("classify", "regress")]
    for task in tasks:
        add(f"{_SERVING}/MultiInference", tfs.MultiInferenceRequest(tasks=[task], input=examples))


def _tensors(request: PredictRequest) -> dict[str, Any]:
    tensors = {}
    for tensor in request.inputs:
        type_name = data_type_name(tensor.datatype)
        proto = tfs.TensorProto(dtype=f"DT_{_DT_NAMES.get(type_name, type_name)}", tensor_content=tensor.raw)
        proto.string_val.extend(text.encode() for text in tensor.strings)
        for size in tensor.shape:
            proto.tensor_shape.dim.add(size=size)
        tensors[tensor.name] = proto
    return tensors


def _examples(request: PredictRequest) -> Sequence[Any]:
    examples = [tfs.Example() for _ in range(_ROWS)]
    for tensor in request.inputs:
        for example, row in zip(examples, numpy_from_tensor(tensor), strict=True):
            feature = example.features.feature[tensor.name]
            values = np.ravel(row).tolist()
            if tensor.datatype == DataType.DATA_TYPE_STRING:
                feature.bytes_list.value.extend(text.encode() for text in values)
            elif isinstance(values[0], float):
                feature.float_list.value.extend(values)
            else:
                feature.int64_list.value.extend(map(int, values))
    return examples
