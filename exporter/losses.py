"""What a compiled loss says about the output that it judges."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from headgate.exporter.names import path_name

Family = Literal["binary", "categorical", "overlap", "ctc", "regression", "quantile", "poisson", "similarity", "other"]

_FAMILIES: dict[str, Family] = {
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "categorical_crossentropy": "categorical",
    "sparse_categorical_crossentropy": "categorical",
    "categorical_focal_crossentropy": "categorical",
    "categorical_generalized_cross_entropy": "categorical",
    "dice": "overlap",
    "tversky": "overlap",
    "ctc": "ctc",
    "mean_squared_error": "regression",
    "mean_absolute_error": "regression",
    "mean_absolute_percentage_error": "regression",
    "mean_squared_logarithmic_error": "regression",
    "huber": "regression",
    "log_cosh": "regression",
    "poisson": "poisson",
    "cosine_similarity": "similarity",
    "circle": "similarity",
}
#: What losses of one's own call the levels of the quantiles that they train.
_LEVELS = ("quantiles", "quantile", "levels", "taus", "tau", "q")


@dataclass(frozen=True)
class Loss:
    """A loss as far as it tells what an output means.

    Attributes:
        name: as Keras spells the loss function: `binary_crossentropy`.
        family: what kind of prediction it judges.
        from_logits: whether it applies sigmoid or softmax itself.
        levels: of the family "quantile", those that it trains; in 0..1, ascending.
    """

    name: str
    family: Family
    from_logits: bool
    levels: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}(from_logits=True)" if self.from_logits else self.name


#: In place of a loss that a file names, but that is not registered here.
LOST_LOSS = Loss("a custom loss", "other", False)


def losses_of(model: Any, aliases: Sequence[set[str]]) -> list[Loss | None]:
    """Return the compiled loss of each output, None where there is none.

    Args:
        model: a Keras model; its `loss` is one loss for all outputs, a sequence in the order of the outputs, or a
            mapping by name of output; or sequences and mappings in each other, as its outputs are.
        aliases: for each output the names that Keras knows it by.
    """
    import keras

    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        found = _by_name(keras.tree.flatten_with_path(loss), aliases)
    elif isinstance(loss, list | tuple):
        found = [*keras.tree.flatten(loss), *[None] * len(aliases)][: len(aliases)]
    else:
        found = [loss] * len(aliases)
    return [None if one is None else describe_loss(one) for one in found]


def _by_name(leaves: Iterable[tuple[tuple[Any, ...], Any]], aliases: Sequence[set[str]]) -> list[Any]:
    """Return the loss of each output, of losses and the paths to them; outputs of one name have theirs in order."""
    named: dict[str, list[Any]] = {}
    for path, loss in leaves:
        named.setdefault(path_name(path), []).append(loss)
    found = []
    for names in aliases:
        losses = next((named[name] for name in sorted(names) if name in named), [None])
        # The last is for all that follow: a layer may have several outputs.
        found.append(losses.pop(0) if len(losses) > 1 else losses[0])
    return found


def describe_loss(loss: Any) -> Loss:
    """Describe a loss given as Keras takes it: a name, a function or a `keras.losses.Loss`.

    A subclass of one of Keras' losses counts as that loss. One of the user's own whose name speaks of quantiles or of
    the pinball loss, and that holds their levels as attribute, argument or in its configuration, is of the family
    "quantile".
    """
    import keras

    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            # Keras itself looks names up when it trains.
            return Loss(loss, "other", False)
    # A function has a name; losses of tf_keras keep from_logits in their configuration only.
    names = [loss.__name__] if hasattr(loss, "__name__") else [_snake_case(cls.__name__) for cls in type(loss).__mro__]
    known = next((name for name in names if name in _FAMILIES), None)
    if known is None:
        levels = _levels(loss)
        return Loss(names[0], "quantile" if levels else "other", False, levels)
    config = loss.get_config() if hasattr(loss, "get_config") else {}
    from_logits = bool(getattr(loss, "from_logits", config.get("from_logits", False)))
    return Loss(known, _FAMILIES[known], from_logits)


def _levels(loss: Any) -> tuple[float, ...]:
    """Return the levels that a quantile loss of the user's own holds; none where that is not certain."""
    # The function of a partial one; the function that Keras' wrapper of functions holds.
    function = getattr(loss, "func", None) or getattr(loss, "fn", loss)
    names = [getattr(one, "__qualname__", "") for one in (function, type(loss))]
    if not re.search("pinball|quantile", " ".join(names), re.IGNORECASE):
        return ()
    held = {**getattr(loss, "__dict__", {}), **getattr(loss, "keywords", {})}
    if inspect.isfunction(function):
        held |= inspect.getclosurevars(function).nonlocals
    held = {name.lstrip("_"): value for name, value in held.items()}
    for name in _LEVELS:
        try:
            levels = np.asarray(held[name], np.float64).ravel()
        except (KeyError, TypeError, ValueError):
            continue
        if levels.size and np.all((levels > 0) & (levels < 1)) and np.all(np.diff(levels) > 0):
            return tuple(levels.tolist())
    return ()


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
