"""heads.toml: what the outputs of a model mean, one table an output."""

import json
import os
import tomllib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import Message

from headgate.exporter.errors import HeadInferenceError
from headgate.exporter.head_settings import (
    COMMON_FIELDS,
    KINDS,
    check_fields,
    check_kind,
    enum_names,
)
from headgate.exporter.inference import kinds_for
from headgate.v1 import Head, Signature
from headgate.v1.tensors import format_spec

#: `labels_file = "labels.txt"`: what a field holds stands in a file beside the heads.toml.
_FILE = "_file"
#: Kinds whose answers may hold intervals or sets of labels.
_WITH_LEVELS = ("regression", "quantile", "count", "mean_variance", "multiclass")


def read_heads(path: str | os.PathLike[str]) -> dict[str, dict[str, Any] | None]:
    """Read a heads.toml.

    Each table is named after an output and holds the fields of its head and of its kind, as head.proto spells them;
    `kind = "none"` leaves the output without a head. `<field>_file` names a file, relative to the heads.toml, with what
    the field holds: a text file with one entry a line, an .npy file with an array, or an .npz file with one for each
    field of a message (`prototypes_file`: `labels` and `vectors`).

    Returns:
        By output, what `export_model` takes as `heads`.

    Raises:
        HeadInferenceError: the file, or one that it names, cannot be read, or holds what no head has.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(_text_of(path))
    except (OSError, ValueError, RecursionError) as error:
        raise HeadInferenceError(f"'{path}' cannot be read: {error}") from error
    settings: dict[str, dict[str, Any] | None] = {}
    for output, table in tables.items():
        where = f"'{path}', table [{output}]"
        if not isinstance(table, dict):
            raise HeadInferenceError(f"'{path}': '{output}' is no table; write what output it is said of: [{output}]")
        kind = table.get("kind")
        if kind == "none":
            settings[output] = None
            continue
        if kind is not None:
            check_kind(where, kind)
        fields = _with_files(table, path.parent, where)
        check_fields(where, fields, kind)
        settings[output] = fields
    return settings


def _with_files(table: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    fields = {}
    for key, value in table.items():
        if isinstance(value, dict):
            value = _with_files(value, folder, f"{where}, {key}")
        name = key.removesuffix(_FILE)
        if name != key:
            if name in table:
                raise HeadInferenceError(f"{where}: there are both {name} and {key}; give one of them")
            value = _read(folder / str(value), f"{where}: {key}")
        fields[name] = value
    return fields


def _read(path: Path, where: str) -> Any:
    try:
        if path.suffix in (".npy", ".npz"):
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            with loaded:
                return dict(loaded)
        lines = _text_of(path).splitlines()
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise HeadInferenceError(f"{where} cannot be read: {error}") from error
    if not lines:
        raise HeadInferenceError(f"{where}: '{path}' is empty; write one entry a line")
    return lines


def _text_of(path: Path) -> str:
    # Some editors put a mark before the first character.
    return path.read_text(encoding="utf-8-sig")


def heads_text(model: str, signature: Signature, undecided: Mapping[str, str]) -> str:
    """Write the heads of a model as a heads.toml to start from.

    Args:
        model: the model's name.
        signature: its outputs and inferred heads.
        undecided: by output, why its meaning cannot be told; these get a kind that is to be filled in.
    """
    heads = {head.output: head for head in signature.heads}
    lines = [
        f"# What the outputs of '{model}' mean, for `headgate export ... --heads FILE`: one table an output, called as",
        "# Keras calls it. What is left out is inferred. All kinds and their fields are in docs/heads.md.",
    ]
    for spec in signature.outputs:
        lines += ["", f"[{json.dumps(spec.name)}]  # {format_spec(spec)}"]
        kinds = [*kinds_for(spec.shape), "none"]
        if spec.name in heads:
            lines += _table(heads[spec.name])
        else:
            # The question alone: what to say follows.
            lines += [f"# {undecided[spec.name].partition(';')[0]}"] if spec.name in undecided else []
            kind = "?" if spec.name in undecided else "none"
            lines += [f'kind = "{kind}"  # one of {", ".join(kinds)} (served raw)']
    return "\n".join([*lines, ""])


def _table(head: Head) -> Iterable[str]:
    kind = str(head.WhichOneof("kind"))
    message = getattr(head, kind)
    yield f'kind = "{kind}"'
    yield f"activation = {_value(COMMON_FIELDS['activation'], head.activation)}"
    for field, value in message.ListFields():
        yield f"{field.name} = {_value(field, value)}"
    unset = [name for name in KINDS[kind] if name not in {field.name for field, _ in message.ListFields()}]
    level = ["confidence_level"] * (kind in _WITH_LEVELS)
    yield f"# It can also have: {', '.join([*unset, *level, 'name', 'description'])}."


def _value(field: Any, value: Any) -> str:
    """Write a field's value as TOML does."""
    if field.is_repeated:
        return f"[{', '.join(_one(field, one) for one in value)}]"
    return _one(field, value)


def _one(field: Any, value: Any) -> str:
    if isinstance(value, Message):
        return f"{{ {', '.join(f'{inner.name} = {_value(inner, one)}' for inner, one in value.ListFields())} }}"
    if field.type == field.TYPE_ENUM:
        value = next(name for name, number in enum_names(field).items() if number == value)
    # Basic strings of TOML are JSON's, save that DEL is to be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
