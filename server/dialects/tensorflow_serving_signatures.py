"""The signatures of a model, as TensorFlow Serving's clients see them: its raw outputs, and what its heads say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions
from headgate.decoders.binary import BinaryDecoder
from headgate.decoders.multiclass import MulticlassDecoder
from headgate.decoders.multilabel import MultilabelDecoder
from headgate.decoders.ordinal import OrdinalDecoder
from headgate.decoders.quantile import QuantileDecoder
from headgate.decoders.targets import TargetDecoder
from headgate.foreign import tensorflow_serving as tfs
from headgate.server.decoding import decode_outputs
from headgate.server.dialects.tensorflow_serving_tensors import tensor_info
from headgate.server.errors import FailedPreconditionError, InvalidArgumentError
from headgate.server.inference import Outputs
from headgate.server.model import LoadedModel
from headgate.v1 import DataType, Head, TensorSpec
from headgate.v1.columns import (
    BinaryColumns,
    BoolArray,
    Columns,
    CountColumns,
    FloatArray,
    MeanVarianceColumns,
    MulticlassColumns,
    MultilabelColumns,
    OrdinalColumns,
    QuantileColumns,
    RegressionColumns,
    TextArray,
)
from headgate.v1.encoding import RowEncoder, delimited, encode_varint, tag_of

DEFAULT = "serving_default"
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
#: What takes each kind of question that a signature is for.
_CALLS = {PREDICT: "Predict", CLASSIFY: "Classify", REGRESS: "Regress"}
#: The input of signatures of heads: serialised tf.Examples.
EXAMPLES = TensorSpec(name="inputs", datatype=DataType.DATA_TYPE_STRING, shape=[-1])
_NUMBERS_ALONE = DecodeOptions(confidence_level=0)

_CLASSIFICATIONS = tag_of(tfs.ClassificationResult, "classifications")
_CLASSES = tag_of(tfs.Classifications, "classes")
# The value of a proto3 field that is 0 need not be written, but may be: then all rows are of the same size.
_SCORE = tfs.Class(score=1).SerializeToString()[:1]
_REGRESSION = tfs.RegressionResult(regressions=[tfs.Regression(value=1)]).SerializeToString()[:-4]


class Signature(ABC):
    """Something that can be asked of a model.

    Attributes:
        name: of the signature.
        method: PREDICT, CLASSIFY or REGRESS: what answers it, beside Predict.
        inputs, outputs: of Predict.
    """

    def __init__(self, name: str, method: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.name = name
        self.method = method
        self.inputs = inputs
        self.outputs = outputs

    @abstractmethod
    def arrays(self, outputs: Outputs) -> Sequence[NDArray[Any]]:
        """Turn the outputs of a batch into those of the signature, each [rows, ...]."""

    def describe(self) -> Any:
        """Make a SignatureDef."""
        return tfs.SignatureDef(
            inputs={spec.name: tensor_info(spec) for spec in self.inputs},
            outputs={spec.name: tensor_info(spec) for spec in self.outputs},
            method_name=self.method,
        )


class OutputsSignature(Signature):
    """The model's own inputs and outputs."""

    def arrays(self, outputs: Outputs) -> Outputs:
        """Return the outputs as they are."""
        return outputs


class HeadSignature(Signature):
    """What a head says of tf.Examples, or of the model's own inputs.

    Attributes:
        classes: how many labels with scores it gives of each row, at most.
    """

    classes = 0

    def __init__(self, model: LoadedModel, name: str, method: str, outputs: Sequence[TensorSpec]) -> None:
        super().__init__(name, method, [EXAMPLES], outputs)
        self._decoder = model.decoders[name]
        self._output_names = model.output_names

    @abstractmethod
    def results(self, outputs: Outputs) -> RowEncoder:
        """Return a function from rows (start, stop) to a serialised ClassificationResult or RegressionResult."""

    def _decode(self, outputs: Outputs, options: DecodeOptions) -> Columns:
        return decode_outputs(self._decoder, self._output_names, outputs, options)


