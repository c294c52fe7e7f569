"""Text split into characters: TensorFlow goes by their code points, for which ONNX has no operator."""

from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.nodes import add, cast, constant, replace
from headgate.exporter.conversion.handlers.text import pieces_of, range_of, size_of, splits_of

_ADVICE = "split into characters by tf.strings.unicode_split of UTF-8, and leave code points as they are"
ADVICE = {"UnicodeDecode": _ADVICE, "UnicodeEncode": _ADVICE}

#: What only gives values another shape.
_RESHAPING = {"ExpandDims", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
#: The end of the name of the tensor of characters that code points stand for.
_CHARACTERS = "/characters"


def decode(ctx: Any, node: Any, **_: Any) -> None:
    """Map UnicodeDecode where all code points are encoded again; in place of each goes the number of its character."""
    _require_utf_8(node, "input_encoding")
    if node.get_attr_value("replace_control_characters", 0) or not _is_only_encoded(ctx, node.output[1]):
        raise ValueError("code points of characters are used")
    positions, characters, _shape = pieces_of(ctx, node.input[0], "")
    ctx.make_node("Identity", [characters], outputs=[node.output[1] + _CHARACTERS])
    rows = add(ctx, "Gather", positions, constant(ctx, np.array(0)), axis=1)
    splits = splits_of(ctx, rows, size_of(ctx, node.input[0], 0))
    numbers = cast(ctx, range_of(ctx, size_of(ctx, characters, 0)), "INT32")
    replace(ctx, node, add(ctx, "Cast", splits, to=ctx.get_dtype(node.output[0])), numbers)


def encode(ctx: Any, node: Any, **_: Any) -> None:
    """Map UnicodeEncode of single code points."""
    _require_utf_8(node, "output_encoding")
    tensor = node.input[0]
    while ctx.get_node_by_output(tensor + _CHARACTERS) is None:
        source = ctx.get_node_by_output(tensor)
        if source.type not in _RESHAPING:
            raise ValueError("code points do not come from text")
        tensor = source.input[0]
    if not _counts_by_one(node.inputs[1]):
        raise ValueError("text is made of several code points")
    numbers = add(ctx, "Reshape", node.input[0], constant(ctx, np.array([-1])))
    replace(ctx, node, add(ctx, "Gather", tensor + _CHARACTERS, numbers, axis=0))


def _require_utf_8(node: Any, attribute: str) -> None:
    encoding = node.get_attr_value(attribute).decode()
    if encoding != "UTF-8":
        raise ValueError(f"text is in {encoding}")


def _is_only_encoded(ctx: Any, tensor: str) -> bool:
    """Return whether all that is done with code points is to give them another shape and encode them."""
    return tensor not in ctx.outputs and all(
        user.type in ("Shape", "UnicodeEncode")
        or (user.type in _RESHAPING and user.input[0] == tensor and _is_only_encoded(ctx, user.output[0]))
        for user in ctx.find_output_consumers(tensor)
    )


def _counts_by_one(node: Any) -> bool:
    """Return whether a node gives 0, 1, 2, ..."""
    while node.type in ("Cast", "Identity", "Mul"):
        if node.type == "Mul" and not _is_constant(node.inputs[1], 1):
            return False
        node = node.inputs[0]
    return node.type == "Range" and _is_constant(node.inputs[0], 0) and _is_constant(node.inputs[2], 1)


def _is_constant(node: Any, value: int) -> bool:
    return node.is_const() and node.get_tensor_value(as_list=False).tolist() in (value, [value])


HANDLERS = {"UnicodeDecode": decode, "UnicodeEncode": encode}
