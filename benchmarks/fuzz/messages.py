"""Messages of any type that are almost right: drawn from their descriptors, or changed from others."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

_INTEGERS = (
    0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 65, 127, 128, 255, 256, 1000, 65_535, 65_536, 2**20, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 2**53 + 1, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, -2, -128, -129, -(2**31), -(2**31) - 1, -(2**63),
)  # fmt: skip
_FLOATS = (
    0.0, -0.0, 0.5, 0.9, 1.0, -1.0, 1.5, 3.4e38, -3.4e38, 1e-45, 1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
_TEXTS = (
    "", " ", "a", "A" * 300, "line\nbreak", "tab\tand\rreturn", "nul\0inside", "\x1b[31mred", "../../../../etc/passwd",
    "/dev/shm", "%s%n%d", "{0.__class__}", "naïve", "日本語", "\u202egnp", "\U0001f600", "'", '"', "\\", "-1", "0",
    "1e3", "1_000", "0x10", " 1", "\u0661", "9" * 30, "true", "None", "null", "*", ".*", "a" * 5000,
)  # fmt: skip
#: How deep messages are drawn.
_DEPTH = 4
#: What a list that is multiplied may grow to.
_MOST_BYTES = 2**20

_INTEGER_BOUNDS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    # Those of proto3 are open: any number of 32 bits may come.
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
#: The values that take the fewest bytes, and how many; 0 and 1 of all others.
_SMALLEST: dict[int, tuple[Any, int]] = {
    FieldDescriptor.TYPE_STRING: ("", 2),
    FieldDescriptor.TYPE_BYTES: (b"", 2),
    FieldDescriptor.TYPE_FLOAT: (0.0, 4),
    FieldDescriptor.TYPE_DOUBLE: (0.0, 8),
}
_MAP_ENTRY_BYTES = 12
_SCALARS = {FieldDescriptor.TYPE_FLOAT: _FLOATS, FieldDescriptor.TYPE_DOUBLE: _FLOATS}


class MessageFuzzer:
    """Draws messages and changes them."""

    def __init__(self, rng: random.Random, words: Sequence[str]) -> None:
        """Take the source of chance, and texts that mean something to the server: names of models, inputs, types."""
        self._rng = rng
        self._words = words

    def draw(self, message: Any, depth: int = _DEPTH) -> None:
        """Fill an empty message."""
        rng = self._rng
        for field in message.DESCRIPTOR.fields:
            if rng.random() < 0.5 and (depth or field.message_type is None):
                for _ in range(rng.choice((1, 1, 1, 2, 3)) if field.is_repeated else 1):
                    self._put(message, field, depth - 1)

    def change(self, message: Any) -> None:
        """Change a message, or one in it, in one place."""
        rng = self._rng
        node = rng.choice(_nodes(message))
        if not node.DESCRIPTOR.fields:
            return
        present = [field for field, _ in node.ListFields()]
        if present and rng.random() < 0.8:
            field = rng.choice(present)
            rng.choice(self._changes(field))(node, field)
        else:
            self._put(node, rng.choice(node.DESCRIPTOR.fields), 2)

    def value(self, field: FieldDescriptor) -> Any:
        """Draw a value for a field that holds no message."""
        rng = self._rng
        if field.type == FieldDescriptor.TYPE_STRING:
            return rng.choice(self._words if rng.random() < 0.7 else _TEXTS)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._bytes()
        if field.type == FieldDescriptor.TYPE_BOOL:
            return rng.random() < 0.5
        if field.type in _SCALARS:
            return rng.choice(_SCALARS[field.type])
        least, most = _INTEGER_BOUNDS[field.type]
        if field.enum_type is not None and rng.random() < 0.8:
            return rng.choice(field.enum_type.values).number
        return rng.choice([number for number in _INTEGERS if least <= number <= most])

    def _changes(self, field: FieldDescriptor) -> Sequence[Callable[[Any, FieldDescriptor], None]]:
        if field.is_repeated and not _is_map(field):
            return (self._replace, self._drop, self._repeat, self._multiply, self._replace_all, self._clear)
        return (self._clear, self._put, self._put)

    def _put(self, message: Any, field: FieldDescriptor, depth: int = 2) -> None:
        """Set a field, or add to it."""
        if _is_map(field):
            entry = _message_of(field).fields_by_name
            key = self.value(entry["key"])
            if entry["value"].message_type is None:
                getattr(message, field.name)[key] = self.value(entry["value"])
            else:
                self.draw(getattr(message, field.name)[key], max(depth, 1))
        elif field.is_repeated and field.message_type is not None:
            self.draw(getattr(message, field.name).add(), depth)
        elif field.is_repeated:
            getattr(message, field.name).append(self.value(field))
        elif field.message_type is not None:
            child = getattr(message, field.name)
            child.SetInParent()
            self.draw(child, depth)
        else:
            setattr(message, field.name, self.value(field))

    def _clear(self, message: Any, field: FieldDescriptor) -> None:
        message.ClearField(field.name)

    def _drop(self, message: Any, field: FieldDescriptor) -> None:
        values = getattr(message, field.name)
        del values[self._rng.randrange(len(values))]

    def _repeat(self, message: Any, field: FieldDescriptor) -> None:
        values = getattr(message, field.name)
        values.extend([self._rng.choice(values)] * self._rng.randint(1, 3))

    def _multiply(self, message: Any, field: FieldDescriptor) -> None:
        values = getattr(message, field.name)
        count = min(self._rng.choice((100, 1000, 10_000)), _MOST_BYTES * len(values) // (1 + message.ByteSize()))
        values.extend([self._rng.choice(values)] * count)

    def _replace(self, message: Any, field: FieldDescriptor) -> None:
        values = getattr(message, field.name)
        index = self._rng.randrange(len(values))
        if field.message_type is None:
            values[index] = self.value(field)
        else:
            values[index].Clear()
            self.draw(values[index], 2)

    def _replace_all(self, message: Any, field: FieldDescriptor) -> None:
        message.ClearField(field.name)
        for _ in range(self._rng.randint(1, 6)):
            self._put(message, field, 1)

    def _bytes(self) -> bytes:
        rng = self._rng
        size = rng.choice((0, 1, 3, 4, 7, 8, 12, 16, 24, 32, 64, 256, 4096))
        match rng.randrange(4):
            case 0:
                return bytes(size)
            case 1:
                return b"\xff" * size
            case 2:
                # Text with lengths before it that may lie.
                length = rng.choice((0, 1, size, size + 1, 2**31, 2**32 - 1))
                return length.to_bytes(4, "little") + bytes(size)
            case _:
                return rng.randbytes(size)


def enlarge(message: Any, field: FieldDescriptor, size: int) -> None:
    """Fill a field with about as many bytes: of one value, of many small ones, or of a map's entries."""
    values = getattr(message, field.name)
    if _is_map(field):
        key_type, value_type = (_message_of(field).fields_by_name[name].type for name in ("key", "value"))
        for number in range(size // _MAP_ENTRY_BYTES):
            key = f"{number:x}" if key_type == FieldDescriptor.TYPE_STRING else number
            if value_type == FieldDescriptor.TYPE_MESSAGE:
                values[key].SetInParent()
            else:
                values[key] = _SMALLEST.get(value_type, (0, 1))[0]
    elif field.message_type is not None:
        values.extend([type(values.add())()] * (size // 2))
    elif field.is_repeated:
        value, value_bytes = _SMALLEST.get(field.type, (0, 1))
        values.extend([value] * (size // value_bytes))
    else:
        setattr(message, field.name, "x" * size if field.type == FieldDescriptor.TYPE_STRING else bytes(size))


def _message_of(field: FieldDescriptor) -> Any:
    return field.message_type


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _nodes(message: Any) -> list[Any]:
    """Return a message and those in it; of very many, the first few."""
    nodes = [message]
    for node in nodes:
        for field, value in node.ListFields():
            if field.message_type is None:
                continue
            if _is_map(field):
                if _message_of(field).fields_by_name["value"].message_type is not None:
                    nodes += list(value.values())[:8]
            elif field.is_repeated:
                nodes += value[:8]
            else:
                nodes.append(value)
        if len(nodes) > 200:
            break
    return nodes
