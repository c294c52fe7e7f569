"""From a traced model to an ONNX model."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from headgate.exporter.conversion import handlers
from headgate.exporter.conversion.frozen_graphs import inline_calls, widen_bfloat16
from headgate.exporter.conversion.graph_names import layer_of, nodes_of, rename
from headgate.exporter.conversion.graph_optimization import optimize
from headgate.exporter.conversion.handlers import lookups, text
from headgate.exporter.conversion.large_weights import attach, freeze_used_otherwise, rearrange
from headgate.exporter.conversion.ordered_sets import ordered_sets
from headgate.exporter.errors import ConversionError, listed, reason_of
from headgate.exporter.libraries import quiet, silent_tensorflow
from headgate.exporter.names import unique_names
from headgate.exporter.tracing.traced_models import TracedModel
from headgate.v1 import TensorSpec

if TYPE_CHECKING:
    import onnx

#: The newest operator set that tf2onnx writes; every onnxruntime since 1.14 reads it.
DEFAULT_OPSET = 18
#: Older ones lack operators that common layers need.
OPSETS = range(13, 19)

#: TensorFlow freezes weights into one message, which holds at most 2 GiB; this leaves room for the graph beside them.
_MAX_FROZEN_BYTES = 2**31 - 2**26

#: What tf2onnx logs where a handler raises: the node, and what was raised.
_FAILURE = re.compile(r"Failed to convert node '(.+?)' \(fct=.*?\)?: (.*)")


def convert(traced: TracedModel, opset: int = DEFAULT_OPSET) -> "onnx.ModelProto":
    """Convert a traced model to ONNX.

    Inputs and outputs have the names, types and shapes of `traced.inputs` and `traced.outputs`, in their order. The
    first dimension of each is the symbol `batch`, other free dimensions are called `<tensor>_dim_<axis>`.

    Raises:
        ConversionError: an operation has no counterpart in ONNX, or there are more than 2 GiB of weights that are not
            the float32 weights of Keras 3 layers.
    """
    size = sum(math.prod(variable.shape) * variable.dtype.size for variable in traced.function.variables)
    if size > _MAX_FROZEN_BYTES:
        raise ConversionError(
            f"the model has {size / 2**30:.1f} GiB of weights that are not float32 weights of Keras 3 layers, of which "
            "TensorFlow can freeze less than 2 GiB; build the model of Keras 3 layers, or of smaller ones"
        )
    with quiet() as complaints, silent_tensorflow(), ordered_sets():
        try:
            graph, variables = _to_onnx_graph(traced, opset)
            return _checked_model(graph, variables, traced, complaints)
        except ConversionError:
            raise
        except Exception as error:
            reason = "; ".join([*complaints, reason_of(error)])
            raise ConversionError(f"model '{traced.name}' cannot be converted to ONNX: {reason}") from error


def notes_of(traced: TracedModel) -> list[str]:
    """Say in what other numbers than the Keras model the ONNX model computes, one sentence each."""
    widened = [layer.name for layer in traced.layers if getattr(layer, "compute_dtype", "") == "bfloat16"]
    unpacked = [layer.name for layer in traced.layers if getattr(layer, "quantization_mode", None) == "int4"]
    misplaced = [layer.name for layer in traced.layers if _has_misplaced_bias(layer)]
    notes = []
    if misplaced:
        notes.append(
            f"layers {listed(misplaced)} make as many channels, which come first, as columns: Keras under TensorFlow "
            "adds their bias along the columns, and so does the ONNX model; a model that was trained under JAX or "
            "PyTorch answers otherwise there"
        )
    if widened:
        notes.append(
            f"layers {listed(widened)} compute in bfloat16, for which onnxruntime lacks operators; the ONNX model "
            "computes in float32"
        )
    if unpacked:
        notes.append(
            f"the int4 weights of {listed(unpacked)} are unpacked to int8 or float32; the ONNX model gives the same "
            "numbers, and is larger than the Keras model"
        )
    return notes


def _has_misplaced_bias(layer: Any) -> bool:
    """Tell whether Keras takes a layer's last axis for its channels, as its `ops.add` does where sizes are equal."""
    from keras import ops

    bias = getattr(layer, "bias", None)
    if getattr(layer, "data_format", "") != "channels_first" or bias is None:
        return False
    shape = getattr(getattr(layer, "output", None), "shape", (None,))
    added = ops.add(ops.zeros((1, 2, 1, 2)), ops.reshape(ops.arange(2.0), (1, 2, 1, 1)))
    return bool(shape[-1] == bias.shape[0] and added[0, 1, 0, 0] != 1)


