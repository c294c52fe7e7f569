"""Resized images: nearest pixels as Gather, bilinear as Resize, all other kernels as two products with matrices.

Images are [batch, height, width, channels], sizes (height, width). Resizing is linear in the pixels, and goes along one
axis after the other; so a matrix for each says all of it. Where the sizes are known TensorFlow itself makes the matrix,
out of the identity; where the images' size is free, the graph computes it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.conversion.handlers.arithmetic import Real
from headgate.exporter.conversion.handlers.nodes import add, cast, constant, replace


def nearest(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map ResizeNearestNeighbor, rounding as TensorFlow does: onnxruntime may take the pixel beside it."""
    if not node.get_attr_value("half_pixel_centers"):
        _tf2onnx(ctx, node, **keywords)
        return
    image = node.input[0]
    for dimension in (1, 2):
        axis = _Axis(ctx, node, dimension)
        if axis.is_static:
            pixels = constant(ctx, axis.matrix().argmax(1))
        else:
            middles = axis.pixels(axis.after()) + 0.5
            last = axis.before() - 1
            lower = (middles * (axis.before() / axis.after())).apply("Floor").apply("Min", last)
            pixels = cast(ctx, lower.tensor, "INT64")
        image = add(ctx, "Gather", image, pixels, axis=dimension)
    replace(ctx, node, image)


