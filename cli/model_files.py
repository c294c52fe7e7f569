"""The ONNX files of models that commands are about."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli.errors import CommandError

if TYPE_CHECKING:
    from headgate.exporter.evaluation.models import ExportedModel

_MODEL_FILE = "model.onnx"
_KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")


def find_model_file(path: Path) -> Path:
    """Return `path` if it is a file, else the model file of the version, or of the latest version, in the folder.

    Raises:
        CommandError: there is none.
    """
    if not path.exists():
        raise CommandError(f"there is no file or folder {path}")
    if path.is_file():
        if path.suffix in _KERAS_SUFFIXES:
            raise CommandError(f"{path} is a Keras file; `headgate export` makes an ONNX file of it")
        return path
    if (path / _MODEL_FILE).is_file():
        return path / _MODEL_FILE
    names = (file.parent.name for file in path.glob(f"*/{_MODEL_FILE}"))
    # What servers take for versions.
    versions = [int(name) for name in names if re.fullmatch("[1-9][0-9]*", name)]
    if not versions:
        models = sorted(str(file.parents[1]) for file in path.glob(f"*/*/{_MODEL_FILE}"))
        if models:
            raise CommandError(
                f"{path} is a model repository; give one of its models: {', '.join(dict.fromkeys(models))}"
            )
        raise CommandError(f"{path} is no model's folder: there is no {path}/<version>/{_MODEL_FILE}")
    return path / str(max(versions)) / _MODEL_FILE


def open_checked(path: Path) -> "ExportedModel":
    """Load an exported model, the weights of which are in its folder.

    Raises:
        ServerError: they are not.
        ExportError: it cannot be loaded, or does not say what its outputs mean.
    """
    from headgate.exporter.evaluation.models import open_model
    from headgate.server.external_data import check_external_data

    check_external_data(path)
    return open_model(path)
