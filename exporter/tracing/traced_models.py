"""A model as one function of named tensors."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from headgate.exporter.conversion.graph_names import innermost_layer
from headgate.exporter.conversion.large_weights import LARGE_BYTES, large_variables, replaced
from headgate.exporter.errors import ConversionError, HeadInferenceError, ModelLoadError, reason_of
from headgate.exporter.names import clean_name, path_name, unique_names
from headgate.exporter.reconstruction import Reconstruction, replace_by_errors
from headgate.exporter.sources.entry_points import EntryPoint, Examples, entry_point_of
from headgate.exporter.tracing.graph_nodes import GraphNodes
from headgate.exporter.tracing.recurrent import native_recurrence
from headgate.exporter.tracing.time_distributed import steps_as_rows
from headgate.v1 import TensorSpec
from headgate.v1.tensors import data_type_of

Arrays = dict[str, NDArray[Any]]

_RANDOM_OP = re.compile(r"(Stateless|Parameterized)?(Truncated|Random|Multinomial|Rng).*")


@dataclass(frozen=True)
class TracedModel:
    """A model with named inputs and outputs, and the TensorFlow graph that it computes.

    Attributes:
        name: the model's name.
        model: what owns the variables and tables: a keras.Model, a tf_keras model, a SavedModel or a tf.Module.
        inputs: one spec an input; the first dimension is the batch, -1.
        outputs: one spec an output, in the model's order; the first dimension is the batch, -1.
        aliases: for each output all names that the model knows it by, the one in `outputs` among them.
        layers: the Keras layers, nested ones and the model itself among them; empty where it is not made of layers.
        scopes: the names of these layers by the names that they have in the graph (see
            `headgate.exporter.conversion.graph_names.layer_path`).
        function: the tf ConcreteFunction; its first tensors are the inputs, its results the outputs, in the same order.
        large_variables: the weights that are further inputs of `function` (see
            `headgate.exporter.conversion.large_weights`).
        lookups: the Keras layers that look values up, by the tensors in `function` that stand for their tables.
        call: runs the model itself on tensors in the order of `inputs`, eagerly and in inference mode.
        masks: for each output that Keras has a mask of, as of `mask_zero`, the output that holds it; "" where that was
            not asked for.
    """

    name: str
    model: Any
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    aliases: dict[str, set[str]]
    layers: list[Any]
    scopes: dict[str, str]
    function: Any
    large_variables: list[Any]
    lookups: dict[str, Any]
    call: Callable[..., list[Any]]
    masks: dict[str, str]

    @cached_property
    def nodes(self) -> GraphNodes:
        """The nodes of `function`."""
        return GraphNodes(self.function.graph.as_graph_def(add_shapes=True))

    @property
    def variables(self) -> list[Any]:
        """The variables that `function` reads, in the order in which it takes them up."""
        # TensorFlow keeps them in a set, whose order is another in each process.
        places = {id(outer): place for place, (outer, _) in enumerate(self.function.graph.captures)}
        return sorted(self.function.variables, key=lambda variable: places.get(id(variable.handle), -1))

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Run the model itself, eagerly and in inference mode, on named inputs."""
        import tensorflow as tf

        call = self.call
        classes = {cls.__name__ for layer in self.layers for cls in type(layer).__mro__}
        if "BaseImagePreprocessingLayer" in classes and any(array.dtype.kind in "iu" for array in inputs.values()):
            # Eagerly these layers round what comes as integers; in graphs, such as that of model.predict, they do not.
            call = tf.function(call, autograph=False)
        with tf.device("/cpu:0"):
            outputs = call(*[tf.constant(inputs[spec.name]) for spec in self.inputs])
        return {spec.name: output.numpy() for spec, output in zip(self.outputs, outputs, strict=True)}

    def last_op(self, output: str) -> str:
        """Return the type of the TensorFlow op that computes an output, past those that only pass values on."""
        index, shape = next((i, spec.shape) for i, spec in enumerate(self.outputs) if spec.name == output)
        return self.nodes.last_op(self.function.outputs[index].name, shape[-1])


