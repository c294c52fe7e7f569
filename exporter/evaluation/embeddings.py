"""Scores of embedding heads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import Decoder
from headgate.exporter.evaluation.decisions import UNDECIDED, confusion, decision_metrics
from headgate.exporter.evaluation.results import Scores
from headgate.exporter.evaluation.scorer import Decode, EvaluationSettings, Scorer
from headgate.v1 import Head
from headgate.v1.columns import EmbeddingColumns


class EmbeddingScorer(Scorer):
    """Scores the labels of the nearest prototypes; invalid rows are wrong."""

    def __init__(self, head: Head, decoder: Decoder, settings: EvaluationSettings) -> None:
        super().__init__(head, decoder, settings)
        owners = self.kind.prototypes.labels
        self._labels = list(dict.fromkeys(owners))
        positions = {label: position for position, label in enumerate(self._labels)}
        # The last is of index -1: of invalid rows.
        self._label_of = np.array([*map(positions.__getitem__, owners), UNDECIDED])

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64]) -> None:
        assert isinstance(columns, EmbeddingColumns)
        assert columns.indices is not None
        self._keep(targets=targets, nearest=self._label_of[columns.indices])

    def _scores(self) -> Scores:
        targets, nearest = self._all("targets"), self._all("nearest")
        found = decision_metrics(targets, nearest[:, 0])
        if nearest.shape[1] > 1:
            found[f"top_{nearest.shape[1]}_accuracy"] = float((nearest == targets[:, None]).any(axis=1).mean())
        table, matrices = confusion(self._labels, targets, nearest[:, 0])
        return Scores(found, [table], matrices)
