from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Prediction(_message.Message):
    __slots__ = ("head", "regression", "binary", "multiclass", "multilabel", "quantile", "mean_variance", "ordinal", "embedding", "sequence_tags", "ctc", "segmentation", "detection", "keypoints", "anomaly", "count", "invalid_rows")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    REGRESSION_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    MULTICLASS_FIELD_NUMBER: _ClassVar[int]
    MULTILABEL_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_FIELD_NUMBER: _ClassVar[int]
    MEAN_VARIANCE_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_TAGS_FIELD_NUMBER: _ClassVar[int]
    CTC_FIELD_NUMBER: _ClassVar[int]
    SEGMENTATION_FIELD_NUMBER: _ClassVar[int]
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    KEYPOINTS_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    INVALID_ROWS_FIELD_NUMBER: _ClassVar[int]
    head: str
    regression: RegressionColumns
    binary: BinaryColumns
    multiclass: MulticlassColumns
    multilabel: MultilabelColumns
    quantile: QuantileColumns
    mean_variance: MeanVarianceColumns
    ordinal: OrdinalColumns
    embedding: EmbeddingColumns
    sequence_tags: SequenceTagsColumns
    ctc: CtcColumns
    segmentation: SegmentationColumns
    detection: DetectionColumns
    keypoints: KeypointsColumns
    anomaly: AnomalyColumns
    count: CountColumns
    invalid_rows: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, head: _Optional[str] = ..., regression: _Optional[_Union[RegressionColumns, _Mapping]] = ..., binary: _Optional[_Union[BinaryColumns, _Mapping]] = ..., multiclass: _Optional[_Union[MulticlassColumns, _Mapping]] = ..., multilabel: _Optional[_Union[MultilabelColumns, _Mapping]] = ..., quantile: _Optional[_Union[QuantileColumns, _Mapping]] = ..., mean_variance: _Optional[_Union[MeanVarianceColumns, _Mapping]] = ..., ordinal: _Optional[_Union[OrdinalColumns, _Mapping]] = ..., embedding: _Optional[_Union[EmbeddingColumns, _Mapping]] = ..., sequence_tags: _Optional[_Union[SequenceTagsColumns, _Mapping]] = ..., ctc: _Optional[_Union[CtcColumns, _Mapping]] = ..., segmentation: _Optional[_Union[SegmentationColumns, _Mapping]] = ..., detection: _Optional[_Union[DetectionColumns, _Mapping]] = ..., keypoints: _Optional[_Union[KeypointsColumns, _Mapping]] = ..., anomaly: _Optional[_Union[AnomalyColumns, _Mapping]] = ..., count: _Optional[_Union[CountColumns, _Mapping]] = ..., invalid_rows: _Optional[_Iterable[int]] = ...) -> None: ...

class RegressionColumns(_message.Message):
    __slots__ = ("values", "targets", "target_names", "units", "lower", "upper", "confidence_level")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    TARGET_NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    targets: int
    target_names: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    lower: _containers.RepeatedScalarFieldContainer[float]
    upper: _containers.RepeatedScalarFieldContainer[float]
    confidence_level: float
    def __init__(self, values: _Optional[_Iterable[float]] = ..., targets: _Optional[int] = ..., target_names: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., lower: _Optional[_Iterable[float]] = ..., upper: _Optional[_Iterable[float]] = ..., confidence_level: _Optional[float] = ...) -> None: ...

class QuantileColumns(_message.Message):
    __slots__ = ("values", "targets", "levels", "medians", "target_names", "units", "lower", "upper", "confidence_level")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    MEDIANS_FIELD_NUMBER: _ClassVar[int]
    TARGET_NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    targets: int
    levels: _containers.RepeatedScalarFieldContainer[float]
    medians: _containers.RepeatedScalarFieldContainer[float]
    target_names: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    lower: _containers.RepeatedScalarFieldContainer[float]
    upper: _containers.RepeatedScalarFieldContainer[float]
    confidence_level: float
    def __init__(self, values: _Optional[_Iterable[float]] = ..., targets: _Optional[int] = ..., levels: _Optional[_Iterable[float]] = ..., medians: _Optional[_Iterable[float]] = ..., target_names: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., lower: _Optional[_Iterable[float]] = ..., upper: _Optional[_Iterable[float]] = ..., confidence_level: _Optional[float] = ...) -> None: ...

class CountColumns(_message.Message):
    __slots__ = ("means", "targets", "target_names", "units", "lower", "upper", "confidence_level")
    MEANS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    TARGET_NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    means: _containers.RepeatedScalarFieldContainer[float]
    targets: int
    target_names: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    lower: _containers.RepeatedScalarFieldContainer[float]
    upper: _containers.RepeatedScalarFieldContainer[float]
    confidence_level: float
    def __init__(self, means: _Optional[_Iterable[float]] = ..., targets: _Optional[int] = ..., target_names: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., lower: _Optional[_Iterable[float]] = ..., upper: _Optional[_Iterable[float]] = ..., confidence_level: _Optional[float] = ...) -> None: ...

