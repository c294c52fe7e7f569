"""tf2onnx's optimizers, kept from what they stumble over."""

import copy
from typing import Any


def optimize(graph: Any) -> Any:
    """Optimize tf2onnx's graph, and return the result; `graph` itself is of no more use."""
    from tf2onnx import optimizer

    # That of Einsum tries hundreds of decompositions, seconds for each attention layer; runtimes know Einsum.
    factories = {name: one for name, one in optimizer._get_optimizers().items() if name != "einsum_optimizer"}
    copied = copy.deepcopy(graph)
    _widen_scalars(copied)
    try:
        return optimizer.optimize_graph(copied, catch_errors=False, optimizers=factories)
    except Exception:
        # One of them fails: then with a copy of the graph before each, which takes much longer.
        return optimizer.optimize_graph(graph, optimizers=factories)


def _widen_scalars(graph: Any) -> None:
    """Give scalars that are added a dimension: the optimizer of transpositions takes each for the bias of a Conv."""
    from tf2onnx import utils

    for node in list(graph.get_nodes()):
        for body in (node.get_body_graphs() or {}).values():
            _widen_scalars(body)
        if node.type == "Add" and node.inputs[1] and node.inputs[1].is_const() and graph.get_rank(node.input[0]):
            value = node.inputs[1].get_tensor_value(as_list=False)
            if value.ndim == 0:
                vector = graph.make_const(utils.make_name("scalar"), value.reshape(1))
                graph.replace_input(node, node.input[1], vector.output[0], 1)