def bilinear(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map ResizeBilinear by sizes: tf2onnx gives scales, and their rounding may lose a row of pixels."""
    if not node.get_attr_value("half_pixel_centers"):
        _tf2onnx(ctx, node, **keywords)
        return
    if _known(ctx, node.input[0], node.input[1]) is None:
        # ONNX's checker does not follow computed sizes.
        by_matrices(ctx, node)
        return
    image = _channels_first(ctx, node)
    untouched = add(ctx, "Slice", add(ctx, "Shape", image), *[constant(ctx, np.array([end])) for end in (0, 2)])
    sizes = add(ctx, "Concat", untouched, cast(ctx, node.input[1], "INT64"), axis=0)
    nothing = constant(ctx, np.array([], np.float32))
    centers = "half_pixel"
    image = add(ctx, "Resize", image, nothing, nothing, sizes, mode="linear", coordinate_transformation_mode=centers)
    replace(ctx, node, add(ctx, "Transpose", image, perm=[0, 2, 3, 1]))


def by_matrices(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map ResizeArea, ResizeBicubic and ScaleAndTranslate."""
    if node.type == "ResizeBicubic" and not node.get_attr_value("half_pixel_centers"):
        _tf2onnx(ctx, node, **keywords)
        return
    image = _channels_first(ctx, node)
    for dimension in (1, 2):
        axis = _Axis(ctx, node, dimension)
        matrix = constant(ctx, axis.matrix()) if axis.is_static else _WEIGHTS[node.type](axis).tensor
        if dimension == 1:
            image = add(ctx, "MatMul", matrix, image)
        else:
            image = add(ctx, "MatMul", image, add(ctx, "Transpose", matrix, perm=[1, 0]))
    replace(ctx, node, add(ctx, "Transpose", image, perm=[0, 2, 3, 1]))


class _Axis:
    """The height or the width of images that a node resizes."""

    def __init__(self, ctx: Any, node: Any, dimension: int) -> None:
        self.node = node
        self._ctx, self._dimension = ctx, dimension
        shape = ctx.get_shape(node.input[0])
        self._before = shape[dimension] if shape else -1
        self._arguments = [_known(ctx, node.input[0], tensor) for tensor in node.input[1:]]
        self.is_static = self._before >= 0 and all(argument is not None for argument in self._arguments)

    def matrix(self) -> NDArray[np.float32]:
        """Return the share of each pixel before in each pixel after, [after, before], as TensorFlow computes it."""
        import tensorflow as tf

        attributes = {name: self.node.get_attr_value(name) for name in _ATTRIBUTES[self.node.type]}
        attributes = {name: bool(value) if isinstance(value, int) else value for name, value in attributes.items()}
        size, *others = (argument[self._dimension - 1] for argument in self._arguments)
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            # One column of pixels, each of which has a channel of its own.
            arguments = {"images": np.eye(self._before, dtype=np.float32)[None, :, None, :], "size": [size, 1]}
            arguments |= {name: [value, same] for (name, same), value in zip(_MAPPING.items(), others, strict=False)}
            [column] = session.run(getattr(tf.raw_ops, self.node.type)(**arguments, **attributes))
        matrix: NDArray[np.float32] = column[:, 0]
        return matrix

    def before(self) -> Real:
        """Return the number of pixels before, a scalar."""
        return self._element(add(self._ctx, "Shape", self.node.input[0]), self._dimension)

    def after(self) -> Real:
        """Return the number of pixels after, a scalar."""
        return self.argument(1)

    def argument(self, index: int) -> Real:
        """Return what one of the node's inputs says of this axis, a scalar."""
        return self._element(self.node.input[index], self._dimension - 1)

    def _element(self, vector: str, index: int) -> Real:
        element = add(self._ctx, "Gather", vector, constant(self._ctx, np.array(index)))
        return Real(self._ctx, cast(self._ctx, element, "FLOAT"))

    def pixels(self, count: Real) -> Real:
        """Return the numbers of this many pixels, [count]."""
        zero, one = (constant(self._ctx, np.array(number, np.float32)) for number in (0, 1))
        return Real(self._ctx, add(self._ctx, "Range", zero, count.tensor, one))


def _known(ctx: Any, image: str, tensor: str) -> Any:
    """Return the value of a tensor that follows from constants and the sizes of the image, else None."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    node = ctx.get_node_by_output(tensor)
    if node.is_const():
        return node.get_tensor_value(as_list=False)
    if node.type == "Shape" and node.input[0] == image:
        return np.array(ctx.get_shape(image))
    if node.type not in ("Cast", "Div", "Slice", "Squeeze"):
        return None
    inputs = {name: _known(ctx, image, name) for name in node.input}
    if any(value is None for value in inputs.values()):
        return None
    plain = onnx.helper.make_node(node.type, node.input, node.output)
    plain.attribute.extend(node.get_onnx_attrs().values())
    return ReferenceEvaluator(plain).run(None, inputs)[0]


def _area(axis: _Axis) -> Real:
    """Return how much of each pixel after, [after, 1], lies in each pixel before."""
    if axis.node.get_attr_value("align_corners"):
        raise ValueError("images of any size cannot be resized by area with aligned corners")
    scale = axis.before() / axis.after()
    before = axis.pixels(axis.before())
    start = axis.pixels(axis.after()).unsqueeze(1) * scale
    overlap = (start + scale).apply("Min", before + 1) - start.apply("Max", before)
    return overlap.apply("Relu") / scale


def _bilinear(axis: _Axis) -> Real:
    return _shares(_triangle(_distances(axis, _middle(axis))))


def _bicubic(axis: _Axis) -> Real:
    middle = _middle(axis)
    whole = middle.apply("Floor")
    # TensorFlow looks the kernel up in a table of 1024 steps a pixel.
    middle = whole + ((middle - whole) * 1024).apply("Round") / 1024
    return _shares(_keys_cubic(_distances(axis, middle)))


def _scale_and_translate(axis: _Axis) -> Real:
    kernel = _KERNELS.get(axis.node.get_attr_str("kernel_type"))
    if kernel is None:
        raise ValueError(f"images of any size cannot be resized with kernel {axis.node.get_attr_str('kernel_type')}")
    scale, translation = axis.argument(2), axis.argument(3)
    middle = (axis.pixels(axis.after()) + 0.5 - translation) / scale - 0.5
    distances = _distances(axis, middle)
    if axis.node.get_attr_value("antialias"):
        distances = distances * scale.apply("Min", 1.0)
    return _shares(kernel(distances))


def _middle(axis: _Axis) -> Real:
    """Return where the middle of each pixel after lies among the pixels before, [after]."""
    return (axis.pixels(axis.after()) + 0.5) * (axis.before() / axis.after()) - 0.5


def _distances(axis: _Axis, middle: Real) -> Real:
    return (axis.pixels(axis.before()) - middle.unsqueeze(1)).apply("Abs")


def _shares(weights: Real) -> Real:
    return weights / weights.sum(1)


def _triangle(x: Real) -> Real:
    return (x * -1 + 1).apply("Relu")


def _keys_cubic(x: Real) -> Real:
    """Return Keys' kernel with a = -0.5 (https://doi.org/10.1109/TASSP.1981.1163711)."""
    near = (x * 1.5 - 2.5) * x * x + 1
    far = ((x * -0.5 + 2.5) * x - 4) * x + 2
    return near.where(x.less(1), far.where(x.less(2), 0))


def _lanczos(x: Real, *, radius: float) -> Real:
    """Return sinc(x) sinc(x / radius), 1 close to zero."""
    angle = x * math.pi
    product = angle.apply("Sin") * (angle / radius).apply("Sin") * radius / (angle * angle)
    limited = product.where(x.less(radius), 0)
    return Real.where(x * 0 + 1, x.less(1e-3), limited)


def _channels_first(ctx: Any, node: Any) -> str:
    return str(add(ctx, "Transpose", cast(ctx, node.input[0], "FLOAT"), perm=[0, 3, 1, 2]))


def _tf2onnx(ctx: Any, node: Any, **keywords: Any) -> None:
    from tf2onnx.onnx_opset.nn import Resize

    Resize.version_11(ctx, node, **keywords)


#: The other inputs of ScaleAndTranslate, and what they are for an axis that remains as it is.
_MAPPING = {"scale": 1.0, "translation": 0.0}
_ATTRIBUTES = {
    "ResizeNearestNeighbor": ("half_pixel_centers",),
    "ResizeArea": ("align_corners",),
    "ResizeBicubic": ("half_pixel_centers",),
    "ScaleAndTranslate": ("kernel_type", "antialias"),
}
_WEIGHTS = {
    "ResizeArea": _area,
    "ResizeBicubic": _bicubic,
    "ResizeBilinear": _bilinear,
    "ScaleAndTranslate": _scale_and_translate,
}
_KERNELS: dict[str, Callable[[Real], Real]] = {
    "triangle": _triangle,
    "keyscubic": _keys_cubic,
    "lanczos3": functools.partial(_lanczos, radius=3.0),
    "lanczos5": functools.partial(_lanczos, radius=5.0),
}
HANDLERS = {
    "ResizeArea": by_matrices,
    "ResizeBicubic": by_matrices,
    "ResizeBilinear": bilinear,
    "ResizeNearestNeighbor": nearest,
    "ScaleAndTranslate": by_matrices,
}
