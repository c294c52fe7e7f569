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
    ACTIVATION_LOG: _ClassVar[Activation]

class PixelLayout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_LAYOUT_UNSPECIFIED: _ClassVar[PixelLayout]
    PIXEL_LAYOUT_CHANNELS_FIRST: _ClassVar[PixelLayout]
ACTIVATION_UNSPECIFIED: Activation
ACTIVATION_LINEAR: Activation
ACTIVATION_LOGITS: Activation
ACTIVATION_PROBABILITIES: Activation
ACTIVATION_LOG: Activation
PIXEL_LAYOUT_UNSPECIFIED: PixelLayout
PIXEL_LAYOUT_CHANNELS_FIRST: PixelLayout

class Head(_message.Message):
    __slots__ = ("name", "output", "activation", "description", "calibration", "confidence_level", "regression", "binary", "multiclass", "multilabel", "quantile", "count", "mean_variance", "ordinal", "embedding", "sequence_tags", "ctc", "segmentation", "detection", "keypoints", "anomaly")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    REGRESSION_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    MULTICLASS_FIELD_NUMBER: _ClassVar[int]
    MULTILABEL_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MEAN_VARIANCE_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_TAGS_FIELD_NUMBER: _ClassVar[int]
    CTC_FIELD_NUMBER: _ClassVar[int]
    SEGMENTATION_FIELD_NUMBER: _ClassVar[int]
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_FIELD_NUMBER: _ClassVar[int]
    name: str
    output: str
    activation: Activation
    description: str
    calibration: Calibration
    confidence_level: float
    regression: RegressionHead
    binary: BinaryHead
    multiclass: MulticlassHead
    multilabel: MultilabelHead
    quantile: QuantileHead
    count: CountHead
    mean_variance: MeanVarianceHead
    ordinal: OrdinalHead
    embedding: EmbeddingHead
    sequence_tags: SequenceTagsHead
    ctc: CtcHead
    segmentation: SegmentationHead
    detection: DetectionHead
    keypoints: KeypointsHead
    anomaly: AnomalyHead
    def __init__(self, name: _Optional[str] = ..., output: _Optional[str] = ..., activation: _Optional[_Union[Activation, str]] = ..., description: _Optional[str] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ..., confidence_level: _Optional[float] = ..., regression: _Optional[_Union[RegressionHead, _Mapping]] = ..., binary: _Optional[_Union[BinaryHead, _Mapping]] = ..., multiclass: _Optional[_Union[MulticlassHead, _Mapping]] = ..., multilabel: _Optional[_Union[MultilabelHead, _Mapping]] = ..., quantile: _Optional[_Union[QuantileHead, _Mapping]] = ..., count: _Optional[_Union[CountHead, _Mapping]] = ..., mean_variance: _Optional[_Union[MeanVarianceHead, _Mapping]] = ..., ordinal: _Optional[_Union[OrdinalHead, _Mapping]] = ..., embedding: _Optional[_Union[EmbeddingHead, _Mapping]] = ..., sequence_tags: _Optional[_Union[SequenceTagsHead, _Mapping]] = ..., ctc: _Optional[_Union[CtcHead, _Mapping]] = ..., segmentation: _Optional[_Union[SegmentationHead, _Mapping]] = ..., detection: _Optional[_Union[DetectionHead, _Mapping]] = ..., keypoints: _Optional[_Union[KeypointsHead, _Mapping]] = ..., anomaly: _Optional[_Union[AnomalyHead, _Mapping]] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("probabilities", "conformal", "thresholds", "rows", "data_sha256", "fitted_at", "versions", "metrics")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONFORMAL_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DATA_SHA256_FIELD_NUMBER: _ClassVar[int]
    FITTED_AT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    probabilities: ProbabilityCalibration
    conformal: Conformal
    thresholds: _containers.RepeatedCompositeFieldContainer[ThresholdChoice]
    rows: int
    data_sha256: str
    fitted_at: str
    versions: _containers.ScalarMap[str, str]
    metrics: _containers.RepeatedCompositeFieldContainer[CalibrationMetric]
    def __init__(self, probabilities: _Optional[_Union[ProbabilityCalibration, _Mapping]] = ..., conformal: _Optional[_Union[Conformal, _Mapping]] = ..., thresholds: _Optional[_Iterable[_Union[ThresholdChoice, _Mapping]]] = ..., rows: _Optional[int] = ..., data_sha256: _Optional[str] = ..., fitted_at: _Optional[str] = ..., versions: _Optional[_Mapping[str, str]] = ..., metrics: _Optional[_Iterable[_Union[CalibrationMetric, _Mapping]]] = ...) -> None: ...

class ProbabilityCalibration(_message.Message):
    __slots__ = ("method", "temperatures", "slopes", "intercepts", "curves")
    class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        METHOD_UNSPECIFIED: _ClassVar[ProbabilityCalibration.Method]
        METHOD_TEMPERATURE: _ClassVar[ProbabilityCalibration.Method]
        METHOD_PLATT: _ClassVar[ProbabilityCalibration.Method]
        METHOD_ISOTONIC: _ClassVar[ProbabilityCalibration.Method]
    METHOD_UNSPECIFIED: ProbabilityCalibration.Method
    METHOD_TEMPERATURE: ProbabilityCalibration.Method
    METHOD_PLATT: ProbabilityCalibration.Method
    METHOD_ISOTONIC: ProbabilityCalibration.Method
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURES_FIELD_NUMBER: _ClassVar[int]
    SLOPES_FIELD_NUMBER: _ClassVar[int]
    INTERCEPTS_FIELD_NUMBER: _ClassVar[int]
    CURVES_FIELD_NUMBER: _ClassVar[int]
    method: ProbabilityCalibration.Method
    temperatures: _containers.RepeatedScalarFieldContainer[float]
    slopes: _containers.RepeatedScalarFieldContainer[float]
    intercepts: _containers.RepeatedScalarFieldContainer[float]
    curves: _containers.RepeatedCompositeFieldContainer[IsotonicCurve]
    def __init__(self, method: _Optional[_Union[ProbabilityCalibration.Method, str]] = ..., temperatures: _Optional[_Iterable[float]] = ..., slopes: _Optional[_Iterable[float]] = ..., intercepts: _Optional[_Iterable[float]] = ..., curves: _Optional[_Iterable[_Union[IsotonicCurve, _Mapping]]] = ...) -> None: ...

class IsotonicCurve(_message.Message):
    __slots__ = ("inputs", "outputs")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedScalarFieldContainer[float]
    outputs: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, inputs: _Optional[_Iterable[float]] = ..., outputs: _Optional[_Iterable[float]] = ...) -> None: ...

