"""Operators that onnxruntime can be given tensors without elements for: not all of them survive it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnxruntime
from google.protobuf.message import DecodeError

from headgate.server.providers import CPU
from headgate.v1.wire import map_file, values_of

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_GRAPH, _FUNCTIONS = 7, 25
_GRAPH_NODE = 1
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 7, 10
_OPERATOR, _ATTRIBUTE, _DOMAIN = 4, 5, 7
_SUBGRAPHS = (6, 11)

#: Operators whose kernels for the CPU ran or refused every tensor without elements that they were tried with: those of
#: ONNX's own tests with each size set to 0, with the oldest and the newest onnxruntime. Attention, Einsum, GRU, LSTM,
#: TopK and others end the process, and Conv does not return from a kernel without elements.
_TRIED = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Cos Cosh CumSum
DepthToSpace DequantizeLinear Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
GatherElements Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid
HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax Loop LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mul Neg
NonMaxSuppression NonZero Not Or PRelu Pad Pow QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare RegexFullMatch Relu
Reshape Resize ReverseSequence Round Scan ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice
Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze StringConcat StringNormalizer StringSplit Sub Sum Tan Tanh
TfIdfVectorizer ThresholdedRelu Tile Transpose Trilu Unsqueeze Where Xor ai.onnx.ml.ArrayFeatureExtractor
ai.onnx.ml.Binarizer ai.onnx.ml.LabelEncoder
"""
#: The onnxruntime from which on others do, too. A division by a size was one by zero before.
_TRIED_SINCE = {"Div": (1, 25), "Mod": (1, 25), "OneHot": (1, 28)}


def needs_elements(path: Path, provider: str) -> str:
    """Say why a model must be given no rows without elements; "" if it can be."""
    if provider != CPU:
        return "that was tried on the CPU alone"
    try:
        found = set(names_of(map_file(path)))
    except (OSError, ValueError, DecodeError):
        return "its operators cannot be read from its file"
    untried = sorted(found - tried())
    return f"its operator {untried[0]} could end onnxruntime's process" if untried else ""


def tried() -> frozenset[str]:
    """Return the operators that this onnxruntime can be given tensors without elements for."""
    version = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    return frozenset(_TRIED.split()).union(name for name, first in _TRIED_SINCE.items() if version >= first)


def names_of(model: memoryview) -> Iterator[str]:
    """Go through the operators of a model, and of all graphs in it; those of another domain than ONNX's with theirs."""
    functions = list(values_of(model, _FUNCTIONS))
    own = {_name(function, _FUNCTION_NAME, _FUNCTION_DOMAIN) for function in functions}
    for graph in values_of(model, _GRAPH):
        yield from (name for name in _of_nodes(graph, _GRAPH_NODE) if name not in own)
    for function in functions:
        yield from (name for name in _of_nodes(function, _FUNCTION_NODE) if name not in own)


def _of_nodes(graph: memoryview, number: int) -> Iterator[str]:
    for node in values_of(graph, number):
        yield _name(node, _OPERATOR, _DOMAIN)
        for attribute in values_of(node, _ATTRIBUTE):
            for subgraphs in _SUBGRAPHS:
                for subgraph in values_of(attribute, subgraphs):
                    yield from _of_nodes(subgraph, _GRAPH_NODE)


def _name(message: memoryview, name: int, domain: int) -> str:
    parts = [bytes(value).decode() for number in (domain, name) for value in values_of(message, number)]
    return ".".join(part for part in parts if part not in ("", "ai.onnx"))
