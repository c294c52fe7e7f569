"""How a model is called for inference: its inputs, and the function that takes them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from headgate.exporter.errors import ModelLoadError, listed, reason_of

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Examples = ArrayLike | Mapping[str, ArrayLike] | None


@dataclass(frozen=True)
class EntryPoint:
    """A function of tensors and what belongs to it.

    Attributes:
        name: of the model.
        owner: what holds the variables and tables: a keras.Model, a tf_keras model, a SavedModel or a tf.Module.
        call: the function, in inference mode.
        arguments: its positional and keyword arguments, `(args, kwargs)`, with a tf.TensorSpec for each tensor.
        input_names: what each tensor is called, in the order of `keras.tree.flatten(arguments)`.
        output_names: the layers that make the outputs, in the same order of the outputs; empty where not known.
        layers: the Keras layers, nested ones and the model itself among them; empty where it is not made of layers.
    """

    name: str
    owner: Any
    call: Callable[..., Any]
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    input_names: list[str]
    output_names: list[str] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class TensorFunction:
    """One function of a SavedModel or a tf.Module, together with what keeps its variables alive.

    Attributes:
        name: of the model.
        owner: the loaded SavedModel, or the tf.Module.
        function: the tf.function or ConcreteFunction.
    """

    name: str
    owner: Any
    function: Any


def entry_point_of(model: Any, examples: Examples = None) -> EntryPoint:
    """Find out how a keras.Model, a tf_keras model or a TensorFunction is called.

    Args:
        model: the model.
        examples: tell what Keras does not record of a subclassed model: the types of its inputs (default floating
            point), and their shapes where it takes several arguments.

    Raises:
        ModelLoadError: the inputs are not known.
    """
    import keras

    if isinstance(model, TensorFunction):
        return _of_function(model)
    if not isinstance(model, keras.Model):
        return _of_tf_keras(model)
    if getattr(model, "inputs", None):
        return _of_functional(model)
    return _of_subclass(model, examples)


def _of_functional(model: "keras.Model") -> EntryPoint:
    import keras
    import tensorflow as tf

    structure = model.input if hasattr(model, "input") else model.inputs[0]
    tensors = keras.tree.flatten(structure)
    names = [tensor._keras_history.operation.name for tensor in tensors]
    for name, tensor in zip(names, tensors, strict=True):
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            raise ModelLoadError(f"input '{name}' is sparse or ragged, which ONNX does not have; give it dense tensors")
    specs = [tf.TensorSpec(tensor.shape, keras.backend.standardize_dtype(tensor.dtype)) for tensor in tensors]
    return EntryPoint(
        model.name,
        model,
        _in_inference_mode(model),
        ((keras.tree.pack_sequence_as(structure, specs),), {}),
        names,
        [tensor._keras_history.operation.name for tensor in model.outputs],
        list(model._flatten_layers()),
    )


def _of_subclass(model: "keras.Model", examples: Examples) -> EntryPoint:
    import keras

    arguments = _arguments_of(model.call)
    build_config = model.get_build_config() or {}
    kwargs: dict[str, Any] = {}
    args: tuple[Any, ...] = ()
    if isinstance(examples, Mapping) and len(examples) > 1 and arguments.needed <= set(examples) <= set(arguments.all):
        kwargs = {name: _Shape(_sizes_of(examples[name])) for name in arguments.all if name in examples}
    elif "shapes_dict" in build_config:
        shapes = {name.removesuffix("_shape"): shape for name, shape in build_config["shapes_dict"].items()}
        kwargs = {name: _mark_shapes(shapes[name]) for name in arguments.all if shapes.get(name)}
    elif len(arguments.needed) <= 1:
        args = (_mark_shapes(build_config.get("input_shape")),)
    shapes = keras.tree.flatten((args, kwargs))
    if not shapes or not all(isinstance(shape, _Shape) and shape.sizes for shape in shapes):
        if len(arguments.needed) <= 1:
            reason, instead = "it was never called", "call it once on a batch of data"
        else:
            reason = "Keras does not record those of several arguments"
            instead = f"hand over examples={{{', '.join(f'{name!r}: ...' for name in arguments.all)}}}"
        raise ModelLoadError(
            f"the inputs of model '{model.name}' are not known, since {reason}; {instead}, or wrap it: "
            "keras.Model(inputs, model(*inputs))"
        )
    names = [_path_name(path) for path, _ in keras.tree.flatten_with_path(kwargs or args[0])]
    arrays = examples if isinstance(examples, Mapping) else {names[0]: examples}
    specs = iter([_spec_of(shape, arrays.get(name)) for name, shape in zip(names, shapes, strict=True)])
    packed = keras.tree.map_structure(lambda _: next(specs), (args, kwargs))
    return EntryPoint(model.name, model, _in_inference_mode(model), packed, names, layers=list(model._flatten_layers()))


def _of_tf_keras(model: Any) -> EntryPoint:
    import keras

    spec = model.save_spec()
    if spec is None:
        raise ModelLoadError(
            f"the inputs of model '{model.name}' are not known; call it once on a batch of data, or train it"
        )
    functional = bool(getattr(model, "inputs", None))
    return EntryPoint(
        model.name,
        model,
        _in_inference_mode(model),
        (tuple(spec[0]), dict(spec[1])),
        [tensor.name or _path_name(path) for path, tensor in keras.tree.flatten_with_path(spec)],
        list(model.output_names) if functional else [],
        list(model._flatten_layers()),
    )


def _of_function(function: TensorFunction) -> EntryPoint:
    import keras
    import tensorflow as tf

    concrete = function.function
    if hasattr(concrete, "get_concrete_function"):
        try:
            concrete = concrete.get_concrete_function()
        except Exception as error:
            raise ModelLoadError(
                f"the inputs of function '{function.name}' are not known: {reason_of(error)}; "
                "give it tf.function(input_signature=[tf.TensorSpec(...)])"
            ) from error
    args, kwargs = concrete.structured_input_signature
    leaves = [leaf for leaf in keras.tree.flatten_with_path((args, kwargs)) if isinstance(leaf[1], tf.TypeSpec)]
    odd = [str(leaf) for _, leaf in leaves if not isinstance(leaf, tf.TensorSpec)]
    if odd or not leaves:
        raise ModelLoadError(
            f"function '{function.name}' takes {listed(odd) or 'nothing'}; give it dense tensors as inputs"
        )
    names = [leaf.name or _path_name(path[1:]) for path, leaf in leaves]
    return EntryPoint(function.name, function.owner, function.function, (tuple(args), dict(kwargs)), names)


def _in_inference_mode(model: Any) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return model(*args, training=False, **kwargs)

    return call


@dataclass(frozen=True)
class _Arguments:
    """The names of a model's arguments: all in order, and those without a default."""

    all: list[str]
    needed: set[str]


def _arguments_of(call: Callable[..., Any]) -> _Arguments:
    parameters = [
        parameter
        for parameter in inspect.signature(call).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name not in ("training", "mask")
    ]
    return _Arguments(
        [parameter.name for parameter in parameters],
        {parameter.name for parameter in parameters if parameter.default is parameter.empty},
    )


def _path_name(path: Iterable[Any]) -> str:
    """Name a tensor by its place in the arguments: the keys that lead to it, else `input` and its numbers."""
    parts = list(path)
    return "_".join(map(str, parts if parts and isinstance(parts[0], str) else ("input", *parts)))


def _sizes_of(example: ArrayLike) -> tuple[int | None, ...]:
    return (None, *np.shape(example)[1:])


def _spec_of(shape: "_Shape", example: ArrayLike | None) -> "tf.TensorSpec":
    """Return the spec of the input that takes an example: floating point of any width counts as Keras' default."""
    import keras
    import tensorflow as tf

    dtype = np.asarray(example).dtype
    if dtype.kind in "SUO" and example is not None:
        name = "string"
    else:
        name = dtype.name if dtype.kind in "iub" else keras.config.floatx()
    return tf.TensorSpec([None, *shape.sizes[1:]], name)


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
