"""What a signature says of the meaning of inputs, against the model's inputs."""

import math
from collections.abc import Iterable

from headgate.v1.signature_pb2 import ImageInput, InputMeaning, VocabularyInput
from headgate.v1.tensor_pb2 import DataType, TensorSpec
from headgate.v1.tensors import NUMPY_DTYPES, format_spec

#: How many channels each order of channels has.
CHANNELS = {
    ImageInput.CHANNELS_GRAY: 1,
    ImageInput.CHANNELS_RGB: 3,
    ImageInput.CHANNELS_BGR: 3,
    ImageInput.CHANNELS_RGBA: 4,
}


def check_input_meanings(meanings: Iterable[InputMeaning], inputs: Iterable[TensorSpec]) -> None:
    """Check that meanings fit a model's inputs, at most one each.

    Raises:
        ValueError: they do not; one line says why.

    >>> from headgate.v1 import TabularInput
    >>> x = TensorSpec(name="x", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 3])
    >>> check_input_meanings([InputMeaning(input="x", tabular=TabularInput(feature_names=["age", "sex"]))], [x])
    Traceback (most recent call last):
    ...
    ValueError: input 'x' (FP32 [batch,3]) has 3 columns, but 2 feature names: age, sex
    """
    specs = {spec.name: spec for spec in inputs}
    seen: set[str] = set()
    for meaning in meanings:
        spec = specs.get(meaning.input)
        if spec is None:
            known = ", ".join(f"'{name}'" for name in specs)
            raise ValueError(f"a meaning is given for input '{meaning.input}', but the model has {known}")
        if spec.name in seen:
            raise ValueError(f"input '{spec.name}' has two meanings; give one")
        seen.add(spec.name)
        match meaning.WhichOneof("kind"):
            case "tabular":
                _check_features(list(meaning.tabular.feature_names), spec)
            case "image":
                _check_image(meaning.image, spec)
            case "vocabulary":
                _check_vocabulary(meaning.vocabulary, spec)


def _check_features(names: list[str], spec: TensorSpec) -> None:
    what = f"input '{spec.name}' ({format_spec(spec)})"
    if len(spec.shape) != 2 or spec.shape[1] < 0:
        raise ValueError(f"{what} has no fixed number of columns that could have names")
    if len(names) != spec.shape[1]:
        raise ValueError(f"{what} has {spec.shape[1]} columns, but {len(names)} feature names: {abridged(names)}")
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None or "" in names:
        raise ValueError(f"the feature names of {what} must differ and not be empty, '{twice or ''}' does not")


def _check_image(image: ImageInput, spec: TensorSpec) -> None:
    what = f"input '{spec.name}' ({format_spec(spec)})"
    if len(spec.shape) != 4 or spec.datatype == DataType.DATA_TYPE_STRING:
        raise ValueError(f"{what} holds no images, which are numbers of four dimensions")
    axis = {ImageInput.LAYOUT_NHWC: 3, ImageInput.LAYOUT_NCHW: 1}.get(image.layout)
    count = CHANNELS.get(image.channels)
    if axis is None and count is not None:
        raise ValueError(f"{what}: the order of the channels is given, but not the layout; give both, such as rgb,nhwc")
    if axis is not None and count is not None and spec.shape[axis] not in (-1, count):
        order = ImageInput.Channels.Name(image.channels).removeprefix("CHANNELS_")
        raise ValueError(f"{what} has {spec.shape[axis]} channels, {order} has {count}")
    if image.HasField("minimum") != image.HasField("maximum"):
        raise ValueError(f"{what}: give the minimum and the maximum of its values, or neither")
    if image.HasField("minimum") and not (
        image.minimum < image.maximum and math.isfinite(image.minimum) and math.isfinite(image.maximum)
    ):
        raise ValueError(f"{what}: its values reach from {image.minimum:g} to {image.maximum:g}")


def _check_vocabulary(vocabulary: VocabularyInput, spec: TensorSpec) -> None:
    what = f"input '{spec.name}' ({format_spec(spec)})"
    is_text = spec.datatype == DataType.DATA_TYPE_STRING
    if not is_text and NUMPY_DTYPES[spec.datatype].kind not in "iu":
        raise ValueError(f"{what} has a vocabulary, which only inputs of text or integers have")
    listed, other = vocabulary.strings, vocabulary.integers
    if not is_text:
        listed, other = other, listed  # type: ignore[assignment]
    if other or not (listed or vocabulary.accepts_others):
        raise ValueError(f"{what} needs a vocabulary of {'text' if is_text else 'integers'}")
    if vocabulary.size < len(listed) or (vocabulary.size > len(listed) and not vocabulary.accepts_others):
        raise ValueError(f"{what} has a vocabulary of {vocabulary.size} values, {len(listed)} are listed")


def abridged(values: Iterable[object], most: int = 20) -> str:
    """Write the first values for people: `age, sex, ... (3 more)`.

    >>> abridged(range(5), most=3)
    '0, 1, 2, ... (2 more)'
    """
    listed = [str(value) for value in values]
    more = [f"... ({len(listed) - most} more)"] if len(listed) > most else []
    return ", ".join(listed[:most] + more)
