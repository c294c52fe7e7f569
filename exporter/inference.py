"""What an output means, from its shape, the operation that computes it, and the loss that judged it.

| shape | last operation | loss | head |
|---|---|---|---|
| [rows, units] | sigmoid | binary cross-entropy, one not known here, none | binary or multilabel, probabilities |
| | softmax | any | multiclass, probabilities |
| | log-softmax | any | multiclass, logits (softmax undoes the logarithm) |
| | any other | binary cross-entropy | binary or multilabel; logits if `from_logits`, else probabilities |
| | any other | categorical cross-entropy | multiclass; logits if `from_logits`, else probabilities |
| | any other | Poisson | count, linear |
| | any other | a regression loss | regression |
| | any other | a quantile loss with as many levels as units | quantile |
| | division by the vector's length | cosine similarity, circle, one not known here, none | embedding |
| | any other | cosine similarity, circle | embedding, to be normalised |
| | bias, matrix product, relu, softplus | none | regression |
| [rows, steps, units] | as in [rows, units] | categorical cross-entropy | sequence_tags |
| | any but softmax | CTC | ctc, logits, blank 0 |
| [rows, targets, levels] | any | a quantile loss with as many levels | quantile |
| [rows, height, width, units] | as in [rows, units] | categorical cross-entropy | segmentation |
| | softmax, sigmoid | Dice, Tversky | segmentation, of independent units after a sigmoid |

Sigmoids of one unit make binary heads, of several multilabel heads. Everything else is asked for. In particular: a
linear output judged by a cross-entropy without `from_logits` (the model was trained on something that is no
probability), a sigmoid judged by a regression loss, a softmax of one unit, and several softmaxes in a row. Of pictures
judged by a binary cross-entropy it cannot be told whether they are masks, heatmaps or reconstructions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.exporter.losses import Loss
from headgate.exporter.tracing.graph_nodes import RESHAPED_SOFTMAX, UNIT_LENGTH
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, Activation
from headgate.v1.tensors import format_shape

#: What Dense layers end with in TensorFlow's graph; what keeps regressions from being negative; either.
_LINEAR_OPS = ("AddV2", "BiasAdd", "MatMul")
_POSITIVE_OPS = ("Relu", "Softplus")
_PLAIN_OPS = (*_LINEAR_OPS, *_POSITIVE_OPS)
#: Heads whose numbers are no probabilities.
_LINEAR_KINDS = ("regression", "quantile", "mean_variance", "embedding", "keypoints", "anomaly")


@dataclass(frozen=True)
class Meaning:
    """What an output means.

    Attributes:
        kind: the kind of head.
        activation: what the graph emits.
        fields: of the kind's message, as head.proto spells them.
        note: what was assumed, and what would make it wrong; empty where it follows from the model.
        others: the kinds that it would be then.
    """

    kind: str
    activation: Activation
    fields: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    others: tuple[str, ...] = ()


def infer(op: str, shape: Sequence[int], loss: Loss | None) -> Meaning | str:
    """Infer the meaning of an output, or say in a few words why it cannot be inferred.

    Args:
        op: the type of the TensorFlow operation that computes the output.
        shape: the output's, the batch first; -1 for free sizes.
        loss: what the model was compiled with for this output.

    >>> infer("Sigmoid", [-1, 1], None).kind
    'binary'
    >>> infer("Softmax", [-1, 1], None)
    'a softmax over one unit is always 1'
    """
    if loss and loss.levels and op != "Sigmoid":
        return _quantiles(shape, loss)
    if op == RESHAPED_SOFTMAX:
        return "it is a softmax over other units than stand along its last axis"
    if len(shape) > 2:
        return _infer_steps_or_pixels(op, shape, loss)
    units = shape[1] if len(shape) == 2 else 1
    family = loss.family if loss else None
    sigmoid_kind = "binary" if units == 1 else "multilabel"
    match op, family:
        case (("Softmax" | "LogSoftmax"), _) if units == 1:
            return "a softmax over one unit is always 1"
        case "Softmax", _:
            return Meaning("multiclass", ACTIVATION_PROBABILITIES)
        case "LogSoftmax", _:
            return Meaning("multiclass", ACTIVATION_LOGITS)
        case "Sigmoid", ("binary" | "other" | None):
            return Meaning(sigmoid_kind, ACTIVATION_PROBABILITIES)
        case "Sigmoid", _:
            return f"it is a sigmoid, trained with {loss}"
        case _, "poisson":
            return Meaning("count", ACTIVATION_LINEAR)
        case _, "regression":
            return Meaning("regression", ACTIVATION_LINEAR)
        case _, "similarity" if units > 1:
            return Meaning("embedding", ACTIVATION_LINEAR, fields={} if op == UNIT_LENGTH else {"normalize": True})
        case _, ("other" | None) if op == UNIT_LENGTH and units > 1:
            note = "its vectors are of length 1; if they are numbers to be predicted"
            return Meaning("embedding", ACTIVATION_LINEAR, note=note, others=("regression",))
        case _, ("binary" | "categorical") if loss and not loss.from_logits and op in _PLAIN_OPS:
            return _no_probability(op, loss)
        case _, "binary":
            return Meaning(sigmoid_kind, _activation(loss))
        case _, "categorical" if units > 1:
            return Meaning("multiclass", _activation(loss))
        case _, "categorical":
            return f"it has one unit, trained with {loss}"
        case _, None if op in _POSITIVE_OPS:
            note = "it is never negative and the model has no loss; if it counts"
            return Meaning("regression", ACTIVATION_LINEAR, note=note, others=("count",))
        case _, None if op in _LINEAR_OPS:
            note = "it is linear and the model has no loss; if it gives logits"
            return Meaning("regression", ACTIVATION_LINEAR, note=note, others=("multiclass", "binary", "multilabel"))
        case _, None:
            return f"it ends with the operation {op} and the model has no loss"
    unknown = ", which is not known here" if family == "other" else ""
    return f"it is {_computed_by(op)}, trained with {loss}{unknown}"


def _quantiles(shape: Sequence[int], loss: Loss) -> Meaning | str:
    if len(shape) not in (2, 3) or shape[-1] != len(loss.levels):
        levels = ", ".join(f"{level:g}" for level in loss.levels)
        return f"it has shape {format_shape(shape)}, trained with {loss} for the levels {levels}"
    return Meaning("quantile", ACTIVATION_LINEAR, fields={"levels": loss.levels})


def _infer_steps_or_pixels(op: str, shape: Sequence[int], loss: Loss | None) -> Meaning | str:
    kind = {3: "sequence_tags", 4: "segmentation"}.get(len(shape), "")
    match kind, op, loss.family if loss else None:
        case "sequence_tags", "Softmax", "ctc":
            return f"it is a softmax, trained with {loss}, which applies softmax itself"
        case "sequence_tags", _, "ctc":
            return Meaning("ctc", ACTIVATION_LOGITS, fields={"blank": 0})
        case _, ("Softmax" | "LogSoftmax"), _ if shape[-1] == 1:
            return "a softmax over one unit is always 1"
        case (("sequence_tags" | "segmentation"), "Softmax", "categorical"):
            return Meaning(kind, ACTIVATION_PROBABILITIES)
        case (("sequence_tags" | "segmentation"), "LogSoftmax", "categorical"):
            return Meaning(kind, ACTIVATION_LOGITS)
        case "segmentation", "Softmax", "overlap":
            return Meaning(kind, ACTIVATION_PROBABILITIES)
        case "segmentation", "Sigmoid", "overlap":
            return Meaning(kind, ACTIVATION_PROBABILITIES, fields={"independent": True} if shape[-1] > 1 else {})
        case (("sequence_tags" | "segmentation"), _, "categorical") if op != "Sigmoid" and shape[-1] > 1:
            is_plain = op in _PLAIN_OPS and loss is not None and not loss.from_logits
            return _no_probability(op, loss) if is_plain else Meaning(kind, _activation(loss))
    trained = f"is trained with {loss}" if loss else "the model has no loss"
    return f"it has shape {format_shape(shape)}, ends with the operation {op}, and {trained}"


def kinds_for(shape: Sequence[int]) -> list[str]:
    """Return the kinds of head that may read an output of this shape, the likeliest first; anomaly: reconstructions.

    >>> kinds_for([-1, -1, 7])
    ['sequence_tags', 'ctc', 'detection', 'keypoints', 'quantile', 'anomaly']
    """
    match list(shape[1:]):
        case [] | [1]:
            return ["regression", "binary", "count", "quantile", "mean_variance", "ordinal", "anomaly"]
        case [_]:
            kinds = ["regression", "binary", "multiclass", "multilabel", "count", "quantile", "mean_variance"]
            return [*kinds, "ordinal", "embedding", "keypoints", "anomaly"]
        case [_, _]:
            return ["sequence_tags", "ctc", "detection", "keypoints", "quantile", "anomaly"]
        case [_, _, _]:
            return ["segmentation", "keypoints", "anomaly"]
    return []


def infer_activation(kind: str, op: str, loss: Loss | None) -> Activation | None:
    """Infer what the graph emits where the kind was given; None if that does not follow.

    >>> infer_activation("binary", "BiasAdd", None) == ACTIVATION_LOGITS
    True
    """
    if kind in _LINEAR_KINDS:
        return ACTIVATION_LINEAR
    if kind == "count":
        positive = op in ("Exp", *_POSITIVE_OPS) or (loss is not None and loss.family in ("poisson", "regression"))
        return ACTIVATION_LINEAR if positive else None
    if op in ("Sigmoid", "Softmax", RESHAPED_SOFTMAX):
        return ACTIVATION_PROBABILITIES
    if op == "LogSoftmax":
        return None if kind in ("multilabel", "ordinal") else ACTIVATION_LOGITS
    judged = loss is not None and loss.family in ("binary", "categorical", "overlap", "ctc")
    if op in _PLAIN_OPS:
        return ACTIVATION_LOGITS if not judged or _activation(loss) == ACTIVATION_LOGITS else None
    return _activation(loss) if judged else None


def _activation(loss: Loss | None) -> Activation:
    return ACTIVATION_LOGITS if loss and (loss.from_logits or loss.family == "ctc") else ACTIVATION_PROBABILITIES


def _no_probability(op: str, loss: Loss | None) -> str:
    return f"it is {_computed_by(op)}, trained with {loss} as if it were probabilities"


def _computed_by(op: str) -> str:
    return "linear" if op in _LINEAR_OPS else f"computed by {op}"
