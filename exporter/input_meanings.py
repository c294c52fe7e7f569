"""What the elements of inputs mean: as the model tells, and as its user says."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from headgate.exporter.errors import InputMeaningError, listed
from headgate.exporter.examples import named_columns
from headgate.exporter.names import clean_name
from headgate.exporter.tracing.traced_models import TracedModel
from headgate.v1 import DataType, ImageInput, InputMeaning, TabularInput, TensorSpec, VocabularyInput
from headgate.v1.input_meanings import check_input_meanings
from headgate.v1.tensors import NUMPY_DTYPES

#: Vocabularies that other values are allowed beside are listed up to so many.
_MOST_LISTED = 1000
#: Rescaling layers that pixels as image files hold them are put through: to 0..1, and to -1..1.
_PIXEL_SCALES = ((1 / 255, 0.0), (1 / 127.5, -1.0))
#: Operations that see an image as such, and those that may come before.
_SPATIAL_OPS = ("Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool")
_RESIZING_OPS = ("ResizeArea", "ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor", "ScaleAndTranslate")
_POINTWISE_OPS = ("AddV2", "Mul", "Pad", "RealDiv", "Sub", *_RESIZING_OPS)
_LAYOUTS = {b"NHWC": ImageInput.LAYOUT_NHWC, b"NCHW": ImageInput.LAYOUT_NCHW}

#: The names of the columns of an input, for the only one that has columns or by input.
FeatureNames = Sequence[str] | Mapping[str, Sequence[str]]


def find_input_meanings(
    traced: TracedModel,
    feature_names: FeatureNames | None = None,
    declared: Iterable[InputMeaning] = (),
    examples: Any = None,
) -> list[InputMeaning]:
    """Return what is known of a model's inputs, in their order.

    What is declared counts more than what the model tells; what is left out of an image is as the model tells. Where a
    model has one input, and the examples have names that are not that input's (a DataFrame's columns), these are
    feature names.

    Args:
        traced: the model.
        feature_names: the names of the columns of an input [batch, features].
        declared: whole messages.
        examples: as given to the exporter.

    Raises:
        InputMeaningError: what is declared does not fit the model.
    """
    meanings = {meaning.input: meaning for meaning in infer_input_meanings(traced)}
    declared = list(declared)
    if feature_names is None:
        feature_names = _column_names(examples, traced.inputs)
    declared += [
        InputMeaning(input=name, tabular=TabularInput(feature_names=names))
        for name, names in _by_input(feature_names, traced.inputs).items()
    ]
    for index, meaning in enumerate(declared):
        inferred = meanings.get(meaning.input)
        if inferred is not None and inferred.HasField("image") and meaning.HasField("image"):
            declared[index] = InputMeaning()
            declared[index].CopyFrom(inferred)
            declared[index].MergeFrom(meaning)
    try:
        check_input_meanings(declared, traced.inputs)
    except ValueError as error:
        raise InputMeaningError(str(error)) from error
    meanings |= {meaning.input: meaning for meaning in declared}
    return [meanings[spec.name] for spec in traced.inputs if spec.name in meanings]


def infer_input_meanings(traced: TracedModel) -> list[InputMeaning]:
    """Return what the model itself tells of its inputs: vocabularies, and the layout and value range of images."""
    found = []
    for spec, tensor in zip(traced.inputs, traced.function.inputs, strict=False):
        meaning = _image(spec, tensor) if len(spec.shape) == 4 else _vocabulary(spec, tensor, traced.lookups)
        if meaning is not None:
            found.append(meaning)
    return found


def lookup_remarks(traced: TracedModel, meanings: Iterable[InputMeaning]) -> list[str]:
    """Return a sentence on layers that may be asked for other values than they know, which no server can refuse."""
    limited = {meaning.input for meaning in meanings if meaning.HasField("vocabulary")}
    checked = {
        op.name
        for spec, tensor in zip(traced.inputs, traced.function.inputs, strict=False)
        if spec.name in limited
        for op in _consumers(tensor)
    }
    lookups = [op for op in traced.function.graph.get_operations() if op.type == "LookupTableFindV2"]
    layers = [traced.lookups.get(op.inputs[0].name) for op in lookups if op.name not in checked]
    names = {layer.name: None for layer in layers if layer is not None and not layer.num_oov_indices}
    if not names:
        return []
    return [
        f"layer {listed(names)} knows no values but its vocabulary's and does not take an input as it came, so that no "
        "server can refuse others; for these, Keras fails and the ONNX model answers something: set num_oov_indices=1"
    ]


def _vocabulary(spec: TensorSpec, tensor: Any, lookups: Mapping[str, Any]) -> InputMeaning | None:
    """Return the values that are looked up of an input, if that is done by a single layer."""
    tables = {op.inputs[0].name for op in _consumers(tensor) if op.type == "LookupTableFindV2"}
    if len(tables) != 1 or not tables <= lookups.keys():
        return None
    layer = lookups[tables.pop()]
    kind = "O" if layer.vocabulary_dtype == "string" else "iu"
    if NUMPY_DTYPES[spec.datatype].kind not in kind:
        return None
    values = list(layer.get_vocabulary(include_special_tokens=False))
    if layer.mask_token is not None:
        values.insert(0, layer.mask_token)
    vocabulary = VocabularyInput(size=len(values), accepts_others=layer.num_oov_indices > 0)
    if vocabulary.accepts_others:
        values = values[:_MOST_LISTED]
    if spec.datatype == DataType.DATA_TYPE_STRING:
        vocabulary.strings.extend(str(value) for value in values)
    else:
        vocabulary.integers.extend(int(value) for value in values)
    return InputMeaning(input=spec.name, vocabulary=vocabulary)


def _image(spec: TensorSpec, tensor: Any) -> InputMeaning | None:
    """Return the layout of an input that a convolution or pooling looks at."""
    layout = next((_LAYOUTS.get(op.get_attr("data_format")) for op in _spatial_ops(tensor)), None)
    if layout is None or spec.shape[3 if layout == ImageInput.LAYOUT_NHWC else 1] not in (1, 3, 4):
        return None
    image = ImageInput(layout=layout)
    consumers = _consumers(tensor)
    if consumers and all(_rescales_pixels(op) for op in consumers):
        image.minimum, image.maximum = 0, 255
    return InputMeaning(input=spec.name, image=image)


def _rescales_pixels(op: Any) -> bool:
    """Return whether an operation begins what a Rescaling layer does to pixels: `x * scale + offset`."""
    additions = op.outputs[0].consumers() if op.type == "Mul" else []
    if len(additions) != 1 or additions[0].type not in ("AddV2", "Add"):
        return False
    scale, offset = _constant_of(op), _constant_of(additions[0])
    return any(
        scale is not None
        and offset is not None
        and math.isclose(scale, pixel_scale, rel_tol=1e-3)
        and math.isclose(offset, pixel_offset, abs_tol=1e-6)
        for pixel_scale, pixel_offset in _PIXEL_SCALES
    )


def _constant_of(op: Any) -> float | None:
    """Return the number that is one of an operation's two operands, if one is."""
    import tensorflow as tf

    for operand in op.inputs:
        value = tf.get_static_value(operand)
        if value is not None and value.size == 1:
            return float(value.reshape(()))
    return None


