"""Where an ONNX model begins to differ from Keras: the first layer whose output its graph does not compute."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.errors import reason_of
from headgate.exporter.proof.keras_runs import KerasRun
from headgate.exporter.proof.sessions import OnnxModel, open_session
from headgate.exporter.proof.tolerances import Precision, tolerance_of
from headgate.exporter.tracing.traced_models import Arrays, TracedModel
from headgate.v1.parity import compare


def describe_divergence(traced: TracedModel, onnx_model: OnnxModel, run: KerasRun, precision: Precision) -> str:
    """Say which layer of the Keras model is the first that the ONNX graph gets wrong, or that it cannot be told.

    Keras' layers are listened to while they run, whatever the model is made of, and the values of each are looked for
    among all tensors of the ONNX graph: under no name, since converters merge and transpose, but in any layout. A layer
    whose values are not there is right all the same if layers that go on from it are: it was merged with them.
    """
    if not traced.layers:
        return "which operation is at fault cannot be told, since the model is not made of Keras layers"
    try:
        with _recorded_calls(traced) as calls:
            traced.predict(run.inputs)
        tensors = _Tensors(onnx_model, run.inputs, precision)
    except Exception as error:
        return f"the layer at fault cannot be told: {reason_of(error)}"
    found = [tensors.find(call) for call in calls]
    right = list(found)
    # Backwards, since what merges layers goes on through several: padding, convolution, normalization.
    for index in reversed(range(len(calls))):
        right[index] = found[index] or any(
            right[later] and (not found[later] or calls[later].is_telling)
            for later in range(index + 1, len(calls))
            if calls[index].is_used_by(calls[later])
        )
    wrong = next((call for call, is_right in zip(calls, right, strict=True) if not is_right), None)
    if wrong is None:
        return "every layer agrees, so that what is at fault is computed outside of layers"
    error_there = tensors.error_of(wrong)
    measure = "" if error_there is None else f": max error {error_there:.3g}"
    return f"the first layer that differs is '{wrong.name}' ({wrong.kind}){measure}"


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a layer, with the tensors themselves: they are told apart by their identity."""

    name: str
    kind: str
    inputs: list[Any]
    outputs: list[Any]
    #: The calls of layers inside of this one.
    inner: list["_Call"]

    @property
    def is_telling(self) -> bool:
        """Whether it is no accident that the same values are found: they are fractions, and not all the same."""
        return any(np.ptp(array) > 0 for array in self.arrays if array.dtype.kind == "f" and array.size)

    @property
    def arrays(self) -> list[NDArray[Any]]:
        arrays = [tensor.numpy() for tensor in self.outputs]
        return [array.astype(np.float32) if array.dtype.kind == "V" else array for array in arrays]

    def is_used_by(self, later: "_Call") -> bool:
        """Whether another call takes an output of this one, or was made around it."""
        made = set(map(id, self.outputs))
        return self in later.inner or any(id(tensor) in made for tensor in later.inputs)


@contextmanager
def _recorded_calls(traced: TracedModel) -> Iterator[list[_Call]]:
    """Listen to all layers, but the cells of recurrent ones, which run step by step; give their calls as they end."""
    import keras

    cells = {
        id(part)
        for layer in traced.layers
        if isinstance(layer, keras.layers.RNN)
        for part in layer.cell._flatten_layers()
    }
    layers = [layer for layer in traced.layers if id(layer) not in cells and "call" not in vars(layer)]
    calls: list[_Call] = []
    for layer in layers:
        object.__setattr__(layer, "call", _recorder(layer, calls))
    try:
        yield calls
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _recorder(layer: Any, calls: list[_Call]) -> Any:
    original = layer.call

    def call(*args: Any, **kwargs: Any) -> Any:
        before = len(calls)
        result = original(*args, **kwargs)
        calls.append(
            _Call(layer.name, type(layer).__name__, _tensors((args, kwargs)), _tensors(result), calls[before:])
        )
        return result

    return call


def _tensors(structure: Any) -> list[Any]:
    import keras
    import tensorflow as tf

    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, tf.Tensor) and hasattr(leaf, "numpy")]


class _Tensors:
    """All tensors that an ONNX graph computes of some inputs."""

    def __init__(self, onnx_model: OnnxModel, inputs: Arrays, precision: Precision) -> None:
        import onnx

        model = onnx.load_from_string(onnx_model) if isinstance(onnx_model, bytes) else onnx.load(onnx_model)
        makers = {name: node.name for node in model.graph.node for name in node.output if name}
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in makers)
        values = open_session(model.SerializeToString(), "disabled").run(list(makers), inputs)
        self._precision = precision
        self._named: Mapping[str, NDArray[Any]] = {
            f"{node}/{name}": value
            for (name, node), value in zip(makers.items(), values, strict=True)
            if isinstance(value, np.ndarray)
        }
        self._ranges = {name: _range(value) for name, value in self._named.items()}

    def find(self, call: _Call) -> bool:
        """Return whether the graph computes all outputs of a layer, each in any layout."""
        return all(self._find(array) for array in call.arrays)

    def error_of(self, call: _Call) -> float | None:
        """Return how far the nearest tensor is that is called after a layer; None if none has that size."""
        errors = [
            min(compare(array, candidate).max_absolute_error for candidate in _layouts(value, array.shape))
            for array in call.arrays
            for name, value in self._named.items()
            if array.dtype.kind == "f" and value.size == array.size and f"/{call.name}/" in f"/{name}/"
        ]
        return min(errors, default=None)

    def _find(self, array: NDArray[Any]) -> bool:
        tolerance = tolerance_of("", [array], self._precision)
        lowest, highest = _range(array)
        for name, value in self._named.items():
            if value.size != array.size or (value.dtype == object) != (array.dtype == object):
                continue
            slack = tolerance.absolute + tolerance.relative * max(abs(lowest), abs(highest))
            low, high = self._ranges[name]
            if abs(low - lowest) <= slack and abs(high - highest) <= slack:
                for candidate in _layouts(value, array.shape):
                    if compare(array, candidate, tolerance.absolute, tolerance.relative).is_allowed:
                        return True
        return not array.size


def _range(array: NDArray[Any]) -> tuple[float, float]:
    """Return the least and the largest finite number; text and the like have none."""
    finite = array[np.isfinite(array)] if array.dtype.kind in "biuf" else np.empty(0)
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _layouts(value: NDArray[Any], shape: tuple[int, ...]) -> Iterable[NDArray[Any]]:
    """Yield a tensor in a shape, taking each of its axes for one that was moved to another place."""
    seen = set()
    for source in range(max(len(shape), 1)):
        for target in range(max(len(shape), 1)):
            order = list(range(len(shape)))
            if order:
                order.insert(target, order.pop(source))
            if tuple(order) not in seen:
                seen.add(tuple(order))
                yield value.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
