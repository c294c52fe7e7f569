"""The models that a server has: which versions there are, where each stands, and which of them a request means."""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate.server.config import ModelConfig
from headgate.server.errors import NotFoundError, UnavailableError
from headgate.server.model import MODEL_FILE, LoadedModel
from headgate.server.model_folder import Fingerprint
from headgate.server.scheduling import Scheduler
from headgate.server.transport import Remaining

#: For how long calls that could not begin to run anyway are left where they are (docs/performance.md).
_LONGEST_REST_S = 30e-3


class ModelState(enum.Enum):
    """Where a model version stands."""

    LOADING = enum.auto()
    READY = enum.auto()
    #: It finishes what was accepted.
    UNLOADING = enum.auto()
    UNLOADED = enum.auto()
    #: It could not be loaded.
    UNAVAILABLE = enum.auto()


@dataclass(slots=True)
class ModelEntry:
    """One version of a model in the repository, loaded or not.

    Attributes:
        path: the version's folder.
        fingerprint: of the files that it was, or is to be, loaded from.
        reason: why it is unavailable; of one that is ready, why its files, which have changed, could not be loaded.
        model: set while it is ready.
    """

    name: str
    version: int
    path: Path
    config: ModelConfig
    fingerprint: Fingerprint = ()
    state: ModelState = ModelState.LOADING
    reason: str = ""
    model: LoadedModel | None = None


