"""What the scorers of all kinds share."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions, Decoder
from headgate.exporter.evaluation.results import HeadEvaluation, Scores
from headgate.v1 import Head
from headgate.v1.columns import BoolArray, Columns, FloatArray

#: Decodes the batch at hand.
Decode = Callable[[DecodeOptions], Columns]


@dataclass(frozen=True)
class Ranking:
    """What a threshold is to separate: the valid rows of one label.

    Attributes:
        label: of a multilabel head; else "".
        scores: [rows], of which higher means positive.
        is_positive: bool [rows].
    """

    label: str
    scores: FloatArray
    is_positive: BoolArray


@dataclass(frozen=True)
class EvaluationSettings:
    """What to ask of the decoders.

    Attributes:
        threshold: instead of the head's own, as `DecodeOptions.threshold`.
        confidence_level: of intervals and sets of labels; 0: none; None: all levels that the head has.
        batch_rows: rows that run at a time; None: as many as take some megabytes.
    """

    threshold: float | None = None
    confidence_level: float | None = None
    batch_rows: int | None = None


class Scorer(ABC):
    """Compares what one head says with its targets, batch after batch.

    Attributes:
        options: what is asked of the decoder.
        levels: the confidence levels that intervals or sets are made for.
        data_sha256: of the data that the batches are taken from, as `ThresholdChoice` has it; empty where nobody says.
    """

    data_sha256 = ""

    def __init__(self, head: Head, decoder: Decoder, settings: EvaluationSettings) -> None:
        """Prepare for batches.

        Raises:
            ValueError: the head cannot do what the settings say.
        """
        self.head = head
        self.kind: Any = getattr(head, str(head.WhichOneof("kind")))
        self.options = DecodeOptions(threshold=settings.threshold, confidence_level=0, include_probabilities=True)
        decoder.check(self.options)
        self.levels = self._levels(decoder, settings.confidence_level)
        self._rows = 0
        self._invalid_rows: list[int] = []
        self._kept: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, decode: Decode, targets: NDArray[Any] | None) -> None:
        """Take a batch in.

        Args:
            decode: gives the columns of the batch.
            targets: what is right for it, as in `LabelledData.targets`; None where that is not known.

        Raises:
            ValueError: the targets have another shape than the answers.
        """
        columns = decode(self.options)
        self._invalid_rows += (self._rows + np.flatnonzero(~columns.valid)).tolist()
        self._add(columns, decode, targets)
        self._rows += len(columns)

    def evaluation(self) -> HeadEvaluation:
        """Return what all batches together tell."""
        kind = str(self.head.WhichOneof("kind"))
        calibration = self.head.calibration
        seen = {calibration.data_sha256, *(choice.data_sha256 for choice in calibration.thresholds)} - {""}
        return HeadEvaluation(
            self.head.name, kind, self._rows, self._invalid_rows, self._scores(), self.data_sha256 in seen
        )

    def rankings(self) -> list[Ranking]:
        """Return what each of the head's thresholds is to separate; nothing for a kind without."""
        return []

    @abstractmethod
    def _add(self, columns: Columns, decode: Decode, targets: Any) -> None:
        """Keep what the scores are made of."""

    @abstractmethod
    def _scores(self) -> Scores:
        """Make the scores of what was kept."""

    def _candidate_levels(self) -> list[float]:
        """Return confidence levels that the head may have."""
        return [entry.level for entry in self.head.calibration.conformal.levels]

    def _levels(self, decoder: Decoder, level: float | None) -> list[float]:
        if level == 0:
            return []
        if level is not None:
            decoder.check(DecodeOptions(confidence_level=level))
            return [level]
        levels = {*self._candidate_levels(), *([self.head.confidence_level] if self.head.confidence_level else [])}
        return sorted(level for level in levels if _can(decoder, level))

    def _keep(self, **arrays: NDArray[Any]) -> None:
        for name, array in arrays.items():
            self._kept[name].append(array)

    def _all(self, name: str) -> NDArray[Any]:
        """Return what was kept under a name, of all batches."""
        return np.concatenate(self._kept[name])

    def _check_shape(self, targets: NDArray[Any], shape: tuple[int, ...]) -> None:
        if targets.shape != shape:
            raise ValueError(
                f"the targets for head '{self.head.name}' have shape {list(targets.shape)}, "
                f"its answers {list(shape)}; give the same"
            )


def _can(decoder: Decoder, level: float) -> bool:
    try:
        decoder.check(DecodeOptions(confidence_level=level))
    except ValueError:
        return False
    return True
