"""HDF5 files, looked at by a process of its own: libhdf5 crashes on some that are damaged.

Run as a script, this module reads the file that its first argument names, or its standard input, and prints what it
finds as JSON. It imports nothing of this package, so that it starts quickly.
"""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: For files that send libhdf5 round in circles; a gigabyte takes a second.
_TIMEOUT_S = 300
_ATTRIBUTES = ("model_config", "training_config", "keras_version")


def inspect_hdf5(source: Path | bytes, max_bytes: int) -> dict[str, Any]:
    """Read a file's structure, and what is not stored plainly.

    Args:
        source: the file, or its content.
        max_bytes: how much its datasets may hold together.

    Returns:
        `attributes`, those in which Keras keeps a model's configuration, as text; or `error`, what is wrong with the
        file, and `damaged`, whether it is no sound HDF5 file.
    """
    # -P: the folder of this script is no place to import from.
    command = [sys.executable, "-P", __file__, str(max_bytes), *([str(source)] if isinstance(source, Path) else [])]
    try:
        found = subprocess.run(
            command, input=None if isinstance(source, Path) else source, capture_output=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return {"error": "reading it takes forever", "damaged": True}
    if found.returncode < 0:
        return {"error": "libhdf5 crashes on it", "damaged": True}
    if found.returncode > 0:
        raise RuntimeError(found.stderr.decode(errors="replace"))
    result: dict[str, Any] = json.loads(found.stdout)
    return result


def _inspect(source: str | io.BytesIO, max_bytes: int) -> dict[str, Any]:
    import h5py

    left = max_bytes
    try:
        with h5py.File(source, "r") as file:
            for name, item in _items(file):
                if item is None:
                    return {"error": f"has a member '{name}' that is a link", "damaged": False}
                # Keras reads them, and some damage shows no earlier.
                for attribute in item.attrs:
                    item.attrs[attribute]
                if not isinstance(item, h5py.Dataset):
                    continue
                if item.external or item.is_virtual:
                    return {"error": f"has weights '{name}' that lie in other files", "damaged": False}
                left -= item.nbytes
                if left < 0:
                    most = f"{max_bytes >> 20} MiB"
                    return {
                        "error": f"is too small for the more than {most} of weights that it declares",
                        "damaged": False,
                    }
                if item.chunks or item.dtype.hasobject:
                    item[()]
            attributes = {name: file.attrs[name] for name in _ATTRIBUTES if name in file.attrs}
    # h5py raises whatever fits what libhdf5 says: OSError, KeyError, RuntimeError, ValueError, TypeError, ...
    except Exception as error:
        return {"error": str(error) or type(error).__name__, "damaged": True}
    return {
        "attributes": {
            name: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for name, value in attributes.items()
        }
    }


def _items(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield groups and datasets with a name, once each however many names they have, and None in place of links."""
    import h5py

    seen = set()
    rest = [file]
    yield "/", file
    while rest:
        group = rest.pop()
        for key in group:
            name = f"{group.name.rstrip('/')}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                yield name, None
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            yield name, item
            if isinstance(item, h5py.Group):
                rest.append(item)


if __name__ == "__main__":
    content = sys.argv[2] if len(sys.argv) > 2 else io.BytesIO(sys.stdin.buffer.read())
    print(json.dumps(_inspect(content, int(sys.argv[1]))))
