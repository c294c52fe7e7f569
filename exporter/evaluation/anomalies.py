"""Scores of anomaly heads."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.exporter.evaluation.decisions import averages, ranking_areas, ranking_charts
from headgate.exporter.evaluation.results import Chart, Scores
from headgate.exporter.evaluation.scorer import Decode, Ranking, Scorer
from headgate.v1.columns import AnomalyColumns


class AnomalyScorer(Scorer):
    """Scores anomaly heads: the part of the rows that is flagged, and, where it is known what is anomalous, the rest.

    Invalid rows are not flagged; areas under curves are of valid rows, those with infinite scores first or last.
    """

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64] | None) -> None:
        assert isinstance(columns, AnomalyColumns)
        self._keep(scores=columns.scores)
        if columns.anomalous is not None:
            self._keep(flagged=columns.anomalous)
        if targets is not None:
            self._check_shape(targets, (len(columns),))
            self._keep(targets=targets)

    def rankings(self) -> list[Ranking]:
        """Return the scores, turned round where low ones are anomalous; without targets all rows count as usual."""
        scores = self._all("scores")
        valid = ~np.isnan(scores)
        anomalous = self._all("targets") == 1 if "targets" in self._kept else np.zeros(len(scores), np.bool_)
        # scikit-learn takes no infinite scores.
        scores = np.nan_to_num(-scores if self.kind.lower_is_anomalous else scores)
        return [Ranking("", scores[valid], anomalous[valid])]

    def _scores(self) -> Scores:
        found: dict[str, float] = {}
        figures: list[Chart] = []
        if "flagged" in self._kept:
            found["flagged"] = float(self._all("flagged").mean())
        if "targets" in self._kept:
            if "flagged" in self._kept:
                binary = averages(self._all("targets"), self._all("flagged"), "binary")
                found |= {name.removesuffix("_binary"): value for name, value in binary.items()}
            [ranking] = self.rankings()
            found["roc_auc"], found["pr_auc"] = ranking_areas(ranking.is_positive, ranking.scores)
            figures += ranking_charts(["anomalous"], ranking.is_positive[:, None], ranking.scores[:, None])
        return Scores(found, figures=figures)
