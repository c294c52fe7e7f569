"""Convolutions that tf2onnx maps without their groups, their output padding or their size."""

from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.nodes import constant


def transposed(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map Conv2DBackpropInput and Conv3DBackpropInputV2; what tf2onnx writes as negative pads is output padding."""
    from tf2onnx.onnx_opset.nn import ConvTranspose

    sizes = ctx.get_shape(node.output[0])
    if sizes and all(size >= 0 for size in sizes[1:]):
        # Computed with the size of the batch, which is all that is not known of it, and does not matter.
        ctx.replace_input(node, node.input[0], constant(ctx, np.array([1, *sizes[1:]], np.int32)), 0)
    ConvTranspose.version_11(ctx, node, **keywords)
    pads = node.get_attr_value("pads")
    if pads:
        befores, afters = pads[: len(pads) // 2], pads[len(pads) // 2 :]
        missing = [max(-before - after, 0) for before, after in zip(befores, afters, strict=True)]
        node.set_attr("output_padding", missing)
        node.set_attr("pads", [max(pad, 0) for pad in pads])


def in_three_dimensions(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map Conv3D with its groups, which TensorFlow tells from the kernel having fewer channels than the input."""
    from tf2onnx.onnx_opset.nn import ConvOp

    shape = ctx.get_shape(node.input[0])
    channels = shape[1 if node.get_attr_str("data_format") == "NCDHW" else -1] if shape else -1
    kernel_channels = ctx.get_shape(node.input[1])[-2]
    ConvOp.version_13(ctx, node, **keywords)
    if channels > kernel_channels:
        node.set_attr("group", channels // kernel_channels)


HANDLERS = {
    "Conv2DBackpropInput": transposed,
    "Conv3D": in_three_dimensions,
    "Conv3DBackpropInputV2": transposed,
}
