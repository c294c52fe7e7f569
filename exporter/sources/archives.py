"""Files that hold models, before anything reads them as such: zip archives, HDF5 files, folders.

Keras closed most of these holes one by one (CVE-2025-12060, CVE-2026-0897, CVE-2026-1669), in versions newer than the
oldest one that is supported here. Sizes that a file declares are not believed: what is read is counted.

Messages are the rest of a sentence that begins with the file's name.
"""

import os
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from headgate.exporter.errors import ModelLoadError, reason_of
from headgate.exporter.sources.hdf5_files import inspect_hdf5

#: Weights hardly compress, and Keras does not try. What expands by more, to more than this many bytes, is a bomb.
_MAX_EXPANSION = 100
_HARMLESS_BYTES = 2**28
_CHUNK_BYTES = 2**20

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


def read_archive(path: Path) -> dict[str, bytes]:
    """Check a `.keras` file, and return `config.json` and, where it is there, `metadata.json`.

    Every member is read, so that damage is found wherever it is.

    Raises:
        ModelLoadError: the file is no zip archive, damaged or no Keras model, has names that lead out of it, links, or
            weights that lie in other files, or expands to more than weights can.
    """
    size = path.stat().st_size
    budget = _Budget(_most_bytes(size))
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist())
            for info in archive.infolist():
                with archive.open(info) as member:
                    content = budget.read(member, keep=info.filename in (_CONFIG, _METADATA, _WEIGHTS))
                if content:
                    found[info.filename] = content
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
        raise ModelLoadError(f"is a damaged zip archive: {reason_of(error)}") from error
    missing = next((name for name in (_CONFIG, _WEIGHTS) if name not in found), None)
    if missing:
        raise ModelLoadError(f"has no member '{missing}', so it is no Keras model")
    read_hdf5(found.pop(_WEIGHTS), size)
    return found


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    names: set[str] = set()
    for info in members:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in info.filename or info.filename != info.orig_filename:
            raise ModelLoadError(f"has a member {info.orig_filename!r}, which leads out of the archive")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise ModelLoadError(f"has a member '{info.filename}' that is a link")
        if info.filename in names:
            raise ModelLoadError(f"has more than one member '{info.filename}'")
        names.add(info.filename)


def _most_bytes(stored_bytes: int) -> int:
    return max(_HARMLESS_BYTES, _MAX_EXPANSION * stored_bytes)


class _Budget:
    """What may still be read of a file."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes

    def read(self, member: IO[bytes], *, keep: bool) -> bytes:
        """Read a member to its end; return what it holds if that is to be kept."""
        kept = []
        while chunk := member.read(_CHUNK_BYTES):
            self._left -= len(chunk)
            if self._left < 0:
                raise ModelLoadError(
                    f"expands to more than {_HARMLESS_BYTES >> 20} MiB and {_MAX_EXPANSION} times its size, as no "
                    "weights do"
                )
            if keep:
                kept.append(chunk)
        return b"".join(kept)


def read_hdf5(source: Path | bytes, stored_bytes: int) -> dict[str, str]:
    """Check an HDF5 file and return the attributes in which Keras keeps the configuration in `.h5` files.

    Args:
        source: the file, or its content.
        stored_bytes: how large the file is that it came in.

    Raises:
        ModelLoadError: the file is no HDF5 file or damaged, has links or weights that lie in other files, or declares
            larger weights than it can hold.
    """
    found = inspect_hdf5(source, _most_bytes(stored_bytes))
    if "error" in found:
        error = reason_of(ValueError(found["error"]))
        raise ModelLoadError(f"is a damaged HDF5 file: {error}" if found["damaged"] else error)
    attributes: dict[str, str] = found["attributes"]
    return attributes


def read_folder(folder: Path) -> dict[str, bytes]:
    """Check what `model.save(folder, zipped=False)` wrote, and return `config.json` and `metadata.json`.

    Raises:
        ModelLoadError: see `read_archive`.
    """
    files = {name: folder / name for name in (_CONFIG, _METADATA, _WEIGHTS)}
    missing = next((name for name in (_CONFIG, _WEIGHTS) if not files[name].is_file()), None)
    if missing:
        raise ModelLoadError(f"is a folder without '{missing}' or 'saved_model.pb', so it is no model")
    check_folder(folder)
    read_hdf5(files[_WEIGHTS], files[_WEIGHTS].stat().st_size)
    return {name: files[name].read_bytes() for name in (_CONFIG, _METADATA) if files[name].is_file()}


def check_folder(folder: Path) -> None:
    """Refuse a folder with links that lead out of it.

    Raises:
        ModelLoadError: it has one.
    """
    root = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise ModelLoadError(f"has a link '{path.relative_to(folder)}' that leads out of it")
