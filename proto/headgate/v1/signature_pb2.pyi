from headgate.v1 import head_pb2 as _head_pb2
from headgate.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Signature(_message.Message):
    __slots__ = ("schema_version", "inputs", "outputs", "heads", "verification", "provenance", "paddings", "input_meanings", "optimizations")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    HEADS_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    PADDINGS_FIELD_NUMBER: _ClassVar[int]
    INPUT_MEANINGS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZATIONS_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    inputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[_tensor_pb2.TensorSpec]
    heads: _containers.RepeatedCompositeFieldContainer[_head_pb2.Head]
    verification: Verification
    provenance: Provenance
    paddings: _containers.RepeatedCompositeFieldContainer[Padding]
    input_meanings: _containers.RepeatedCompositeFieldContainer[InputMeaning]
    optimizations: _containers.RepeatedCompositeFieldContainer[Optimization]
    def __init__(self, schema_version: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[_tensor_pb2.TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[_tensor_pb2.TensorSpec, _Mapping]]] = ..., heads: _Optional[_Iterable[_Union[_head_pb2.Head, _Mapping]]] = ..., verification: _Optional[_Union[Verification, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., paddings: _Optional[_Iterable[_Union[Padding, _Mapping]]] = ..., input_meanings: _Optional[_Iterable[_Union[InputMeaning, _Mapping]]] = ..., optimizations: _Optional[_Iterable[_Union[Optimization, _Mapping]]] = ...) -> None: ...

class Padding(_message.Message):
    __slots__ = ("inputs", "mask", "outputs")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[PaddedInput]
    mask: str
    outputs: _containers.RepeatedCompositeFieldContainer[PaddedOutput]
    def __init__(self, inputs: _Optional[_Iterable[_Union[PaddedInput, _Mapping]]] = ..., mask: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[PaddedOutput, _Mapping]]] = ...) -> None: ...

class PaddedInput(_message.Message):
    __slots__ = ("input", "axis", "fill")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    FILL_FIELD_NUMBER: _ClassVar[int]
    input: str
    axis: int
    fill: float
    def __init__(self, input: _Optional[str] = ..., axis: _Optional[int] = ..., fill: _Optional[float] = ...) -> None: ...

class PaddedOutput(_message.Message):
    __slots__ = ("output", "axis")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    output: str
    axis: int
    def __init__(self, output: _Optional[str] = ..., axis: _Optional[int] = ...) -> None: ...

class InputMeaning(_message.Message):
    __slots__ = ("input", "description", "tabular", "image", "vocabulary")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TABULAR_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    input: str
    description: str
    tabular: TabularInput
    image: ImageInput
    vocabulary: VocabularyInput
    def __init__(self, input: _Optional[str] = ..., description: _Optional[str] = ..., tabular: _Optional[_Union[TabularInput, _Mapping]] = ..., image: _Optional[_Union[ImageInput, _Mapping]] = ..., vocabulary: _Optional[_Union[VocabularyInput, _Mapping]] = ...) -> None: ...

class TabularInput(_message.Message):
    __slots__ = ("feature_names",)
    FEATURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    feature_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, feature_names: _Optional[_Iterable[str]] = ...) -> None: ...

class ImageInput(_message.Message):
    __slots__ = ("layout", "channels", "minimum", "maximum")
    class Layout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LAYOUT_UNSPECIFIED: _ClassVar[ImageInput.Layout]
        LAYOUT_NHWC: _ClassVar[ImageInput.Layout]
        LAYOUT_NCHW: _ClassVar[ImageInput.Layout]
    LAYOUT_UNSPECIFIED: ImageInput.Layout
    LAYOUT_NHWC: ImageInput.Layout
    LAYOUT_NCHW: ImageInput.Layout
    class Channels(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHANNELS_UNSPECIFIED: _ClassVar[ImageInput.Channels]
        CHANNELS_GRAY: _ClassVar[ImageInput.Channels]
        CHANNELS_RGB: _ClassVar[ImageInput.Channels]
        CHANNELS_BGR: _ClassVar[ImageInput.Channels]
        CHANNELS_RGBA: _ClassVar[ImageInput.Channels]
    CHANNELS_UNSPECIFIED: ImageInput.Channels
    CHANNELS_GRAY: ImageInput.Channels
    CHANNELS_RGB: ImageInput.Channels
    CHANNELS_BGR: ImageInput.Channels
    CHANNELS_RGBA: ImageInput.Channels
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    layout: ImageInput.Layout
    channels: ImageInput.Channels
    minimum: float
    maximum: float
    def __init__(self, layout: _Optional[_Union[ImageInput.Layout, str]] = ..., channels: _Optional[_Union[ImageInput.Channels, str]] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ...) -> None: ...

class VocabularyInput(_message.Message):
    __slots__ = ("strings", "integers", "accepts_others", "size")
    STRINGS_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    ACCEPTS_OTHERS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    strings: _containers.RepeatedScalarFieldContainer[str]
    integers: _containers.RepeatedScalarFieldContainer[int]
    accepts_others: bool
    size: int
    def __init__(self, strings: _Optional[_Iterable[str]] = ..., integers: _Optional[_Iterable[int]] = ..., accepts_others: bool = ..., size: _Optional[int] = ...) -> None: ...

class Verification(_message.Message):
    __slots__ = ("checks", "tolerances", "graph_optimization_level", "golden_examples_sha256")
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCES_FIELD_NUMBER: _ClassVar[int]
    GRAPH_OPTIMIZATION_LEVEL_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_EXAMPLES_SHA256_FIELD_NUMBER: _ClassVar[int]
    checks: _containers.RepeatedCompositeFieldContainer[ParityCheck]
    tolerances: _containers.RepeatedCompositeFieldContainer[Tolerance]
    graph_optimization_level: str
    golden_examples_sha256: str
    def __init__(self, checks: _Optional[_Iterable[_Union[ParityCheck, _Mapping]]] = ..., tolerances: _Optional[_Iterable[_Union[Tolerance, _Mapping]]] = ..., graph_optimization_level: _Optional[str] = ..., golden_examples_sha256: _Optional[str] = ...) -> None: ...

class Tolerance(_message.Message):
    __slots__ = ("output", "absolute", "relative", "tf32_absolute", "tf32_relative", "rule", "unit_absolute")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    TF32_ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    TF32_RELATIVE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    UNIT_ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    output: str
    absolute: float
    relative: float
    tf32_absolute: float
    tf32_relative: float
    rule: str
    unit_absolute: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, output: _Optional[str] = ..., absolute: _Optional[float] = ..., relative: _Optional[float] = ..., tf32_absolute: _Optional[float] = ..., tf32_relative: _Optional[float] = ..., rule: _Optional[str] = ..., unit_absolute: _Optional[_Iterable[float]] = ...) -> None: ...

