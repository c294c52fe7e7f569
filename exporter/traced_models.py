"""A Keras model as one function of named tensors."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.exporter.errors import ConversionError, ModelLoadError, reason_of
from headgate.exporter.names import clean_name, unique_names
from headgate.v1 import TensorSpec
from headgate.v1.tensors import data_type_of

if TYPE_CHECKING:
    import keras

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TracedModel:
    """A Keras model with named inputs and outputs, and the TensorFlow graph that it computes.

    Attributes:
        model: the Keras model.
        inputs: one spec an input; the first dimension is the batch, -1.
        outputs: one spec an output, in Keras' order; the first dimension is the batch, -1.
        aliases: for each output all names that Keras knows it by, the one in `outputs` among them.
        structure: the model's inputs as `model.call` takes them, with names in place of tensors.
        function: the tf ConcreteFunction; its first tensors are the inputs, its results the outputs, in the same order.
    """

    model: "keras.Model"
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    aliases: dict[str, set[str]]
    structure: Any
    function: Any

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the Keras model itself, eagerly and in inference mode, on named inputs."""
        import tensorflow as tf

        with tf.device("/cpu:0"):
            outputs = _call(self.model, self.structure, {name: tf.constant(array) for name, array in inputs.items()})
        return {spec.name: output.numpy() for spec, output in zip(self.outputs, outputs, strict=True)}

    def last_op(self, output: str) -> str:
        """Return the type of the TensorFlow op that computes an output, past those that only pass values on."""
        index = next(i for i, spec in enumerate(self.outputs) if spec.name == output)
        op = self.function.outputs[index].op
        while op.type in ("Identity", "Reshape", "Squeeze", "ExpandDims", "Cast", "StopGradient"):
            op = op.inputs[0].op
        return str(op.type)


def trace(model: "keras.Model", examples: "ArrayLike | Mapping[str, ArrayLike] | None" = None) -> TracedModel:
    """Trace a built model in inference mode.

    A model's input tensors are named by its Input layers; those of a subclassed model by the keys of the dictionary
    that it is called with, else `input`. Outputs are named by the keys of the dictionary that the model returns, else
    by the output layers, else `output`. Names hold only letters, digits and `_.-`, and are unique.

    Args:
        model: a built model.
        examples: tell the types of a subclassed model's inputs, which Keras does not record; default floating point.

    Raises:
        ModelLoadError: the inputs are not known, or the model has no weights yet.
        ConversionError: the model cannot be traced, or an output has no batch dimension.
    """
    import keras
    import tensorflow as tf

    paths, tensors, structure = _inputs_of(model, examples)
    names = unique_names(clean_name(path, "input") for path in paths)
    specs = [_input_spec(name, shape, dtype) for name, (shape, dtype) in zip(names, tensors, strict=True)]
    structure = keras.tree.pack_sequence_as(structure, names)
    keras_paths: list[tuple[Any, ...]] = []

    def flat_model(*tensors: Any) -> list[Any]:
        result = _call(model, structure, dict(zip(names, tensors, strict=True)), keras_paths)
        return [tf.identity(output) for output in result]

    signature = [
        tf.TensorSpec([None if size < 0 else size for size in spec.shape], dtype, name=f"headgate_input_{index}")
        for index, (spec, (_, dtype)) in enumerate(zip(specs, tensors, strict=True))
    ]
    weights = len(model.weights)
    try:
        function = tf.function(flat_model, autograph=False).get_concrete_function(*signature)
    except Exception as error:
        raise ConversionError(
            f"model '{model.name}' cannot be traced as a TensorFlow graph: {reason_of(error)}; "
            "it has to be built of Keras layers, keras.ops and TensorFlow functions"
        ) from error
    if len(model.weights) != weights:
        raise ModelLoadError(f"model '{model.name}' is not fully built; call it once on a batch of data, or train it")

    layer_names = _output_layer_names(model, len(function.outputs))
    aliases: dict[str, set[str]] = {}
    outputs: list[TensorSpec] = []
    for path, layer, tensor in zip(keras_paths, layer_names, function.outputs, strict=True):
        key = "_".join(str(part) for part in path if isinstance(part, str))
        fallback = "output" if len(keras_paths) == 1 else f"output_{len(outputs)}"
        [name] = unique_names([clean_name(key or layer or fallback, fallback)], taken=[*names, *aliases])
        aliases[name] = {name, key, layer} - {""}
        outputs.append(_output_spec(name, tensor))
    return TracedModel(model, specs, outputs, aliases, structure, function)