class ClassifySignature(HeadSignature):
    """Labels and their probabilities, the one that is decided for first, the others by their probabilities.

    Of multilabel heads those labels alone that are decided for.
    """

    def __init__(self, model: LoadedModel, head: Head) -> None:
        """Take a head that has labels."""
        decoder: Any = model.decoders[head.name]
        self._labels: TextArray = decoder.labels
        self.classes = min(head.multiclass.top_k or len(self._labels), len(self._labels))
        self._options = DecodeOptions(top_k=self.classes, include_probabilities=True, confidence_level=0)
        shape = [-1, self.classes]
        classes = TensorSpec(name="classes", datatype=DataType.DATA_TYPE_STRING, shape=shape)
        scores = TensorSpec(name="scores", datatype=DataType.DATA_TYPE_FP32, shape=shape)
        super().__init__(model, head.name, CLASSIFY, [classes, scores])

    def arrays(self, outputs: Outputs) -> tuple[TextArray, FloatArray]:
        """Return labels and scores, both [rows, classes]; "" and 0 where there are none."""
        columns = self._decode(outputs, self._options)
        match columns:
            case MulticlassColumns():
                labels, scores = columns.top_labels, columns.top_scores
            case BinaryColumns():
                probabilities = np.stack([1 - columns.probabilities, columns.probabilities], axis=1)
                decided = np.stack([~columns.positives, columns.positives], axis=1)
                if columns.abstained is not None:
                    decided &= ~columns.abstained[:, None]
                labels, scores = self._ranked(probabilities, decided)
            case OrdinalColumns(probabilities=np.ndarray() as probabilities):
                labels, scores = self._ranked(probabilities, columns.ranks[:, None] == np.arange(self.classes))
            case MultilabelColumns(probabilities=np.ndarray() as probabilities):
                decided = np.zeros(probabilities.shape, np.bool_)
                decided[np.arange(len(columns)).repeat(np.diff(columns.offsets)), columns.indices] = True
                labels, scores = self._ranked(probabilities, decided)
                beyond = np.arange(self.classes) >= decided.sum(axis=1)[:, None]
                labels[beyond], scores[beyond] = "", 0
            case _:
                raise TypeError(f"{type(columns).__name__} hold no labels with scores")
        labels[~columns.valid], scores[~columns.valid] = "", 0
        return labels, scores

    def results(self, outputs: Outputs) -> RowEncoder:
        """Write the labels that there are, with their scores."""
        labels, scores = self.arrays(outputs)
        serialized = scores.astype("<f4", copy=False).tobytes()
        rows = []
        start = 0
        for row in labels.tolist():
            parts: list[bytes] = []
            for label in row:
                if label:
                    parts += (_before_score(label), serialized[start : start + 4])
                start += 4
            rows.append(b"".join(delimited(_CLASSIFICATIONS, b"".join(parts))))
        return lambda start, stop: b"".join(rows[start:stop])

    def _ranked(self, probabilities: FloatArray, decided: BoolArray) -> tuple[TextArray, FloatArray]:
        order = np.lexsort((-probabilities, ~decided), axis=1)
        return self._labels.take(order), np.take_along_axis(probabilities, order, axis=1)


@lru_cache(maxsize=65536)
def _before_score(label: str) -> bytes:
    opening: bytes = tfs.Class(label=label).SerializeToString() + _SCORE
    return _CLASSES + encode_varint(len(opening) + 4) + opening


