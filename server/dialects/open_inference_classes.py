"""Triton's classification extension: the best classes of each row, as text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions, Decoder
from headgate.decoders.ranking import best_first
from headgate.server.decoding import decode_outputs
from headgate.server.dialects.open_inference_tensors import NAMES
from headgate.server.errors import InvalidArgumentError
from headgate.server.inference import Outputs
from headgate.server.model import LoadedModel
from headgate.v1 import DataType, TensorSpec
from headgate.v1.columns import BinaryColumns, FloatArray
from headgate.v1.tensors import text_array, widened

#: Heads whose answer is a probability of each of their labels.
_KINDS = ("binary", "multiclass", "multilabel", "ordinal")
_UNORDERED = (DataType.DATA_TYPE_BOOL, DataType.DATA_TYPE_STRING)
_MAX_CLASSES = 1000
#: As in Triton.
_MAX_ROW_ELEMENTS = 1_000_000
_OPTIONS = DecodeOptions(include_probabilities=True)


class Classifier:
    """Finds the best classes of an output: by the calibrated probabilities of a head that reads it, with its labels.

    Where no head gives probabilities of classes, the elements of a row are ranked as they are.

    Attributes:
        count: how many of a row it finds, or fewer where a row has a free size.
    """

    def __init__(self, model: LoadedModel, output: TensorSpec, count: int) -> None:
        """Take an output and how many classes are asked for; there may be fewer.

        Raises:
            InvalidArgumentError: the output cannot be ranked, or there would be too many classes.
        """
        self._name = output.name
        self._output_names = model.output_names
        self._index = model.output_names.index(output.name)
        heads = [head for head in model.signature.heads if head.output == output.name]
        head = next((head for head in heads if head.WhichOneof("kind") in _KINDS), None)
        self._decoder = None if head is None else model.decoders[head.name]
        self._labels = [] if head is None else list(getattr(head, head.WhichOneof("kind")).labels)
        if self._decoder is None and output.datatype in _UNORDERED:
            raise InvalidArgumentError(
                f"output '{output.name}' is {NAMES[output.datatype]}, which has no order; ask for it without "
                "classification"
            )
        sizes = [len(self._labels)] if self._labels else output.shape[1:]
        if min(sizes, default=0) >= 0:
            count = min(count, math.prod(sizes))
        if count > _MAX_CLASSES:
            raise InvalidArgumentError(
                f"output '{output.name}' is asked for with {count} classes; ask for at most {_MAX_CLASSES}"
            )
        self.count = count

    def classify(self, outputs: Outputs) -> NDArray[np.object_]:
        """Return text [rows, classes], best first: "score:index:label", without a label where none is known.

        Raises:
            InvalidArgumentError: the rows are too large to be ranked, or not what the head reads.
        """
        if self._decoder is not None:
            scores = self._probabilities(self._decoder, outputs)
        else:
            scores = widened(outputs[self._index])
            scores = scores.reshape(len(scores), math.prod(scores.shape[1:]))
            if scores.shape[1] > _MAX_ROW_ELEMENTS:
                raise InvalidArgumentError(
                    f"output '{self._name}' has {scores.shape[1]} elements a row, of which the best are asked for; at "
                    f"most {_MAX_ROW_ELEMENTS} are ranked"
                )
        order = _best_first(scores, min(self.count, scores.shape[1]))
        return self._texts(np.take_along_axis(scores, order, axis=1), order)

    def _probabilities(self, decoder: Decoder, outputs: Outputs) -> FloatArray:
        """Return the probability of each label of the head, [rows, labels]."""
        columns: Any = decode_outputs(decoder, self._output_names, outputs, _OPTIONS)
        if not isinstance(columns, BinaryColumns):
            probabilities: FloatArray = columns.probabilities
            return probabilities
        positive = columns.probabilities
        both = [positive, 1 - positive] if columns.positive_label == self._labels[0] else [1 - positive, positive]
        return np.stack(both, axis=1)

    def _texts(self, scores: NDArray[Any], order: NDArray[np.intp]) -> NDArray[np.object_]:
        # As std::to_string writes them, which Triton uses.
        form = "%f:%d" if scores.dtype.kind == "f" else "%d:%d"
        pairs = zip(scores.ravel().tolist(), order.ravel().tolist(), strict=True)
        if self._labels:
            # A row without an answer has no best label.
            texts = [form % pair + (f":{self._labels[pair[1]]}" if pair[0] == pair[0] else "") for pair in pairs]
        else:
            texts = [form % pair for pair in pairs]
        return text_array(texts).reshape(order.shape)


def _best_first(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Return the indices of the largest entries of each row, [rows, count], NaN last; ties: the lower index first."""
    if not count:
        return np.empty((len(scores), 0), np.intp)
    if scores.dtype.kind == "f":
        return best_first(np.where(np.isnan(scores), -np.inf, scores), count)
    # Backwards, since integers cannot all be negated.
    order: NDArray[np.intp] = scores.shape[1] - 1 - scores[:, ::-1].argsort(axis=1, kind="stable")[:, ::-1]
    return order[:, :count]
