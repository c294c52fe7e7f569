"""What an output means, from the operation that computes it and the loss that judged it.

| last operation | loss | head |
|---|---|---|
| sigmoid | binary cross-entropy, one not known here, none | binary (1 unit) or multilabel, probabilities |
| softmax | any | multiclass, probabilities |
| log-softmax | any | multiclass, logits (softmax undoes the logarithm) |
| any other | binary cross-entropy | binary or multilabel; logits if `from_logits`, else probabilities |
| any other | categorical cross-entropy | multiclass; logits if `from_logits`, else probabilities |
| any other | a regression loss | regression |
| bias, matrix product, relu, softplus | none | regression |

Everything else is asked for. In particular: a linear output judged by a cross-entropy without `from_logits` (the model
was trained on something that is no probability), a sigmoid judged by a regression loss, and a softmax of one unit.
"""

from dataclasses import dataclass
from typing import Literal

from headgate.exporter.losses import Loss
from headgate.v1 import ACTIVATION_LINEAR, ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, Activation

Kind = Literal["regression", "binary", "multiclass", "multilabel"]

#: What Dense layers (and the activations of regressions) end with in TensorFlow's graph.
_PLAIN_OPS = ("AddV2", "BiasAdd", "MatMul", "Relu", "Softplus")


@dataclass(frozen=True)
class Meaning:
    """What an output means.

    Attributes:
        kind: the kind of head.
        activation: what the graph emits.
        note: what was assumed; empty where it follows from the model.
    """

    kind: Kind
    activation: Activation
    note: str = ""


def infer(op: str, units: int, loss: Loss | None) -> Meaning | str:
    """Infer the meaning of an output of shape [rows, units], or say in a few words why it cannot be inferred.

    Args:
        op: the type of the TensorFlow operation that computes the output.
        units: the last dimension.
        loss: what the model was compiled with for this output.

    >>> infer("Sigmoid", 1, None).kind
    'binary'
    >>> infer("Softmax", 1, None)
    'a softmax over one unit is always 1'
    """
    family = loss.family if loss else None
    sigmoid_kind: Kind = "binary" if units == 1 else "multilabel"
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
        case _, "regression":
            return Meaning("regression", ACTIVATION_LINEAR)
        case _, ("binary" | "categorical") if loss and not loss.from_logits and op in _PLAIN_OPS:
            return f"it is linear, trained with {loss} as if it were probabilities"
        case _, "binary":
            return Meaning(sigmoid_kind, _activation(loss))
        case _, "categorical" if units > 1:
            return Meaning("multiclass", _activation(loss))
        case _, "categorical":
            return f"it has one unit, trained with {loss}"
        case _, None if op in _PLAIN_OPS:
            return Meaning("regression", ACTIVATION_LINEAR, "it is linear and the model has no loss")
        case _, None:
            return f"it ends with the operation {op} and the model has no loss"
    return (
        f"it is {'linear' if op in _PLAIN_OPS else f'computed by {op}'}, trained with {loss}, which is not known here"
    )


def infer_activation(kind: Kind, op: str, loss: Loss | None) -> Activation | None:
    """Infer what the graph emits where the kind was given; None if that does not follow.

    >>> infer_activation("binary", "BiasAdd", None) == ACTIVATION_LOGITS
    True
    """
    if kind == "regression":
        return ACTIVATION_LINEAR
    if op in ("Sigmoid", "Softmax"):
        return ACTIVATION_PROBABILITIES
    if op == "LogSoftmax":
        return None if kind == "multilabel" else ACTIVATION_LOGITS
    judged = loss is not None and loss.family in ("binary", "categorical")
    if op in _PLAIN_OPS:
        return ACTIVATION_LOGITS if not judged or _activation(loss) == ACTIVATION_LOGITS else None
    return _activation(loss) if judged else None


def _activation(loss: Loss | None) -> Activation:
    return ACTIVATION_LOGITS if loss and loss.from_logits else ACTIVATION_PROBABILITIES
