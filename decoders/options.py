"""What a request may ask of the decoders."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How to decode; the fields mean the same as in the message `PredictOptions`.

    A head ignores what does not concern its kind.

    Attributes:
        top_k: multiclass: how many labels a row; 0 means as many as the head says.
        threshold: binary and multilabel: used instead of the head's own thresholds; in 0..1.
        include_probabilities: multiclass and multilabel: the probabilities of all labels too.
        include_entropy: multiclass: the entropy of each row too.
        include_margin: multiclass: the margin between the best two too.

    Raises:
        ValueError: `top_k` is negative, or `threshold` lies outside 0..1.

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

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; give a positive number, or 0 for as many labels as the head says")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; give a number in 0..1, or None for the head's own")