def _call(model: Any, structure: Any, tensors: Mapping[str, Any], paths: list[Any] | None = None) -> list[Any]:
    import keras

    result = model(keras.tree.map_structure(tensors.__getitem__, structure), training=False)
    if paths is not None:
        paths[:] = [path for path, _ in keras.tree.flatten_with_path(result)]
    return list(keras.tree.flatten(result))


def _inputs_of(model: Any, examples: Any) -> tuple[list[str], list[tuple[Any, str]], Any]:
    """Return names, (shape, dtype) pairs and the structure of a model's inputs, in Keras' flat order."""
    import keras

    if getattr(model, "inputs", None):
        structure = model.input if hasattr(model, "input") else model.inputs[0]
        flat = keras.tree.flatten(structure)
        names = [tensor._keras_history.operation.name for tensor in flat]
        return names, [(tensor.shape, keras.backend.standardize_dtype(tensor.dtype)) for tensor in flat], structure
    structure = _mark_shapes((model.get_build_config() or {}).get("input_shape"))
    shapes = [shape.sizes for shape in keras.tree.flatten(structure)]
    parameters = inspect.signature(model.call).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if not shapes or not all(shapes) or len(needed) > 1:
        raise ModelLoadError(
            f"the inputs of model '{model.name}' are not known, since it takes more than one argument or was never "
            "called; wrap it: keras.Model(inputs, model(*inputs))"
        )
    names = [
        "_".join(map(str, path if path and isinstance(path[0], str) else ("input", *path)))
        for path, _ in keras.tree.flatten_with_path(structure)
    ]
    if examples is None:
        return names, [(shape, keras.config.floatx()) for shape in shapes], structure
    arrays = examples if isinstance(examples, Mapping) else {names[0]: examples}
    return names, [(shape, _dtype_of(arrays.get(name))) for name, shape in zip(names, shapes, strict=True)], structure


def _dtype_of(example: ArrayLike | None) -> str:
    """Return the type of the input that takes an example: floating point of any width counts as Keras' default."""
    import keras

    dtype = np.asarray(example).dtype
    if dtype.kind in "SUO" and example is not None:
        return "string"
    return dtype.name if dtype.kind in "iub" else str(keras.config.floatx())


@dataclass(frozen=True)
class _Shape:
    """A shape as one leaf, where Keras would see a list of numbers."""

    sizes: tuple[int | None, ...]


def _mark_shapes(shapes: Any) -> Any:
    if isinstance(shapes, Mapping):
        return {name: _mark_shapes(shape) for name, shape in shapes.items()}
    if isinstance(shapes, list | tuple):
        if all(size is None or isinstance(size, int) for size in shapes):
            return _Shape(tuple(shapes))
        return [_mark_shapes(shape) for shape in shapes]
    return []


def _input_spec(name: str, shape: Sequence[int | None], dtype: str) -> TensorSpec:
    try:
        datatype = data_type_of(object if dtype == "string" else dtype)
    except (TypeError, ValueError):
        raise ConversionError(
            f"input '{name}' has type {dtype}, which cannot be served; cast inside the model"
        ) from None
    return TensorSpec(name=name, datatype=datatype, shape=[-1, *(-1 if size is None else size for size in shape[1:])])


def _output_spec(name: str, tensor: Any) -> TensorSpec:
    if tensor.shape.rank is None:
        raise ConversionError(f"output '{name}' has no known rank; end the model with keras.layers.Reshape")
    shape = [-1 if size is None else size for size in tensor.shape.as_list()]
    if not shape or shape[0] >= 0:
        raise ConversionError(
            f"output '{name}' has shape {shape}; its first dimension has to be the batch, of any size"
        )
    try:
        datatype = data_type_of(object if tensor.dtype.name == "string" else tensor.dtype.as_numpy_dtype)
    except (TypeError, ValueError):
        raise ConversionError(
            f"output '{name}' has type {tensor.dtype.name}, which cannot be served; cast it"
        ) from None
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def _output_layer_names(model: Any, count: int) -> list[str]:
    """Return the name of the layer that makes each output, empty where Keras does not know it."""
    if getattr(model, "inputs", None):
        return [tensor._keras_history.operation.name for tensor in model.outputs]
    return [""] * count
