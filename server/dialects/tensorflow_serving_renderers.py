"""The answers of TensorFlow Serving's calls, put together from serialised parts: fields may be concatenated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from headgate.foreign import tensorflow_serving as tfs
from headgate.server.dialects.tensorflow_serving_signatures import CLASSIFY, HeadSignature, Signature
from headgate.server.dialects.tensorflow_serving_tensors import OutputWriter, RowWriter
from headgate.server.errors import InvalidArgumentError
from headgate.server.inference import InferenceRequest, Outputs
from headgate.server.model import LoadedModel
from headgate.server.padding import own_outputs
from headgate.v1.encoding import delimited, tag_of

#: The same for both kinds of results, as is the field of `model_spec`.
_RESULT = tag_of(tfs.ClassificationResponse, "result")
_RESULTS = tag_of(tfs.MultiInferenceResponse, "results")
_CLASSIFICATION_RESULT = tag_of(tfs.InferenceResult, "classification_result")
_REGRESSION_RESULT = tag_of(tfs.InferenceResult, "regression_result")


class PredictRenderer:
    """Writes each request's rows of a signature's outputs as a PredictResponse."""

    def __init__(self, model: LoadedModel, signature: Signature, output_filter: tuple[str, ...]) -> None:
        """Choose the outputs by name; none means all.

        Raises:
            InvalidArgumentError: the signature has no output of that name, or one is named twice.
        """
        specs = {spec.name: (index, spec) for index, spec in enumerate(signature.outputs)}
        unknown = [name for name in output_filter if name not in specs]
        if unknown:
            known = ", ".join(f"'{name}'" for name in specs)
            raise InvalidArgumentError(
                f"signature '{signature.name}' of model '{model.name}' has no output '{unknown[0]}'; it has {known}"
            )
        if len(set(output_filter)) < len(output_filter):
            raise InvalidArgumentError(f"output_filter has {len(output_filter)} names, some twice; name each once")
        self._signature = signature
        chosen = [specs[name] for name in output_filter or specs]
        self._outputs = [(index, OutputWriter(spec)) for index, spec in chosen]
        self._model_spec = tfs.PredictResponse(model_spec=describe_version(model, signature.name)).SerializeToString()
        self._is_padded = bool(model.inputs.padding.outputs)

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request."""
        writers = self._writers(outputs)
        for request in requests:
            start, stop = request.start, request.stop
            if self._is_padded:
                writers = self._writers(own_outputs(outputs, request))
                start, stop = 0, request.rows
            parts: list[bytes | memoryview] = [self._model_spec]
            for write in writers:
                parts += write(start, stop)
            yield b"".join(parts)

    def _writers(self, outputs: Outputs) -> list[RowWriter]:
        arrays = self._signature.arrays(outputs)
        return [writer.rows(arrays[index]) for index, writer in self._outputs]


class ResultRenderer:
    """Writes each request's rows as a ClassificationResponse, or RegressionResponse: both have the same numbers."""

    def __init__(self, model: LoadedModel, signature: HeadSignature, name: str) -> None:
        """Take the signature, and the name that the request has for it."""
        self._signature = signature
        self._model_spec = tfs.RegressionResponse(model_spec=describe_version(model, name)).SerializeToString()

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request."""
        results = self._signature.results(outputs)
        for request in requests:
            yield b"".join((*delimited(_RESULT, results(request.start, request.stop)), self._model_spec))


class MultiInferenceRenderer:
    """Writes what several signatures say of each request's rows as a MultiInferenceResponse."""

    def __init__(self, model: LoadedModel, tasks: tuple[tuple[HeadSignature, str], ...]) -> None:
        """Take the signatures, and the names that the request has for them."""
        self._tasks = [
            (
                signature,
                tfs.InferenceResult(model_spec=describe_version(model, name)).SerializeToString(),
                _CLASSIFICATION_RESULT if signature.method == CLASSIFY else _REGRESSION_RESULT,
            )
            for signature, name in tasks
        ]

    def render(self, outputs: Outputs, requests: Sequence[InferenceRequest]) -> Iterator[bytes]:
        """Yield the answer of each request."""
        tasks = [(signature.results(outputs), model_spec, tag) for signature, model_spec, tag in self._tasks]
        for request in requests:
            parts: list[bytes | memoryview] = []
            for results, model_spec, tag in tasks:
                result = b"".join((model_spec, *delimited(tag, results(request.start, request.stop))))
                parts += delimited(_RESULTS, result)
            yield b"".join(parts)


def describe_version(model: LoadedModel, signature_name: str = "") -> Any:
    """Make the ModelSpec of an answer: the version that gave it."""
    return tfs.ModelSpec(name=model.name, version={"value": model.version}, signature_name=signature_name)
