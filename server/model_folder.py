"""Model folders: `<repository>/<model>/<version>/model.onnx`, versions being positive integers, and `config.toml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from headgate.server.config import CONFIG_FILE, ModelConfig, read_model_config
from headgate.server.errors import StartupError
from headgate.server.model import MODEL_FILE

#: What a version was made of: changes when a file of its folder does, or a setting that it is loaded with.
Fingerprint = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as it lies on disk.

    Attributes:
        path: the model's folder.
        config: its config.toml over the server's defaults.
        served: the versions that the config asks for, ascending.
    """

    path: Path
    config: ModelConfig
    served: tuple[int, ...]

    @property
    def name(self) -> str:
        """What requests call the model."""
        return self.path.name

    def fingerprint(self, version: int) -> Fingerprint:
        """Return what tells whether a version has changed: settings; names, sizes, times, access of its files."""
        found = []
        for file in sorted((self.path / str(version)).glob("*")):
            try:
                status = file.stat()
            except OSError:
                continue
            access = status.st_mode, status.st_uid, status.st_gid
            found.append((file.name, status.st_size, status.st_mtime_ns, *access))
        return self.config.batching, self.config.execution, *found


def find_models(repository: Path) -> list[Path]:
    """Return the folders that hold a version of a model, or that cannot be looked into, by name.

    Those whose names begin with a dot, or are no text that messages can carry, are left out.

    Raises:
        StartupError: there is no such repository, or it cannot be read.
    """
    try:
        folders = sorted(repository.iterdir())
    except FileNotFoundError as error:
        raise StartupError(f"there is no folder {repository}; `headgate export` makes one") from error
    except NotADirectoryError as error:
        raise StartupError(
            f"{repository} is no folder; give the model repository that `headgate export` made"
        ) from error
    except OSError as error:
        raise StartupError(f"{repository} cannot be read: {error.strerror}") from error
    return [folder for folder in folders if holds_versions(folder)]


def read_model_folder(path: Path, defaults: ModelConfig) -> ModelFolder:
    """Read a model's folder, as `find_models` found it.

    Raises:
        StartupError: the config.toml is wrong, or asks for versions that are not there; or the folder cannot be read.
    """
    versions = _versions(path)
    config = read_model_config(path / CONFIG_FILE, defaults)
    served = config.versions.choose(versions)
    missing = sorted(set(served) - set(versions))
    if missing or not served:
        there = ", ".join(map(str, versions)) or "none"
        raise StartupError(
            f"{path / CONFIG_FILE}: versions asks for {', '.join(map(str, missing)) or 'none'}; {path} has {there}"
        )
    return ModelFolder(path, config, served)


def holds_versions(folder: Path) -> bool:
    """Return whether a folder holds a version of a model, or cannot be looked into."""
    if folder.name.startswith(".") or not folder.name.isprintable():
        return False
    try:
        return bool(_versions(folder))
    except StartupError:
        # Of the file system, and only it may look.
        return folder.name != "lost+found"


def _versions(folder: Path) -> list[int]:
    try:
        names = [child.name for child in folder.iterdir() if re.fullmatch(r"[1-9][0-9]{0,17}", child.name)]
        return sorted(int(name) for name in names if (folder / name / MODEL_FILE).is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StartupError(f"{folder} cannot be read: {error.strerror}") from error