class Conformal(_message.Message):
    __slots__ = ("method", "rows", "levels")
    class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        METHOD_UNSPECIFIED: _ClassVar[Conformal.Method]
        METHOD_LAC: _ClassVar[Conformal.Method]
        METHOD_APS: _ClassVar[Conformal.Method]
        METHOD_ABSOLUTE: _ClassVar[Conformal.Method]
        METHOD_SCALED: _ClassVar[Conformal.Method]
        METHOD_CQR: _ClassVar[Conformal.Method]
    METHOD_UNSPECIFIED: Conformal.Method
    METHOD_LAC: Conformal.Method
    METHOD_APS: Conformal.Method
    METHOD_ABSOLUTE: Conformal.Method
    METHOD_SCALED: Conformal.Method
    METHOD_CQR: Conformal.Method
    METHOD_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    method: Conformal.Method
    rows: int
    levels: _containers.RepeatedCompositeFieldContainer[ConformalLevel]
    def __init__(self, method: _Optional[_Union[Conformal.Method, str]] = ..., rows: _Optional[int] = ..., levels: _Optional[_Iterable[_Union[ConformalLevel, _Mapping]]] = ...) -> None: ...

class ConformalLevel(_message.Message):
    __slots__ = ("level", "quantiles", "lower_quantile", "upper_quantile")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    QUANTILES_FIELD_NUMBER: _ClassVar[int]
    LOWER_QUANTILE_FIELD_NUMBER: _ClassVar[int]
    UPPER_QUANTILE_FIELD_NUMBER: _ClassVar[int]
    level: float
    quantiles: _containers.RepeatedScalarFieldContainer[float]
    lower_quantile: float
    upper_quantile: float
    def __init__(self, level: _Optional[float] = ..., quantiles: _Optional[_Iterable[float]] = ..., lower_quantile: _Optional[float] = ..., upper_quantile: _Optional[float] = ...) -> None: ...

