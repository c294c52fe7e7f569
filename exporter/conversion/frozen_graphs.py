"""Frozen TensorFlow graphs, made ready for what reads them next."""

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.exporter.conversion.graph_names import layer_of
from headgate.exporter.errors import ConversionError
from headgate.exporter.tracing.graph_nodes import GraphNodes

#: What keeps TensorFlow from writing a function's operations out where it is called: Keras compiles grouped
#: convolutions, and all that the CPU cannot run, through XLA.
_MARKS = ("_XlaMustCompile", "_noinline")


def inline_calls(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return a GraphDef with the operations of functions that were to be compiled in place of their calls."""
    import tensorflow as tf
    from tf2onnx import tf_loader

    holders = [*GraphNodes(graph).all(), *graph.library.function]
    marked = [(holder, mark) for holder in holders for mark in _MARKS if mark in holder.attr]
    if not marked:
        return graph
    for holder, mark in marked:
        del holder.attr[mark]
    with tf.Graph().as_default():
        tf.import_graph_def(graph, name="")
        return tf_loader.tf_optimize(list(inputs), list(outputs), graph)


def widen_bfloat16(graph: Any, scopes: Mapping[str, str]) -> None:
    """Let a GraphDef compute in float32, in place, wherever it computes in bfloat16.

    onnxruntime has few operators for bfloat16, and its CPU provider none.

    Raises:
        ConversionError: the graph computes in float8.
    """
    import tensorflow as tf
    from tensorflow.core.framework import types_pb2

    half, single = types_pb2.DT_BFLOAT16, types_pb2.DT_FLOAT
    for function in graph.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type == half:
                argument.type = single
    for node in GraphNodes(graph).all():
        for attribute in node.attr.values():
            kind = attribute.WhichOneof("value")
            if kind == "type":
                if types_pb2.DataType.Name(attribute.type).startswith("DT_FLOAT8"):
                    raise ConversionError(
                        f"{layer_of(node.name, scopes)} computes in float8, which cannot be converted to ONNX; "
                        "export the model before model.quantize('float8'), or quantize it to 'int8'"
                    )
                if attribute.type == half:
                    attribute.type = single
            elif kind == "list":
                attribute.list.type[:] = [single if one == half else one for one in attribute.list.type]
            elif kind == "tensor" and attribute.tensor.dtype == half:
                values = tf.make_ndarray(attribute.tensor).astype("float32")
                attribute.tensor.CopyFrom(tf.make_tensor_proto(values))
