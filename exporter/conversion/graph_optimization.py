"""tf2onnx's optimizers, kept from what they stumble over."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.nodes import add, constant


def optimize(graph: Any) -> Any:
    """Optimize tf2onnx's graph, and return the result; `graph` itself is of no more use."""
    from tf2onnx import optimizer

    # That of Einsum tries hundreds of decompositions, seconds for each attention layer; runtimes know Einsum.
    factories = {name: one for name, one in optimizer._get_optimizers().items() if name != "einsum_optimizer"}
    factories["optimize_transpose"] = _transpose_optimizer
    # Before that of transpositions, which sorts the graph anew for each constant that is reshaped.
    factories = {"fold_constants": factories["fold_constants"], **factories}
    try:
        optimized = optimizer.optimize_graph(copy.deepcopy(graph), catch_errors=False, optimizers=factories)
    except Exception:
        # One of them fails: then with a copy of the graph before each, which takes much longer.
        optimized = optimizer.optimize_graph(graph, optimizers=factories)
    _keep_padding(optimized)
    return optimized


def _transpose_optimizer() -> Any:
    """Return tf2onnx's optimizer of transpositions, with two of its handlers corrected."""
    from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

    optimizer = TransposeOptimizer()
    handlers = optimizer._handler_map
    handlers["Add"] = functools.partial(_move_below_sum, handlers["Add"], optimizer._handle_node_having_branches)
    handlers["Mul"] = functools.partial(_move_below_product, handlers["Mul"])
    return optimizer


def _move_below_sum(merge: Callable[..., bool], move: Callable[..., bool], transposition: Any, node: Any) -> bool:
    """Do not let what is added to a Conv become its bias, unless it is a vector along the channels."""
    added = node.inputs[1]
    if added.is_const():
        shape = added.get_tensor_value(as_list=False).shape
        if not shape or np.prod(shape) != shape[-1] or transposition.get_attr_value("perm")[-1] != 1:
            return move(transposition, node)
    return merge(transposition, node)


def _move_below_product(move: Callable[..., bool], transposition: Any, node: Any) -> bool:
    """Set the shapes of squares, which the handler forgets; others become wrong by them."""
    shape = node.graph.get_shape(node.output[0])
    is_square = node.input[0] == node.input[1]
    moved = move(transposition, node)
    if moved and is_square and shape:
        perm = transposition.get_attr_value("perm")
        node.graph.set_shape(node.output[0], [shape[perm.index(axis)] for axis in range(len(perm))])
        node.graph.set_shape(transposition.output[0], shape)
    return moved


def _keep_padding(graph: Any) -> None:
    """Keep onnxruntime from merging padding into the MaxPool behind it, where it would be no part of the maximum."""
    for node in list(graph.get_nodes()):
        for body in (node.get_body_graphs() or {}).values():
            _keep_padding(body)
        if node.type == "MaxPool" and node.inputs[0].type == "Pad":
            padding = node.inputs[0]
            if graph.opset >= 18:
                # It leaves padding of named axes alone, even of all of them.
                data, pads, value = [*padding.input, ""][:3]
                axes = constant(graph, np.arange(graph.get_rank(padding.output[0])))
                graph.replace_inputs(padding, [data, pads, value, axes])
            else:
                # The maximum of a single tensor is that tensor.
                graph.replace_input(node, node.input[0], add(graph, "Max", node.input[0]), 0)
