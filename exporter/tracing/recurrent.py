"""Keras' recurrent layers, marked in the graph for ONNX's own operators.

Traced as they are, they become while loops: an ONNX Loop takes several times as long as an LSTM, GRU or RNN node, and
which layer it was can no longer be told. So while a model is traced its layers leave one operation each, which
`headgate.exporter.conversion.handlers.recurrent` replaces by a node. The Keras model is not changed, and computes as
ever.
"""

import functools
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

from headgate.exporter.conversion.handlers.recurrent import STATES, Recurrence

#: The parameters of RNN.inner_loop: where another version of Keras has others, its layers remain loops.
_PARAMETERS = ["self", "sequences", "initial_state", "mask", "training"]
#: What onnxruntime's nodes compute in.
_DTYPES = ("float16", "float32")
_OPERATORS = {"LSTMCell": "LSTM", "GRUCell": "GRU", "SimpleRNNCell": "RNN"}
_DEFAULT_ACTIVATIONS = (("Sigmoid", "Tanh", "Tanh"), ("Sigmoid", "Tanh"), ("Tanh",))


@contextmanager
def native_recurrence(layers: Iterable[Any]) -> Iterator[None]:
    """Let recurrent layers among these mark themselves in the graph that is being traced, while the context lasts.

    Layers, cells, activations and calls that ONNX has no operator for remain loops.
    """
    import keras
    import tensorflow as tf

    graph = tf.compat.v1.get_default_graph()
    loops = (keras.layers.RNN.inner_loop, keras.layers.LSTM.inner_loop, keras.layers.GRU.inner_loop)
    known = [
        layer
        for layer in layers
        if isinstance(layer, keras.layers.RNN)
        and type(layer).inner_loop in loops
        and list(inspect.signature(type(layer).inner_loop).parameters) == _PARAMETERS
    ]
    for layer in known:
        # Not by assignment: Keras tracks what is assigned to a layer.
        vars(layer)["inner_loop"] = functools.partial(_inner_loop, layer, graph)
    try:
        yield
    finally:
        for layer in known:
            vars(layer).pop("inner_loop", None)


def _inner_loop(
    layer: Any, graph: Any, sequences: Any, initial_state: Any, mask: Any, training: bool | None = False
) -> tuple[Any, Any, Any]:
    import keras
    import tensorflow as tf

    # Not in inner graphs: TensorFlow keeps those of a user's tf.function, and runs them when the model is called again.
    if tf.compat.v1.get_default_graph() is graph:
        masks = [] if mask is None else keras.tree.flatten(mask)[:1]
        states = keras.tree.flatten(initial_state)
        if _fits(layer, sequences, states, masks) and not (training and _drops(layer)):
            output, *states = _mark(layer, sequences, states, masks)
            # The layer takes the last output or all outputs, never both.
            return output, output, keras.tree.pack_sequence_as(initial_state, states)
    result: tuple[Any, Any, Any] = type(layer).inner_loop(layer, sequences, initial_state, mask, training)
    return result


def _mark(layer: Any, sequences: Any, states: list[Any], masks: list[Any]) -> list[Any]:
    """Return the output and the last states, as given by one operation that stands for the layer."""
    import tensorflow as tf

    cells = _cells_of(layer)
    recurrence = Recurrence(
        cells=[(_OPERATORS[type(cell).__name__], _attributes_of(cell)) for cell in cells],
        has_mask=bool(masks),
        go_backwards=layer.go_backwards,
        return_sequences=layer.return_sequences,
        zero_output_for_mask=layer.zero_output_for_mask,
    )
    tensors = [sequences]
    tensors += [tf.cast(mask if mask.shape.rank == 2 else tf.squeeze(mask, 2), tf.bool) for mask in masks]
    tensors += [weight for cell in cells for weight in _weights_of(cell, sequences.dtype)]
    tensors += [] if all(_is_zero(state) for state in states) else states
    outputs = tf.raw_ops.PyFuncStateless(
        input=tensors, token=recurrence.to_token(), Tout=[sequences.dtype] * (1 + len(states))
    )
    steps = sequences.shape[1:2] if layer.return_sequences else []
    shapes = [[None, *steps, cells[-1].units], *(state.shape for state in states)]
    return [tf.ensure_shape(output, shape) for output, shape in zip(outputs, shapes, strict=True)]


