"""Text: lower case, characters replaced, words and n-grams, as TextVectorization needs them.

What ONNX lacks is onnxruntime's own `com.microsoft.Tokenizer`; joining text takes operator set 20.
"""

import re
from typing import Any

import numpy as np

from headgate.exporter.conversion.graph_names import nodes_of
from headgate.exporter.conversion.handlers.lookups import encode
from headgate.exporter.conversion.handlers.nodes import add, cast, constant, replace

#: Operators that onnxruntime has beyond ONNX.
RUNTIME_OPERATORS = {("com.microsoft", "Tokenizer")}
#: The operator sets that have what handlers of this module make; tf2onnx itself writes none of them.
_SINCE = {"StringConcat": 20, "StringSplit": 20}
#: The oldest file format for that operator set (https://github.com/onnx/onnx/blob/main/docs/Versioning.md).
_IR_VERSION = 9
#: What separates words for TensorFlow: C's isspace.
_SPACES = "[ \t\n\r\f\v]+"
#: A class of characters without ranges of letters beyond ASCII, named classes or negation; and plain text.
_CLASS = re.compile(r"\[(?!\^)(?:[^\\\[\]]|\\[^A-Za-z0-9]|\[(?!:))+\]", re.ASCII)
_LITERAL = re.compile(r"(?:[^\\.^$|?*+()\[\]{}]|\\[^A-Za-z0-9])+")

_REGEX_ADVICE = (
    "replace only plain text, or a list of ASCII characters in brackets, everywhere and by plain text; do the rest "
    "before the model"
)
ADVICE = {
    "RegexReplace": _REGEX_ADVICE,
    "StaticRegexReplace": _REGEX_ADVICE,
    "StringLower": "leave encoding= out: only ASCII letters can be changed",
    "StringNGrams": "leave padding out",
    "StringSplitV2": "split at whitespace, without maxsplit=",
    "StringUpper": "leave encoding= out: only ASCII letters can be changed",
}


def change_case(ctx: Any, node: Any, **_: Any) -> None:
    """Map StringLower and StringUpper, which know ASCII letters only; tf2onnx changes those of other alphabets too."""
    if node.get_attr_value("encoding", b""):
        raise ValueError("letters of all alphabets are to be changed")
    # StringNormalizer refuses an empty tensor.
    texts = _with_blank(ctx, _flat(ctx, node.input[0]))
    action = "LOWER" if node.type == "StringLower" else "UPPER"
    changed = add(ctx, "StringNormalizer", texts, case_change_action=action, is_case_sensitive=1, locale="C")
    replace(ctx, node, _like(ctx, _without_last(ctx, changed), node.input[0]))


def replace_characters(ctx: Any, node: Any, **_: Any) -> None:
    """Map StaticRegexReplace of single characters or plain text."""
    pattern, rewrite = (node.get_attr_value(name, b"").decode() for name in ("pattern", "rewrite"))
    if not node.get_attr_value("replace_global", 1) or "\\" in rewrite:
        raise ValueError(f"{rewrite!r} is no plain text, or is to replace the first {pattern!r} only")
    flat = _flat(ctx, node.input[0])
    if _CLASS.fullmatch(pattern) and pattern.isascii():
        matching = re.compile(pattern)
        hits = np.array([character for character in map(chr, range(128)) if matching.fullmatch(character)], object)
        pieces = _tokens(ctx, flat, "")
        is_hit = cast(ctx, encode(ctx, pieces, hits, np.ones(len(hits), np.int64), np.array([0])), "BOOL")
        pieces = add(ctx, "Where", is_hit, constant(ctx, np.array(rewrite, object)), pieces)
    elif _LITERAL.fullmatch(pattern):
        delimiter = re.sub(r"\\(.)", r"\1", pattern)
        parts, counts = add(ctx, "StringSplit", flat, outputs=2, delimiter=delimiter)
        places = range_of(ctx, size_of(ctx, parts, 1))
        column = add(ctx, "Unsqueeze", counts, constant(ctx, np.array([1])))
        follows = add(ctx, "Less", places, add(ctx, "Sub", column, constant(ctx, np.array(1))))
        texts = [constant(ctx, np.array(text, object)) for text in (rewrite, "")]
        pieces = add(ctx, "StringConcat", parts, add(ctx, "Where", follows, *texts))
    else:
        raise ValueError(f"the pattern {pattern!r} is too much for ONNX")
    replace(ctx, node, _like(ctx, _joined(ctx, pieces), node.input[0]))


