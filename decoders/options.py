"""What a request may ask of the decoders."""

from dataclasses import dataclass

from headgate.v1 import MaskEncoding


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How to decode; the fields mean the same as in the message `PredictOptions`.

    A head ignores what does not concern its kind.

    Attributes:
        top_k: multiclass: how many labels a row; embedding: how many of the nearest; ctc: how many texts; detection: at
            most how many boxes. 0 means as many as the head says.
        threshold: binary, multilabel, segmentation, detection: used instead of the head's own thresholds; in 0..1.
        include_probabilities: multiclass, multilabel, ordinal: the probabilities of all labels too.
        include_entropy: multiclass: the entropy of each row too.
        include_margin: multiclass: the margin between the best two too.
        confidence_level: of intervals, and of sets of labels; in 0..1. 0: none. None: as the head says.
        include_groups: multiclass: the scores of groups of labels too.
        half_precision: embedding: vectors as float16.
        mask_encoding: segmentation: how masks come; a value of the enum `MaskEncoding`.
        relative_coordinates: detection, keypoints: fractions of the image's sides rather than pixels.

    Raises:
        ValueError: `top_k` is negative, `threshold` or `confidence_level` outside 0..1, `mask_encoding` not known.

    >>> DecodeOptions(threshold=1.5)
    Traceback (most recent call last):
    ...
    ValueError: threshold is 1.5; give a number in 0..1, or None for the head's own
    """

    top_k: int = 0
    threshold: float | None = None
    include_probabilities: bool = False
    include_entropy: bool = False
    include_margin: bool = False
    confidence_level: float | None = None
    include_groups: bool = False
    half_precision: bool = False
    mask_encoding: MaskEncoding = MaskEncoding.MASK_ENCODING_UNSPECIFIED
    relative_coordinates: bool = False

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; give a positive number, or 0 for as many labels as the head says")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; give a number in 0..1, or None for the head's own")
        level = self.confidence_level
        # Of level 1 are the intervals that hold everything.
        if level is not None and not 0 <= level < 1:
            raise ValueError(
                f"confidence_level is {level}; give a number from 0 to less than 1, or None for the head's own"
            )
        if self.mask_encoding not in MaskEncoding.values():
            raise ValueError(f"mask_encoding is {self.mask_encoding}; give one of {', '.join(MaskEncoding.keys())}")
