"""What the user said about a head, brought into one form: a flat mapping of fields, as head.proto spells them."""

import difflib
import os
import reprlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from headgate.exporter.errors import HeadInferenceError, listed
from headgate.exporter.prototypes import prototypes
from headgate.v1 import Head

#: What is said about one output: None (or "none") for no head, a kind, a mapping of fields, or a whole head.
HeadSetting = Head | Mapping[str, Any] | str | None
#: What is said about outputs: `{output: setting}`, or the path of a heads.toml.
HeadSettings = Mapping[str, HeadSetting] | str | os.PathLike[str]

#: The fields of each kind of head, by name.
KINDS: dict[str, dict[str, Any]] = {
    kind.name: {field.name: field for field in kind.message_type.fields}
    for kind in cast(Any, Head.DESCRIPTOR.oneofs_by_name["kind"].fields)
}
#: The fields of a head of any kind.
COMMON_FIELDS: dict[str, Any] = {
    field.name: field for field in Head.DESCRIPTOR.fields if field.containing_oneof is None and field.name != "output"
}
_Message = TypeVar("_Message", bound=Message)
_WHOLE_NUMBERS = (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_INT32)


def fields_of(output: str, setting: HeadSetting) -> dict[str, Any] | None:
    """Return what was said about an output as one flat mapping: the head's fields, those of its kind, and `kind`.

    None for an output without a head.
    """
    if setting in (None, "none") or (isinstance(setting, Mapping) and setting.get("kind") == "none"):
        return None
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
        fields = {name: value for name, value in setting.items() if value is not None}
    else:
        raise HeadInferenceError(
            f"heads= for output '{output}' is {_type_name(setting)}; give a kind ('binary'), a dictionary of fields, "
            "a headgate.v1.Head, or None for no head"
        )
    if "kind" in fields:
        check_kind(f"output '{output}'", fields["kind"])
    if "activation" in fields:
        fields["activation"] = field_value(COMMON_FIELDS["activation"], fields["activation"], f"output '{output}': ")
    return fields


def check_kind(where: str, kind: object) -> None:
    """Raise HeadInferenceError unless there is such a kind."""
    if str(kind) not in KINDS:
        raise HeadInferenceError(
            f"{where}: kind is '{kind}'{meant(str(kind), KINDS)}; give one of {listed([*KINDS, 'none'])}"
        )


def check_fields(where: str, fields: Iterable[str], kind: str | None) -> None:
    """Raise HeadInferenceError unless all fields are those of a head of this kind; None: of any kind."""
    allowed = ["kind", *COMMON_FIELDS, *(name for one in KINDS if kind in (None, one) for name in KINDS[one])]
    for name in fields:
        if name not in allowed:
            owners = " and ".join(one for one in KINDS if name in KINDS[one])
            hint = f" (heads of the kind {owners} have it)" if owners else meant(name, allowed)
            if kind is None:
                raise HeadInferenceError(f"{where}: no head has a field '{name}'{hint}")
            raise HeadInferenceError(f"{where}: a {kind} head has no field '{name}'{hint}; it has {listed(allowed)}")


