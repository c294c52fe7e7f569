"""What every kind of head has to fulfil."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from headgate.v1 import ACTIVATION_LOGITS, ACTIVATION_PROBABILITIES, Activation, Head, TensorSpec
from headgate.v1.tensors import format_shape, format_spec, number_kind

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
        # A head may hold anything; whoever reads a log relies on lines.
        return " ".join(f"head '{self.head}': {self.field} {self.problem}".splitlines())


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
            f"{describe_kind(head)} reads floating point numbers of shape [batch] or [batch,units]",
        )
    units = spec.shape[1] if len(spec.shape) == 2 else 1
    if units < 1:
        raise HeadError(head.name, "output", f"'{head.output}' has {units} units; its last dimension must be fixed")
    return units


def check_activation(head: Head, allowed: Sequence[Activation]) -> None:
    """Raise HeadError unless the head's activation is one of those that its kind allows."""
    if head.activation not in allowed:
        came = enum_name(Activation, head.activation)
        expected = " or ".join(Activation.Name(activation) for activation in allowed)
        raise HeadError(head.name, "activation", f"is {came}, {describe_kind(head)} needs {expected}")


def check_names(head: Head, field: str, names: Collection[str], count: int, reason: str) -> None:
    """Raise HeadError unless there are `count` names, all different and none empty; `reason` says why so many."""
    check_size(head, field, names, count, reason)
    check_different(head, field, names)


def check_size(head: Head, field: str, entries: Collection[object], count: int, reason: str) -> None:
    """Raise HeadError unless there are `count` entries; `reason` says why so many."""
    if len(entries) != count:
        raise HeadError(head.name, field, f"has {len(entries)} entries, {reason}; give {count}")


def check_different(head: Head, field: str, names: Collection[str]) -> None:
    """Raise HeadError unless names, of which there are some, are all different and none is empty."""
    if "" in names:
        raise HeadError(head.name, field, "has an empty entry; give every entry a name")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise HeadError(head.name, field, f"has '{name}' {times} times; entries must differ")


def check_count(head: Head, field: str, entries: Collection[object], count: int, reason: str = "") -> None:
    """Raise HeadError unless there are no entries, one for all, or `count`.

    Args:
        head: the head.
        field: the field of the entries.
        entries: what the field holds.
        count: how many there may be.
        reason: says why so many; default: the output has so many units.
    """
    if len(entries) not in (0, 1, count):
        allowed = "none or one" if count == 1 else f"none, one or {count}"
        reason = reason or describe_units(head, count)
        raise HeadError(head.name, field, f"has {len(entries)} entries, {reason}; give {allowed}")


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


def check_uncalibrated(head: Head) -> None:
    """Raise HeadError where a head of a kind for which nothing can be fitted says that something was."""
    if head.HasField("calibration"):
        raise HeadError(head.name, "calibration", f"is set, {describe_kind(head)} has none; leave it out")
    check_calibration(head)


def check_calibration(head: Head, *fitted: str) -> None:
    """Raise HeadError where something was fitted that heads of this kind do not have.

    Args:
        head: the head.
        fitted: what they have: "probabilities", "conformal" or "thresholds".
    """
    for field, _ in head.calibration.ListFields():
        if field.name in {"probabilities", "conformal", "thresholds"} - set(fitted):
            raise HeadError(
                head.name, f"calibration.{field.name}", f"is set, {describe_kind(head)} has none; leave it out"
            )
    if head.confidence_level and "conformal" not in fitted:
        raise HeadError(
            head.name, "confidence_level", f"is {head.confidence_level:g}, {describe_kind(head)} has none; give 0"
        )


def check_output(
    head: Head, field: str, name: str, outputs: Mapping[str, TensorSpec], *shapes: Sequence[int], kinds: str = "fiub"
) -> None:
    """Raise HeadError unless a field names an output of numbers, of one of the shapes.

    Args:
        head: the head.
        field: the field of the name: "output", or one that has to name another output.
        name: of the output.
        outputs: the model's outputs by name.
        shapes: that it may have; -1 is any size.
        kinds: of numpy's types that it may have: "f" for floating point numbers alone.

    >>> outputs = {"y": TensorSpec(name="y", datatype="DATA_TYPE_FP32", shape=[-1, 7])}
    >>> check_output(Head(name="h"), "ctc.lengths_output", "y", outputs, [-1])
    Traceback (most recent call last):
    ...
    headgate.decoders.heads.HeadError: head 'h': ctc.lengths_output 'y' is FP32 [batch,7]; give numbers [batch]
    """
    if name not in outputs:
        raise HeadError(head.name, field, f"is '{name}'; the model's outputs are {', '.join(outputs)}")
    if field != "output" and name == head.output:
        raise HeadError(head.name, field, f"is '{name}', which output names already; give another one, or none")
    spec = outputs[name]
    fits = any(
        len(shape) == len(spec.shape)
        and all(came == expected or min(came, expected) < 0 for came, expected in zip(spec.shape, shape, strict=True))
        for shape in shapes
    )
    if not fits or number_kind(spec.datatype) not in kinds:
        numbers = "floating point numbers" if kinds == "f" else "numbers"
        expected = " or ".join(format_shape(shape) for shape in shapes)
        raise HeadError(head.name, field, f"'{name}' is {format_spec(spec)}; give {numbers} {expected}")


def describe_units(head: Head, units: int) -> str:
    """Say how many units the head's output has."""
    return f"output '{head.output}' has {units} unit{'s' if units > 1 else ''}"


def describe_kind(head: Head) -> str:
    """Say of what kind a head is.

    >>> describe_kind(Head(anomaly={}))
    'an anomaly head'
    """
    kind = str(head.WhichOneof("kind"))
    return f"{'an' if kind[0] in 'aeo' else 'a'} {kind} head"


def enum_name(enum: Any, value: int) -> str:
    """Return the name of an enum's value; the number, where it is one of a newer headgate.

    >>> enum_name(Activation, ACTIVATION_LOGITS), enum_name(Activation, 77)
    ('ACTIVATION_LOGITS', '77')
    """
    return str(enum.Name(value)) if value in enum.values() else str(int(value))
