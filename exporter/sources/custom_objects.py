"""Classes and functions of the user's own that a model file names."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from headgate.exporter.errors import ModelLoadError, reason_of


def import_custom_objects(given: str | Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return custom objects by name; those written as `module:Class` are imported, from the current folder as well.

    Raises:
        ModelLoadError: one is not written like that, or cannot be imported.

    >>> import_custom_objects(["collections:OrderedDict"])
    {'OrderedDict': <class 'collections.OrderedDict'>}
    >>> import_custom_objects({"Same": int})
    {'Same': <class 'int'>}
    """
    if isinstance(given, Mapping):
        return dict(given)
    with _current_folder():
        return dict(_import(text) for text in ([given] if isinstance(given, str) else given))


def _import(text: str) -> tuple[str, Any]:
    module, _, name = text.partition(":")
    if not module or not name.isidentifier():
        raise ModelLoadError(f"the custom object '{text}' is not module:Class, such as 'my_layers:Attention'")
    try:
        found = getattr(importlib.import_module(module), name)
    # A module of the user's own may raise anything.
    except Exception as error:
        raise ModelLoadError(f"the custom object '{text}' cannot be imported: {reason_of(error)}") from error
    return name, found


@contextmanager
def _current_folder() -> Iterator[None]:
    """Import from the current folder first, as `python file.py` and `python -m` do."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)
