"""A Keras callback that exports the best model of a training."""

import inspect
import math
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from headgate.exporter.errors import ExportError
from headgate.exporter.export import ExportReport, export_model
from headgate.exporter.libraries import require_libraries
from headgate.exporter.repository import delete_version

require_libraries()

import keras  # noqa: E402


class ExportBest(keras.callbacks.Callback):  # type: ignore[misc]
    """Exports a model at the end of each epoch in which the monitored metric improved.

    What improves is as in `keras.callbacks.ModelCheckpoint(save_best_only=True)`, save that NaN never does. Each export
    is a new version. The training goes on as it would without: weights, optimizer and random numbers are not touched.

    Attributes:
        best: the monitored value of the last export; before the first, `initial_value_threshold`.
        reports: of the exports whose versions are kept, the newest last.

    Example:
        model.fit(x, y, validation_split=0.2, epochs=50, callbacks=[ExportBest("models", keep=3, name="churn")])
    """

    def __init__(
        self,
        repository: str | os.PathLike[str],
        monitor: str = "val_loss",
        mode: Literal["auto", "min", "max"] = "auto",
        *,
        min_delta: float = 0.0,
        initial_value_threshold: float | None = None,
        keep: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        **options: Any,
    ) -> None:
        """Take what to watch and how to export.

        Args:
            repository: the folder of the model repository.
            monitor: the name of a metric in the logs of an epoch.
            mode: whether less or more is better; `auto`: what the metric itself says, less for losses.
            min_delta: a smaller change is no improvement.
            initial_value_threshold: what the first export has to be better than.
            keep: how many of the versions that this callback exported stay; older ones are deleted. Default: all.
            on_error: an export that fails is warned of and tried again when the metric next improves on the last
                export, or ends the training.
            options: keywords of `headgate.exporter.export_model`: `name`, `heads`, `labels`, ...

        Raises:
            ExportError: an argument is wrong.
            MissingDependencyError: a library is missing, or Keras runs on another backend than TensorFlow.
        """
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise ExportError(f"mode is {mode!r}; give 'auto', 'min' or 'max'")
        if on_error not in ("warn", "raise"):
            raise ExportError(f"on_error is {on_error!r}; give 'warn' or 'raise'")
        if keep is not None and keep < 1:
            raise ExportError(f"keep is {keep!r}; give a number of versions, at least 1, or None for all of them")
        for option in options:
            if option in ("version", "dry_run"):
                raise ExportError(f"{option}= is not for ExportBest: each export is a new version")
            if option not in inspect.signature(export_model).parameters:
                raise ExportError(f"neither ExportBest nor export_model takes {option}=")
        self.best = initial_value_threshold
        self.reports: list[ExportReport] = []
        self._repository = Path(repository)
        self._keep = keep
        self._on_error = on_error
        self._options = options
        # Keras' own judgement of what improves; it never stops anything.
        self._judge = keras.callbacks.EarlyStopping(monitor, min_delta=min_delta, mode=mode, patience=sys.maxsize)

    def set_model(self, model: "keras.Model") -> None:
        """Take the model that is trained."""
        super().set_model(model)
        self._judge.set_model(model)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Export the model if the metric improved."""
        logs = logs or {}
        monitor = self._judge.monitor
        if monitor not in logs:
            there = ", ".join(sorted(logs)) or "nothing"
            warnings.warn(f"epoch {epoch + 1}: there is no '{monitor}' to export by, only {there}", stacklevel=2)
            return
        self._judge.best = self.best
        self._judge.on_epoch_end(epoch, logs)
        if self._judge.best == self.best or math.isnan(self._judge.best):
            return
        failed = "is not exported"
        try:
            self.reports.append(export_model(self.model, self._repository, **self._options))
            self.best = float(self._judge.best)
            failed = "is exported, but an older version stays"
            while self._keep is not None and len(self.reports) > self._keep:
                delete_version(self.reports[0].path.parent)
                del self.reports[0]
        except Exception as error:
            if self._on_error == "raise":
                raise
            warnings.warn(f"epoch {epoch + 1} of '{self.model.name}' {failed}: {error}", stacklevel=2)
