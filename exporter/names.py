"""Names of tensors that any client can write down."""

import re
from collections.abc import Iterable


def clean_name(name: str, fallback: str) -> str:
    """Replace what is no letter, digit or one of `_.-`.

    >>> clean_name("head/out:0", "output")
    'head_out_0'
    >>> clean_name("/", "output")
    'output'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_") or fallback


def path_name(path: Iterable[object]) -> str:
    """Return what a place in nested dictionaries and lists is called: by the keys that lead to it.

    >>> path_name(("boxes", 0, "scores")), path_name((1,))
    ('boxes_scores', '')
    """
    return "_".join(part for part in path if isinstance(part, str))


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Number the names that came before, or are taken.

    >>> unique_names(["x", "y", "x"], taken=["y"])
    ['x', 'y_1', 'x_1']
    """
    seen = set(taken)
    result = []
    for name in names:
        candidate, number = name, 0
        while candidate in seen:
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate)
        result.append(candidate)
    return result
