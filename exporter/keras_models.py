"""Getting hold of the Keras model: from a file, or from memory."""

import hashlib
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.exporter.errors import ModelLoadError, reason_of

if TYPE_CHECKING:
    import keras

_SUFFIXES = (".keras", ".h5", ".hdf5")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class SourceModel:
    """A Keras model and where it came from.

    Attributes:
        model: the keras.Model, built.
        name: the file's name without its suffix, or the model's own name.
        file: the file's name without folders, empty for a model from memory.
        sha256: of the file, in hexadecimal; empty for a model from memory.
        lost_loss: why the loss that it was compiled with could not be loaded; empty otherwise.
    """

    model: "keras.Model"
    name: str
    file: str = ""
    sha256: str = ""
    lost_loss: str = ""


def load_source(source: "str | os.PathLike[str] | keras.Model", *, safe_mode: bool) -> SourceModel:
    """Load a `.keras` or `.h5` file, or take a model from memory.

    Raises:
        ModelLoadError: there is no such file, it holds no whole Keras model, or `safe_mode` refuses its Lambda layers.
    """
    import keras

    if isinstance(source, str | os.PathLike):
        loaded = _load_file(Path(source), safe_mode=safe_mode)
    elif isinstance(source, keras.Model):
        loaded = SourceModel(source, source.name)
    else:
        kind = f"{type(source).__module__}.{type(source).__qualname__}"
        raise ModelLoadError(
            f"got an object of type {kind}; give a keras.Model of Keras 3, or the path of a .keras or .h5 file"
        )
    if not loaded.model.built:
        raise ModelLoadError(
            f"model '{loaded.name}' is not built, so it has no weights; call it once on a batch of data, or train it"
        )
    return loaded


def _load_file(path: Path, *, safe_mode: bool) -> SourceModel:
    if path.is_dir():
        raise ModelLoadError(f"'{path}' is a folder; give the path of a .keras or .h5 file (model.save('model.keras'))")
    if not path.is_file():
        raise ModelLoadError(f"there is no file '{path}'; give the path of a .keras or .h5 file")
    if path.suffix not in _SUFFIXES:
        raise ModelLoadError(
            f"'{path}' does not end in .keras or .h5; give a file that model.save('model.keras') wrote"
        )
    if path.name.endswith(".weights.h5"):
        raise ModelLoadError(f"'{path}' holds weights only; load them into the model, then model.save('model.keras')")

    _check_format(path)
    lost_loss = ""
    try:
        model = _load(path, compile=True, safe_mode=safe_mode)
    except Exception as error:
        try:
            # A custom loss that is not registered must not keep the model from being exported.
            model = _load(path, compile=False, safe_mode=safe_mode)
        except Exception:
            raise _load_error(path, error) from error
        lost_loss = reason_of(error)
    return SourceModel(model, path.stem, path.name, _sha256(path), lost_loss)


def _check_format(path: Path) -> None:
    if path.suffix == ".keras":
        readable, expected = zipfile.is_zipfile(path), "zip archive"
    else:
        with path.open("rb") as file:
            readable, expected = file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC, "HDF5 file"
    if not readable:
        raise ModelLoadError(
            f"'{path}' is no {expected}, as Keras writes them; give a file of model.save('model.keras')"
        )


def _load(path: Path, *, compile: bool, safe_mode: bool) -> Any:
    import keras

    return keras.saving.load_model(path, compile=compile, safe_mode=safe_mode)


def _load_error(path: Path, error: Exception) -> ModelLoadError:
    text = str(error)
    if "safe_mode" in text or "unsafe" in text.lower():
        return ModelLoadError(
            f"'{path}' holds code (a Lambda layer), which loading would run; if you trust whoever made the file, "
            "export it with safe_mode=False"
        )
    unknown = re.search(r"(?:Could not locate \w+|Unknown \w+:?) '(\w+)'", text)
    if unknown:
        return ModelLoadError(
            f"'{path}' uses '{unknown[1]}', which is not known here; register it with "
            "@keras.saving.register_keras_serializable() and import it first, or hand over the loaded model itself"
        )
    return ModelLoadError(
        f"'{path}' cannot be loaded as a Keras model: {reason_of(error)}; give a file of model.save()"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
