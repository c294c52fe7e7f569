"""Fourier transforms, as products with constant matrices, and complex numbers as far as these need them.

A complex tensor becomes a real one with one more axis in front: the real part, then the imaginary part.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.conversion.handlers.nodes import add, cast, constant, has_type, replace

#: A real and an imaginary part; empty where that is zero.
Parts = tuple[str, str]


def transform(ctx: Any, node: Any, *, axes: int, inverse: bool, **_: Any) -> None:
    """Map FFT and IFFT along the last one or two axes."""
    parts = _parts(ctx, node.input[0])
    for axis in range(-axes, 0):
        length = _length(ctx, parts[0], axis)
        if length < 0:
            raise ValueError("the Fourier transform of a signal of free length")
        parts = _multiply(ctx, parts, axis, _waves(length, inverse))
    _replace_complex(ctx, node, parts)


def real_transform(ctx: Any, node: Any, *, axes: int, **_: Any) -> None:
    """Map RFFT along the last one or two axes, of signals cut or filled up with zeros to `fft_length`."""
    lengths = _fft_lengths(node)
    waves = _waves(lengths[-1], inverse=False)[:, : lengths[-1] // 2 + 1]
    parts = _multiply(ctx, (node.input[0], ""), -1, waves)
    for axis in range(-axes, -1):
        parts = _multiply(ctx, parts, axis, _waves(lengths[axis], inverse=False))
    _replace_complex(ctx, node, parts)


def real_inverse(ctx: Any, node: Any, *, axes: int, **_: Any) -> None:
    """Map IRFFT along the last one or two axes, of frequencies cut or filled up with zeros to fit `fft_length`."""
    lengths = _fft_lengths(node)
    parts = _parts(ctx, node.input[0])
    for axis in range(-axes, -1):
        parts = _multiply(ctx, parts, axis, _waves(lengths[axis], inverse=True))
    frequencies = np.arange(lengths[-1] // 2 + 1)
    # All but the lowest and, of even lengths, the highest stand for two frequencies, conjugates of each other.
    shares = np.where(2 * frequencies % lengths[-1] == 0, 1, 2)
    waves = shares[:, None] * _waves(lengths[-1], inverse=True)[: len(frequencies)]
    replace(ctx, node, _multiply(ctx, parts, -1, waves)[0])


def complex_number(ctx: Any, node: Any, **_: Any) -> None:
    """Map Complex."""
    _replace_complex(ctx, node, (node.input[0], node.input[1]))


def part(ctx: Any, node: Any, *, index: int, **_: Any) -> None:
    """Map Real and Imag."""
    replace(ctx, node, _part(ctx, node.input[0], index))


def magnitude(ctx: Any, node: Any, **_: Any) -> None:
    """Map ComplexAbs."""
    squares = add(ctx, "Mul", node.input[0], node.input[0])
    replace(ctx, node, add(ctx, "Sqrt", add(ctx, "ReduceSum", squares, constant(ctx, np.array([0])), keepdims=0)))


def _fft_lengths(node: Any) -> list[int]:
    if not node.inputs[1].is_const():
        raise ValueError("the Fourier transform of a signal of free length")
    return list(node.inputs[1].get_tensor_value())


def _length(ctx: Any, tensor: str, axis: int) -> int:
    shape = ctx.get_shape(tensor)
    return int(shape[axis]) if shape else -1


def _waves(length: int, inverse: bool) -> NDArray[np.complex128]:
    """Return the matrix of the transform: exp(-2 pi i j k / n), or its inverse."""
    return np.fft.ifft(np.eye(length)) if inverse else np.fft.fft(np.eye(length))


def _multiply(ctx: Any, parts: Parts, axis: int, matrix: NDArray[np.complex128]) -> Parts:
    """Multiply complex numbers with a matrix along an axis, which is cut or filled up with zeros to fit it."""
    real, imaginary = (one and _last(ctx, one, axis) for one in parts)
    length = _length(ctx, parts[0], axis)
    if length < 0:
        real, imaginary = (one and _resize(ctx, one, len(matrix)) for one in (real, imaginary))
    else:
        missing = max(length - len(matrix), 0)
        matrix = np.pad(matrix, ((0, missing), (0, 0)))[:length]
    dtype = np.float64 if has_type(ctx, parts[0], "DOUBLE") else np.float32
    cosines, sines = (constant(ctx, half.astype(dtype)) for half in (matrix.real, matrix.imag))
    products = [add(ctx, "MatMul", real, half) for half in (cosines, sines)]
    if imaginary:
        products[0] = add(ctx, "Sub", products[0], add(ctx, "MatMul", imaginary, sines))
        products[1] = add(ctx, "Add", products[1], add(ctx, "MatMul", imaginary, cosines))
    return _last(ctx, products[0], axis), _last(ctx, products[1], axis)


def _resize(ctx: Any, tensor: str, length: int) -> str:
    zeros = [0] * (2 * ctx.get_rank(tensor) - 1)
    filled = add(ctx, "Pad", tensor, constant(ctx, np.array([*zeros, length])))
    limits = [constant(ctx, np.array([limit])) for limit in (0, length, -1)]
    return str(add(ctx, "Slice", filled, *limits))


def _last(ctx: Any, tensor: str, axis: int) -> str:
    """Exchange an axis and the last one."""
    if axis == -1:
        return tensor
    order = list(range(ctx.get_rank(tensor)))
    order[axis], order[-1] = order[-1], order[axis]
    return str(add(ctx, "Transpose", tensor, perm=order))


def _parts(ctx: Any, tensor: str) -> Parts:
    source = ctx.get_node_by_output(tensor)
    if source.type == "Cast":
        return cast(ctx, source.input[0], "DOUBLE" if has_type(ctx, tensor, "COMPLEX128") else "FLOAT"), ""
    return _part(ctx, tensor, 0), _part(ctx, tensor, 1)


def _part(ctx: Any, tensor: str, index: int) -> str:
    return str(add(ctx, "Gather", tensor, constant(ctx, np.array(index)), axis=0))


def _replace_complex(ctx: Any, node: Any, parts: Parts) -> None:
    for user in ctx.find_output_consumers(node.output[0]):
        if user.type not in HANDLERS:
            raise ValueError(f"{user.type} of complex numbers")
    output = node.output[0]
    first = constant(ctx, np.array([0]))
    replace(ctx, node, add(ctx, "Concat", *[add(ctx, "Unsqueeze", one, first) for one in parts], axis=0))
    # What TensorFlow said of complex numbers.
    ctx.set_dtype(output, ctx.get_dtype(parts[0]))
    shape = ctx.get_shape(output)
    ctx.set_shape(output, shape and [2, *shape])


HANDLERS = {
    "Complex": complex_number,
    "ComplexAbs": magnitude,
    "FFT": functools.partial(transform, axes=1, inverse=False),
    "FFT2D": functools.partial(transform, axes=2, inverse=False),
    "IFFT": functools.partial(transform, axes=1, inverse=True),
    "IFFT2D": functools.partial(transform, axes=2, inverse=True),
    "IRFFT": functools.partial(real_inverse, axes=1),
    "IRFFT2D": functools.partial(real_inverse, axes=2),
    "Imag": functools.partial(part, index=1),
    "RFFT": functools.partial(real_transform, axes=1),
    "RFFT2D": functools.partial(real_transform, axes=2),
    "Real": functools.partial(part, index=0),
}
