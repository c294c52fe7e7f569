"""Getting hold of the model: from a file, a folder, or from memory."""

import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.exporter.errors import ModelLoadError, UnsafeModelError, reason_of
from headgate.exporter.sources.archives import read_archive, read_folder, read_hdf5
from headgate.exporter.sources.configs import check_config, read_config, unknown_object
from headgate.exporter.sources.saved_models import DEFAULT_SIGNATURE, function_of, load_saved_model

_HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class SourceModel:
    """A model and where it came from.

    Attributes:
        model: a keras.Model or tf_keras model, built, or a TensorFunction.
        name: the file's or folder's name without its suffix, or the model's own name.
        file: the name of the file or folder without those around it, empty for a model from memory.
        sha256: of the file, or of the list that `sha256sum` would print of a folder, sorted by path; in hexadecimal,
            empty for a model from memory.
        lost_loss: why the loss that it was compiled with could not be loaded; empty otherwise.
    """

    model: Any
    name: str
    file: str = ""
    sha256: str = ""
    lost_loss: str = ""


def load_source(
    source: Any,
    *,
    safe_mode: bool,
    signature: str | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> SourceModel:
    """Load a `.keras` or `.h5` file or a SavedModel folder, or take a model from memory.

    Files of Keras 2 are loaded by tf_keras where that is installed. What a file would do is looked at before Keras or
    TensorFlow loads it, see `headgate.exporter.sources.archives`, `configs` and `saved_models`.

    Args:
        source: a path, a keras.Model, a tf_keras model, a tf.function, or a tf.Module.
        safe_mode: refuse files that hold code.
        signature: the signature of a SavedModel, default `serving_default`, or the tf.function of a tf.Module, default
            `__call__`.
        custom_objects: classes and functions that a file names, by these names.

    Raises:
        ModelLoadError: there is no such file, or it holds no whole model.
        UnsafeModelError: `safe_mode` refuses it.
    """
    import keras

    if isinstance(source, str | os.PathLike):
        loaded = _load_path(Path(source), safe_mode, signature, dict(custom_objects or {}))
    elif isinstance(source, keras.Model) or _is_tf_keras(source):
        loaded = SourceModel(source, source.name)
    elif (function := function_of(source, signature)) is not None:
        loaded = SourceModel(function, function.name)
    else:
        kind = f"{type(source).__module__}.{type(source).__qualname__}"
        raise ModelLoadError(
            f"got an object of type {kind}; give a keras.Model, a tf_keras model, a tf.function, or the path of a "
            ".keras or .h5 file or a SavedModel"
        )
    if not getattr(loaded.model, "built", True):
        raise ModelLoadError(
            f"model '{loaded.name}' is not built, so it has no weights; call it once on a batch of data, or train it"
        )
    return loaded


def _is_tf_keras(source: Any) -> bool:
    tf_keras = sys.modules.get("tf_keras")
    return tf_keras is not None and isinstance(source, tf_keras.Model)


def _load_path(path: Path, safe_mode: bool, signature: str | None, custom_objects: dict[str, Any]) -> SourceModel:
    if not path.exists():
        raise ModelLoadError(f"there is no file '{path}'; give the path of a .keras or .h5 file or a SavedModel")
    if path.name.endswith(".weights.h5"):
        raise ModelLoadError(f"'{path}' holds weights only; load them into the model, then model.save('model.keras')")
    lost_loss = ""
    try:
        if (path / "saved_model.pb").is_file():
            model: Any = load_saved_model(path, signature or DEFAULT_SIGNATURE, safe_mode=safe_mode)
        elif signature is None:
            model, lost_loss = _load_keras(path, safe_mode, custom_objects)
        else:
            raise ModelLoadError(f"is no SavedModel, so it has no signature '{signature}'; leave signature= out")
    except UnsafeModelError as error:
        raise UnsafeModelError(
            f"'{path}' {error}; if you trust whoever made it, export it with safe_mode=False"
        ) from error
    except ModelLoadError as error:
        raise ModelLoadError(f"'{path}' {error}") from error
    return SourceModel(model, path.stem, path.name, _sha256(path), lost_loss)


def _load_keras(path: Path, safe_mode: bool, custom_objects: dict[str, Any]) -> tuple[Any, str]:
    """Load what model.save wrote; return the model, and why its loss is lost."""
    config, compile_config, keras_version = _read(path)
    loss = compile_config.get("loss") if isinstance(compile_config, dict) else None
    keras = _keras_for(keras_version)
    lost_loss = ""
    if safe_mode:
        known = {*custom_objects, *keras.saving.get_custom_objects()}
        check_config(config, known)
        try:
            check_config(loss, known)
        except ModelLoadError as error:
            lost_loss = str(error)
    try:
        model = keras.saving.load_model(path, custom_objects, compile=False, safe_mode=safe_mode)
    except Exception as error:
        raise _load_error(error, keras_version, keras.__name__) from error
    return model, lost_loss or _compile(model, loss, keras, custom_objects)


def _compile(model: Any, loss: Any, keras: Any, custom_objects: dict[str, Any]) -> str:
    """Give a model the loss of its file; return why it cannot have it, which must not keep it from being exported.

    The loss alone: Keras under PyTorch writes optimizers that import PyTorch, and nothing here asks for metrics.
    """

    def deserialized(config: Any) -> Any:
        if isinstance(config, list):
            return [deserialized(one) for one in config]
        if isinstance(config, dict) and "class_name" not in config:
            return {name: deserialized(one) for name, one in config.items()}
        if isinstance(config, str):
            config = keras.saving.get_registered_object(config, custom_objects) or config
        return keras.losses.get(config)

    try:
        if loss is not None:
            with keras.saving.custom_object_scope(custom_objects):
                model.compile(loss=deserialized(loss))
    except Exception as error:
        return reason_of(error)
    return ""


def _read(path: Path) -> tuple[Any, Any, str]:
    """Check a file or folder; return its configuration, what it was compiled with, and the version of Keras."""
    if path.is_dir() or path.suffix == ".keras":
        members = read_folder(path) if path.is_dir() else read_archive(path)
        config = read_config(members["config.json"])
        metadata = read_config(members.get("metadata.json", b"{}"))
        if not isinstance(config, dict) or not isinstance(metadata, dict):
            raise ModelLoadError("has a configuration that is no JSON object")
        return config, config.pop("compile_config", None), str(metadata.get("keras_version", ""))
    if path.suffix not in _HDF5_SUFFIXES:
        raise ModelLoadError("does not end in .keras or .h5; give a file that model.save('model.keras') wrote")
    attributes = read_hdf5(path, path.stat().st_size)
    if "model_config" not in attributes:
        raise ModelLoadError("has no attribute 'model_config', so it is no Keras model; model.save('model.keras')")
    compile_config = read_config(attributes.get("training_config", "null"))
    return read_config(attributes["model_config"]), compile_config, attributes.get("keras_version", "")


def _keras_for(version: str) -> Any:
    """Return the library that loads a file: Keras 3, or tf_keras for Keras 2 where that is installed."""
    name = "tf_keras" if version.startswith("2.") and importlib.util.find_spec("tf_keras") else "keras"
    return importlib.import_module(name)


def _load_error(error: Exception, keras_version: str, library: str) -> ModelLoadError:
    text = str(error)
    if "safe_mode" in text or "unsafe" in text.lower():
        return UnsafeModelError(f"holds code: {reason_of(error)}")
    if keras_version.startswith("2.") and library == "keras":
        return ModelLoadError(
            f"was saved by Keras {keras_version} and cannot be loaded by Keras 3 ({reason_of(error)}); pip install "
            "tf_keras, or save it from there as a SavedModel (model.export('folder'))"
        )
    unknown = re.search(r"(?:Could not locate \w+|Unknown \w+:?) '(\w+)'", text)
    if unknown:
        return ModelLoadError(unknown_object(unknown[1]))
    return ModelLoadError(
        f"cannot be loaded as a Keras model: {reason_of(error)}; save it anew: model.save('model.keras')"
    )


def _sha256(path: Path) -> str:
    if path.is_dir():
        files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return hashlib.sha256("".join(f"{_sha256(path / file)}  {file}\n" for file in files).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