class RegressSignature(HeadSignature):
    """Numbers in the targets' own units; NaN where the model gave none.

    With several targets a head answers Predict alone, since a Regression holds one number.
    """

    def __init__(self, model: LoadedModel, head: Head) -> None:
        """Take a head that has targets."""
        super().__init__(model, head.name, REGRESS, [])
        no_rows = [np.empty((0, *map(abs, spec.shape[1:])), np.float32) for spec in model.session.outputs]
        targets = self.arrays(no_rows)[0].shape[1]
        self.outputs = [TensorSpec(name="outputs", datatype=DataType.DATA_TYPE_FP32, shape=[-1, targets])]
        if targets > 1:
            self.method = PREDICT

    def arrays(self, outputs: Outputs) -> tuple[FloatArray]:
        """Return the numbers, [rows, targets]."""
        columns = self._decode(outputs, _NUMBERS_ALONE)
        match columns:
            case RegressionColumns():
                numbers = columns.values
            case CountColumns() | MeanVarianceColumns():
                numbers = columns.means
            case QuantileColumns():
                numbers = columns.medians
            case _:
                raise TypeError(f"{type(columns).__name__} hold no numbers in units of targets")
        with np.errstate(over="ignore"):
            return (numbers.astype(np.float32),)

    def results(self, outputs: Outputs) -> RowEncoder:
        """Write the numbers of the only target."""
        (values,) = self.arrays(outputs)
        width = len(_REGRESSION) + 4
        rows = np.empty((len(values), width), np.uint8)
        rows[:, :-4] = np.frombuffer(_REGRESSION, np.uint8)
        rows[:, -4:] = values.astype("<f4", copy=False).view(np.uint8)
        serialized = rows.tobytes()
        return lambda start, stop: serialized[start * width : stop * width]


class ModelSignatures:
    """The signatures of a model by name: "serving_default" for its outputs, and one for each head that can answer.

    Attributes:
        by_name: all of them.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model.name
        self._heads: dict[str, HeadSignature] = {}
        for head in model.signature.heads:
            match model.decoders[head.name]:
                case BinaryDecoder() | MulticlassDecoder() | MultilabelDecoder() | OrdinalDecoder():
                    self._heads[head.name] = ClassifySignature(model, head)
                case QuantileDecoder(median=None):
                    pass
                case TargetDecoder():
                    self._heads[head.name] = RegressSignature(model, head)
        default = OutputsSignature(DEFAULT, PREDICT, model.session.inputs, model.session.outputs)
        self.by_name: dict[str, Signature] = {**self._heads, DEFAULT: default}

    def for_predict(self, name: str) -> Signature:
        """Return the signature of a name, the default for none.

        Raises:
            FailedPreconditionError: there is none; the code is TensorFlow Serving's.
        """
        signature = self.by_name.get(name or DEFAULT)
        if signature is None:
            raise FailedPreconditionError(self._unknown(name))
        return signature

    def for_head(self, name: str, method: str) -> HeadSignature:
        """Return the signature that answers CLASSIFY or REGRESS: of a name, or the only one.

        Raises:
            InvalidArgumentError: there is none, or several; the code is TensorFlow Serving's.
        """
        call = _CALLS[method]
        fitting = {each.name: each for each in self._heads.values() if each.method == method}
        listed = ", ".join(f"'{each}'" for each in fitting)
        if name in fitting:
            return fitting[name]
        if name and name not in self.by_name:
            raise InvalidArgumentError(self._unknown(name))
        if name not in ("", DEFAULT):
            raise InvalidArgumentError(
                f"signature '{name}' of model '{self._model}' answers {_CALLS[self.by_name[name].method]}, not {call}; "
                f"those that do: {listed or 'none'}"
            )
        if not fitting:
            raise InvalidArgumentError(
                f"model '{self._model}' has no head that could answer {call}; its outputs can be had by Predict"
            )
        if len(fitting) > 1:
            raise InvalidArgumentError(
                f"model '{self._model}' has several heads that answer {call}: {listed}; name one as the signature"
            )
        return next(iter(fitting.values()))

    def _unknown(self, name: str) -> str:
        known = ", ".join(f"'{each}'" for each in self.by_name)
        return f"model '{self._model}' has no signature '{name}'; it has {known}"