def trace(
    model: Any,
    examples: Examples = None,
    *,
    reconstructions: Mapping[str, Reconstruction] | None = None,
    masks: Sequence[str] = (),
    large_bytes: int = LARGE_BYTES,
) -> TracedModel:
    """Trace a built model in inference mode.

    A Keras model's input tensors are named by its Input layers; those of a subclassed model by its arguments or the
    keys of the dictionary that it is called with, else `input`; those of a function by its signature. Outputs are
    named by the keys of the dictionary that the model returns, else by the output layers, else `output`. Names hold
    only letters, digits and `_.-`, and are unique.

    Args:
        model: a built keras.Model or tf_keras model, or a `headgate.exporter.sources.entry_points.TensorFunction`.
        examples: tell the types of a subclassed model's inputs, which Keras does not record (default floating point),
            and their shapes where it takes several arguments.
        reconstructions: the outputs, by any of their names, that are replaced by how far they are from an input.
        masks: outputs that Keras has a mask of, which becomes a further output `<name>_mask`, not 0 for real steps.
        large_bytes: weights of at least so many bytes become inputs of the function.

    Raises:
        ModelLoadError: the inputs are not known, or the model has no weights yet.
        HeadInferenceError: an output does not reconstruct what it is said to.
        ConversionError: the model cannot be traced, an output has no batch dimension, or predictions draw random
            numbers or change the model.
    """
    import keras
    import tensorflow as tf

    entry = entry_point_of(model, examples)
    names = unique_names(clean_name(name, "input") for name in entry.input_names)
    tensor_specs = [leaf for leaf in keras.tree.flatten(entry.arguments) if isinstance(leaf, tf.TensorSpec)]
    specs = [_input_spec(name, spec) for name, spec in zip(names, tensor_specs, strict=True)]
    aliases: dict[str, set[str]] = {}
    found_masks: dict[str, str] = {}
    assigned: set[int] = set()
    large = large_variables(entry.layers, large_bytes)

    def call(*tensors: Any) -> list[Any]:
        remaining = iter(tensors)
        args, kwargs = keras.tree.map_structure(
            lambda leaf: next(remaining) if isinstance(leaf, tf.TensorSpec) else leaf, entry.arguments
        )
        result = keras.tree.flatten_with_path(entry.call(*args, **kwargs))
        found = _aliases([path for path, _ in result], entry.output_names, names)
        outputs = [output for _, output in result]
        masked = {name: output for name, output in zip(found, outputs, strict=True) if _mask_of(output) is not None}
        found_masks.update(dict.fromkeys(masked, ""))
        if reconstructions:
            inputs = dict(zip(names, tensors, strict=True))
            outputs = replace_by_errors(outputs, list(found.values()), inputs, reconstructions)
        for name in masks:
            [found_masks[name]] = unique_names([f"{name}_mask"], taken=[*names, *found])
            found[found_masks[name]] = {found_masks[name]}
            outputs.append(_mask_of(masked[name]))
        aliases.update(found)
        return [_served(output) for output in outputs]

    def flat_call(*tensors: Any) -> list[Any]:
        weights = tensors[len(specs) :]
        with replaced(large, weights) as scope, native_recurrence(entry.layers), steps_as_rows(entry.layers):
            before = dict(scope.state_mapping)
            outputs = call(*tensors[: len(specs)])
        assigned.update(key for key, value in scope.state_mapping.items() if value is not before.get(key))
        return [tf.identity(output) for output in outputs]

    signature = [
        tf.TensorSpec([None if size < 0 else size for size in spec.shape], tensor.dtype, name=f"headgate_input_{index}")
        for index, (spec, tensor) in enumerate(zip(specs, tensor_specs, strict=True))
    ]
    signature += [
        tf.TensorSpec(variable.shape, variable.dtype, name=f"headgate_weight_{index}")
        for index, variable in enumerate(large)
    ]
    weights = _weights_of(entry)
    for layer in reversed(entry.layers):
        if getattr(layer, "stateful", False):
            raise ConversionError(
                f"layer '{layer.name}' of model '{entry.name}' is stateful, and requests are not: build the model with "
                "stateful=False and the same weights"
            )
    try:
        with _names_of_scopes(entry.layers) as scopes:
            function = tf.function(flat_call, autograph=False).get_concrete_function(*signature)
    except HeadInferenceError:
        raise
    except Exception as error:
        raise ConversionError(
            f"model '{entry.name}' cannot be traced as a TensorFlow graph: {reason_of(error)}; "
            "it has to be built of Keras layers, keras.ops and TensorFlow functions"
        ) from error
    if _weights_of(entry) != weights:
        raise ModelLoadError(f"model '{entry.name}' is not fully built; call it once on a batch of data, or train it")
    _refuse_changing_models(entry, function, scopes, assigned)

    return TracedModel(
        name=entry.name,
        model=entry.owner,
        inputs=specs,
        outputs=[_output_spec(name, tensor) for name, tensor in zip(aliases, function.outputs, strict=True)],
        aliases=aliases,
        layers=entry.layers,
        scopes=scopes,
        function=function,
        large_variables=large,
        lookups=_lookups(entry.layers, function),
        call=call,
        masks=found_masks,
    )


