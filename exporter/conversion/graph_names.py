"""One order and readable names for the nodes of an ONNX graph, so that the same graph is always the same file."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from headgate.exporter.names import unique_names

if TYPE_CHECKING:
    import onnx


def layer_path(node: str, scopes: Mapping[str, str]) -> list[str]:
    """Split what tf2onnx calls a node, with the names of layers as they are in Keras.

    tf2onnx numbers its nodes; TensorFlow numbers scopes that it has seen before, and Keras enters each layer's twice:
    `dense_1` is the scope of the layer `dense`. tf_keras enters them once, so that it is that of `dense_1`; such scopes
    are among the keys with a slash at their end.

    >>> layer_path("model_1/dense_1/MatMul__12", {"model": "model", "dense": "Dense 1", "dense_1": "dense_1"})
    ['model', 'Dense 1', 'MatMul']
    >>> layer_path("model/dense_1/MatMul", {"dense": "dense", "dense_1": "dense_1", "dense_1/": "dense_1"})
    ['model', 'dense_1', 'MatMul']
    """
    path = []
    for part in node.split("/"):
        plain = re.sub(r"__\d+", "", part)
        # As it is first: a layer's own name may look like tf2onnx's numbers.
        found = (scope for name in (part, plain) for scope in (f"{name}/", re.sub(r"_\d+$", "", name), name))
        path.append(next((scopes[scope] for scope in found if scope in scopes), plain))
    return path


def innermost_layer(node: str, scopes: Mapping[str, str]) -> str | None:
    """Return the name of the layer that a node belongs to, the innermost; None where it belongs to none.

    >>> innermost_layer("model_1/outer_1/dense_1/add", {"model": "model", "dense": "dense", "add": "add"})
    'dense'
    """
    layers = set(scopes.values())
    # The last part is the operation, which may be called as a layer is.
    return next((part for part in reversed(layer_path(node, scopes)[:-1]) if part in layers), None)


def layer_of(node: str, scopes: Mapping[str, str]) -> str:
    """Say which layer a node belongs to, the innermost, or which node it is where it belongs to none."""
    layer = innermost_layer(node, scopes)
    return f"node '{node}'" if layer is None else f"layer '{layer}'"


def nodes_of(graph: "onnx.GraphProto") -> "Iterator[onnx.NodeProto]":
    """Yield the nodes of a graph and of all graphs inside of it."""
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from nodes_of(body)


def rename(graph: "onnx.GraphProto", model: str, scopes: Mapping[str, str], kept: Iterable[str]) -> dict[str, str]:
    """Sort and name the nodes, tensors and constants of a graph, in place, by the layers that they belong to.

    A node is called after its layers and its operation, `encoder/dense/MatMul`; what it gives is called the same; a
    constant after the first node that takes it and what that node takes it for, `encoder/dense/MatMul/B`. The order is
    that of a walk from the outputs back to the inputs, and what no output needs is left out.

    Args:
        graph: its inputs may hold constants, too.
        model: the name of the model, which would begin every name.
        scopes: the names of layers by those of their scopes.
        kept: the tensors that keep their names: the model's inputs and outputs.

    Returns:
        the new names of tensors, by the old ones.
    """
    names = _Names(model, scopes, kept)
    names.give(graph)
    for value in graph.input:
        value.name = names.tensors.get(value.name, value.name)
    return names.tensors


class _Names:
    def __init__(self, model: str, scopes: Mapping[str, str], kept: Iterable[str]) -> None:
        self.tensors = {name: name for name in kept}
        self._model = model
        self._scopes = scopes
        self._nodes: set[str] = set()
        self._new = set(self.tensors)

    def give(self, graph: "onnx.GraphProto") -> None:
        """Name what is in a graph and in those inside of it; tensors of outer graphs have their names already."""
        nodes = _in_order(graph)
        for node, name in zip(nodes, self._node_names(nodes), strict=True):
            node.name = self._unique(name, self._nodes)
            for index, tensor in enumerate(node.input):
                self._name(tensor, f"{node.name}/{_formal_name(node, index)}")
            for body in _bodies(node):
                for value in body.input:
                    self._name(value.name, f"{node.name}/{re.sub(r'.*/|[:_]*[0-9]+$', '', value.name)}")
                    value.name = self.tensors[value.name]
                self.give(body)
            for index, tensor in enumerate(node.output):
                self._name(tensor, node.name if len(node.output) == 1 else f"{node.name}:{index}")
            node.input[:] = [self.tensors.get(tensor, "") for tensor in node.input]
            node.output[:] = [self.tensors.get(tensor, "") for tensor in node.output]
        for value in graph.output:
            self._name(value.name, "constant")
            value.name = self.tensors[value.name]
        self._sort(graph, nodes)

    def _node_names(self, nodes: "Sequence[onnx.NodeProto]") -> list[str]:
        """Name nodes; those that tf2onnx put in, without a path, belong to the layer of what takes their output."""
        users: dict[str, list[str]] = {}
        names = []
        for node in reversed(nodes):
            path = layer_path(node.name, self._scopes)
            if len(path) > 1 and re.search(r"__\d+$", node.name) and path[-1] != node.op_type:
                path.append(node.op_type)
            scope = path[1:-1] if path[0] == self._model else path[:-1]
            if len(path) == 1:
                scope = next((users[tensor] for tensor in node.output if tensor in users), [])
                path = [node.op_type]
            for tensor in (*node.input, *(name for body in _bodies(node) for name in _read(body))):
                users[tensor] = scope
            names.append("/".join([*scope, path[-1]]))
        return names[::-1]

    def _name(self, tensor: str, name: str) -> None:
        if tensor and tensor not in self.tensors:
            self.tensors[tensor] = self._unique(name, self._new)

    @staticmethod
    def _unique(name: str, taken: set[str]) -> str:
        [unique] = unique_names([name], taken)
        taken.add(unique)
        return unique

    def _sort(self, graph: "onnx.GraphProto", nodes: "Sequence[onnx.NodeProto]") -> None:
        place = {name: index for index, name in enumerate(self.tensors)}
        constants = sorted((one for one in graph.initializer if one.name in place), key=lambda one: place[one.name])
        for constant in constants:
            constant.name = self.tensors[constant.name]
        for field, sorted_items in ((graph.node, nodes), (graph.initializer, constants)):
            del field[:]
            field.extend(sorted_items)
        # Guesses about inner tensors, full of symbols such as unk__6; runtimes infer their own.
        del graph.value_info[:]


def _in_order(graph: "onnx.GraphProto") -> "list[onnx.NodeProto]":
    """Return the nodes that the outputs need, each after those that it needs itself."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = [
        [
            makers[name]
            for name in (*node.input, *(name for body in _bodies(node) for name in _read(body)))
            if name in makers
        ]
        for node in graph.node
    ]
    order: dict[int, None] = {}
    waiting = [makers[value.name] for value in reversed(graph.output) if value.name in makers]
    while waiting:
        missing = [index for index in needs[waiting[-1]] if index not in order]
        if missing:
            waiting.append(missing[0])
        else:
            order.setdefault(waiting.pop())
    return [graph.node[index] for index in order]


def _bodies(node: "onnx.NodeProto") -> "list[onnx.GraphProto]":
    return [
        body for attribute in node.attribute for body in (attribute.g, *attribute.graphs) if body.node or body.output
    ]


def _read(body: "onnx.GraphProto") -> list[str]:
    """Return what the nodes inside of a graph take, of that graph or of outer ones, and what it passes on."""
    return [name for node in nodes_of(body) for name in node.input] + [value.name for value in body.output]


def _formal_name(node: "onnx.NodeProto", index: int) -> str:
    import onnx

    if not onnx.defs.has(node.op_type, domain=node.domain):
        return f"input_{index}"
    formal = onnx.defs.get_schema(node.op_type, domain=node.domain).inputs
    return str(formal[min(index, len(formal) - 1)].name)