class ThresholdChoice(_message.Message):
    __slots__ = ("label", "criterion", "threshold", "precision", "recall", "rows", "data_sha256")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CRITERION_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DATA_SHA256_FIELD_NUMBER: _ClassVar[int]
    label: str
    criterion: str
    threshold: float
    precision: float
    recall: float
    rows: int
    data_sha256: str
    def __init__(self, label: _Optional[str] = ..., criterion: _Optional[str] = ..., threshold: _Optional[float] = ..., precision: _Optional[float] = ..., recall: _Optional[float] = ..., rows: _Optional[int] = ..., data_sha256: _Optional[str] = ...) -> None: ...

class CalibrationMetric(_message.Message):
    __slots__ = ("metric", "before", "after")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    metric: str
    before: float
    after: float
    def __init__(self, metric: _Optional[str] = ..., before: _Optional[float] = ..., after: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("labels", "positive_label", "threshold", "abstain")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_LABEL_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ABSTAIN_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    positive_label: str
    threshold: float
    abstain: AbstainBand
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., positive_label: _Optional[str] = ..., threshold: _Optional[float] = ..., abstain: _Optional[_Union[AbstainBand, _Mapping]] = ...) -> None: ...

class AbstainBand(_message.Message):
    __slots__ = ("lower", "upper")
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    lower: float
    upper: float
    def __init__(self, lower: _Optional[float] = ..., upper: _Optional[float] = ...) -> None: ...

class MulticlassHead(_message.Message):
    __slots__ = ("labels", "top_k", "abstain_below", "groups")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    ABSTAIN_BELOW_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    abstain_below: float
    groups: _containers.RepeatedCompositeFieldContainer[LabelGroup]
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., abstain_below: _Optional[float] = ..., groups: _Optional[_Iterable[_Union[LabelGroup, _Mapping]]] = ...) -> None: ...

class LabelGroup(_message.Message):
    __slots__ = ("name", "members")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    members: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ...) -> None: ...

class MultilabelHead(_message.Message):
    __slots__ = ("labels", "thresholds")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., thresholds: _Optional[_Iterable[float]] = ...) -> None: ...

class QuantileHead(_message.Message):
    __slots__ = ("levels", "targets", "units", "scaling")
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    SCALING_FIELD_NUMBER: _ClassVar[int]
    levels: _containers.RepeatedScalarFieldContainer[float]
    targets: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    scaling: TargetScaling
    def __init__(self, levels: _Optional[_Iterable[float]] = ..., targets: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., scaling: _Optional[_Union[TargetScaling, _Mapping]] = ...) -> None: ...

class CountHead(_message.Message):
    __slots__ = ("targets", "units")
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    targets: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, targets: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ...) -> None: ...

