"""The versions of a model in a model repository, written in one step."""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
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


@contextlib.contextmanager
def staged_version(repository: Path, name: str) -> Iterator[Path]:
    """Yield a hidden folder beside a model's versions, for files of which `publish` makes a version in one step.

    When the context ends, a folder that was not published is deleted, and so are folders that were made for it.

    Raises:
        RepositoryError: the disk refuses.
    """
    folder = repository / name
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    staging = folder / f".export-{uuid.uuid4().hex}"
    try:
        try:
            staging.mkdir(parents=True)
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except BaseException as error:
        # Ctrl-C too leaves nothing behind; folders that another export filled meanwhile stay.
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()
        if isinstance(error, OSError):
            raise RepositoryError(f"cannot write to '{folder}': {error}") from error
        raise


def publish(staging: Path, version: int | None) -> Path:
    """Make a version of a staged folder, so that it appears complete or not at all; return its new path.

    The files are flushed to the disk, and the folder is renamed. That fails where another export was faster, which then
    keeps its version.

    Args:
        staging: from `staged_version`; holds files only.
        version: None for the next free one.

    Raises:
        RepositoryError: the version exists.
        OSError: the disk refuses.
    """
    for file in staging.iterdir():
        flush(file)
    flush(staging)
    folder = staging.parent
    target = _rename(staging, folder.parent, folder.name, version)
    flush(folder)
    return target


def delete_version(folder: Path) -> None:
    """Delete a version in one step, so that no server sees half of one; it may be gone already.

    Raises:
        RepositoryError: the disk refuses.
    """
    removed = folder.with_name(f".removed-{uuid.uuid4().hex}")
    try:
        folder.rename(removed)
        shutil.rmtree(removed)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RepositoryError(f"cannot delete '{folder}': {error}") from error


def _rename(staging: Path, repository: Path, name: str, version: int | None) -> Path:
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


def flush(path: Path) -> None:
    """Have the disk hold what was written to a file, or the names that a folder has."""
    descriptor = os.open(path, os.O_RDONLY)
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