def split(ctx: Any, node: Any, **_: Any) -> None:
    """Map StringSplitV2 at whitespace: positions [words, 2], words [words], and the shape of a table of them."""
    separator = node.inputs[1]
    at_spaces = separator.is_const() and separator.get_tensor_value() in (b"", "")
    if not at_spaces or node.get_attr_value("maxsplit", -1) >= 0:
        raise ValueError("text is to be split otherwise than at whitespace")
    replace(ctx, node, *pieces_of(ctx, node.input[0], _SPACES))


def pieces_of(ctx: Any, texts: str, separators: str) -> tuple[str, str, str]:
    """Split texts [n] where a pattern matches, or into characters for none.

    Returns:
        which text each piece is of, and its place there, [pieces, 2]; the pieces; and the shape of a table of them.
    """
    pieces = _tokens(ctx, texts, separators)
    empty = np.array([""], object)
    is_piece = cast(ctx, encode(ctx, pieces, empty, np.array([0]), np.array([1])), "BOOL")
    positions = add(ctx, "Transpose", add(ctx, "NonZero", is_piece), perm=[1, 0])
    return positions, add(ctx, "GatherND", pieces, positions), add(ctx, "Shape", pieces)


def n_grams(ctx: Any, node: Any, **_: Any) -> None:
    """Map StringNGrams of a ragged tensor without padding: row by row the n-grams of each width, in their order."""
    widths = node.get_attr_value("ngram_widths")
    if node.get_attr_value("pad_width", 0) or node.get_attr_value("preserve_short_sequences", 0):
        raise ValueError("n-grams are to be padded")
    words, splits = node.input[0], cast(ctx, node.input[1], "INT64")
    separator = constant(ctx, np.array(node.get_attr_value("separator", b"").decode(), object))
    total, rows = size_of(ctx, words, 0), _row_of_each(ctx, splits, words)
    zero = constant(ctx, np.array([0]))
    grams, keys = [], []
    for order, width in enumerate(widths):
        # Window `start` of so many words, if the last is in the row of the first.
        count = add(ctx, "Max", add(ctx, "Sub", total, constant(ctx, np.array(width - 1))), constant(ctx, np.array(0)))
        stop = _vector(ctx, count)
        gram = add(ctx, "Slice", words, zero, stop, zero)
        for offset in range(1, width):
            shift = constant(ctx, np.array([offset]))
            word = add(ctx, "Slice", words, shift, add(ctx, "Add", stop, shift), zero)
            gram = add(ctx, "StringConcat", add(ctx, "StringConcat", gram, separator), word)
        first = add(ctx, "Slice", rows, zero, stop, zero)
        shift = constant(ctx, np.array([width - 1]))
        last = add(ctx, "Slice", rows, shift, add(ctx, "Add", stop, shift), zero)
        inside = add(ctx, "Equal", first, last)
        grams.append(add(ctx, "Compress", gram, inside, axis=0))
        row = add(ctx, "Compress", first, inside, axis=0)
        key = add(ctx, "Mul", row, constant(ctx, np.array(len(widths))))
        keys.append(add(ctx, "Add", key, constant(ctx, np.array(order))))
    key = add(ctx, "Concat", *keys, axis=0)
    # Equal keys stay in their order.
    _, ranks = add(ctx, "TopK", key, add(ctx, "Shape", key), outputs=2, largest=0, sorted=1, axis=0)
    row = add(ctx, "Div", key, constant(ctx, np.array(len(widths))))
    count = add(ctx, "Sub", size_of(ctx, splits, 0), constant(ctx, np.array(1)))
    replace(
        ctx,
        node,
        add(ctx, "Gather", add(ctx, "Concat", *grams, axis=0), ranks, axis=0),
        add(ctx, "Cast", splits_of(ctx, row, count), to=ctx.get_dtype(node.output[1])),
    )


def ragged_bincount(ctx: Any, node: Any, **_: Any) -> None:
    """Map RaggedBincount: how often each number below a size stands in each row, or whether, or the sum of weights."""
    splits, values, size, weights = node.input
    dtype = ctx.get_dtype(node.output[0])
    splits, values = cast(ctx, splits, "INT64"), cast(ctx, values, "INT64")
    rows = _row_of_each(ctx, splits, values)
    count = add(ctx, "Sub", add(ctx, "Shape", splits), constant(ctx, np.array([1])))
    table = add(ctx, "Concat", count, _vector(ctx, cast(ctx, size, "INT64")), axis=0)
    zeros = cast(ctx, add(ctx, "ConstantOfShape", table), "FLOAT")
    places = [add(ctx, "Unsqueeze", one, constant(ctx, np.array([1]))) for one in (rows, values)]
    if ctx.get_shape(weights) in ([0], None):
        amounts = add(ctx, "Cast", add(ctx, "Equal", values, values), to=1)
    else:
        amounts = cast(ctx, weights, "FLOAT")
    reduction = "max" if node.get_attr_value("binary_output") else "add"
    position = add(ctx, "Concat", *places, axis=1)
    counted = add(ctx, "ScatterND", zeros, position, amounts, reduction=reduction)
    replace(ctx, node, add(ctx, "Cast", counted, to=dtype))


