"""ONNX models on the disk: one file, or two where the weights are too large for one."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

#: A protobuf message holds at most 2 GiB; this leaves room for the graph and the signature beside the weights.
SINGLE_FILE_BYTES = 2**31 - 2**26


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


def size_of(path: Path) -> int:
    """Return the bytes of an ONNX file and of the file of its weights, if it has one."""
    data = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


def count_nodes(path: Path) -> int:
    """Return the number of nodes of an ONNX file's graph."""
    import onnx

    return len(onnx.load(path, load_external_data=False).graph.node)
