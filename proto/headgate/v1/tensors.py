"""numpy arrays to `Tensor` messages, and the names of their element types."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from headgate.v1.tensor_pb2 import DataType, Tensor, TensorSpec

#: bfloat16 as it lies in memory. numpy has no such type, and computes nothing with these: see `convert` and `widened`.
BFLOAT16 = np.dtype("V2")
#: The numpy type of each DataType. Strings are object arrays of `str`.
NUMPY_DTYPES: dict[DataType, np.dtype[Any]] = {
    DataType.DATA_TYPE_BOOL: np.dtype(np.bool_),
    DataType.DATA_TYPE_UINT8: np.dtype("<u1"),
    DataType.DATA_TYPE_UINT16: np.dtype("<u2"),
    DataType.DATA_TYPE_UINT32: np.dtype("<u4"),
    DataType.DATA_TYPE_UINT64: np.dtype("<u8"),
    DataType.DATA_TYPE_INT8: np.dtype("<i1"),
    DataType.DATA_TYPE_INT16: np.dtype("<i2"),
    DataType.DATA_TYPE_INT32: np.dtype("<i4"),
    DataType.DATA_TYPE_INT64: np.dtype("<i8"),
    DataType.DATA_TYPE_FP16: np.dtype("<f2"),
    DataType.DATA_TYPE_FP32: np.dtype("<f4"),
    DataType.DATA_TYPE_FP64: np.dtype("<f8"),
    DataType.DATA_TYPE_STRING: np.dtype(object),
    DataType.DATA_TYPE_BF16: BFLOAT16,
}
_DATA_TYPES = {dtype: data_type for data_type, dtype in NUMPY_DTYPES.items()}


def data_type_of(dtype: DTypeLike) -> DataType:
    """Return the DataType of a numpy type; text and bytes types of any width are DATA_TYPE_STRING.

    Raises:
        ValueError: numpy's type has no counterpart (complex numbers, dates, records).

    >>> data_type_name(data_type_of("float32"))
    'FP32'
    """
    dtype = np.dtype(dtype)
    if dtype.kind in "SUTO":
        return DataType.DATA_TYPE_STRING
    data_type = _DATA_TYPES.get(dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype)
    if data_type is None:
        raise ValueError(f"arrays of {dtype} cannot be sent; convert to a bool, integer, float or string type")
    return data_type


def number_kind(data_type: DataType) -> str:
    """Return the kind of numpy's types that the elements of a DataType are: "b", "i", "u", "f", or "O" for text.

    >>> number_kind(DataType.DATA_TYPE_BF16)
    'f'
    """
    return "f" if data_type == DataType.DATA_TYPE_BF16 else NUMPY_DTYPES[data_type].kind


def data_type_name(data_type: DataType) -> str:
    """Return the short name of a DataType, as the Open Inference Protocol spells it (but STRING for its BYTES).

    >>> data_type_name(DataType.DATA_TYPE_INT64)
    'INT64'
    """
    return DataType.Name(data_type).removeprefix("DATA_TYPE_")


def format_shape(shape: Sequence[int]) -> str:
    """Write a shape for people: the first dimension is the batch, -1 is any size.

    >>> format_shape([-1, 8, 8, 1])
    '[batch,8,8,1]'
    >>> format_shape([3, -1])
    '[3,any]'
    """
    names = ["any" if size < 0 else str(size) for size in shape]
    if shape and shape[0] < 0:
        names[0] = "batch"
    return f"[{','.join(names)}]"


def format_spec(spec: TensorSpec) -> str:
    """Write a tensor's type and shape for people: `FP32 [batch,8,8,1]`."""
    return f"{data_type_name(spec.datatype)} {format_shape(spec.shape)}"


def text_array(elements: Iterable[Any]) -> NDArray[np.object_]:
    """Make an object array [elements], which numpy itself would try to make an array of its elements of."""
    listed = list(elements)
    array = np.empty(len(listed), object)
    array[:] = listed
    return array