class MeanVarianceColumns(_message.Message):
    __slots__ = ("means", "standard_deviations", "targets", "target_names", "units", "lower", "upper", "confidence_level")
    MEANS_FIELD_NUMBER: _ClassVar[int]
    STANDARD_DEVIATIONS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    TARGET_NAMES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    LOWER_FIELD_NUMBER: _ClassVar[int]
    UPPER_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    means: _containers.RepeatedScalarFieldContainer[float]
    standard_deviations: _containers.RepeatedScalarFieldContainer[float]
    targets: int
    target_names: _containers.RepeatedScalarFieldContainer[str]
    units: _containers.RepeatedScalarFieldContainer[str]
    lower: _containers.RepeatedScalarFieldContainer[float]
    upper: _containers.RepeatedScalarFieldContainer[float]
    confidence_level: float
    def __init__(self, means: _Optional[_Iterable[float]] = ..., standard_deviations: _Optional[_Iterable[float]] = ..., targets: _Optional[int] = ..., target_names: _Optional[_Iterable[str]] = ..., units: _Optional[_Iterable[str]] = ..., lower: _Optional[_Iterable[float]] = ..., upper: _Optional[_Iterable[float]] = ..., confidence_level: _Optional[float] = ...) -> None: ...

class BinaryColumns(_message.Message):
    __slots__ = ("labels", "probabilities", "positives", "positive_label", "threshold", "abstained")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    POSITIVES_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_LABEL_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    positives: _containers.RepeatedScalarFieldContainer[bool]
    positive_label: str
    threshold: float
    abstained: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., probabilities: _Optional[_Iterable[float]] = ..., positives: _Optional[_Iterable[bool]] = ..., positive_label: _Optional[str] = ..., threshold: _Optional[float] = ..., abstained: _Optional[_Iterable[bool]] = ...) -> None: ...

class MulticlassColumns(_message.Message):
    __slots__ = ("k", "labels", "indices", "scores", "classes", "probabilities", "entropies", "margins", "abstained", "set_counts", "set_labels", "set_indices", "confidence_level", "group_scores", "group_names")
    K_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    ENTROPIES_FIELD_NUMBER: _ClassVar[int]
    MARGINS_FIELD_NUMBER: _ClassVar[int]
    ABSTAINED_FIELD_NUMBER: _ClassVar[int]
    SET_COUNTS_FIELD_NUMBER: _ClassVar[int]
    SET_LABELS_FIELD_NUMBER: _ClassVar[int]
    SET_INDICES_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    GROUP_SCORES_FIELD_NUMBER: _ClassVar[int]
    GROUP_NAMES_FIELD_NUMBER: _ClassVar[int]
    k: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    indices: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    classes: int
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    entropies: _containers.RepeatedScalarFieldContainer[float]
    margins: _containers.RepeatedScalarFieldContainer[float]
    abstained: _containers.RepeatedScalarFieldContainer[bool]
    set_counts: _containers.RepeatedScalarFieldContainer[int]
    set_labels: _containers.RepeatedScalarFieldContainer[str]
    set_indices: _containers.RepeatedScalarFieldContainer[int]
    confidence_level: float
    group_scores: _containers.RepeatedScalarFieldContainer[float]
    group_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, k: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., indices: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., classes: _Optional[int] = ..., probabilities: _Optional[_Iterable[float]] = ..., entropies: _Optional[_Iterable[float]] = ..., margins: _Optional[_Iterable[float]] = ..., abstained: _Optional[_Iterable[bool]] = ..., set_counts: _Optional[_Iterable[int]] = ..., set_labels: _Optional[_Iterable[str]] = ..., set_indices: _Optional[_Iterable[int]] = ..., confidence_level: _Optional[float] = ..., group_scores: _Optional[_Iterable[float]] = ..., group_names: _Optional[_Iterable[str]] = ...) -> None: ...

class MultilabelColumns(_message.Message):
    __slots__ = ("counts", "labels", "indices", "scores", "classes", "probabilities", "thresholds")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    indices: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    classes: int
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    thresholds: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ..., indices: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., classes: _Optional[int] = ..., probabilities: _Optional[_Iterable[float]] = ..., thresholds: _Optional[_Iterable[float]] = ...) -> None: ...

class OrdinalColumns(_message.Message):
    __slots__ = ("labels", "ranks", "scores", "expected_ranks", "classes", "probabilities")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_RANKS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    expected_ranks: _containers.RepeatedScalarFieldContainer[float]
    classes: int
    probabilities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., ranks: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., expected_ranks: _Optional[_Iterable[float]] = ..., classes: _Optional[int] = ..., probabilities: _Optional[_Iterable[float]] = ...) -> None: ...