def _fits(layer: Any, sequences: Any, states: list[Any], masks: list[Any]) -> bool:
    """Tell whether ONNX's operators compute what the layer computes of these tensors."""
    import keras
    import tensorflow as tf

    cells = _cells_of(layer)
    # Not subclasses: they may compute anything.
    if not all(
        type(cell) in (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell) for cell in cells
    ):
        return False
    activations = _activations()
    units = [cell.units for cell in cells for _ in range(STATES[_OPERATORS[type(cell).__name__]])]
    return (
        isinstance(sequences, tf.Tensor)
        and sequences.dtype.name in _DTYPES
        and sequences.shape.rank == 3
        and all(cell.compute_dtype == sequences.dtype.name for cell in cells)
        and all(activation in activations for cell in cells for activation in _activations_of(cell))
        # Unrolled, Keras zeroes the outputs of other steps than it hides when it goes backwards.
        and not (layer.unroll and layer.go_backwards and layer.zero_output_for_mask and masks)
        # Keras would repeat the states and the mask of one row for all rows.
        and [state.shape.as_list() for state in states] == [[None, size] for size in units]
        and all(mask.shape[0] is None and mask.shape.as_list()[2:] in ([], [1]) for mask in masks)
    )


def _cells_of(layer: Any) -> list[Any]:
    import keras

    return list(layer.cell.cells) if type(layer.cell) is keras.layers.StackedRNNCells else [layer.cell]


def _drops(layer: Any) -> bool:
    return any(cell.dropout or cell.recurrent_dropout for cell in _cells_of(layer))


def _is_zero(state: Any) -> bool:
    """Tell whether a tensor comes from ops.zeros, as the states do that a layer begins with by itself."""
    import tensorflow as tf

    return bool(state.op.type == "Fill" and tf.get_static_value(state.op.inputs[1]) == 0)


def _activations() -> dict[Any, tuple[str, list[float], list[float]]]:
    """Return the activations that ONNX's operators know: their name, alpha and beta there."""
    from keras import activations

    return {
        activations.elu: ("Elu", [1.0], []),
        activations.hard_sigmoid: ("HardSigmoid", [1 / 6], [0.5]),
        activations.leaky_relu: ("LeakyRelu", [0.2], []),
        activations.linear: ("Affine", [1.0], [0.0]),
        activations.relu: ("Relu", [], []),
        activations.sigmoid: ("Sigmoid", [], []),
        activations.softplus: ("Softplus", [], []),
        activations.softsign: ("Softsign", [], []),
        activations.tanh: ("Tanh", [], []),
    }


def _activations_of(cell: Any) -> list[Any]:
    """Return a cell's activations in the order in which its operator takes them."""
    gates = [cell.recurrent_activation] if hasattr(cell, "recurrent_activation") else []
    return [*gates, *[cell.activation] * STATES[_OPERATORS[type(cell).__name__]]]


def _attributes_of(cell: Any) -> dict[str, Any]:
    known = _activations()
    names, alphas, betas = zip(*(known[activation] for activation in _activations_of(cell)), strict=True)
    attributes = {
        "hidden_size": cell.units,
        # onnxruntime gives a node that names any to the CPU, not to a GPU.
        "activations": [] if names in _DEFAULT_ACTIVATIONS else list(names),
        "activation_alpha": [*chain(*alphas)],
        "activation_beta": [*chain(*betas)],
        "linear_before_reset": int(getattr(cell, "reset_after", False)),
    }
    return {name: value for name, value in attributes.items() if value}


def _weights_of(cell: Any, dtype: Any) -> list[Any]:
    """Return W, R and B as the cell's operator takes them, each with a first dimension for the one direction."""
    import tensorflow as tf
    from keras import ops

    def arranged(weight: Any) -> Any:
        if type(cell).__name__ != "LSTMCell":
            return weight
        # Keras' order of gates is input, forget, cell, output; ONNX's is input, output, forget, cell.
        i, f, c, o = tf.split(weight, 4, axis=-1)
        return tf.concat([i, o, f, c], axis=-1)

    kernel, recurrent = (arranged(ops.convert_to_tensor(one, dtype)) for one in (cell.kernel, cell.recurrent_kernel))
    # Two biases, of which only GRU's reset_after needs the second.
    bias = tf.zeros([1, kernel.shape[-1]], dtype) if cell.bias is None else ops.convert_to_tensor(cell.bias, dtype)
    biases = tf.reshape(arranged(bias), [-1, kernel.shape[-1]])
    biases = tf.concat([biases, tf.zeros([2 - biases.shape[0], kernel.shape[-1]], dtype)], axis=0)
    return [tf.expand_dims(tf.transpose(one), 0) for one in (kernel, recurrent)] + [tf.reshape(biases, [1, -1])]