class ModelRepository:
    """The models that a server has.

    One thread at a time changes it; others may read it meanwhile: what they read is replaced, never changed.

    Attributes:
        generation: grows with each change that can lead a request to another model than before.
        is_ready: whether all models that are to be there at the start were loaded. Those that come later, or fail to,
            are no reason to send requests for the others elsewhere.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.is_ready = False
        self._entries: dict[str, dict[int, ModelEntry]] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._schedulers: tuple[Scheduler, ...] = ()
        self._batch_ended = threading.Event()

    def __iter__(self) -> Iterator[ModelEntry]:
        """Go through the versions of all models, by name and version."""
        for versions in self._entries.values():
            yield from versions.values()

    def versions(self, name: str) -> list[ModelEntry]:
        """Return the versions of a model, ready or not, ascending.

        Raises:
            NotFoundError: there is no such model.
        """
        versions = self._entries.get(name)
        if not versions:
            names = ", ".join(f"'{known}'" for known in self._entries) or "none"
            raise NotFoundError(f"there is no model '{name}'; this server has {names}")
        return list(versions.values())

    def labels(self, name: str) -> Mapping[str, int]:
        """Return the labels of a model's versions."""
        return self._labels.get(name, {})

    def entry(self, name: str, version: int = 0, label: str = "") -> ModelEntry:
        """Return a version of a model, ready or not, by its number or label; by neither, the latest that is ready.

        Raises:
            NotFoundError: there is none.
        """
        versions = self.versions(name)
        if label:
            labels = self.labels(name)
            if label not in labels:
                known = ", ".join(f"'{each}'" for each in labels) or "none"
                raise NotFoundError(f"model '{name}' has no version with the label '{label}'; its labels: {known}")
            version = labels[label]
        if not version:
            return max(versions, key=lambda entry: (entry.state is ModelState.READY, entry.version))
        for entry in versions:
            if entry.version == version:
                return entry
        served = ", ".join(str(entry.version) for entry in versions)
        raise NotFoundError(
            f"model '{name}' has no version {version} on this server; it serves version{'s' * (len(versions) > 1)} "
            f"{served}"
        )

    def model(self, name: str, version: int = 0, label: str = "") -> LoadedModel:
        """Return a model that is ready, as `entry` finds it.

        Raises:
            NotFoundError: there is none.
            UnavailableError: it is not ready.
        """
        entry = self.entry(name, version, label)
        model = entry.model
        if model is None:
            raise UnavailableError(f"model '{name}' {_STATES.get(entry.state, 'is loading')}{entry.reason}")
        return model

    def run_ready(self) -> Remaining:
        """Run what may run on the calling thread, the I/O thread; return what is left to do.

        Where all models in use are saturated, it waits for the end of a batch, for a moment: calls that come meanwhile
        are then taken together, and interrupt the batch once instead of one by one.
        """
        remaining = max([scheduler.run_ready() for scheduler in self._schedulers], default=Remaining.NOTHING)
        if self._is_saturated():
            self._batch_ended.clear()
            # One that ended before that has set nothing.
            if self._is_saturated():
                self._batch_ended.wait(_LONGEST_REST_S)
        return remaining

    def add(self, entry: ModelEntry) -> None:
        """Make a version known, in place of what was known under its number; it is loaded later, if at all."""
        self._replace(entry.name, {**self._entries.get(entry.name, {}), entry.version: entry})

    def load(
        self, entry: ModelEntry, provider: str, allow_cpu_fallback: bool = False, processors: int | None = None
    ) -> LoadedModel:
        """Load a version; it takes the place of what is served under its number, which finishes its requests.

        Raises:
            StartupError: it cannot be loaded. What was served under its number goes on.
        """
        before = self._entries.get(entry.name, {}).get(entry.version)
        if before is None or before.model is None:
            self.add(entry)
        try:
            model = LoadedModel(
                entry.name,
                entry.version,
                entry.path / MODEL_FILE,
                entry.config,
                provider,
                allow_cpu_fallback,
                processors,
                self._batch_ended,
            )
        except Exception as error:
            if before is None or before.model is None:
                entry.state, entry.reason = ModelState.UNAVAILABLE, str(error)
            else:
                before.fingerprint, before.reason = entry.fingerprint, str(error)
            raise
        # First, so that who finds the model finds it being run.
        self._schedulers = (*self._schedulers, model.scheduler)
        entry.model, entry.state, entry.reason = model, ModelState.READY, ""
        self.add(entry)
        if before is not None and before.model is not None and before is not entry:
            before.model.close()
        return model

    def unload(self, entry: ModelEntry) -> None:
        """Take a version out of service once its requests are finished; it stays known as unloaded."""
        model, entry.model = entry.model, None
        if model is not None:
            entry.state = ModelState.UNLOADING
            self._changed()
            model.close()
        entry.state, entry.reason = ModelState.UNLOADED, ""

    def drop(self, entry: ModelEntry) -> None:
        """Unload a version and forget it."""
        versions = {number: each for number, each in self._entries[entry.name].items() if each is not entry}
        self._replace(entry.name, versions)
        self.unload(entry)

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Give labels to versions of a model, in place of those that it has.

        Raises:
            NotFoundError: there is no such version.
        """
        for version in labels.values():
            self.entry(name, version)
        self._labels = {**self._labels, name: dict(labels)}
        self._changed()

    def close(self) -> None:
        """Finish what is queued and end all threads."""
        for entry in self:
            if entry.model is not None:
                entry.model.close()

    def _is_saturated(self) -> bool:
        others = [scheduler for scheduler in self._schedulers if not scheduler.is_saturated]
        return len(others) < len(self._schedulers) and all(scheduler.is_unused for scheduler in others)

    def _replace(self, name: str, versions: Mapping[int, ModelEntry]) -> None:
        entries = {**self._entries, name: dict(sorted(versions.items()))}
        self._entries = {name: entries[name] for name in sorted(entries) if entries[name]}
        self._labels = {name: labels for name, labels in self._labels.items() if name in self._entries}
        self._changed()

    def _changed(self) -> None:
        self._schedulers = tuple(entry.model.scheduler for entry in self if entry.model is not None)
        self.generation += 1


#: What is said of a model that is not ready, followed by the reason.
_STATES = {
    ModelState.LOADING: "is still loading; try again soon",
    ModelState.UNLOADING: "is being unloaded",
    ModelState.UNLOADED: "is not loaded",
    ModelState.UNAVAILABLE: "is unavailable: ",
}
