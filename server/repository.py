"""The model repository: `<repository>/<model>/<version>/model.onnx`, versions being positive integers."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headgate.server.config import CONFIG_FILE, ModelConfig, read_model_config
from headgate.server.errors import NotFoundError, StartupError, UnavailableError
from headgate.server.model import MODEL_FILE, LoadedModel


class ModelState(enum.Enum):
    """Where a model version stands."""

    LOADING = enum.auto()
    READY = enum.auto()
    UNAVAILABLE = enum.auto()


@dataclass(slots=True)
class ModelEntry:
    """One version of a model in the repository, loaded or not.

    Attributes:
        reason: why it is unavailable.
        model: set while it is ready.
    """

    name: str
    version: int
    path: Path
    config: ModelConfig
    state: ModelState = ModelState.LOADING
    reason: str = ""
    model: LoadedModel | None = None


class ModelRepository:
    """The models that a server has: the latest version of each."""

    def __init__(self, path: Path, defaults: ModelConfig) -> None:
        """Look for models; loads none.

        Raises:
            StartupError: the folder is missing or holds no model, or a config.toml is wrong.
        """
        self._entries = {entry.name: entry for entry in _scan(path, defaults)}

    def __iter__(self) -> Iterator[ModelEntry]:
        """Go through the models by name."""
        return iter(self._entries.values())

    @property
    def is_ready(self) -> bool:
        """Whether all models are ready."""
        return all(entry.state is ModelState.READY for entry in self)

    def load(
        self, entry: ModelEntry, provider: str, allow_cpu_fallback: bool, processors: int | None = None
    ) -> LoadedModel:
        """Load a model of this repository.

        Raises:
            StartupError: it cannot be loaded.
        """
        try:
            entry.model = LoadedModel(
                entry.name,
                entry.version,
                entry.path / MODEL_FILE,
                entry.config,
                provider,
                allow_cpu_fallback,
                processors,
            )
        except StartupError as error:
            entry.state, entry.reason = ModelState.UNAVAILABLE, str(error)
            raise
        entry.state = ModelState.READY
        return entry.model

    def entry(self, name: str, version: int = 0) -> ModelEntry:
        """Return a model, ready or not; version 0 is the latest.

        Raises:
            NotFoundError: there is none.
        """
        entry = self._entries.get(name)
        if entry is None:
            names = ", ".join(f"'{known}'" for known in self._entries)
            raise NotFoundError(f"there is no model '{name}'; this server has {names}")
        if version not in (0, entry.version):
            raise NotFoundError(
                f"model '{name}' has no version {version} on this server; it serves version {entry.version}"
            )
        return entry

    def model(self, name: str, version: int = 0) -> LoadedModel:
        """Return a model that is ready; version 0 is the latest.

        Raises:
            NotFoundError: there is none.
            UnavailableError: it is not ready.
        """
        entry = self.entry(name, version)
        if entry.model is None:
            state = (
                "is still loading; try again soon"
                if entry.state is ModelState.LOADING
                else f"is unavailable: {entry.reason}"
            )
            raise UnavailableError(f"model '{name}' {state}")
        return entry.model

    def close(self) -> None:
        """Finish what is queued and end all threads."""
        for entry in self:
            if entry.model is not None:
                entry.model.close()


def _scan(repository: Path, defaults: ModelConfig) -> Iterator[ModelEntry]:
    if not repository.is_dir():
        raise StartupError(f"there is no folder {repository}; `headgate export` makes one")
    found = False
    for folder in sorted(repository.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        versions = [int(child.name) for child in folder.iterdir() if re.fullmatch(r"[1-9][0-9]*", child.name)]
        versions = [version for version in versions if (folder / str(version) / MODEL_FILE).is_file()]
        if versions:
            found = True
            version = max(versions)
            yield ModelEntry(
                folder.name, version, folder / str(version), read_model_config(folder / CONFIG_FILE, defaults)
            )
    if not found:
        raise StartupError(
            f"{repository} holds no model at <model>/<version>/{MODEL_FILE}; `headgate export` writes one"
        )