def ragged_to_tensor(ctx: Any, node: Any, **keywords: Any) -> None:
    """Map RaggedTensorToTensor of rows of single values; tf2onnx's own fails where no row has any."""
    shape, values, default, *partitions = node.input
    types = node.get_attr_value("row_partition_types")
    if ctx.get_rank(values) != 1 or types not in ([b"ROW_SPLITS"], [b"FIRST_DIM_SIZE", b"VALUE_ROWIDS"]):
        from tf2onnx.onnx_opset.tensor import RaggedTensorToTensor

        RaggedTensorToTensor.version_11(ctx, node, **keywords)
        return
    if len(types) == 1:
        splits = cast(ctx, partitions[0], "INT64")
        rows = _row_of_each(ctx, splits, values)
    else:
        rows = cast(ctx, partitions[1], "INT64")
        splits = splits_of(ctx, rows, cast(ctx, partitions[0], "INT64"))
    zero, one = constant(ctx, np.array([0])), constant(ctx, np.array([1]))
    starts = add(ctx, "Slice", splits, zero, constant(ctx, np.array([-1])), zero)
    lengths = add(ctx, "Sub", add(ctx, "Slice", splits, one, constant(ctx, np.array([2**62])), zero), starts)
    longest = add(ctx, "ReduceMax", add(ctx, "Concat", lengths, zero, axis=0), keepdims=1)
    natural = add(ctx, "Concat", add(ctx, "Shape", lengths), longest, axis=0)
    given = cast(ctx, shape, "INT64")
    size = add(ctx, "Where", add(ctx, "Less", given, zero), natural, given)
    columns = add(ctx, "Sub", range_of(ctx, size_of(ctx, values, 0)), add(ctx, "Gather", starts, rows, axis=0))
    places = add(ctx, "Concat", *(add(ctx, "Unsqueeze", one_axis, one) for one_axis in (rows, columns)), axis=1)
    short = cast(ctx, add(ctx, "Less", places, size), "INT64")
    fits = add(ctx, "Equal", _count(ctx, short), constant(ctx, np.array(2)))
    kept = [add(ctx, "Compress", tensor, fits, axis=0) for tensor in (places, values)]
    replace(ctx, node, add(ctx, "ScatterND", add(ctx, "Expand", default, size), *kept))


def raise_operator_set(model: Any) -> None:
    """Let a model import the operator sets that its text operators are of."""
    nodes = list(nodes_of(model.graph))
    needed = max((_SINCE.get(node.op_type, 0) for node in nodes if not node.domain), default=0)
    domains = {entry.domain: entry for entry in model.opset_import}
    if needed > domains[""].version:
        domains[""].version = needed
        model.ir_version = max(model.ir_version, _IR_VERSION)
    for domain, operator in RUNTIME_OPERATORS:
        if domain not in domains and any((node.domain, node.op_type) == (domain, operator) for node in nodes):
            model.opset_import.add(domain=domain, version=1)


def _tokens(ctx: Any, texts: str, separators: str) -> str:
    """Split texts [n] where a pattern matches, or into characters for none: [n, most], filled up with ""."""
    attributes: dict[str, Any] = {"separators": [separators], "mark": 0, "mincharnum": 1, "pad_value": ""}
    # Of an empty tensor, Tokenizer makes one of a single dimension.
    tokens = add(ctx, "Tokenizer", _with_blank(ctx, texts), domain="com.microsoft", **attributes)
    # ONNX does not know the type of what foreign operators give; its checker crashes where a LabelEncoder takes that.
    return _without_last(ctx, cast(ctx, tokens, "STRING"))


def _with_blank(ctx: Any, texts: str) -> str:
    return str(add(ctx, "Concat", texts, constant(ctx, np.array([""], object)), axis=0))


