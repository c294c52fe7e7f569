"""The dialect `tensorflow.serving`: what clients of TensorFlow Serving ask, from the same models and heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from headgate.foreign import tensorflow_serving as tfs
from headgate.server.dialects.messages import parse
from headgate.server.dialects.request_cache import PreparedRequest, RequestCache
from headgate.server.dialects.tensorflow_serving_examples import MAX_FEATURES, read_examples, read_input
from headgate.server.dialects.tensorflow_serving_models import (
    describe_signatures,
    describe_status,
    read_model_spec,
    reload_config,
)
from headgate.server.dialects.tensorflow_serving_renderers import (
    MultiInferenceRenderer,
    PredictRenderer,
    ResultRenderer,
)
from headgate.server.dialects.tensorflow_serving_signatures import (
    CLASSIFY,
    DEFAULT,
    EXAMPLES,
    REGRESS,
    HeadSignature,
    ModelSignatures,
    OutputsSignature,
    Signature,
)
from headgate.server.dialects.tensorflow_serving_tensors import parse_predict_request, read_tensor
from headgate.server.errors import InvalidArgumentError, UnimplementedError
from headgate.server.inference import Renderer
from headgate.server.inputs import GivenTensor, ListedElements
from headgate.server.model import LoadedModel
from headgate.server.model_control import ModelControl
from headgate.server.repository import ModelRepository
from headgate.server.transport import Call, Method

SERVICES = (tfs.PREDICTION_SERVICE, tfs.MODEL_SERVICE)
#: Labels with scores in an answer: each takes a fraction of a microsecond of the I/O thread.
_MAX_CLASSES = 2**18


class TensorFlowServingDialect:
    """PredictionService and ModelService on a model repository."""

    def __init__(self, repository: ModelRepository, control: ModelControl) -> None:
        self._repository = repository
        self._control = control
        self._signatures: WeakKeyDictionary[LoadedModel, ModelSignatures] = WeakKeyDictionary()
        self._predicts = RequestCache(self._prepare_predict, repository)
        self._classifies = RequestCache(self._prepare_classify, repository)
        self._regresses = RequestCache(self._prepare_regress, repository)
        self._multi_inferences = RequestCache(self._prepare_multi_inference, repository)

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        prediction, model = (f"/{service.full_name}" for service in SERVICES)
        return {
            f"{prediction}/Predict": Method(self._predicts.submit),
            f"{prediction}/Classify": Method(self._classifies.submit),
            f"{prediction}/Regress": Method(self._regresses.submit),
            f"{prediction}/MultiInference": Method(self._multi_inferences.submit),
            f"{prediction}/GetModelMetadata": Method(self._get_model_metadata),
            f"{model}/GetModelStatus": Method(self._get_model_status),
            f"{model}/HandleReloadConfigRequest": self._control.method(self._reload_config),
        }

    def _prepare_predict(self, request: bytes) -> PreparedRequest:
        message, inputs = parse_predict_request(request)
        model = self._model(message.model_spec)
        signature = self._signatures_of(model).for_predict(message.model_spec.signature_name)
        tensors = [read_tensor(name, tensor, content) for name, (tensor, content) in inputs.items()]
        if not isinstance(signature, OutputsSignature) and (examples := _examples_in(tensors, model)) is not None:
            tensors = read_examples(examples, None, model)
        renderer = model.renderer(PredictRenderer, signature, tuple(message.output_filter))
        return _prepared(model, tensors, renderer, [signature])

    def _prepare_classify(self, request: bytes) -> PreparedRequest:
        return self._prepare_result(parse(tfs.ClassificationRequest, request), CLASSIFY)

    def _prepare_regress(self, request: bytes) -> PreparedRequest:
        return self._prepare_result(parse(tfs.RegressionRequest, request), REGRESS)

    def _prepare_result(self, message: Any, method: str) -> PreparedRequest:
        model = self._model(message.model_spec)
        name = message.model_spec.signature_name
        signature = self._signatures_of(model).for_head(name, method)
        renderer = model.renderer(ResultRenderer, signature, name or DEFAULT)
        return _prepared(model, read_input(message.input, model), renderer, [signature])

    def _prepare_multi_inference(self, request: bytes) -> PreparedRequest:
        message = parse(tfs.MultiInferenceRequest, request)
        if not message.tasks:
            raise InvalidArgumentError("the request has no tasks; name a head in each of one or more")
        model = self._model(message.tasks[0].model_spec)
        tasks: dict[HeadSignature, str] = {}
        for task in message.tasks:
            if self._model(task.model_spec) is not model:
                raise InvalidArgumentError("the tasks ask several models or versions; ask one at a time")
            if task.method_name not in (CLASSIFY, REGRESS):
                raise UnimplementedError(
                    f"a task has the method_name '{task.method_name}'; MultiInference has {CLASSIFY} and {REGRESS}"
                )
            name = task.model_spec.signature_name
            signature = self._signatures_of(model).for_head(name, task.method_name)
            if signature in tasks:
                raise InvalidArgumentError(f"two tasks ask for the head '{signature.name}'; ask for each once")
            tasks[signature] = name or DEFAULT
        renderer = model.renderer(MultiInferenceRenderer, tuple(tasks.items()))
        return _prepared(model, read_input(message.input, model), renderer, list(tasks))

    def _get_model_metadata(self, call: Call) -> None:
        request = parse(tfs.GetModelMetadataRequest, call.request)
        if not request.metadata_field:
            raise InvalidArgumentError("the request has no metadata_field; ask for 'signature_def'")
        unknown = [field for field in request.metadata_field if field != "signature_def"]
        if unknown:
            raise InvalidArgumentError(f"metadata_field '{unknown[0]}' is not served; ask for 'signature_def'")
        model = self._model(request.model_spec)
        call.reply(describe_signatures(model, self._signatures_of(model)).SerializeToString())

    def _get_model_status(self, call: Call) -> None:
        request = parse(tfs.GetModelStatusRequest, call.request)
        call.reply(describe_status(self._repository, request.model_spec).SerializeToString())

    def _reload_config(self, call: Call) -> None:
        request = parse(tfs.ReloadConfigRequest, call.request)
        reload_config(request, self._control)
        call.reply(tfs.ReloadConfigResponse(status={}).SerializeToString())

    def _model(self, spec: Any) -> LoadedModel:
        return self._repository.model(*read_model_spec(spec))

    def _signatures_of(self, model: LoadedModel) -> ModelSignatures:
        signatures = self._signatures.get(model)
        if signatures is None:
            signatures = self._signatures[model] = ModelSignatures(model)
        return signatures


def _examples_in(tensors: Sequence[GivenTensor], model: LoadedModel) -> Sequence[Any] | None:
    """Return the tf.Examples that signatures of heads take, serialised; None where an input of the model has come."""
    if [(tensor.name, tensor.data_type) for tensor in tensors] != [(EXAMPLES.name, EXAMPLES.datatype)]:
        return None
    if any(model_input.name == EXAMPLES.name for model_input in model.inputs.inputs):
        return None
    data = tensors[0].data
    # Text only travels in a list.
    assert isinstance(data, ListedElements)
    if tensors[0].shape != (data.size,):
        raise InvalidArgumentError(
            f"input '{EXAMPLES.name}' of shape {list(tensors[0].shape or ())} came with {data.size} serialised "
            "tf.Examples; its shape is [examples]"
        )
    if data.size > MAX_FEATURES:
        raise InvalidArgumentError(f"{data.size} tf.Examples came; send at most {MAX_FEATURES} at a time")
    return [parse(tfs.Example, each) for each in data.read()]


def _prepared(
    model: LoadedModel, tensors: Sequence[GivenTensor], renderer: Renderer, signatures: Sequence[Signature]
) -> PreparedRequest:
    inputs, rows, group = model.inputs.bind(tensors)
    classes = sum(signature.classes for signature in signatures if isinstance(signature, HeadSignature))
    if rows * classes > _MAX_CLASSES:
        raise InvalidArgumentError(
            f"{rows} rows came, of which the answer would have {classes} classes each; send at most "
            f"{_MAX_CLASSES // classes} rows at a time"
        )
    batching = model.config.batching
    # The protocol has neither ids nor priorities nor timeouts.
    return PreparedRequest(model, inputs, rows, group, renderer, "", batching.priority(0), batching.queue_timeout_s(0))