def _checked_model(
    graph: Any, variables: Mapping[str, Any], traced: TracedModel, complaints: Iterable[str]
) -> "onnx.ModelProto":
    import onnx

    model = graph.make_model(f"Keras model {traced.name}", graph_name=traced.name)
    text.raise_operator_set(model)
    _refuse_unknown_operators(model, traced, complaints)
    weights = rearrange(model.graph, {name: variable.numpy() for name, variable in variables.items()})
    _name_dimensions(model.graph.input[: len(traced.inputs)], traced.inputs)
    _name_dimensions(model.graph.output, traced.outputs)
    names = rename(model.graph, traced.name, traced.scopes, [spec.name for spec in (*traced.inputs, *traced.outputs)])
    weights = {names[name]: array for name, array in weights.items()}
    onnx.checker.check_model(model, full_check=True)
    attach(model.graph, weights)
    return model


def _to_onnx_graph(traced: TracedModel, opset: int) -> tuple[Any, dict[str, Any]]:
    """Freeze the function, tables included, and let tf2onnx map it, as its own `from_keras` does from here on.

    Large weights are inputs of the graph that is returned; with it come their variables, by the names of these inputs.
    """
    import tensorflow as tf
    from tf2onnx import tf_loader, tfonnx

    inputs = [tensor.name for tensor in traced.function.inputs[: len(traced.inputs)]]
    weights = {
        tensor.op.name: variable
        for tensor, variable in zip(traced.function.inputs[len(inputs) :], traced.large_variables, strict=False)
    }
    outputs = [tensor.name for tensor in traced.function.outputs]
    handlers.register(OPSETS[0])
    names = [spec.name for spec in (*traced.inputs, *traced.outputs)]
    with tf.device("/cpu:0"):
        fed = inputs + [f"{name}:0" for name in weights]
        frozen, tables = tf_loader.from_trackable(traced.model, traced.function, fed, outputs, large_model=False)
        frozen = inline_calls(frozen, fed, outputs)
        widen_bfloat16(frozen, traced.scopes)
        large = freeze_used_otherwise(frozen, weights, [tensor.op.name for tensor in traced.function.outputs])
        weight_names = unique_names([weights[name].path for name in large], taken=names)
        inputs += [f"{name}:0" for name in large]
        names[len(traced.inputs) : len(traced.inputs)] = weight_names
        with tf.Graph().as_default() as tf_graph:
            tf.import_graph_def(frozen, name="")
            graph = tfonnx.process_tf_graph(
                tf_graph,
                # Some rewriters only look for patterns and may fail; what they leave behind is found afterwards.
                continue_on_error=True,
                opset=opset,
                input_names=inputs,
                output_names=outputs,
                shape_override=lookups.output_shapes(traced.function.graph, frozen),
                initialized_tables=tables,
                tensors_to_rename=dict(zip(inputs + outputs, names, strict=True)),
            )
        variables = [weights[name] for name in large]
        return optimize(graph), dict(zip(weight_names, variables, strict=True))


def _refuse_unknown_operators(model: "onnx.ModelProto", traced: TracedModel, complaints: Iterable[str]) -> None:
    """Raise ConversionError if operations are left that ONNX does not have: tf2onnx logs them and goes on."""
    import onnx

    reasons = {match[1]: match[2] for line in complaints if (match := _FAILURE.match(line))}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    unknown: dict[str, set[str]] = {}
    for node in nodes_of(model.graph):
        is_known = onnx.defs.has(node.op_type, opsets.get(node.domain, 1), node.domain)
        if not is_known and (node.domain, node.op_type) not in text.RUNTIME_OPERATORS:
            where = layer_of(node.name, traced.scopes)
            reason = f": {reasons[node.name]}" if node.name in reasons else ""
            unknown.setdefault(node.op_type, set()).add(where + reason)
    if unknown:
        named = "; ".join(f"{op} (in {', '.join(sorted(where))})" for op, where in sorted(unknown.items()))
        raise ConversionError(
            f"model '{traced.name}' uses TensorFlow operations that have no ONNX counterpart here: {named}; "
            f"{_advice(unknown)}"
        )


def _advice(operators: Iterable[str]) -> str:
    advice = {handlers.ADVICE[operator]: None for operator in operators if operator in handlers.ADVICE}
    return "; ".join(advice) or "build these layers of other operations"


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
