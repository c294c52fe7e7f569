"""What the user said about a head, brought into one form: a flat mapping of fields."""

from collections.abc import Mapping
from typing import Any, cast, get_args

import numpy as np

from headgate.exporter.errors import HeadInferenceError, listed
from headgate.exporter.inference import Kind
from headgate.v1 import (
    Activation,
    BinaryHead,
    Head,
    MulticlassHead,
    MultilabelHead,
    RegressionHead,
    TargetScaling,
)

#: What is said about one output: None for no head, a kind, a mapping of fields, or a whole head.
HeadSetting = Head | Mapping[str, Any] | str | None

#: The kinds of head.
KINDS: tuple[str, ...] = get_args(Kind)
#: The message of each kind.
MESSAGES: dict[str, Any] = {
    "regression": RegressionHead,
    "binary": BinaryHead,
    "multiclass": MulticlassHead,
    "multilabel": MultilabelHead,
}
#: The fields of a head of any kind.
COMMON_FIELDS = ("kind", "name", "activation", "description")


def fields_of(output: str, setting: HeadSetting) -> dict[str, Any]:
    """Return what was said about an output as one flat mapping: the head's fields and those of its kind."""
    if setting is None:
        return {}
    if isinstance(setting, str):
        fields: dict[str, Any] = {"kind": setting}
    elif isinstance(setting, Head):
        if setting.output not in ("", output):
            raise HeadInferenceError(f"heads= for output '{output}' holds a head that reads output '{setting.output}'")
        kind = setting.WhichOneof("kind")
        fields = {field.name: value for field, value in setting.ListFields() if field.name in COMMON_FIELDS}
        if kind is not None:
            fields |= {"kind": kind}
            fields |= {field.name: value for field, value in getattr(setting, kind).ListFields()}
    elif isinstance(setting, Mapping):
        fields = dict(setting)
    else:
        raise HeadInferenceError(
            f"heads= for output '{output}' is {_type_name(setting)}; give a kind ('binary'), a dictionary of fields, "
            "a headgate.v1.Head, or None for no head"
        )
    if fields.get("kind", KINDS[0]) not in KINDS:
        raise HeadInferenceError(f"output '{output}': kind is '{fields['kind']}'; give one of {listed(KINDS)}")
    if isinstance(fields.get("activation"), str):
        fields["activation"] = _activation(output, fields["activation"])
    return fields


def field_value(field: Any, value: Any) -> Any:
    """Convert a value to what the field takes: arrays to lists, one value to a list of one or back, labels to text."""
    if field.name == "scaling":
        return _target_scaling(value)
    values = np.asarray(value, dtype=object).ravel().tolist()
    if field.type == field.TYPE_STRING:
        values = [str(one) for one in values]
    return values[0] if len(values) == 1 and not field.is_repeated else values


def _target_scaling(value: Any) -> TargetScaling:
    """Take a TargetScaling, a dictionary of its fields, or a fitted scikit-learn StandardScaler."""
    if isinstance(value, TargetScaling):
        return value
    if hasattr(value, "mean_") and hasattr(value, "scale_"):
        value = {
            "mean": [] if value.mean_ is None else value.mean_,
            "scale": [] if value.scale_ is None else value.scale_,
        }
    if not isinstance(value, Mapping):
        raise HeadInferenceError(
            f"the scaling of the targets is {_type_name(value)}; give {{'mean': ..., 'scale': ...}}, "
            "a fitted StandardScaler or a headgate.v1.TargetScaling"
        )
    allowed = {field.name: field for field in TargetScaling.DESCRIPTOR.fields}
    for name in value:
        if name not in allowed:
            raise HeadInferenceError(f"the scaling of the targets has no field '{name}'; it has {listed(allowed)}")
    return TargetScaling(**{name: field_value(allowed[name], one) for name, one in value.items()})


def _activation(output: str, name: str) -> Activation:
    try:
        return cast(Activation, Activation.Value(f"ACTIVATION_{name.upper()}"))
    except ValueError:
        raise HeadInferenceError(
            f"output '{output}': activation is '{name}'; give 'linear', 'logits' or 'probabilities'"
        ) from None


def _type_name(value: object) -> str:
    return f"of type {type(value).__name__}"
