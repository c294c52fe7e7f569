"""Protobuf messages as the plain values that Triton's JSON has for them."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor


def plain(message: Any, *, with_defaults: bool = False) -> dict[str, Any]:
    """Return a message's fields by name: numbers as numbers, 64-bit ones too, and enums as the names of their values.

    `with_defaults` gives fields that are not set, too, where a value of theirs cannot be told from none.
    """
    result: dict[str, Any] = {}
    set_fields = {field.name for field, _ in message.ListFields()}
    for field in message.DESCRIPTOR.fields:
        if field.name not in set_fields and (field.has_presence or not with_defaults):
            continue
        value = getattr(message, field.name)
        if not field.is_repeated:
            result[field.name] = _plain_value(field, value, with_defaults)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            kind = field.message_type.fields_by_name["value"]
            result[field.name] = {key: _plain_value(kind, value[key], with_defaults) for key in value}
        else:
            result[field.name] = [_plain_value(field, each, with_defaults) for each in value]
    return result


def _plain_value(field: FieldDescriptor, value: Any, with_defaults: bool) -> Any:
    if field.message_type is not None:
        return plain(value, with_defaults=with_defaults)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value
