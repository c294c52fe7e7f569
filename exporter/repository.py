"""The versions of a model in a model repository, written in one step."""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from headgate.exporter.errors import RepositoryError

#: How often to try again when other exports take the next version first.
_ATTEMPTS = 100


def check_target(repository: Path, name: str, version: int | None) -> None:
    """Raise RepositoryError unless a version of this name may be written there."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or not name.strip("."):
        raise RepositoryError(
            f"'{name}' is no name for a model; use letters, digits, '_', '.' and '-', as in name='{_suggest(name)}'"
        )
    for folder in (repository, repository / name):
        if folder.exists() and not folder.is_dir():
            raise RepositoryError(f"'{folder}' is a file; a model repository is a folder of folders")
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise RepositoryError(f"version is {version!r}; give a positive integer, or None for the next free one")
    if (repository / name / str(version)).exists():
        raise _taken(repository, name, version)


def next_version(repository: Path, name: str) -> int:
    """Return the highest version that is there plus one, 1 for a new model. Names that are no integers do not count."""
    folder = repository / name
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if re.fullmatch(r"[0-9]+", name)), default=0) + 1


def write_version(repository: Path, name: str, version: int | None, files: Mapping[str, bytes]) -> Path:
    """Write the files of one version so that it appears complete or not at all; return its folder.

    The files are written to a hidden folder beside the version's own, flushed to the disk, and renamed into place. The
    rename fails where another export was faster, which then keeps its version.

    Args:
        repository: made if it is not there.
        name: the model's name.
        version: None for the next free one.
        files: contents by file name.

    Raises:
        RepositoryError: the version exists, or the disk refuses.
    """
    folder = repository / name
    staging = folder / f".export-{uuid.uuid4().hex}"
    try:
        try:
            staging.mkdir(parents=True)
            for file_name, content in files.items():
                _write(staging / file_name, content)
            _flush_folder(staging)
            target = _publish(staging, repository, name, version)
            _flush_folder(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise RepositoryError(f"cannot write to '{folder}': {error}") from error
    return target


def _publish(staging: Path, repository: Path, name: str, version: int | None) -> Path:
    for _ in range(_ATTEMPTS):
        target = repository / name / str(version or next_version(repository, name))
        if not target.exists():
            try:
                # On POSIX this replaces an empty folder, and no export makes one; a full one makes it fail.
                return staging.rename(target)
            except OSError:
                if not target.exists():
                    raise
        if version is not None:
            raise _taken(repository, name, version)
    raise RepositoryError(f"other exports keep taking the next version of '{name}'; try again")


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken(repository: Path, name: str, version: int) -> RepositoryError:
    free = next_version(repository, name)
    return RepositoryError(
        f"version {version} of model '{name}' exists in '{repository}'; versions are never overwritten: "
        f"leave version out for the next free one ({free})"
    )


def _suggest(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.") or "model"