class MeanVarianceHead(_message.Message):
    __slots__ = ("spread", "spread_output", "targets", "units", "scaling")
    class Spread(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SPREAD_UNSPECIFIED: _ClassVar[MeanVarianceHead.Spread]
        SPREAD_VARIANCE: _ClassVar[MeanVarianceHead.Spread]
        SPREAD_LOG_VARIANCE: _ClassVar[MeanVarianceHead.Spread]
        SPREAD_STANDARD_DEVIATION: _ClassVar[MeanVarianceHead.Spread]
        SPREAD_LOG_STANDARD_DEVIATION: _ClassVar[MeanVarianceHead.Spread]
        SPREAD_SOFTPLUS_STANDARD_DEVIATION: _ClassVar[MeanVarianceHead.Spread]
    SPREAD_UNSPECIFIED: MeanVarianceHead.Spread
    SPREAD_VARIANCE: MeanVarianceHead.Spread
    SPREAD_LOG_VARIANCE: MeanVarianceHead.Spread
    SPREAD_STANDARD_DEVIATION: MeanVarianceHead.Spread
    SPREAD_LOG_STANDARD_DEVIATION: MeanVarianceHead.Spread
    SPREAD_SOFTPLUS_STANDARD_DEVIATION: MeanVarianceHead.Spread
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    SPREAD_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    SCALING_FIELD_NUMBER: _ClassVar[int]
    spread: MeanVarianceHead.Spread
    spread_output: str
    targets: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    scaling: TargetScaling
    def __init__(self, spread: _Optional[_Union[MeanVarianceHead.Spread, str]] = ..., spread_output: _Optional[str] = ..., targets: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., scaling: _Optional[_Union[TargetScaling, _Mapping]] = ...) -> None: ...

class OrdinalHead(_message.Message):
    __slots__ = ("labels", "form")
    class Form(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORM_UNSPECIFIED: _ClassVar[OrdinalHead.Form]
        FORM_EXCEEDANCE: _ClassVar[OrdinalHead.Form]
        FORM_CUMULATIVE: _ClassVar[OrdinalHead.Form]
        FORM_CONDITIONAL: _ClassVar[OrdinalHead.Form]
    FORM_UNSPECIFIED: OrdinalHead.Form
    FORM_EXCEEDANCE: OrdinalHead.Form
    FORM_CUMULATIVE: OrdinalHead.Form
    FORM_CONDITIONAL: OrdinalHead.Form
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    form: OrdinalHead.Form
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., form: _Optional[_Union[OrdinalHead.Form, str]] = ...) -> None: ...

class EmbeddingHead(_message.Message):
    __slots__ = ("normalize", "prototypes", "top_k")
    NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    PROTOTYPES_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    normalize: bool
    prototypes: Prototypes
    top_k: int
    def __init__(self, normalize: bool = ..., prototypes: _Optional[_Union[Prototypes, _Mapping]] = ..., top_k: _Optional[int] = ...) -> None: ...

class Prototypes(_message.Message):
    __slots__ = ("labels", "vectors")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    vectors: bytes
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., vectors: _Optional[bytes] = ...) -> None: ...

class SequenceTagsHead(_message.Message):
    __slots__ = ("labels", "scheme", "mask_output", "padding_label")
    class Scheme(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SCHEME_UNSPECIFIED: _ClassVar[SequenceTagsHead.Scheme]
        SCHEME_BIO: _ClassVar[SequenceTagsHead.Scheme]
        SCHEME_BIOES: _ClassVar[SequenceTagsHead.Scheme]
    SCHEME_UNSPECIFIED: SequenceTagsHead.Scheme
    SCHEME_BIO: SequenceTagsHead.Scheme
    SCHEME_BIOES: SequenceTagsHead.Scheme
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    MASK_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PADDING_LABEL_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    scheme: SequenceTagsHead.Scheme
    mask_output: str
    padding_label: str
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., scheme: _Optional[_Union[SequenceTagsHead.Scheme, str]] = ..., mask_output: _Optional[str] = ..., padding_label: _Optional[str] = ...) -> None: ...

class CtcHead(_message.Message):
    __slots__ = ("labels", "blank", "separator", "beam_width", "top_k", "lengths_output")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    BLANK_FIELD_NUMBER: _ClassVar[int]
    SEPARATOR_FIELD_NUMBER: _ClassVar[int]
    BEAM_WIDTH_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    blank: int
    separator: str
    beam_width: int
    top_k: int
    lengths_output: str
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., blank: _Optional[int] = ..., separator: _Optional[str] = ..., beam_width: _Optional[int] = ..., top_k: _Optional[int] = ..., lengths_output: _Optional[str] = ...) -> None: ...

