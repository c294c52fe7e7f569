"""Weights in files of their own: an ONNX file names them, and must not name what lies outside of its folder.

onnxruntime 1.20 reads whatever file is named.
"""

import mmap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from headgate.server.errors import StartupError

#: Where ONNX files have tensors (https://github.com/onnx/onnx/blob/main/onnx/onnx.in.proto): by message the fields that
#: are messages, and their numbers.
_MESSAGES: dict[str, dict[str, tuple[int, ...]]] = {
    "Model": {"Graph": (7,), "Function": (25,)},
    "Graph": {"Node": (1,), "Tensor": (5,), "SparseTensor": (15,)},
    "Function": {"Node": (7,)},
    "Node": {"Attribute": (5,)},
    "Attribute": {"Tensor": (5, 10), "Graph": (6, 11), "SparseTensor": (22, 23)},
    "SparseTensor": {"Tensor": (1, 2)},
    "Tensor": {"Entry": (13,)},
}


def check_external_data(path: Path) -> None:
    """Refuse an ONNX file whose weights are to be read from outside of its folder.

    Raises:
        StartupError: they are, or the file is damaged.
    """
    folder = path.resolve().parent
    for location in _locations(path):
        file = folder / location
        if not file.is_file() or not file.resolve().is_relative_to(folder):
            raise StartupError(
                f"{path} has weights in '{location}', which is no file in its folder; put that file beside the model"
            )


def _locations(path: Path) -> Iterator[str]:
    # onnxruntime says what is wrong with files that are missing or empty.
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # The key that every entry has: most files have none, and are not read twice.
        if content.find(b"location") < 0:
            return
        try:
            model = _model_class().FromString(content[:])
        except DecodeError as error:
            raise StartupError(f"{path} is no ONNX file: {error}") from error
    yield from _found(model)


def _found(message: Any) -> Iterator[str]:
    for field, values in message.ListFields():
        if field.message_type is None:
            continue
        for value in values:
            if field.message_type.name != "Entry":
                yield from _found(value)
            elif value.key == b"location":
                yield value.value.decode(errors="replace")


@cache
def _model_class() -> Any:
    """Make the class of ONNX files, in a pool of its own: the process may have onnx, too."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="external_data.proto", package="headgate.onnx", syntax="proto3")
    entry = file.message_type.add(name="Entry")
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for kind, numbers in fields.items():
            for number in numbers:
                # Repeated, all of them: what is given twice is one message for some readers, the last for others.
                message.field.add(
                    name=f"field_{number}",
                    number=number,
                    type=field.TYPE_MESSAGE,
                    type_name=f".headgate.onnx.{kind}",
                    label=field.LABEL_REPEATED,
                )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("headgate.onnx.Model"))
