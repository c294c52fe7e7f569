"""Scores of heads that decide for labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headgate.decoders import DecodeOptions
from headgate.exporter.evaluation.costs import cost_charts
from headgate.exporter.evaluation.decisions import (
    DRAWN_LABELS,
    UNDECIDED,
    averages,
    balanced_accuracy,
    confusion,
    decision_metrics,
    label_table,
    metrics_of_probabilities,
    nan_mean,
    ranking_areas,
    ranking_charts,
    reliability_chart,
)
from headgate.exporter.evaluation.results import Chart, Matrix, Scores, Series, Table
from headgate.exporter.evaluation.scorer import Decode, Ranking, Scorer
from headgate.v1.columns import (
    BinaryColumns,
    BoolArray,
    FloatArray,
    MulticlassColumns,
    MultilabelColumns,
    OrdinalColumns,
)


class BinaryScorer(Scorer):
    """Scores binary heads.

    Invalid rows are wrong decisions; probabilities are measured without them. Rows that the head abstains from count as
    neither: decisions are measured without them.
    """

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64]) -> None:
        assert isinstance(columns, BinaryColumns)
        self._check_shape(targets, (len(columns),))
        self._threshold = columns.threshold
        positive = self._positive
        decided = np.where(columns.positives, positive, 1 - positive)
        decided[~columns.valid] = UNDECIDED
        abstained = np.zeros(len(columns), bool) if columns.abstained is None else columns.abstained
        self._keep(targets=targets, decided=decided, abstained=abstained, probabilities=columns.probabilities)

    def rankings(self) -> list[Ranking]:
        """Return the probabilities of the positive label."""
        valid = np.isfinite(self._all("probabilities"))
        is_positive = self._all("targets")[valid] == self._positive
        return [Ranking("", self._all("probabilities")[valid], is_positive)]

    @property
    def _positive(self) -> int:
        return 0 if self.kind.positive_label == self.kind.labels[0] else 1

    def _scores(self) -> Scores:
        labels, positive = list(self.kind.labels), self._positive
        abstained = self._all("abstained")
        targets, decided = self._all("targets")[~abstained], self._all("decided")[~abstained]
        found = decision_metrics(targets, decided)
        if len(targets):
            binary = averages(targets == positive, decided == positive, "binary")
            found |= {name.removesuffix("_binary"): value for name, value in binary.items()}
        if self.kind.HasField("abstain"):
            found["abstained"] = float(abstained.mean())
        [ranking] = self.rankings()
        is_positive, probabilities = ranking.is_positive, ranking.scores
        found["roc_auc"], found["pr_auc"] = ranking_areas(is_positive, probabilities)
        found |= metrics_of_probabilities(probabilities[:, None], is_positive[:, None], exclusive=False)
        table, figures = confusion(labels, targets, decided)
        name = labels[positive]
        charts = ranking_charts([name], is_positive[:, None], probabilities[:, None], [self._threshold])
        reliability = reliability_chart(f"Reliability of {name}", probabilities, is_positive)
        drawn: list[Chart | Matrix] = [reliability, *figures, *charts]
        drawn += cost_charts(self.head, name, is_positive, probabilities, self._threshold)
        return Scores(found, [table], drawn)


class MulticlassScorer(Scorer):
    """Scores multiclass heads: decisions, probabilities, and sets of labels.

    Invalid rows are wrong decisions, and not covered; probabilities and the sizes of sets are measured without them.
    Decisions are measured without the rows that the head abstains from.
    """

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64]) -> None:
        assert isinstance(columns, MulticlassColumns)
        self._check_shape(targets, (len(columns),))
        abstained = np.zeros(len(columns), bool) if columns.abstained is None else columns.abstained
        assert columns.probabilities is not None
        self._keep(
            targets=targets,
            decided=columns.indices.astype(np.int64),
            abstained=abstained,
            probabilities=columns.probabilities,
        )
        for level in self.levels:
            sets: Any = decode(DecodeOptions(confidence_level=level))
            sizes = np.diff(sets.set_offsets)
            hits = sets.set_indices == np.repeat(targets, sizes)
            rows = np.repeat(np.arange(len(sizes)), sizes)
            covered = np.bincount(rows[hits], minlength=len(sizes)) > 0
            # The sets of invalid rows are empty, which is no merit.
            self._keep(**{f"sizes {level}": sizes[sets.valid], f"covered {level}": covered})

    def _scores(self) -> Scores:
        labels = list(self.kind.labels)
        abstained, targets, decided = self._all("abstained"), self._all("targets"), self._all("decided")
        found = decision_metrics(targets[~abstained], decided[~abstained])
        if self.kind.abstain_below:
            found["abstained"] = float(abstained.mean())
        probabilities: FloatArray = self._all("probabilities")
        valid = np.isfinite(probabilities).all(axis=1)
        is_label = targets[:, None] == np.arange(len(labels))
        if self.kind.top_k > 1:
            best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.kind.top_k]
            found[f"top_{self.kind.top_k}_accuracy"] = float(((best == targets[:, None]).any(axis=1) & valid).mean())
        is_label, probabilities = is_label[valid], probabilities[valid]
        areas = _areas(is_label, probabilities)
        found["roc_auc"], found["pr_auc"] = (nan_mean(column) for column in zip(*areas, strict=True))
        table = label_table(labels, targets[~abstained], decided[~abstained], areas)
        found |= metrics_of_probabilities(probabilities, is_label, exclusive=True)
        best_scores, is_right = probabilities.max(axis=1, initial=0), targets[valid] == decided[valid]
        confusions, matrices = confusion(labels, targets[~abstained], decided[~abstained])
        figures: list[Chart | Matrix] = [
            reliability_chart("Reliability of the best label", best_scores, is_right),
            *matrices,
            *ranking_charts(labels, is_label, probabilities),
        ]
        tables = [table, confusions]
        if self.levels:
            lines = [
                (level, float(self._all(f"covered {level}").mean()), _mean(self._all(f"sizes {level}")))
                for level in self.levels
            ]
            tables.append(Table("sets", ("confidence_level", "coverage", "mean_size"), lines))
            if len(lines) == 1:
                found |= {"set_coverage": lines[0][1], "set_mean_size": lines[0][2]}
            series = Series("sets of labels", self.levels, [part for _, part, _ in lines])
            figures.append(Chart("Set coverage", "confidence level", "part covered", [series], diagonal=True))
        return Scores(found, tables, figures)


class MultilabelScorer(Scorer):
    """Scores multilabel heads, each label of each row being a decision; the labels of invalid rows are wrong."""

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64]) -> None:
        assert isinstance(columns, MultilabelColumns)
        assert columns.probabilities is not None
        self._check_shape(targets, columns.probabilities.shape)
        self._thresholds = columns.thresholds
        decided = (columns.probabilities >= columns.thresholds).astype(np.int64)
        self._keep(targets=targets, decided=decided, probabilities=columns.probabilities, valid=columns.valid)

    def rankings(self) -> list[Ranking]:
        """Return the probabilities of each label."""
        valid = self._all("valid")
        pairs = zip(self._all("probabilities")[valid].T, self._all("targets")[valid].T == 1, strict=True)
        return [Ranking(label, *pair) for label, pair in zip(self.kind.labels, pairs, strict=True)]

    def _scores(self) -> Scores:
        from sklearn import metrics

        labels = list(self.kind.labels)
        targets, valid, probabilities = self._all("targets"), self._all("valid"), self._all("probabilities")
        # Not to be right by chance: what is not known of a row is the opposite of what it is.
        decided = np.where(valid[:, None], self._all("decided"), 1 - targets)
        found = {
            "exact_match": float(metrics.accuracy_score(targets, decided)),
            "accuracy": float((targets == decided).mean()),
            "balanced_accuracy": float(np.mean(list(map(balanced_accuracy, targets.T, decided.T)))),
        }
        for average in ("macro", "micro", "weighted"):
            found |= averages(targets, decided, average)
        areas = [ranking_areas(ranking.is_positive, ranking.scores) for ranking in self.rankings()]
        found["roc_auc"], found["pr_auc"] = (nan_mean(column) for column in zip(*areas, strict=True))
        table = label_table(labels, targets, decided, areas)
        targets, probabilities = targets[valid].astype(bool), probabilities[valid]
        found |= metrics_of_probabilities(probabilities, targets, exclusive=False)
        each = [
            metrics_of_probabilities(scores[:, None], truth[:, None], exclusive=False)
            for scores, truth in zip(probabilities.T, targets.T, strict=True)
        ]
        lines = [
            (*line, float(threshold), *one.values())
            for line, threshold, one in zip(table.lines, self._thresholds, each, strict=True)
        ]
        tables = [Table("labels", (*table.header, "threshold", *each[0]), lines)]
        figures: list[Chart | Matrix] = [
            reliability_chart("Reliability of all labels", probabilities.ravel(), targets.ravel()),
            *ranking_charts(labels, targets, probabilities, self._thresholds.tolist()),
        ]
        for position, label in list(enumerate(labels))[:DRAWN_LABELS]:
            truth, scores, threshold = targets[:, position], probabilities[:, position], self._thresholds[position]
            figures += cost_charts(self.head, label, truth, scores, float(threshold))
        return Scores(found, tables, figures)


class OrdinalScorer(Scorer):
    """Scores ordinal heads; invalid rows are wrong decisions, and have no part in errors of ranks and probabilities."""

    def _add(self, columns: Any, decode: Decode, targets: NDArray[np.int64]) -> None:
        assert isinstance(columns, OrdinalColumns)
        self._check_shape(targets, (len(columns),))
        assert columns.probabilities is not None
        self._keep(targets=targets, decided=columns.ranks.astype(np.int64), probabilities=columns.probabilities)

    def _scores(self) -> Scores:
        from sklearn import metrics

        labels: Sequence[str] = list(self.kind.labels)
        targets, decided = self._all("targets"), self._all("decided")
        found = decision_metrics(targets, decided)
        valid = decided != UNDECIDED
        if valid.any():
            found["rank_mae"] = float(metrics.mean_absolute_error(targets[valid], decided[valid]))
            found["quadratic_weighted_kappa"] = _kappa(targets[valid], decided[valid], len(labels))
        table, matrices = confusion(labels, targets, decided)
        targets, decided, probabilities = targets[valid], decided[valid], self._all("probabilities")[valid]
        is_label = targets[:, None] == np.arange(len(labels))
        areas = _areas(is_label, probabilities)
        found["roc_auc"], found["pr_auc"] = (nan_mean(column) for column in zip(*areas, strict=True))
        found |= metrics_of_probabilities(probabilities, is_label, exclusive=True)
        best, is_right = probabilities.max(axis=1, initial=0), probabilities.argmax(axis=1) == targets
        figures: list[Chart | Matrix] = [
            reliability_chart("Reliability of the most probable label", best, is_right),
            *matrices,
            *ranking_charts(labels, is_label, probabilities),
        ]
        return Scores(found, [table], figures)


def _areas(is_label: BoolArray, probabilities: FloatArray) -> list[tuple[float, float]]:
    """Return the areas of `ranking_areas` for each label against all others."""
    return [ranking_areas(truth, scores) for truth, scores in zip(is_label.T, probabilities.T, strict=True)]


def _mean(sizes: NDArray[np.int64]) -> float:
    return float(sizes.mean()) if sizes.size else np.nan


def _kappa(targets: NDArray[np.int64], decided: NDArray[np.int64], labels: int) -> float:
    """Return Cohen's kappa with quadratic weights; NaN where all is one label, for which it says nothing."""
    from sklearn import metrics

    if len(np.union1d(targets, decided)) == 1:
        return np.nan
    return float(metrics.cohen_kappa_score(targets, decided, labels=range(labels), weights="quadratic"))