def convert(array: NDArray[Any], dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Convert numbers to another type; tell which of them it cannot hold.

    Rounding to a shorter float type is no loss; overflow, a fraction for an integer and a changed sign are.

    >>> converted, lost = convert(np.array([1.0, 1.5, -1.0]), "uint8")
    >>> lost.tolist()
    [False, True, True]
    >>> converted, lost = convert(np.array([1.0, 3.14159, 1e39]), BFLOAT16)
    >>> widened(converted).tolist(), lost.tolist()
    ([1.0, 3.140625, inf], [False, False, True])
    """
    with np.errstate(all="ignore"):
        converted = _to_bfloat16(array.astype(np.float32)) if dtype == BFLOAT16 else array.astype(dtype)
        held = widened(converted)
        lost: NDArray[np.bool_] = np.isinf(held) != np.isinf(array)
        if not array.dtype.kind == held.dtype.kind == "f":
            # Integers that wrap around come back the same, but with another sign.
            lost |= (held.astype(array.dtype) != array) | ((held < 0) != (array < 0))
    return converted, lost


def widened(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of bfloat16 (see `_is_bfloat16`) as float32, which holds all its values; any other as it is."""
    if not _is_bfloat16(array.dtype):
        return array
    wide: NDArray[np.float32] = (array.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return wide


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether it is BFLOAT16, or that of the package ml_dtypes, which only those have who have such arrays."""
    return dtype.kind == "V" and (dtype == BFLOAT16 or dtype.name == "bfloat16")


def _to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.void]:
    """Round to the nearest, as IEEE 754 does: of two equally near the one whose last bit is 0."""
    bits = array.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    # The bits that make a NaN may all be in the half that goes.
    halves = np.where(np.isnan(array), bits >> 16 | 0x40, rounded)
    return halves.astype("<u2").view(BFLOAT16)


def tensor_from_numpy(array: ArrayLike, name: str = "") -> Tensor:
    """Make a Tensor of an array of any shape and of a bool, integer, float or string type.

    Numbers travel as raw little-endian bytes, text (and bytes, which have to be UTF-8) as `strings`. An array of
    `BFLOAT16`, or of the bfloat16 of the package ml_dtypes, makes a tensor of DATA_TYPE_BF16.

    Raises:
        ValueError: the array's type cannot be sent.

    >>> tensor = tensor_from_numpy(np.zeros((2, 3), "float32"), "image")
    >>> list(tensor.shape), len(tensor.raw)
    ([2, 3], 24)
    """
    array = np.asarray(array)
    if _is_bfloat16(array.dtype):
        array = array.view(BFLOAT16)
    data_type = data_type_of(array.dtype)
    tensor = Tensor(name=name, datatype=data_type, shape=array.shape)
    if data_type != DataType.DATA_TYPE_STRING:
        tensor.raw = np.ascontiguousarray(array, NUMPY_DTYPES[data_type]).tobytes()
        return tensor
    for element in array.ravel().tolist():
        if isinstance(element, str):
            tensor.strings.append(element)
        elif isinstance(element, bytes):
            tensor.strings.append(_decode(element))
        else:
            raise ValueError(f"an array of objects can only hold text, this one holds {type(element).__name__}")
    return tensor


def numpy_from_tensor(tensor: Tensor) -> NDArray[Any]:
    """Read a Tensor that `tensor_from_numpy` made: of raw elements, or of text. One of DATA_TYPE_BF16 is made float32.

    Raises:
        ValueError: it has a type that is not known, or other elements than its shape says.

    >>> numpy_from_tensor(tensor_from_numpy([[1, 2, 3]])).tolist()
    [[1, 2, 3]]
    """
    dtype = NUMPY_DTYPES.get(tensor.datatype)
    if dtype is None:
        raise ValueError(f"tensor '{tensor.name}' is of the type {tensor.datatype}, which is not known")
    is_text = tensor.datatype == DataType.DATA_TYPE_STRING
    size = len(tensor.strings) if is_text else len(tensor.raw) / dtype.itemsize
    if size != math.prod(tensor.shape) or min(tensor.shape, default=0) < 0:
        raise ValueError(f"tensor '{tensor.name}' of shape {format_shape(tensor.shape)} has {size:g} elements")
    elements = text_array(tensor.strings) if is_text else widened(np.frombuffer(tensor.raw, dtype))
    return elements.reshape(tensor.shape)


def _decode(element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise ValueError(f"text travels as UTF-8, which {element[:40]!r} is not") from None
