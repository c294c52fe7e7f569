"""Large weights, kept out of the graphs on whose way to ONNX they would be copied dozens of times.

TensorFlow freezes a function by writing its weights into a graph, which it then copies at every step; tf2onnx copies
its own graph before each of its optimizers. So large weights are inputs of the function that is traced, and become
initializers when the ONNX graph is finished. Only operations that tf2onnx maps without looking at their values take
them that way: what else uses a weight finds a constant, as usual.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

#: From this size on a weight is large.
LARGE_BYTES = 2**18

#: The operations that take weights whose values tf2onnx does not look at, and which of their inputs that is.
_BLIND_OPS = {
    ("MatMul", 0),
    ("MatMul", 1),
    ("BatchMatMulV2", 0),
    ("BatchMatMulV2", 1),
    ("Einsum", 0),
    ("Einsum", 1),
    ("GatherV2", 0),
    ("Conv2D", 1),
    ("Conv3D", 1),
    ("DepthwiseConv2dNative", 1),
}
#: Those that rearrange a weight, and what tf2onnx makes of them and of the layouts of kernels: applied at export.
_REARRANGING_OPS = ("Identity", "Cast", "Reshape", "Transpose", "ExpandDims", "Squeeze")
_REARRANGING_NODES = ("Identity", "Cast", "Reshape", "Transpose", "Unsqueeze", "Squeeze")


def large_variables(layers: Iterable[Any], least: int = LARGE_BYTES) -> list[Any]:
    """Return the float32 variables of at least so many bytes of layers of Keras 3, each once."""
    import keras

    found: dict[int, Any] = {}
    for layer in layers:
        for variable in layer.weights if isinstance(layer, keras.layers.Layer) else ():
            if variable.dtype == "float32" and 4 * np.prod(variable.shape, dtype=np.int64) >= least:
                found.setdefault(id(variable), variable)
    return list(found.values())


def replaced(variables: Sequence[Any], tensors: Sequence[Any]) -> Any:
    """Return a context in which layers find tensors in place of their variables."""
    import keras

    return keras.StatelessScope(state_mapping=list(zip(variables, tensors, strict=True)))


def freeze_used_otherwise(graph: Any, variables: Mapping[str, Any], outputs: Sequence[str]) -> list[str]:
    """Make constants, in place, of a GraphDef's placeholders that stand for variables and are used by other operations.

    Args:
        graph: a tf GraphDef.
        variables: by the name of the placeholder.
        outputs: the names of the graph's output nodes.

    Returns:
        the names of the placeholders that remain, and are used.
    """
    import tensorflow as tf

    users: dict[str, list[tuple[Any, int]]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            users.setdefault(name.lstrip("^").partition(":")[0], []).append((node, index))

    def is_blind(name: str) -> bool:
        return name not in outputs and all(
            is_blind(node.name) if node.op in _REARRANGING_OPS and index == 0 else (node.op, index) in _BLIND_OPS
            for node, index in users.get(name, ())
        )

    remaining = []
    for node in graph.node:
        if node.name not in variables or node.name not in users:
            continue
        if is_blind(node.name):
            remaining.append(node.name)
            continue
        constant = tf.make_tensor_proto(variables[node.name].numpy())
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = constant.dtype
        node.attr["value"].tensor.CopyFrom(constant)
    return remaining


def rearrange(graph: "onnx.GraphProto", weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Apply the nodes of an ONNX graph that only rearrange weights; return what is left to become initializers.

    The weights are inputs of the graph, and in the end those that are returned.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = dict(weights)
    kept = []
    for node in graph.node:
        if node.op_type in _REARRANGING_NODES and node.input[0] in found and set(node.input[1:]) <= constants.keys():
            others = {name: onnx.numpy_helper.to_array(constants[name]) for name in node.input[1:]}
            [found[node.output[0]]] = ReferenceEvaluator(node).run(
                None, {node.input[0]: found[node.input[0]], **others}
            )
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    _remove_inputs(graph, weights)
    found = {name: array for name, array in found.items() if name in used}
    for name, array in found.items():
        element = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        graph.input.append(onnx.helper.make_tensor_value_info(name, element, array.shape))
    return found


def attach(graph: "onnx.GraphProto", weights: dict[str, NDArray[Any]]) -> None:
    """Make initializers of the inputs of an ONNX graph that are weights; empties `weights`, to need no memory twice."""
    import onnx

    _remove_inputs(graph, weights)
    while weights:
        name = next(iter(weights))
        array = weights.pop(name)
        tensor = graph.initializer.add(name=name, dims=array.shape)
        tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.raw_data = array.tobytes()


def _remove_inputs(graph: "onnx.GraphProto", names: Container[str]) -> None:
    kept = [value for value in graph.input if value.name not in names]
    del graph.input[:]
    graph.input.extend(kept)
