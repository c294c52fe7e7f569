"""TensorFlow graphs, followed from their outputs back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from headgate.exporter.conversion.handlers.recurrent import MARK

#: What passes values on: the operation before it tells what an output means.
_PASSING_OPS = ("Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "Cast", "StopGradient", "EnsureShape")
_CALL_OPS = ("PartitionedCall", "StatefulPartitionedCall")
#: What people call operations that stand for something else.
_NAMES = {MARK: "LSTM, GRU or SimpleRNN"}
#: What `GraphNodes.last_op` calls the operations that divide a vector by its length.
UNIT_LENGTH = "division by the vector's length"
#: What it calls a softmax whose units do not stand along the tensor's last axis, such as several in a row.
RESHAPED_SOFTMAX = "reshaped softmax"


class GraphNodes:
    """The nodes of a graph and of the functions that it calls."""

    def __init__(self, graph: Any) -> None:
        self._nodes = {node.name: node for node in graph.node}
        self._functions = {function.signature.name: function for function in graph.library.function}
        self._bodies = {
            name: {node.name: node for node in function.node_def} for name, function in self._functions.items()
        }

    def all(self) -> Iterator[Any]:
        """Yield every node."""
        yield from self._nodes.values()
        for body in self._bodies.values():
            yield from body.values()

    def used(self, tensors: Iterable[str]) -> Iterator[Any]:
        """Yield the nodes that tensors of the graph are computed from, those of the functions that are called too."""
        seen = set()
        pending = [(self._nodes, tensor) for tensor in tensors]
        while pending:
            nodes, tensor = pending.pop()
            node = nodes.get(_node_name(tensor))
            if node is None or tensor.startswith("^") or id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            pending += [(nodes, name) for name in node.input]
            for value in node.attr.values():
                for called in (value.func, *value.list.func):
                    if called.name in self._functions:
                        results = self._functions[called.name].ret.values()
                        pending += [(self._bodies[called.name], result) for result in results]

    def last_op(self, tensor: str, units: int) -> str:
        """Return the type of the op that computes a tensor of the graph, past those that only pass values on.

        Args:
            tensor: its name.
            units: the size of its last axis; -1 where that is free.
        """
        nodes = self._nodes
        # How to go on from the arguments of a function: the node that calls it, and the nodes around that.
        callers: list[tuple[Any, Sequence[str], dict[str, Any]]] = []
        while True:
            name, *_, index = tensor.split(":") if ":" in tensor else (tensor, "0")
            if name not in nodes:
                call, arguments, nodes = callers.pop()
                tensor = call.input[arguments.index(name)]
                continue
            node = nodes[name]
            if node.op in _CALL_OPS:
                function = self._functions[node.attr["f"].func.name]
                callers.append((node, [argument.name for argument in function.signature.input_arg], nodes))
                nodes = self._bodies[node.attr["f"].func.name]
                tensor = function.ret[function.signature.output_arg[int(index)].name]
            elif node.op in _PASSING_OPS:
                tensor = node.input[int(index) if node.op == "IdentityN" else 0]
            elif _has_unit_length(node, nodes):
                return UNIT_LENGTH
            elif node.op in ("Softmax", "LogSoftmax") and _last_size(node) not in (None, units):
                return RESHAPED_SOFTMAX
            else:
                return _NAMES.get(node.op, str(node.op))


def _has_unit_length(node: Any, nodes: Mapping[str, Any]) -> bool:
    """Return whether a node is x / sqrt(sum(x * x)); divisors may be bounded, and be multiplied by their inverses."""
    root = {"Mul": "Rsqrt", "RealDiv": "Sqrt"}.get(node.op)
    if root is None:
        return False
    vector, length = node.input
    for op in (root, "Sum"):
        inner = nodes.get(_node_name(length))
        while inner is not None and inner.op in ("Maximum", "Minimum"):
            inner = nodes.get(_node_name(inner.input[0]))
        if inner is None or inner.op != op:
            return False
        length = inner.input[0]
    square = nodes.get(_node_name(length))
    return square is not None and square.op in ("Square", "Mul") and set(square.input) == {vector}


def _last_size(node: Any) -> int | None:
    """Return the size of the last axis of what a node gives; None where that is not known."""
    shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
    size = shapes[0].dim[-1].size if shapes and shapes[0].dim else -1
    return size if size >= 0 else None


def _node_name(tensor: str) -> str:
    return tensor.partition(":")[0]
