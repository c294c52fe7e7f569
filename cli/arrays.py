"""Model inputs from files, from the command line and from stdin."""

import csv
import io
import json
import math
import os
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headgate.cli.errors import CommandError
from headgate.v1 import DataType, Signature, TensorSpec
from headgate.v1.tensors import number_kind

if TYPE_CHECKING:
    from headgate.client import Inputs

#: What numpy and zipfile raise for damaged and for crafted files.
_UNREADABLE = (ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_inputs(source: str, signature: Signature) -> "Inputs":
    """Read the inputs of a model.

    Args:
        source: JSON (an array, or an object of arrays or features), "-" for JSON on stdin, or the path of a .json,
            .npy, .npz or .csv file.
        signature: the model's; the first line of a .csv file may name its inputs, or its features, in any order.

    Raises:
        CommandError: the source is of none of these kinds, or cannot be read as what it claims to be.
        OSError: the file cannot be opened.

    >>> read_inputs("[[1, 2], [3, 4]]", Signature())
    [[1, 2], [3, 4]]
    """
    if source == "-":
        return _from_json(sys.stdin.read(), "stdin")
    if source.lstrip().startswith(("[", "{")):
        return _from_json(source, "--input")
    path = Path(source)
    match path.suffix.lower():
        case ".json":
            return _from_json(text_of(path), source)
        case ".npy" | ".npz":
            return read_arrays(path)
        case ".csv":
            return _from_csv(path, signature)
    raise CommandError(
        f"--input is '{source}'; give a .npy, .npz, .json or .csv file, JSON such as '[[1, 2]]', or - for JSON on stdin"
    )


def read_arrays(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """Read an .npy file (one array) or an .npz file (a dict of arrays; one array if it was saved without a name).

    Raises:
        CommandError: the file is no such file, or holds pickled objects.
        OSError: the file cannot be opened.
    """
    try:
        # numpy does not close what it opens where it is damaged.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            size = sum(entry.file_size for entry in loaded.zip.infolist())
            if size > _memory_bytes():
                raise CommandError(f"{path} holds {size:,} bytes, more than this machine has memory; give fewer rows")
            arrays: dict[str, NDArray[Any]] = dict(loaded)
    except _UNREADABLE as error:
        reason = str(error)
        if "pickle" in reason:
            reason = "it holds Python objects, or is no such file; save texts as array.astype(str)"
        raise CommandError(f"{path} cannot be read by numpy: {reason}") from error
    return arrays["arr_0"] if list(arrays) == ["arr_0"] else arrays


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read_named_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read an .npz file of arrays with names.

    Raises:
        CommandError: the file is none.
        OSError: the file cannot be opened.
    """
    arrays = read_arrays(path)
    if not isinstance(arrays, dict):
        raise CommandError(f"{path} holds one array without a name; give what numpy.savez(path, x=..., y=...) writes")
    return arrays


def read_examples(path: Path) -> Any:
    """Read examples for an export: what `read_arrays` reads, or a .csv file.

    Raises:
        CommandError: the file cannot be read as what its suffix says.
        OSError: it cannot be opened.
    """
    return read_columns(path) if path.suffix.lower() == ".csv" else read_arrays(path)


def _from_json(text: str, source: str) -> "Inputs":
    try:
        inputs: Inputs = json.loads(text)
        return inputs
    except json.JSONDecodeError as error:
        raise CommandError(f"{source} is no valid JSON: {error}") from error


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """Read a .csv file by columns, whose names are in the first line; those of numbers only are float64, others text.

    Raises:
        CommandError: the lines are of different lengths, or the first does not name the columns.
        OSError: the file cannot be opened.
    """
    header, *lines = _csv_lines(path)
    if len(set(header)) != len(header) or all(map(_is_number, header)):
        raise CommandError(f"the first line of {path} must name the columns, each differently")
    columns = {}
    for name, *cells in zip(header, *lines, strict=True):
        array = np.array(cells, object)
        columns[name] = array.astype(np.float64) if all(map(_is_number, cells)) else array
    return columns


def _csv_lines(path: Path) -> list[list[str]]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text_of(path), newline="")) if line]
    except csv.Error as error:
        raise CommandError(f"{path} is no .csv file: {error}") from error
    widths = {len(line) for line in lines}
    if len(widths) != 1:
        raise CommandError(f"{path} must have the same number of columns in each line, it has {sorted(widths)}")
    return lines


def text_of(path: Path) -> str:
    """Read a text file.

    Raises:
        CommandError: it is no text in UTF-8.
        OSError: it cannot be opened.
    """
    try:
        # Spreadsheets and some editors put a mark before the first character.
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is no text in UTF-8: {error}") from error


def _from_csv(path: Path, signature: Signature) -> "Inputs":
    lines, specs = _csv_lines(path), signature.inputs
    header = lines[0]
    if sorted(header) == sorted(spec.name for spec in specs):
        columns = {name: [[cell] for cell in cells] for name, *cells in zip(*lines, strict=True)}
        return {spec.name: _from_cells(columns[spec.name], spec, path) for spec in specs}
    if len(specs) != 1:
        names = ",".join(spec.name for spec in specs)
        raise CommandError(f"the model has {len(specs)} inputs: the first line of {path} must name them: {names}")
    [spec] = specs
    features = [name for meaning in signature.input_meanings for name in meaning.tabular.feature_names]
    if features and sorted(header) == sorted(features):
        order = [header.index(name) for name in features]
        return _from_cells([[line[column] for column in order] for line in lines[1:]], spec, path)
    has_header = spec.datatype != DataType.DATA_TYPE_STRING and not all(map(_is_number, header))
    if features and (has_header or not set(header).isdisjoint(features)):
        raise CommandError(f"{path} has the columns {', '.join(header)}; the model takes {', '.join(features)}")
    return _from_cells(lines[1:] if has_header else lines, spec, path)


def _from_cells(cells: list[list[str]], spec: TensorSpec, path: Path) -> NDArray[Any]:
    """Make an array of lines of text, in the input's shape where the columns fill it, else [lines, columns]."""
    array = np.array(cells)
    kind = number_kind(spec.datatype)
    if kind != "O":
        try:
            array = array.astype(np.float64 if kind == "f" else np.int64)
        except ValueError as error:
            raise CommandError(f"{path}, input '{spec.name}': {error}") from error
    row = spec.shape[1:]
    return (
        array.reshape(-1, *row)
        if array.size and math.prod(row) == array.shape[1] and min(row, default=1) > 0
        else array
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
