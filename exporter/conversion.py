"""From a traced model to an ONNX model."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from headgate.exporter.errors import ConversionError, reason_of
from headgate.exporter.libraries import quiet, silent_tensorflow
from headgate.exporter.traced_models import TracedModel
from headgate.v1 import TensorSpec

if TYPE_CHECKING:
    import onnx

#: The newest operator set that tf2onnx writes; every onnxruntime since 1.14 reads it.
DEFAULT_OPSET = 18
#: Older ones lack operators that common layers need.
OPSETS = range(13, 19)

#: A protobuf message holds at most 2 GiB; this leaves room for the graph beside the weights.
_MAX_WEIGHTS_BYTES = 2**31 - 2**26

#: tf2onnx's optimizer visits nodes in an order that differs from run to run, and in some orders spoils a sound graph
#: (seen once in 48 conversions of a network with free image sizes); the checker notices, and another run helps.
_ATTEMPTS = 3


def convert(traced: TracedModel, opset: int = DEFAULT_OPSET) -> "onnx.ModelProto":
    """Convert a traced model to ONNX.

    Inputs and outputs have the names, types and shapes of `traced.inputs` and `traced.outputs`, in their order. The
    first dimension of each is the symbol `batch`, other free dimensions are called `<tensor>_dim_<axis>`.

    Raises:
        ConversionError: an operation has no counterpart in ONNX, or the model is too large for one ONNX file.
    """
    import onnx

    size = sum(_bytes_of(weight) for weight in traced.model.weights)
    if size > _MAX_WEIGHTS_BYTES:
        raise ConversionError(
            f"the weights take {size / 2**30:.1f} GiB, an ONNX file without external data holds less than 2 GiB; "
            "export a smaller model, or one with float16 weights"
        )
    with quiet() as complaints, silent_tensorflow():
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    return _checked_model(traced, opset)
                except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
                    if attempt == _ATTEMPTS - 1:
                        raise
        except ConversionError:
            raise
        except Exception as error:
            reason = "; ".join([*complaints, reason_of(error)])
            raise ConversionError(f"model '{traced.model.name}' cannot be converted to ONNX: {reason}") from error
    raise AssertionError("the last attempt returns or raises")


def _checked_model(traced: TracedModel, opset: int) -> "onnx.ModelProto":
    import onnx

    graph = _to_onnx_graph(traced, opset)
    model = graph.make_model(f"Keras model {traced.model.name}", graph_name=traced.model.name)
    _refuse_unknown_operators(model, traced)
    _name_dimensions(model.graph.input, traced.inputs)
    _name_dimensions(model.graph.output, traced.outputs)
    # Guesses about inner tensors, full of symbols such as unk__6; runtimes infer their own.
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _bytes_of(weight: Any) -> int:
    import numpy as np

    bits = {"bfloat16": 16, "string": 0}.get(weight.dtype)
    return int(np.prod(weight.shape, dtype=np.int64)) * (np.dtype(weight.dtype).itemsize if bits is None else bits // 8)


def _to_onnx_graph(traced: TracedModel, opset: int) -> Any:
    """Freeze the function, tables included, and let tf2onnx map it, as its own `from_keras` does from here on."""
    import tensorflow as tf
    import tf2onnx.optimizer
    from tf2onnx import tf_loader, tfonnx

    inputs = [tensor.name for tensor in traced.function.inputs[: len(traced.inputs)]]
    outputs = [tensor.name for tensor in traced.function.outputs]
    names = [spec.name for spec in (*traced.inputs, *traced.outputs)]
    with tf.device("/cpu:0"):
        frozen, tables = tf_loader.from_trackable(traced.model, traced.function, inputs, outputs, large_model=False)
        with tf.Graph().as_default() as tf_graph:
            tf.import_graph_def(frozen, name="")
            graph = tfonnx.process_tf_graph(
                tf_graph,
                # Some rewriters only look for patterns and may fail; what they leave behind is found afterwards.
                continue_on_error=True,
                opset=opset,
                input_names=inputs,
                output_names=outputs,
                initialized_tables=tables,
                tensors_to_rename=dict(zip(inputs + outputs, names, strict=True)),
            )
        return tf2onnx.optimizer.optimize_graph(graph)


def _refuse_unknown_operators(model: "onnx.ModelProto", traced: TracedModel) -> None:
    """Raise ConversionError if operations are left that ONNX does not have: tf2onnx logs them and goes on."""
    import onnx

    layers = {layer.name for layer in traced.model._flatten_layers()}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    unknown: dict[str, set[str]] = {}
    for node in _nodes(model.graph):
        if not onnx.defs.has(node.op_type, opsets.get(node.domain, 1), node.domain):
            unknown.setdefault(node.op_type, set()).add(_layer_of(node.name, layers))
    if unknown:
        named = "; ".join(f"{op} (in {', '.join(sorted(where))})" for op, where in sorted(unknown.items()))
        raise ConversionError(
            f"model '{traced.model.name}' uses TensorFlow operations that have no ONNX counterpart here: {named}; "
            "build these layers of other operations"
        )


def _nodes(graph: "onnx.GraphProto") -> "Iterator[onnx.NodeProto]":
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


def _layer_of(node: str, layers: set[str]) -> str:
    """Return the innermost layer in a node's path, which holds the layers' names, often numbered once more."""
    for part in reversed(node.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return f"layer '{name}'"
    return f"node '{node}'"


def _name_dimensions(values: "Iterable[onnx.ValueInfoProto]", specs: Iterable[TensorSpec]) -> None:
    for value, spec in zip(values, specs, strict=True):
        if value.name != spec.name:
            raise ConversionError(f"tf2onnx called '{spec.name}' '{value.name}'")
        shape = value.type.tensor_type.shape
        shape.Clear()
        for axis, size in enumerate(spec.shape):
            if size >= 0:
                shape.dim.add(dim_value=size)
            else:
                shape.dim.add(dim_param="batch" if axis == 0 else f"{spec.name}_dim_{axis}")
