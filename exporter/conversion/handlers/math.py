"""Elementwise functions that ONNX has no operator for, and searches in sorted boundaries."""

from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.error_function import erf
from headgate.exporter.conversion.handlers.nodes import add, cast, constant, has_type, replace

_FLOATS = ("FLOAT16", "FLOAT", "DOUBLE")


def erfc(ctx: Any, node: Any, **_: Any) -> None:
    """Map the complement of erf, as 1 + erf(-x)."""
    product = node.inputs[0]
    if product.type == "Mul" and product.inputs[0].type == "Neg" and product.inputs[1].is_const():
        # TensorFlow's gelu: 0.5 x erfc(-x / sqrt(2)). onnxruntime fuses 0.5 x (1 + erf(x / sqrt(2))).
        divisor = 1 / product.inputs[1].get_tensor_value(as_list=False)
        negated = add(ctx, "Div", product.inputs[0].input[0], constant(ctx, divisor))
    else:
        negated = add(ctx, "Neg", node.input[0])
    replace(ctx, node, add(ctx, "Add", erf(ctx, negated), _like(ctx, node.input[0], 1)))


def expm1(ctx: Any, node: Any, **_: Any) -> None:
    """Map exp(x) - 1."""
    replace(ctx, node, add(ctx, "Sub", add(ctx, "Exp", node.input[0]), _like(ctx, node.input[0], 1)))


def log1p(ctx: Any, node: Any, **_: Any) -> None:
    """Map log(1 + x)."""
    replace(ctx, node, add(ctx, "Log", add(ctx, "Add", node.input[0], _like(ctx, node.input[0], 1))))


def floor_div(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map FloorDiv of integers, which tf2onnx rounds towards zero."""
    if has_type(ctx, node.input[0], *_FLOATS):
        from tf2onnx.onnx_opset.math import FloorDiv

        FloorDiv.version_6(ctx, node, **keywords)
        return
    dtype = ctx.get_dtype(node.output[0])
    # onnxruntime divides few types of integers.
    wide = "UINT64" if has_type(ctx, node.input[0], "UINT64") else "INT64"
    dividend, divisor = (cast(ctx, tensor, wide) for tensor in node.input)
    quotient = add(ctx, "Div", dividend, divisor)
    if wide == "INT64":
        # The remainders with the sign of the dividend and with that of the divisor differ where it was rounded up.
        remainders = [add(ctx, "Mod", dividend, divisor, fmod=sign) for sign in (0, 1)]
        rounded_up = add(ctx, "Not", add(ctx, "Equal", *remainders))
        quotient = add(ctx, "Sub", quotient, cast(ctx, rounded_up, "INT64"))
    replace(ctx, node, add(ctx, "Cast", quotient, to=dtype))


def floor_mod(ctx: Any, node: Any, **_: Any) -> None:
    """Map FloorMod: tf2onnx gives integers the sign of the dividend, and rounds fractions."""
    dividend, divisor = node.input
    if not has_type(ctx, dividend, *_FLOATS):
        replace(ctx, node, add(ctx, "Mod", dividend, divisor))
        return
    zero = _like(ctx, dividend, 0)
    remainder = add(ctx, "Mod", dividend, divisor, fmod=1)
    signs = [add(ctx, "Less", number, zero) for number in (remainder, divisor)]
    is_apart = add(ctx, "And", add(ctx, "Xor", *signs), add(ctx, "Not", add(ctx, "Equal", remainder, zero)))
    replace(ctx, node, add(ctx, "Where", is_apart, add(ctx, "Add", remainder, divisor), remainder))


def bucketize(ctx: Any, node: Any, **_: Any) -> None:
    """Map Bucketize: how many boundaries are no larger. NaN lies behind them all, as for TensorFlow."""
    # Boundaries are float32; integers are compared as such.
    dtype = np.float64 if has_type(ctx, node.input[0], "DOUBLE") else np.float32
    values = cast(ctx, node.input[0], "DOUBLE" if dtype is np.float64 else "FLOAT")
    boundaries = constant(ctx, np.array(node.get_attr_value("boundaries", []), dtype))
    less = add(ctx, "Less", add(ctx, "Unsqueeze", values, constant(ctx, np.array([-1]))), boundaries)
    replace(ctx, node, _count(ctx, node, add(ctx, "Not", less)))


def search(ctx: Any, node: Any, **_: Any) -> None:
    """Map LowerBound and UpperBound: how many elements of each sorted row are smaller (or no larger) than a value."""
    sorted_rows = add(ctx, "Unsqueeze", node.input[0], constant(ctx, np.array([1])))
    values = add(ctx, "Unsqueeze", node.input[1], constant(ctx, np.array([2])))
    if node.type == "LowerBound":
        hits = add(ctx, "Less", sorted_rows, values)
    else:
        # Not LessOrEqual: for TensorFlow NaN lies behind them all.
        hits = add(ctx, "Not", add(ctx, "Greater", sorted_rows, values))
    replace(ctx, node, _count(ctx, node, hits))


def _count(ctx: Any, node: Any, hits: str) -> str:
    total = add(ctx, "ReduceSum", cast(ctx, hits, "INT32"), constant(ctx, np.array([-1])), keepdims=0)
    return str(add(ctx, "Cast", total, to=ctx.get_dtype(node.output[0])))


def bitcast(ctx: Any, node: Any, **_: Any) -> None:
    """Map the sign bit of a float32, which keras.ops.argmax and signbit look at; other bits have no counterpart."""
    sign = np.iinfo(np.int32).min
    users = ctx.find_output_consumers(node.output[0])
    masks = [source for user in users for source in user.inputs if source != node]
    are_masked = masks and all(user.type == "BitwiseAnd" for user in users)
    if not are_masked or not all(mask.is_const() and mask.get_tensor_value() == sign for mask in masks):
        raise ValueError("other bits than the sign are looked at")
    value, zero = node.input[0], _like(ctx, node.input[0], 0)
    # Minus zero is not less than zero, its reciprocal is.
    reciprocal = add(ctx, "Less", add(ctx, "Reciprocal", value), zero)
    negative = add(ctx, "Or", add(ctx, "Less", value, zero), reciprocal)
    bits = [constant(ctx, np.array(word, np.int32)) for word in (sign, 0)]
    replace(ctx, node, add(ctx, "Where", negative, *bits))


def _like(ctx: Any, tensor: str, number: float) -> str:
    """Add a constant of a tensor's type."""
    from tf2onnx import utils

    return constant(ctx, np.array(number, utils.map_onnx_to_numpy_type(ctx.get_dtype(tensor))))


HANDLERS = {
    "Bitcast": bitcast,
    "Bucketize": bucketize,
    "Erfc": erfc,
    "Expm1": expm1,
    "FloorDiv": floor_div,
    "FloorMod": floor_mod,
    "Log1p": log1p,
    "LowerBound": search,
    "UpperBound": search,
}
ADVICE = {"Bitcast": "only the sign of float32 can be told from its bits: cast instead"}