class SegmentationHead(_message.Message):
    __slots__ = ("labels", "layout", "independent", "thresholds", "stride")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    INDEPENDENT_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    layout: PixelLayout
    independent: bool
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    stride: int
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., layout: _Optional[_Union[PixelLayout, str]] = ..., independent: bool = ..., thresholds: _Optional[_Iterable[float]] = ..., stride: _Optional[int] = ...) -> None: ...

class DetectionHead(_message.Message):
    __slots__ = ("labels", "box_format", "scores_output", "transposed", "objectness", "exclusive", "background", "relative", "image_width", "image_height", "anchors", "grids", "variances", "score_threshold", "iou_threshold", "class_agnostic", "max_detections")
    class BoxFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        BOX_FORMAT_UNSPECIFIED: _ClassVar[DetectionHead.BoxFormat]
        BOX_FORMAT_XYXY: _ClassVar[DetectionHead.BoxFormat]
        BOX_FORMAT_XYWH: _ClassVar[DetectionHead.BoxFormat]
        BOX_FORMAT_CXCYWH: _ClassVar[DetectionHead.BoxFormat]
        BOX_FORMAT_YXYX: _ClassVar[DetectionHead.BoxFormat]
        BOX_FORMAT_ANCHOR_DELTAS: _ClassVar[DetectionHead.BoxFormat]
        BOX_FORMAT_POINT_DISTANCES: _ClassVar[DetectionHead.BoxFormat]
        BOX_FORMAT_GRID_OFFSETS: _ClassVar[DetectionHead.BoxFormat]
    BOX_FORMAT_UNSPECIFIED: DetectionHead.BoxFormat
    BOX_FORMAT_XYXY: DetectionHead.BoxFormat
    BOX_FORMAT_XYWH: DetectionHead.BoxFormat
    BOX_FORMAT_CXCYWH: DetectionHead.BoxFormat
    BOX_FORMAT_YXYX: DetectionHead.BoxFormat
    BOX_FORMAT_ANCHOR_DELTAS: DetectionHead.BoxFormat
    BOX_FORMAT_POINT_DISTANCES: DetectionHead.BoxFormat
    BOX_FORMAT_GRID_OFFSETS: DetectionHead.BoxFormat
    LABELS_FIELD_NUMBER: _ClassVar[int]
    BOX_FORMAT_FIELD_NUMBER: _ClassVar[int]
    SCORES_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    TRANSPOSED_FIELD_NUMBER: _ClassVar[int]
    OBJECTNESS_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    ANCHORS_FIELD_NUMBER: _ClassVar[int]
    GRIDS_FIELD_NUMBER: _ClassVar[int]
    VARIANCES_FIELD_NUMBER: _ClassVar[int]
    SCORE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    IOU_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CLASS_AGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    MAX_DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    box_format: DetectionHead.BoxFormat
    scores_output: str
    transposed: bool
    objectness: bool
    exclusive: bool
    background: int
    relative: bool
    image_width: int
    image_height: int
    anchors: Anchors
    grids: _containers.RepeatedScalarFieldContainer[int]
    variances: _containers.RepeatedScalarFieldContainer[float]
    score_threshold: float
    iou_threshold: float
    class_agnostic: bool
    max_detections: int
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., box_format: _Optional[_Union[DetectionHead.BoxFormat, str]] = ..., scores_output: _Optional[str] = ..., transposed: bool = ..., objectness: bool = ..., exclusive: bool = ..., background: _Optional[int] = ..., relative: bool = ..., image_width: _Optional[int] = ..., image_height: _Optional[int] = ..., anchors: _Optional[_Union[Anchors, _Mapping]] = ..., grids: _Optional[_Iterable[int]] = ..., variances: _Optional[_Iterable[float]] = ..., score_threshold: _Optional[float] = ..., iou_threshold: _Optional[float] = ..., class_agnostic: bool = ..., max_detections: _Optional[int] = ...) -> None: ...

