"""ONNX models on the disk: one file, or two where the weights are too large for one."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from headgate.exporter.errors import MissingDependencyError, ModelLoadError

if TYPE_CHECKING:
    import onnx

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

#: A protobuf message holds at most 2 GiB; this leaves room for the graph and the signature beside the weights.
SINGLE_FILE_BYTES = 2**31 - 2**26
#: Copied at a time.
_CHUNK_BYTES = 2**20


def write_model(model: "onnx.ModelProto", folder: Path, single_file_bytes: int = SINGLE_FILE_BYTES) -> Path:
    """Write `model.onnx`, and `model.onnx.data` beside it if the weights take more than `single_file_bytes`.

    Args:
        model: its weights are gone from it where they were written to a file of their own.
        folder: holds neither of the two files.
        single_file_bytes: up to so many bytes of weights stay in the model's own file.

    Returns:
        the path of `model.onnx`.

    Raises:
        OSError: the disk refuses.
    """
    import onnx

    path = folder / MODEL_FILE
    if weight_bytes(model) > single_file_bytes:
        onnx.save_model(model, path, save_as_external_data=True, location=DATA_FILE)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def weight_bytes(model: "onnx.ModelProto") -> int:
    """Return how many bytes the initializers of a model's graph take."""
    import onnx

    # Protobuf's own ByteSize() would make the whole message to measure it.
    return sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
        if tensor.data_type != onnx.TensorProto.STRING
    )


def add_metadata(path: Path, key: str, value: str) -> None:
    """Add an entry to the `metadata_props` of an ONNX file, without reading or writing its weights.

    Two serialised messages, one after the other, are the two merged: repeated fields such as this one are joined
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    """
    import onnx

    addition = onnx.ModelProto()
    addition.metadata_props.add(key=key, value=value)
    with path.open("ab") as file:
        file.write(addition.SerializeToString())


def read_metadata(path: Path, key: str) -> str | None:
    """Return an entry of the `metadata_props` of an ONNX file, None where there is none, without reading its weights.

    Raises:
        MissingDependencyError: there is no onnx.
        ModelLoadError: it is no ONNX file.
        OSError: it cannot be opened.
    """
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "reading the metadata of ONNX files needs onnx, which is not installed: pip install 'headgate[evaluate]'"
        ) from error
    with path.open("rb") as file:
        values = [value for field in _fields(file) if (value := _metadata(file, field, key)) is not None]
    return values[-1] if values else None


def copy_with_metadata(path: Path, target: Path, key: str, value: str) -> None:
    """Copy an ONNX file with another value for one of its `metadata_props`; all else stays byte for byte the same.

    Raises:
        ModelLoadError: it is no ONNX file.
        OSError: the disk refuses.
    """
    with path.open("rb") as file, target.open("wb") as copy:
        kept = [field for field in _fields(file) if _metadata(file, field, key) is None]
        for field in kept:
            file.seek(field.start)
            _copy_bytes(file, copy, field.stop - field.start)
    add_metadata(target, key, value)


class _Field(NamedTuple):
    """Where a field of the outermost message is in a file: its key, its content, its end."""

    number: int
    start: int
    content: int
    stop: int


def _fields(file: BinaryIO) -> Iterator[_Field]:
    """Yield the fields of the message that a file holds (https://protobuf.dev/programming-guides/encoding/)."""
    end = file.seek(0, 2)
    stop = 0
    while stop < end:
        start = file.seek(stop)
        key = _varint(file)
        match key & 7:
            case 0:
                content = file.tell()
                _varint(file)
                stop = file.tell()
            case 1 | 5 as wire_type:
                content = file.tell()
                stop = content + (8 if wire_type == 1 else 4)
            case 2:
                size = _varint(file)
                content = file.tell()
                stop = content + size
            case _:
                raise ModelLoadError(f"{file.name} is no ONNX file")
        if stop > end:
            raise ModelLoadError(f"{file.name} is no ONNX file, or only a part of one")
        yield _Field(key >> 3, start, content, stop)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ModelLoadError(f"{file.name} is no ONNX file")


def _metadata(file: BinaryIO, field: _Field, key: str) -> str | None:
    """Return the value of a field of the outermost message, if it is the entry of `metadata_props` with this key."""
    import onnx
    from google.protobuf.message import DecodeError

    if field.number != onnx.ModelProto.METADATA_PROPS_FIELD_NUMBER:
        return None
    file.seek(field.content)
    try:
        entry = onnx.StringStringEntryProto.FromString(file.read(field.stop - field.content))
    except DecodeError as error:
        raise ModelLoadError(f"{file.name} is no ONNX file") from error
    return entry.value if entry.key == key else None


def _copy_bytes(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size:
        chunk = source.read(min(size, _CHUNK_BYTES))
        if not chunk:
            raise OSError(f"{source.name} became shorter while it was read")
        target.write(chunk)
        size -= len(chunk)


def size_of(path: Path) -> int:
    """Return the bytes of an ONNX file and of the file of its weights, if it has one."""
    data = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


def count_nodes(path: Path) -> int:
    """Return the number of nodes of an ONNX file's graph."""
    import onnx

    return len(onnx.load(path, load_external_data=False).graph.node)
