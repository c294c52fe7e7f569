"""Vocabularies: lookup tables as `ai.onnx.ml.LabelEncoder`, and what their layers do with indices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.conversion.handlers.nodes import add, cast, constant, has_type, replace

ML_DOMAIN = "ai.onnx.ml"
#: The attributes of a LabelEncoder for text and for integers, by numpy's kind.
_ATTRIBUTES = {"O": "string", "i": "int64"}

_EQUAL_ADVICE = "look text up in a vocabulary and compare the indices"
ADVICE = {
    "AsString": "cast to an integer type first",
    "Equal": _EQUAL_ADVICE,
    "NotEqual": _EQUAL_ADVICE,
}


def find(ctx: Any, node: Any, *, initialized_tables: dict[bytes, Any], **_: Any) -> None:
    """Map LookupTableFindV2 between text and integers in any direction; tf2onnx knows no integers to integers."""
    table = node.inputs[0]
    while table.type == "Identity":
        table = table.inputs[0]
    name = table.get_attr_value("shared_name")
    if name not in initialized_tables:
        raise ValueError("the lookup table has no values")
    keys, values = (_plain(part) for part in initialized_tables[name])
    default = _plain(node.inputs[2].get_tensor_value(as_list=False).reshape(1))
    replace(ctx, node, encode(ctx, node.input[1], keys, values, default))
    if not ctx.find_output_consumers(table.output[0]):
        ctx.remove_node(table.name)


def encode(ctx: Any, tensor: str, keys: NDArray[Any], values: NDArray[Any], default: NDArray[Any]) -> str:
    """Replace elements that are keys by their values, all others by the default: text or int64, in and out."""
    # TensorFlow gives what a table holds in another order in each process.
    order = np.argsort(keys)
    keys, values = keys[order], values[order]
    key, value = _ATTRIBUTES[keys.dtype.kind], _ATTRIBUTES[values.dtype.kind]
    attributes = {f"keys_{key}s": keys.tolist(), f"values_{value}s": values.tolist(), f"default_{value}": default[0]}
    return str(add(ctx, "LabelEncoder", tensor, domain=ML_DOMAIN, **attributes))


def equal(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map Equal and NotEqual of text and a constant, which ONNX has since operator set 19 only."""
    if not has_type(ctx, node.input[0], "STRING"):
        from tf2onnx.onnx_opset.logical import Equal

        Equal.version_11(ctx, node, **keywords)
        return
    constants = [source for source in node.inputs if source.is_const()]
    if not constants or constants[0].get_tensor_value(as_list=False).size != 1:
        raise ValueError("two texts are compared, neither of them a constant")
    [text] = [tensor for tensor in node.input if tensor != constants[0].output[0]]
    key = _plain(constants[0].get_tensor_value(as_list=False).reshape(1))
    hit = np.array([int(node.type == "Equal")])
    replace(ctx, node, cast(ctx, encode(ctx, text, key, hit, 1 - hit), "BOOL"))


def one_hot(ctx: Any, node: Any, **_: Any) -> None:
    """Map OneHot of any rank; ONNX counts negative indices from the end, for TensorFlow nothing is hot there."""
    indices, depth, on, off = node.input
    inner = "FLOAT" if has_type(ctx, node.output[0], "FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16") else "INT64"
    depth, index = cast(ctx, depth, "INT64"), cast(ctx, indices, "INT64")
    negative = add(ctx, "Less", index, constant(ctx, np.array(0)))
    index = add(ctx, "Where", negative, depth, index)
    values = [add(ctx, "Reshape", cast(ctx, value, inner), constant(ctx, np.array([1]))) for value in (off, on)]
    hot = add(ctx, "OneHot", index, depth, add(ctx, "Concat", *values, axis=0), axis=node.get_attr_value("axis", -1))
    replace(ctx, node, add(ctx, "Cast", hot, to=ctx.get_dtype(node.output[0])))


def bincount(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map DenseBincount with weights: the sum of the weights of each number below a size, for each row."""
    numbers, size, weights = node.input
    if ctx.get_shape(weights) == [0]:
        from tf2onnx.onnx_opset.tensor import Bincount

        Bincount.version_13(ctx, node, **keywords)
        return
    if ctx.opset < 16:
        raise ValueError("weights are counted below operator set 16")
    numbers, size = cast(ctx, numbers, "INT64"), cast(ctx, size, "INT64")
    zero = constant(ctx, np.array([0]))
    rows = add(ctx, "Slice", add(ctx, "Shape", numbers), zero, constant(ctx, np.array([-1])))
    table = add(ctx, "Concat", rows, add(ctx, "Reshape", size, constant(ctx, np.array([1]))), axis=0)
    nothing = add(ctx, "Cast", zero, to=ctx.get_dtype(weights))
    counted = add(ctx, "Less", numbers, size)
    places = add(ctx, "Where", counted, numbers, zero)
    amounts = add(ctx, "Where", counted, weights, nothing)
    zeros = add(ctx, "Expand", nothing, table)
    replace(ctx, node, add(ctx, "ScatterElements", zeros, places, amounts, axis=-1, reduction="add"))


def as_string(ctx: Any, node: Any, **_: Any) -> None:
    """Map AsString of integers, without any width or fill; tf2onnx prints all numbers alike."""
    is_plain = node.get_attr_value("width", -1) <= 0 and not node.get_attr_value("fill", b"")
    if not is_plain or not has_type(ctx, node.input[0], "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"):
        raise ValueError("numbers are printed that are no integers, or to a width")
    replace(ctx, node, cast(ctx, node.input[0], "STRING"))


def output_shapes(graph: Any, frozen: Any) -> dict[str, list[int | None]]:
    """Return the shapes of what lookups give in a TensorFlow graph, by tensor: freezing it has lost them."""
    names = {node.name for node in frozen.node if node.op == "LookupTableFindV2"}
    found = (op.outputs[0] for op in graph.get_operations() if op.name in names)
    return {tensor.name: tensor.shape.as_list() for tensor in found if tensor.shape.rank is not None}


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Return text as an array of `str`, numbers as int64."""
    if array.dtype.kind in "SUO":
        return np.array([one.decode() if isinstance(one, bytes) else str(one) for one in array.tolist()], object)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    raise ValueError(f"a lookup table of {array.dtype} has no counterpart in ONNX")


HANDLERS = {
    "AsString": as_string,
    "DenseBincount": bincount,
    "Equal": equal,
    "LookupTableFindV2": find,
    "NotEqual": equal,
    "OneHot": one_hot,
}