def _without_last(ctx: Any, tensor: str) -> str:
    return str(add(ctx, "Slice", tensor, *(constant(ctx, np.array([value])) for value in (0, -1, 0))))


def _joined(ctx: Any, pieces: str) -> str:
    """Join the pieces of each row, [n, pieces] to [n], pairs of neighbours at a time."""
    from onnx import TensorProto

    column = add(ctx, "Concat", _vector(ctx, size_of(ctx, pieces, 0)), constant(ctx, np.array([1])), axis=0)
    blank = add(ctx, "Expand", constant(ctx, np.array("", object)), column)
    pieces = add(ctx, "Concat", pieces, blank, axis=1)
    body = ctx.create_new_graph_with_same_config()
    body.parent_graph = ctx
    names = [f"{pieces}_{name}".replace(":", "_") for name in ("turn", "go", "pieces")]
    for name, dtype, shape in zip(
        names, (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING), ([], [], [-1, -1]), strict=True
    ):
        body.add_graph_input(name, dtype, shape)
    one, two, across = (constant(body, np.array([value])) for value in (1, 2, 1))
    even = add(body, "Div", add(body, "Add", _vector(body, size_of(body, names[2], 1)), one), two)
    even = add(body, "Mul", even, two)
    padded = add(body, "Concat", names[2], blank, axis=1)
    lefts = add(body, "Slice", padded, constant(body, np.array([0])), even, across, two)
    rights = add(body, "Slice", padded, one, even, across, two)
    pairs = add(body, "StringConcat", lefts, rights)
    more = add(body, "Greater", size_of(body, pairs, 1), constant(body, np.array(1)))
    body.add_graph_output(more, TensorProto.BOOL, [])
    body.add_graph_output(pairs, TensorProto.STRING, [-1, -1])
    loop = ctx.make_node(
        "Loop", ["", constant(ctx, np.array(True)), pieces], output_count=1, branches={"body": body},
        shapes=[[-1, -1]], dtypes=[TensorProto.STRING],
    )  # fmt: skip
    return str(add(ctx, "Squeeze", loop.output[0], constant(ctx, np.array([1]))))


def _row_of_each(ctx: Any, splits: str, values: str) -> str:
    """Return the row of each value of a ragged tensor: [values]."""
    ends = add(ctx, "Slice", splits, *(constant(ctx, np.array([value])) for value in (1, 2**62, 0)))
    places = add(ctx, "Unsqueeze", range_of(ctx, size_of(ctx, values, 0)), constant(ctx, np.array([1])))
    ended = add(ctx, "LessOrEqual", ends, places)
    return _count(ctx, ended)


def splits_of(ctx: Any, rows: str, count: str) -> str:
    """Return where each of `count` rows begins, and where the last ends, from the row of each value: [count + 1]."""
    boundaries = range_of(ctx, add(ctx, "Add", count, constant(ctx, np.array(1))))
    return _count(ctx, add(ctx, "Less", rows, add(ctx, "Unsqueeze", boundaries, constant(ctx, np.array([1])))))


def range_of(ctx: Any, count: str) -> str:
    """Count from 0 to below a scalar."""
    return str(add(ctx, "Range", constant(ctx, np.array(0)), count, constant(ctx, np.array(1))))


def _count(ctx: Any, hits: str) -> str:
    """Return how many of each row hit: [n, m] to [n]."""
    # Whole numbers below 2**53: onnxruntime adds in double precision.
    return str(add(ctx, "ReduceSum", cast(ctx, hits, "INT64"), constant(ctx, np.array([1])), keepdims=0))


def size_of(ctx: Any, tensor: str, axis: int) -> str:
    """Return the size of an axis, as a scalar."""
    return str(add(ctx, "Gather", add(ctx, "Shape", tensor), constant(ctx, np.array(axis)), axis=0))


def _vector(ctx: Any, scalar: str) -> str:
    return str(add(ctx, "Reshape", scalar, constant(ctx, np.array([1]))))


def _flat(ctx: Any, tensor: str) -> str:
    return str(add(ctx, "Reshape", tensor, constant(ctx, np.array([-1]))))


def _like(ctx: Any, flat: str, tensor: str) -> str:
    return str(add(ctx, "Reshape", flat, add(ctx, "Shape", tensor)))


HANDLERS = {
    "RaggedBincount": ragged_bincount,
    "RaggedTensorToTensor": ragged_to_tensor,
    "StaticRegexReplace": replace_characters,
    "StringLower": change_case,
    "StringNGrams": n_grams,
    "StringSplitV2": split,
    "StringUpper": change_case,
}