def _spatial_ops(tensor: Any) -> Iterator[Any]:
    """Go through the operations that see a tensor as an image, it or what pointwise operations make of it."""
    waiting, seen = [tensor], set()
    while waiting:
        for op in _consumers(waiting.pop()):
            if op.type in _SPATIAL_OPS:
                yield op
            elif op.type in _POINTWISE_OPS and op.name not in seen:
                seen.add(op.name)
                waiting += op.outputs


def _consumers(tensor: Any) -> list[Any]:
    """Return the operations that take a tensor, past those that hand it on or convert its type."""
    consumers = []
    for op in tensor.consumers():
        consumers += _consumers(op.outputs[0]) if op.type in ("Cast", "Identity") else [op]
    return consumers


def _by_input(feature_names: FeatureNames | None, inputs: Sequence[TensorSpec]) -> dict[str, list[str]]:
    if feature_names is None:
        return {}
    if not isinstance(feature_names, Mapping):
        tabular = [spec.name for spec in inputs if len(spec.shape) == 2 and spec.shape[1] > 0]
        if len(tabular) != 1:
            raise InputMeaningError(
                f"feature names are given, but {len(tabular)} inputs have columns"
                + (f": {listed(tabular)}; say which, as feature_names={{'{tabular[0]}': [...]}}" if tabular else "")
            )
        feature_names = {tabular[0]: feature_names}
    return {clean_name(name, name): [str(one) for one in names] for name, names in feature_names.items()}


def _column_names(examples: Any, inputs: Sequence[TensorSpec]) -> list[str] | None:
    """Return the names of the columns of examples, where they are those of the only input's."""
    columns = None if examples is None else named_columns(examples)
    if columns is None or len(inputs) != 1 or any(clean_name(name, name) == inputs[0].name for name in columns):
        return None
    # What is no column has to be an input, under a wrong name.
    return list(columns) if all(map(_is_column, columns.values())) else None


def _is_column(values: ArrayLike) -> bool:
    try:
        shape = np.shape(values)
    except ValueError:
        return False
    return len(shape) == 1 or shape[1:] == (1,)
