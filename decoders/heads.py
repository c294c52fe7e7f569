"""What every kind of head has to fulfil."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from headgate.v1 import ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, Activation, Head, TensorSpec
from headgate.v1.tensors import format_spec

#: What the graph may emit for heads whose numbers are probabilities in the end.
PROBABILISTIC = (ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES)


class HeadError(ValueError):
    """A head that contradicts itself or the output that it reads.

    Attributes:
        head: the head's name.
        field: the field of the head that is wrong, as head.proto spells it: `multiclass.labels`.
        problem: what is wrong and what to do.

    >>> print(HeadError("digit", "multiclass.labels", "has 9 entries, output 'logits' has 10 units"))
    head 'digit': multiclass.labels has 9 entries, output 'logits' has 10 units
    """

    def __init__(self, head: str, field: str, problem: str) -> None:
        super().__init__(head, field, problem)
        self.head = head
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"head '{self.head}': {self.field} {self.problem}"


def units_of(head: Head, outputs: Mapping[str, TensorSpec]) -> int:
    """Return the units of an output [rows, units]; 1 of an output [rows].

    Raises:
        HeadError: the output has another shape, or no fixed number of units.
    """
    spec = outputs[head.output]
    if len(spec.shape) not in (1, 2):
        raise HeadError(
            head.name,
            "output",
            f"'{head.output}' is {format_spec(spec)}; "
            f"a {head.WhichOneof('kind')} head reads floating point numbers of shape [batch] or [batch,units]",
        )
    units = spec.shape[1] if len(spec.shape) == 2 else 1
    if units < 1:
        raise HeadError(head.name, "output", f"'{head.output}' has {units} units; its last dimension must be fixed")
    return units


def check_activation(head: Head, allowed: Sequence[Activation]) -> None:
    """Raise HeadError unless the head's activation is one of those that its kind allows."""
    if head.activation not in allowed:
        known = head.activation in Activation.values()
        came = Activation.Name(head.activation) if known else str(int(head.activation))
        expected = " or ".join(Activation.Name(activation) for activation in allowed)
        raise HeadError(head.name, "activation", f"is {came}, a {head.WhichOneof('kind')} head needs {expected}")


def check_names(head: Head, field: str, names: Collection[str], count: int, reason: str) -> None:
    """Raise HeadError unless there are `count` names, all different and none empty; `reason` says why so many."""
    if len(names) != count:
        raise HeadError(head.name, field, f"has {len(names)} entries, {reason}; give {count}")
    if "" in names:
        raise HeadError(head.name, field, "has an empty entry; give every entry a name")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise HeadError(head.name, field, f"has '{name}' {times} times; entries must differ")


def check_count(head: Head, field: str, entries: Collection[object], units: int) -> None:
    """Raise HeadError unless there are no entries, one for all units, or one a unit."""
    if len(entries) not in (0, 1, units):
        allowed = "none or one" if units == 1 else f"none, one or {units}"
        raise HeadError(head.name, field, f"has {len(entries)} entries, {describe_units(head, units)}; give {allowed}")


def check_finite(head: Head, field: str, numbers: Collection[float]) -> None:
    """Raise HeadError unless all numbers are finite."""
    for number in numbers:
        if not math.isfinite(number):
            raise HeadError(head.name, field, f"holds {number}; give finite numbers")


def check_thresholds(head: Head, field: str, thresholds: Collection[float]) -> None:
    """Raise HeadError unless all thresholds lie in 0..1."""
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            raise HeadError(head.name, field, f"holds {threshold}; give numbers in 0..1")


def describe_units(head: Head, units: int) -> str:
    """Say how many units the head's output has."""
    return f"output '{head.output}' has {units} unit{'s' if units > 1 else ''}"