class ParityCheck(_message.Message):
    __slots__ = ("output", "batch_size", "inputs", "max_absolute_error", "max_relative_error", "max_ulp_error", "worst_element", "tolerance_used", "changed_labels", "free_sizes", "spread")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    MAX_ABSOLUTE_ERROR_FIELD_NUMBER: _ClassVar[int]
    MAX_RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    MAX_ULP_ERROR_FIELD_NUMBER: _ClassVar[int]
    WORST_ELEMENT_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_USED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_LABELS_FIELD_NUMBER: _ClassVar[int]
    FREE_SIZES_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    output: str
    batch_size: int
    inputs: str
    max_absolute_error: float
    max_relative_error: float
    max_ulp_error: float
    worst_element: _containers.RepeatedScalarFieldContainer[int]
    tolerance_used: float
    changed_labels: int
    free_sizes: _containers.RepeatedCompositeFieldContainer[FreeSize]
    spread: float
    def __init__(self, output: _Optional[str] = ..., batch_size: _Optional[int] = ..., inputs: _Optional[str] = ..., max_absolute_error: _Optional[float] = ..., max_relative_error: _Optional[float] = ..., max_ulp_error: _Optional[float] = ..., worst_element: _Optional[_Iterable[int]] = ..., tolerance_used: _Optional[float] = ..., changed_labels: _Optional[int] = ..., free_sizes: _Optional[_Iterable[_Union[FreeSize, _Mapping]]] = ..., spread: _Optional[float] = ...) -> None: ...

class FreeSize(_message.Message):
    __slots__ = ("input", "axis", "size")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    input: str
    axis: int
    size: int
    def __init__(self, input: _Optional[str] = ..., axis: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...

class Optimization(_message.Message):
    __slots__ = ("kind", "device", "size_before_bytes", "size_after_bytes", "deviations", "metrics", "max_metric_loss")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BEFORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SIZE_AFTER_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MAX_METRIC_LOSS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    device: str
    size_before_bytes: int
    size_after_bytes: int
    deviations: _containers.RepeatedCompositeFieldContainer[Deviation]
    metrics: _containers.RepeatedCompositeFieldContainer[MetricChange]
    max_metric_loss: float
    def __init__(self, kind: _Optional[str] = ..., device: _Optional[str] = ..., size_before_bytes: _Optional[int] = ..., size_after_bytes: _Optional[int] = ..., deviations: _Optional[_Iterable[_Union[Deviation, _Mapping]]] = ..., metrics: _Optional[_Iterable[_Union[MetricChange, _Mapping]]] = ..., max_metric_loss: _Optional[float] = ...) -> None: ...

class Deviation(_message.Message):
    __slots__ = ("output", "max_from_keras", "max_from_float32", "largest")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    MAX_FROM_KERAS_FIELD_NUMBER: _ClassVar[int]
    MAX_FROM_FLOAT32_FIELD_NUMBER: _ClassVar[int]
    LARGEST_FIELD_NUMBER: _ClassVar[int]
    output: str
    max_from_keras: float
    max_from_float32: float
    largest: float
    def __init__(self, output: _Optional[str] = ..., max_from_keras: _Optional[float] = ..., max_from_float32: _Optional[float] = ..., largest: _Optional[float] = ...) -> None: ...

class MetricChange(_message.Message):
    __slots__ = ("head", "metric", "before", "after", "rows", "targets")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    head: str
    metric: str
    before: float
    after: float
    rows: int
    targets: str
    def __init__(self, head: _Optional[str] = ..., metric: _Optional[str] = ..., before: _Optional[float] = ..., after: _Optional[float] = ..., rows: _Optional[int] = ..., targets: _Optional[str] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("source_file", "source_sha256", "exported_at", "opset", "versions")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SOURCE_FILE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SHA256_FIELD_NUMBER: _ClassVar[int]
    EXPORTED_AT_FIELD_NUMBER: _ClassVar[int]
    OPSET_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    source_file: str
    source_sha256: str
    exported_at: str
    opset: int
    versions: _containers.ScalarMap[str, str]
    def __init__(self, source_file: _Optional[str] = ..., source_sha256: _Optional[str] = ..., exported_at: _Optional[str] = ..., opset: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...