def meant(name: str, names: Iterable[str]) -> str:
    """Return " (did you mean 'threshold'?)" where a name is like one that there is, else nothing."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def field_value(field: Any, value: Any, where: str) -> Any:
    """Convert a value to what a field of a message takes, or raise HeadInferenceError.

    Lists and arrays are taken for repeated fields, also one value alone; for text whatever `str` makes of it; for
    enums their names, with or without the prefix, in any case; for messages dictionaries; for bytes arrays, as float32.

    Args:
        field: of a message in head.proto.
        value: as the user gave it.
        where: what errors name before the field: `output 'y': multiclass.`
    """
    if field.name == "scaling":
        value = _target_scaling(value, f"{where}{field.name}")
    if field.type == field.TYPE_BYTES:
        return _bytes(field, value, where)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not isinstance(value, Mapping):
            raise HeadInferenceError(f"{where}{field.name} is {value!r}; give a dictionary")
        return {str(name): str(one) for name, one in value.items()}
    values = np.asarray(value, dtype=object).ravel().tolist()
    if field.is_repeated:
        return [_element(field, one, where) for one in values]
    if len(values) != 1:
        raise HeadInferenceError(f"{where}{field.name} holds {len(values)} values; give one")
    return _element(field, values[0], where)


def message_of(message: type[_Message], fields: Mapping[str, Any], where: str) -> _Message:
    """Make a message of a mapping of its fields, each converted by `field_value`."""
    allowed: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
    for name in fields:
        if name not in allowed:
            raise HeadInferenceError(
                f"{where.rstrip('.')} has no field '{name}'{meant(name, allowed)}; it has {listed(allowed)}"
            )
    return message(**{name: field_value(allowed[name], value, where) for name, value in fields.items()})


def _element(field: Any, value: Any, where: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.type == field.TYPE_STRING:
        if not isinstance(value, Mapping | list | tuple | bytes):
            text = str(value)
            # What a shell hands over may be no Unicode.
            with suppress(UnicodeEncodeError):
                text.encode()
                return text
        expected = "text"
    elif field.type == field.TYPE_MESSAGE:
        message = GetMessageClass(field.message_type)
        if isinstance(value, message):
            return value
        if field.name == "prototypes" and isinstance(value, Mapping) and value.keys() == {"labels", "vectors"}:
            try:
                return prototypes(value["labels"], value["vectors"])
            except ValueError as error:
                raise HeadInferenceError(f"{where}{field.name}: {error}") from error
        if isinstance(value, Mapping):
            return message_of(message, value, f"{where}{field.name}.")
        scaler = ", or a fitted scikit-learn scaler" if field.name == "scaling" else ""
        expected = f"a dictionary with {listed(field.message_type.fields_by_name)}{scaler}"
    elif field.type == field.TYPE_ENUM:
        names = enum_names(field)
        # As head.proto spells them, too, which is what errors of decoders name.
        name = value.lower().removeprefix(_enum_prefix(field).lower()) if isinstance(value, str) else value
        if name in names:
            return names[name]
        if isinstance(value, int) and not isinstance(value, bool) and value in names.values():
            return value
        expected = f"{listed(names)}, or leave it out"
    elif field.type == field.TYPE_BOOL:
        if isinstance(value, bool):
            return value
        expected = "True or False"
    elif field.type in _WHOLE_NUMBERS:
        if number and 0 <= value < 2**32 and value == int(value):
            return int(value)
        expected = "a whole number, 0 or more"
    else:
        # Integers of Python and of TOML may be larger than any float.
        with suppress(OverflowError):
            if number:
                return float(value)
        expected = "a number"
    raise HeadInferenceError(f"{where}{field.name} is {reprlib.repr(value)}; give {expected}")


def enum_names(field: Any) -> dict[str, int]:
    """Return the values of an enum by their names in lower case, without the prefix and without the unset one."""
    prefix = _enum_prefix(field)
    return {value.name.removeprefix(prefix).lower(): value.number for value in field.enum_type.values[1:]}


def _enum_prefix(field: Any) -> str:
    return str(field.enum_type.values[0].name.removesuffix("UNSPECIFIED"))


def _bytes(field: Any, value: Any, where: str) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        vectors = np.asarray(value, "<f4")
    except (TypeError, ValueError) as error:
        raise HeadInferenceError(f"{where}{field.name} holds no numbers: {error}") from error
    if vectors.ndim != 2:
        raise HeadInferenceError(f"{where}{field.name} has shape {list(vectors.shape)}; give one row for each of them")
    return vectors.tobytes()


def _target_scaling(value: Any, where: str) -> Any:
    """Return the fields of TargetScaling for a fitted scikit-learn scaler or a range; anything else as it is.

    Scalers are a StandardScaler, a RobustScaler or a MinMaxScaler; a range is `{"min": 0, "max": 50}`, which became 0
    to 1 or what `"range": [-1, 1]` says.
    """
    if hasattr(value, "min_") and hasattr(value, "scale_"):
        return {"mean": -value.min_ / value.scale_, "scale": 1 / value.scale_}
    for centre in ("mean_", "center_"):
        if hasattr(value, centre) and hasattr(value, "scale_"):
            # A StandardScaler knows the mean even where it does not take it off.
            mean = getattr(value, centre) if getattr(value, "with_mean", True) else None
            return {name: one for name, one in (("mean", mean), ("scale", value.scale_)) if one is not None}
    if not isinstance(value, Mapping) or not {"min", "max"} & set(value):
        return value
    try:
        least, most = np.asarray(value["min"], float), np.asarray(value["max"], float)
        lower, upper = np.asarray(value.get("range", (0, 1)), float)
        if not {"mean", "scale"} & set(value) and lower != upper:
            scale = (most - least) / (upper - lower)
            others = {name: one for name, one in value.items() if name not in ("min", "max", "range")}
            return {**others, "mean": least - lower * scale, "scale": scale}
    except (KeyError, TypeError, ValueError):
        pass
    raise HeadInferenceError(
        f"{where} is {dict(value)}; give {{'min': ..., 'max': ...}}, and 'range': [lower, upper] where targets were "
        "not scaled to 0..1"
    )


def _type_name(value: object) -> str:
    return f"of type {type(value).__name__}"
