"""Predict requests from arrays, checked against the model's signature."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.client.errors import InvalidRequestError, UnavailableError
from headgate.client.readiness import state_of
from headgate.v1 import (
    DataType,
    GetModelResponse,
    MaskEncoding,
    PredictOptions,
    PredictRequest,
    Signature,
    Tensor,
    TensorSpec,
)
from headgate.v1.features import columns_of, stack_features
from headgate.v1.input_meanings import abridged
from headgate.v1.tensors import (
    BFLOAT16,
    NUMPY_DTYPES,
    convert,
    data_type_name,
    format_shape,
    format_spec,
    tensor_from_numpy,
    widened,
)

#: One array for a model with a single input, or an array for each input's name. The batch is the first dimension.
#: Features with names may come by name: `{name: column}`, rows `[{name: value}]`, or a DataFrame.
Inputs = ArrayLike | Mapping[str, ArrayLike] | Sequence[Mapping[str, Any]]

_MASK_ENCODINGS = {
    "class_map": MaskEncoding.MASK_ENCODING_CLASS_MAP,
    "run_lengths": MaskEncoding.MASK_ENCODING_RUN_LENGTHS,
    "none": MaskEncoding.MASK_ENCODING_NONE,
}


class Options(TypedDict, total=False):
    """How to run and decode; the keyword arguments that `predict` and `stream_predict` share. All may be left out.

    Attributes:
        heads: the names of the heads to answer with; empty means all.
        top_k: multiclass, how many labels a row; embedding, how many of the nearest; ctc, how many texts; detection, at
            most how many boxes. 0 means as many as the head says.
        threshold: binary, multilabel, segmentation and detection, used instead of the head's own thresholds; in 0..1.
        include_probabilities: multiclass, multilabel and ordinal, the probabilities of all labels too.
        include_entropy: multiclass, the entropy of each row too.
        include_margin: multiclass, the margin between the best two labels too.
        confidence_level: regression, quantile, count and mean_variance, the level of intervals; multiclass, of sets of
            labels. One of those that the head was calibrated for, or any that it can compute; 0 means none, None as the
            head says.
        include_groups: multiclass, the scores of groups of labels too.
        half_precision: embedding, vectors as float16.
        mask_encoding: segmentation, how masks come: "class_map" (as they do if this is left out), "run_lengths" or
            "none".
        relative_coordinates: detection and keypoints, fractions of the image's sides rather than pixels.
        priority: 1 runs first; 0, and a model without priority levels: as the model's settings say.
        queue_timeout_us: how long the request may wait before it runs, in microseconds; 0 means as long as the model's
            settings say.
    """

    heads: Sequence[str]
    top_k: int
    threshold: float | None
    include_probabilities: bool
    include_entropy: bool
    include_margin: bool
    confidence_level: float | None
    include_groups: bool
    half_precision: bool
    mask_encoding: Literal["class_map", "run_lengths", "none"]
    relative_coordinates: bool
    priority: int
    queue_timeout_us: int


def build_request(
    described: GetModelResponse, model: str, version: int, inputs: Inputs, options: Options, request_id: str = ""
) -> PredictRequest:
    """Make the request for `inputs`, each converted to the type that the model takes.

    Features by name are put in the order of the model that is described; the server refuses them should it have been
    replaced by one that takes something else.

    A conversion that would change a value (a fraction for an integer input, a number out of range) is refused;
    rounding to a shorter float type is not.

    Raises:
        InvalidRequestError: the inputs have wrong names, types or numbers of dimensions, or an option is none.
        UnavailableError: the model is not loaded, so that it is not known what it takes.

    >>> spec = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 2])
    >>> described = GetModelResponse(signature=Signature(inputs=[spec]))
    >>> request = build_request(described, "iris", 0, [[1, 2], [3, 4]], {})
    >>> list(request.inputs[0].shape), np.frombuffer(request.inputs[0].raw, "float32").tolist()
    ([2, 2], [1.0, 2.0, 3.0, 4.0])
    """
    check_known(described, model)
    signature = described.signature
    by_input, are_stacked = _by_input(inputs, signature)
    tensors = [_tensor(by_input[spec.name], spec) for spec in signature.inputs if spec.name in by_input]
    decoding: dict[str, Any] = dict(options)
    if isinstance(decoding.get("heads"), str):
        raise InvalidRequestError(f"heads is {decoding['heads']!r}; give a list of names")
    if not isinstance(request_id, str | None):
        raise InvalidRequestError(f"request_id is {request_id!r}; give a text")
    if "mask_encoding" in decoding:
        decoding["mask_encoding"] = _mask_encoding(decoding["mask_encoding"])
    queueing = {name: decoding.pop(name) for name in ("priority", "queue_timeout_us") if name in decoding}
    try:
        return PredictRequest(
            model=model,
            version=version,
            id=request_id,
            inputs=tensors,
            options=PredictOptions(**decoding),
            inputs_hash=described.inputs_hash if are_stacked else 0,
            **queueing,
        )
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise InvalidRequestError(f"the options {given} cannot be sent: {error}") from None


def check_known(described: GetModelResponse, model: str) -> None:
    """Raise an UnavailableError where the server did not say what the model takes."""
    if not is_known(described):
        raise UnavailableError(f"model '{model}' is not ready: {state_of(described.model)}")


def is_known(described: GetModelResponse) -> bool:
    """Return whether the server said what the model takes, which it does of those that are loaded."""
    return bool(described.inputs_hash or described.signature.inputs)


def pinned(described: GetModelResponse, request: PredictRequest) -> PredictRequest:
    """Have features by name answered by the version that they were put in order for, though a later one may come."""
    if request.inputs_hash:
        request.version = described.model.version
    return request


def _by_input(inputs: Inputs, signature: Signature) -> tuple[Mapping[str, ArrayLike], bool]:
    """Return an array for each input (masks may be missing, which the server makes), and whether features were stacked.

    What is no input's name has to be a feature's.
    """
    masks = {padding.mask for padding in signature.paddings}
    names = [spec.name for spec in signature.inputs]
    needed = [name for name in names if name not in masks]
    try:
        columns = columns_of(inputs)
    except ValueError as error:
        raise InvalidRequestError(f"the rows cannot be read as features: {error}") from None
    if columns is None and not isinstance(inputs, Mapping):
        if len(needed) != 1:
            raise InvalidRequestError(
                f"the model has {len(names)} inputs: {_specs_of(signature)}; send a dict with an array for each"
            )
        return {needed[0]: inputs}, False  # type: ignore[dict-item]
    named: dict[str, ArrayLike] = dict(columns or inputs)  # type: ignore[arg-type]
    features = {
        meaning.input: list(meaning.tabular.feature_names)
        for meaning in signature.input_meanings
        if meaning.HasField("tabular") and meaning.input not in named
    }
    known = {*names, *(name for each in features.values() for name in each)}
    unknown = sorted((name for name in named if name not in known), key=str)
    missing = sorted(name for name in needed if name not in named and name not in features)
    missing += [name for each in features.values() for name in each if name not in named]
    if unknown or missing:
        problem = "has no input" if unknown else "also needs input"
        takes = _specs_of(signature)
        if features:
            problem += " or feature" if unknown else "s or features"
            takes += "".join(f"; the features of '{name}': {abridged(each)}" for name, each in features.items())
        elif columns is not None:
            takes += "; what its columns are called is not known: send an array, or export it with feature names"
        raise InvalidRequestError(f"the model {problem} {abridged(map(repr, unknown or missing))}; it takes {takes}")
    try:
        stacked = {name: stack_features(named, each) for name, each in features.items()}
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    return {name: named[name] for name in names if name in named} | stacked, bool(stacked)


def _mask_encoding(name: str) -> MaskEncoding:
    if not isinstance(name, str) or name not in _MASK_ENCODINGS:
        known = ", ".join(map(repr, _MASK_ENCODINGS))
        raise InvalidRequestError(f"mask_encoding is {name!r}; give one of {known}")
    return _MASK_ENCODINGS[name]


def _specs_of(signature: Signature) -> str:
    return ", ".join(f"'{spec.name}' ({format_spec(spec)})" for spec in signature.inputs)


def _tensor(value: ArrayLike, spec: TensorSpec) -> Tensor:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidRequestError(f"input '{spec.name}' is no array: {error}") from None
    array = widened(array)
    if array.ndim < 2 and list(spec.shape[1:]) == [1]:
        array = array.reshape(-1, 1)
    if array.ndim == len(spec.shape) - 1:
        raise InvalidRequestError(
            f"input '{spec.name}' has shape {format_shape(array.shape)}, the model takes {format_shape(spec.shape)}; "
            "the first dimension is the batch: send a single row as [row]"
        )
    try:
        return tensor_from_numpy(_convert(array, spec), spec.name)
    except ValueError as error:
        raise InvalidRequestError(f"input '{spec.name}': {error}") from None


def _convert(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    target = NUMPY_DTYPES[spec.datatype]
    is_text, takes_text = array.dtype.kind in "SUTO", spec.datatype == DataType.DATA_TYPE_STRING
    if is_text != takes_text and array.size:
        raise ValueError(f"the model takes {data_type_name(spec.datatype)}, this is an array of {array.dtype}")
    if takes_text:
        return array.astype(object)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"arrays of {array.dtype} cannot be sent; convert to a bool, integer or float type")
    if target != BFLOAT16 and (np.can_cast(array.dtype, target) or not array.size):
        return array.astype(target, copy=False)
    converted, lost = convert(array, target)
    if lost.any():
        place = np.unravel_index(lost.argmax(), lost.shape)
        where = format_shape([int(index) for index in place])
        raise ValueError(
            f"the model takes {data_type_name(spec.datatype)}, which cannot hold the value {array[place]} at {where}; "
            "convert it first"
        )
    return converted