class Anchors(_message.Message):
    __slots__ = ("boxes", "levels")
    BOXES_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    boxes: bytes
    levels: _containers.RepeatedCompositeFieldContainer[AnchorLevel]
    def __init__(self, boxes: _Optional[bytes] = ..., levels: _Optional[_Iterable[_Union[AnchorLevel, _Mapping]]] = ...) -> None: ...

class AnchorLevel(_message.Message):
    __slots__ = ("stride", "sizes", "ratios")
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    RATIOS_FIELD_NUMBER: _ClassVar[int]
    stride: int
    sizes: _containers.RepeatedScalarFieldContainer[float]
    ratios: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, stride: _Optional[int] = ..., sizes: _Optional[_Iterable[float]] = ..., ratios: _Optional[_Iterable[float]] = ...) -> None: ...

class KeypointsHead(_message.Message):
    __slots__ = ("names", "form", "layout", "refine", "stride", "relative", "image_width", "image_height")
    class Form(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORM_UNSPECIFIED: _ClassVar[KeypointsHead.Form]
        FORM_HEATMAPS: _ClassVar[KeypointsHead.Form]
        FORM_COORDINATES: _ClassVar[KeypointsHead.Form]
    FORM_UNSPECIFIED: KeypointsHead.Form
    FORM_HEATMAPS: KeypointsHead.Form
    FORM_COORDINATES: KeypointsHead.Form
    NAMES_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    REFINE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    form: KeypointsHead.Form
    layout: PixelLayout
    refine: bool
    stride: int
    relative: bool
    image_width: int
    image_height: int
    def __init__(self, names: _Optional[_Iterable[str]] = ..., form: _Optional[_Union[KeypointsHead.Form, str]] = ..., layout: _Optional[_Union[PixelLayout, str]] = ..., refine: bool = ..., stride: _Optional[int] = ..., relative: bool = ..., image_width: _Optional[int] = ..., image_height: _Optional[int] = ...) -> None: ...

class AnomalyHead(_message.Message):
    __slots__ = ("threshold", "lower_is_anomalous", "score_quantiles", "reconstructed_input", "reconstruction_error")
    class ReconstructionError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        RECONSTRUCTION_ERROR_UNSPECIFIED: _ClassVar[AnomalyHead.ReconstructionError]
        RECONSTRUCTION_ERROR_SQUARED: _ClassVar[AnomalyHead.ReconstructionError]
        RECONSTRUCTION_ERROR_ABSOLUTE: _ClassVar[AnomalyHead.ReconstructionError]
    RECONSTRUCTION_ERROR_UNSPECIFIED: AnomalyHead.ReconstructionError
    RECONSTRUCTION_ERROR_SQUARED: AnomalyHead.ReconstructionError
    RECONSTRUCTION_ERROR_ABSOLUTE: AnomalyHead.ReconstructionError
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    LOWER_IS_ANOMALOUS_FIELD_NUMBER: _ClassVar[int]
    SCORE_QUANTILES_FIELD_NUMBER: _ClassVar[int]
    RECONSTRUCTED_INPUT_FIELD_NUMBER: _ClassVar[int]
    RECONSTRUCTION_ERROR_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    lower_is_anomalous: bool
    score_quantiles: _containers.RepeatedScalarFieldContainer[float]
    reconstructed_input: str
    reconstruction_error: AnomalyHead.ReconstructionError
    def __init__(self, threshold: _Optional[float] = ..., lower_is_anomalous: bool = ..., score_quantiles: _Optional[_Iterable[float]] = ..., reconstructed_input: _Optional[str] = ..., reconstruction_error: _Optional[_Union[AnomalyHead.ReconstructionError, str]] = ...) -> None: ...
