"""Statistics of several workers, added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: The fields that tell entries of a list from one another. They are not added, and neither is a state.
_KEYS = ("name", "version", "rows", "batch_size")
_LABELS = (*_KEYS, "state")
#: Not a sum of times: the latest.
_LATEST = "last_inference"
#: How long workers have to tell their statistics.
STATISTICS_TIMEOUT_S = 5.0


def sum_of(message_class: Any) -> Callable[[Sequence[bytes]], bytes]:
    """Return a function that adds serialised answers up: at least one, all of a message class."""

    def add_up(answers: Sequence[bytes]) -> bytes:
        total, *others = map(message_class.FromString, answers)
        for other in others:
            _add(total, other)
        return bytes(total.SerializeToString())

    return add_up


def _add(total: Any, more: Any) -> None:
    for field, value in more.ListFields():
        known = getattr(total, field.name)
        if field.is_repeated:
            _add_entries(known, value)
        elif field.message_type is not None:
            _add(known, value)
        elif field.name == _LATEST:
            setattr(total, field.name, max(known, value))
        elif field.name not in _LABELS:
            setattr(total, field.name, known + value)


def _add_entries(totals: Any, more: Any) -> None:
    known = {_key(entry): entry for entry in totals}
    for entry in more:
        if _key(entry) in known:
            _add(known[_key(entry)], entry)
        else:
            totals.append(entry)
    totals.sort(key=_key)


def _key(entry: Any) -> tuple[Any, ...]:
    return tuple(getattr(entry, key) for key in _KEYS if hasattr(entry, key))
