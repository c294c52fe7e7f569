from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Activation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTIVATION_UNSPECIFIED: _ClassVar[Activation]
    ACTIVATION_LINEAR: _ClassVar[Activation]
    ACTIVATION_LOGITS: _ClassVar[Activation]
    ACTIVATION_PROBABILITIES: _ClassVar[Activation]
ACTIVATION_UNSPECIFIED: Activation
ACTIVATION_LINEAR: Activation
ACTIVATION_LOGITS: Activation
ACTIVATION_PROBABILITIES: Activation

class Head(_message.Message):
    __slots__ = ("name", "output", "activation", "description", "regression", "binary", "multiclass", "multilabel")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REGRESSION_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    MULTICLASS_FIELD_NUMBER: _ClassVar[int]
    MULTILABEL_FIELD_NUMBER: _ClassVar[int]
    name: str
    output: str
    activation: Activation
    description: str
    regression: RegressionHead
    binary: BinaryHead
    multiclass: MulticlassHead
    multilabel: MultilabelHead
    def __init__(self, name: _Optional[str] = ..., output: _Optional[str] = ..., activation: _Optional[_Union[Activation, str]] = ..., description: _Optional[str] = ..., regression: _Optional[_Union[RegressionHead, _Mapping]] = ..., binary: _Optional[_Union[BinaryHead, _Mapping]] = ..., multiclass: _Optional[_Union[MulticlassHead, _Mapping]] = ..., multilabel: _Optional[_Union[MultilabelHead, _Mapping]] = ...) -> None: ...

class RegressionHead(_message.Message):
    __slots__ = ("targets", "units", "scaling")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    SCALING_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    scaling: TargetScaling
    def __init__(self, targets: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., scaling: _Optional[_Union[TargetScaling, _Mapping]] = ...) -> None: ...

class TargetScaling(_message.Message):
    __slots__ = ("mean", "scale", "log1p")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    LOG1P_FIELD_NUMBER: _ClassVar[int]
    mean: _containers.RepeatedScalarFieldContainer[float]
    scale: _containers.RepeatedScalarFieldContainer[float]
    log1p: bool
    def __init__(self, mean: _Optional[_Iterable[float]] = ..., scale: _Optional[_Iterable[float]] = ..., log1p: bool = ...) -> None: ...

class BinaryHead(_message.Message):
    __slots__ = ("labels", "positive_label", "threshold")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_LABEL_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    positive_label: str
    threshold: float
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., positive_label: _Optional[str] = ..., threshold: _Optional[float] = ...) -> None: ...

class MulticlassHead(_message.Message):
    __slots__ = ("labels", "top_k")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ...) -> None: ...

class MultilabelHead(_message.Message):
    __slots__ = ("labels", "thresholds")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., thresholds: _Optional[_Iterable[float]] = ...) -> None: ...