def _aliases(paths: Sequence[tuple[Any, ...]], layers: Sequence[str], inputs: Iterable[str]) -> dict[str, set[str]]:
    """Name outputs, and return with each name all that the model knows it by.

    Args:
        paths: where each output stands in what the model returns.
        layers: the output layers' names; of another number where they are not known.
        inputs: names that are taken.
    """
    layers = layers if len(layers) == len(paths) else [""] * len(paths)
    keys = [path_name(path) for path in paths]
    aliases: dict[str, set[str]] = {}
    for key, layer in zip(keys, layers, strict=True):
        fallback = "output" if len(paths) == 1 else f"output_{len(aliases)}"
        [name] = unique_names([clean_name(key or layer or fallback, fallback)], taken=[*inputs, *aliases])
        # Keys are what Keras goes by: a layer may be called as the key of another one's output.
        aliases[name] = {name, key, *({layer} - set(keys))} - {""}
    return aliases


def _lookups(layers: Iterable[Any], function: Any) -> dict[str, Any]:
    # Now, since converting takes the tables out of the function for good.
    owners = {
        id(layer.lookup_table.resource_handle): layer
        for layer in layers
        if type(layer).__name__ in ("StringLookup", "IntegerLookup") and not layer.invert
    }
    return {inner.name: owners[id(outer)] for outer, inner in function.graph.captures if id(outer) in owners}


def _mask_of(output: Any) -> Any:
    # As keras.src.backend.get_keras_mask does; Keras has no public way.
    return getattr(output, "_keras_mask", None)


def _served(output: Any) -> Any:
    """Widen bfloat16, which neither numpy nor the protocols have."""
    import tensorflow as tf

    return tf.cast(output, tf.float32) if output.dtype == tf.bfloat16 else output


def _weights_of(entry: EntryPoint) -> int:
    return len(entry.owner.weights) if entry.layers else 0


@contextmanager
def _names_of_scopes(layers: Iterable[Any]) -> Iterator[dict[str, str]]:
    """Give layers names that TensorFlow takes as scopes while the context lasts; yield their own names by these.

    Keras takes every name without a slash, eagerly; in a graph TensorFlow refuses spaces, umlauts and more.
    """
    import keras

    renamed = []
    scopes: dict[str, str] = {}
    for layer in layers:
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", layer.name).lstrip("_-") or "layer"
        scopes[name] = layer.name
        if not isinstance(layer, keras.layers.Layer):
            scopes[f"{name}/"] = layer.name
        if name != layer.name:
            # tf_keras has no setter for the name.
            attribute = "_name" if hasattr(layer, "_name") else "name"
            renamed.append((layer, attribute, layer.name))
            setattr(layer, attribute, name)
    try:
        yield scopes
    finally:
        for layer, attribute, name in renamed:
            setattr(layer, attribute, name)


def _refuse_changing_models(entry: EntryPoint, function: Any, scopes: Mapping[str, str], assigned: set[int]) -> None:
    """Raise ConversionError if predictions draw random numbers or assign to variables: ONNX models are functions.

    Args:
        entry: the model.
        function: its graph.
        scopes: the names of the layers by those that they have in the graph.
        assigned: the variables, by id, that Keras layers assign to.
    """
    nodes = GraphNodes(function.graph.as_graph_def())
    # Recurrent layers draw what to drop out, and do not use it.
    used = {id(node) for node in nodes.used(tensor.name for tensor in function.outputs)}
    for node in nodes.all():
        if id(node) in used and _RANDOM_OP.fullmatch(node.op):
            does, instead = "draws random numbers", "leave that to training (if training: ...)"
        elif re.fullmatch("Assign.*VariableOp", node.op):
            does, instead = "changes its variables", "keep state outside of the model"
        else:
            continue
        where = innermost_layer(node.name, scopes)
        break
    else:
        variables = [variable for layer in entry.layers for variable in layer.variables]
        assigned = assigned - {id(variable) for variable in variables if variable.name == "seed_generator_state"}
        if not assigned:
            return
        does, instead = "changes its variables", "keep state outside of the model"
        owners = [layer for layer in entry.layers if assigned & {id(variable) for variable in layer.variables}]
        where = owners[-1].name if owners else None
    what = f"layer '{where}' of model '{entry.name}'" if where else f"model '{entry.name}'"
    raise ConversionError(f"{what} {does} when it predicts, which cannot be exported; {instead}")


def _input_spec(name: str, tensor: Any) -> TensorSpec:
    dtype = tensor.dtype.name
    try:
        datatype = data_type_of(object if dtype == "string" else dtype)
    except (TypeError, ValueError):
        raise ConversionError(
            f"input '{name}' has type {dtype}, which cannot be served; cast inside the model"
        ) from None
    if not tensor.shape.rank:
        came = "no known rank" if tensor.shape.rank is None else "no dimensions"
        raise ConversionError(f"input '{name}' has {came}; its first dimension has to be the batch, of any size")
    sizes = tensor.shape.as_list()
    return TensorSpec(name=name, datatype=datatype, shape=[-1, *(-1 if size is None else size for size in sizes[1:])])


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