class EmbeddingColumns(_message.Message):
    __slots__ = ("vectors", "half_vectors", "dimensions", "k", "labels", "indices", "similarities")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    HALF_VECTORS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    SIMILARITIES_FIELD_NUMBER: _ClassVar[int]
    vectors: _containers.RepeatedScalarFieldContainer[float]
    half_vectors: _containers.RepeatedScalarFieldContainer[bytes]
    dimensions: int
    k: int
    labels: _containers.RepeatedScalarFieldContainer[str]
    indices: _containers.RepeatedScalarFieldContainer[int]
    similarities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, vectors: _Optional[_Iterable[float]] = ..., half_vectors: _Optional[_Iterable[bytes]] = ..., dimensions: _Optional[int] = ..., k: _Optional[int] = ..., labels: _Optional[_Iterable[str]] = ..., indices: _Optional[_Iterable[int]] = ..., similarities: _Optional[_Iterable[float]] = ...) -> None: ...

class SequenceTagsColumns(_message.Message):
    __slots__ = ("counts", "labels", "indices", "scores", "steps", "span_counts", "span_starts", "span_ends", "span_labels", "span_scores")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SPAN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    SPAN_STARTS_FIELD_NUMBER: _ClassVar[int]
    SPAN_ENDS_FIELD_NUMBER: _ClassVar[int]
    SPAN_LABELS_FIELD_NUMBER: _ClassVar[int]
    SPAN_SCORES_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    indices: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    steps: _containers.RepeatedScalarFieldContainer[int]
    span_counts: _containers.RepeatedScalarFieldContainer[int]
    span_starts: _containers.RepeatedScalarFieldContainer[int]
    span_ends: _containers.RepeatedScalarFieldContainer[int]
    span_labels: _containers.RepeatedScalarFieldContainer[str]
    span_scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ..., indices: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., steps: _Optional[_Iterable[int]] = ..., span_counts: _Optional[_Iterable[int]] = ..., span_starts: _Optional[_Iterable[int]] = ..., span_ends: _Optional[_Iterable[int]] = ..., span_labels: _Optional[_Iterable[str]] = ..., span_scores: _Optional[_Iterable[float]] = ...) -> None: ...

class CtcColumns(_message.Message):
    __slots__ = ("k", "texts", "log_probabilities", "token_counts", "tokens")
    K_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    LOG_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    k: int
    texts: _containers.RepeatedScalarFieldContainer[str]
    log_probabilities: _containers.RepeatedScalarFieldContainer[float]
    token_counts: _containers.RepeatedScalarFieldContainer[int]
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, k: _Optional[int] = ..., texts: _Optional[_Iterable[str]] = ..., log_probabilities: _Optional[_Iterable[float]] = ..., token_counts: _Optional[_Iterable[int]] = ..., tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class SegmentationColumns(_message.Message):
    __slots__ = ("height", "width", "class_maps", "labels", "areas", "run_counts", "runs")
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    CLASS_MAPS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AREAS_FIELD_NUMBER: _ClassVar[int]
    RUN_COUNTS_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    height: int
    width: int
    class_maps: _containers.RepeatedScalarFieldContainer[bytes]
    labels: _containers.RepeatedScalarFieldContainer[str]
    areas: _containers.RepeatedScalarFieldContainer[float]
    run_counts: _containers.RepeatedScalarFieldContainer[int]
    runs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, height: _Optional[int] = ..., width: _Optional[int] = ..., class_maps: _Optional[_Iterable[bytes]] = ..., labels: _Optional[_Iterable[str]] = ..., areas: _Optional[_Iterable[float]] = ..., run_counts: _Optional[_Iterable[int]] = ..., runs: _Optional[_Iterable[int]] = ...) -> None: ...

class DetectionColumns(_message.Message):
    __slots__ = ("counts", "boxes", "labels", "indices", "scores", "relative")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    boxes: _containers.RepeatedScalarFieldContainer[float]
    labels: _containers.RepeatedScalarFieldContainer[str]
    indices: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    relative: bool
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., boxes: _Optional[_Iterable[float]] = ..., labels: _Optional[_Iterable[str]] = ..., indices: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., relative: bool = ...) -> None: ...

class KeypointsColumns(_message.Message):
    __slots__ = ("points", "scores", "names", "relative")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedScalarFieldContainer[float]
    scores: _containers.RepeatedScalarFieldContainer[float]
    names: _containers.RepeatedScalarFieldContainer[str]
    relative: bool
    def __init__(self, points: _Optional[_Iterable[float]] = ..., scores: _Optional[_Iterable[float]] = ..., names: _Optional[_Iterable[str]] = ..., relative: bool = ...) -> None: ...

class AnomalyColumns(_message.Message):
    __slots__ = ("scores", "anomalous", "percentiles", "threshold")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    ANOMALOUS_FIELD_NUMBER: _ClassVar[int]
    PERCENTILES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    anomalous: _containers.RepeatedScalarFieldContainer[bool]
    percentiles: _containers.RepeatedScalarFieldContainer[float]
    threshold: float
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., anomalous: _Optional[_Iterable[bool]] = ..., percentiles: _Optional[_Iterable[float]] = ..., threshold: _Optional[float] = ...) -> None: ...
