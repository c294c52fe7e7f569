"""Changing what an ONNX file says about its outputs, without exporting again."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.errors import RepositoryError
from headgate.exporter.model_files import MODEL_FILE, copy_with_metadata, read_metadata
from headgate.exporter.repository import flush, publish, staged_version
from headgate.v1 import Prediction, Signature
from headgate.v1.encoding import prediction_encoder
from headgate.v1.golden import GOLDEN_FILE, golden_from_bytes
from headgate.v1.signatures import METADATA_KEY, signature_from_json, signature_to_json
from headgate.v1.tensors import numpy_from_tensor


def is_version(path: Path) -> bool:
    """Return whether a file is a version in a repository: <repository>/<model>/<version>/model.onnx."""
    return _version_folder(path) is not None


def write_new_version(path: Path, signature: Signature) -> Path:
    """Make the next version of a model, which differs in its signature alone; return its ONNX file.

    The file of external weights is shared with the old version where the disk can do that (a hard link), else copied.

    Args:
        path: the ONNX file of a version in a repository; stays as it is.
        signature: the new one; its heads have to fit the model.

    Raises:
        RepositoryError: the disk refuses, or the golden examples are not those of the model.
    """
    version = _version_folder(path)
    if version is None:
        raise RepositoryError(f"{path} is no version in a repository; give <repository>/<model>/<version>/{MODEL_FILE}")
    with staged_version(version.parent.parent, version.parent.name) as staging:
        for file in version.iterdir():
            # Hidden files are what a crash has left.
            if file.is_file() and file.name not in (MODEL_FILE, GOLDEN_FILE) and not file.name.startswith("."):
                _link(file, staging / file.name)
        golden = _updated_golden(path, signature)
        if golden is not None:
            (staging / GOLDEN_FILE).write_bytes(golden)
        copy_with_metadata(path, staging / MODEL_FILE, METADATA_KEY, signature_to_json(signature))
        return publish(staging, None) / MODEL_FILE


def write_in_place(path: Path, before: Signature, signature: Signature) -> None:
    """Replace the signature of an ONNX file, and the golden examples beside it.

    Each file is replaced in one step, the golden examples being away in between: who loads the model, or finds it after
    a crash, has the old one or the new one, with golden examples that fit or, for a moment, without. Of several
    processes that do so at once one goes after the other.

    Args:
        path: the ONNX file.
        before: the signature that the new one was made of.
        signature: the new one; its heads have to fit the model.

    Raises:
        RepositoryError: the disk refuses, the file was changed meanwhile, or the golden examples are not those of the
            model.
    """
    golden_file = path.with_name(GOLDEN_FILE)
    try:
        with _locked(path.parent), _temporary(path) as new_model, _temporary(golden_file) as new_golden:
            if signature_from_json(read_metadata(path, METADATA_KEY) or "{}") != before:
                raise RepositoryError(f"{path} was changed by someone else meanwhile; try again")
            golden = _updated_golden(path, signature)
            copy_with_metadata(path, new_model, METADATA_KEY, signature_to_json(signature))
            shutil.copymode(path, new_model)
            flush(new_model)
            if golden is not None:
                new_golden.write_bytes(golden)
                shutil.copymode(golden_file, new_golden)
                flush(new_golden)
                golden_file.unlink()
                flush(path.parent)
            new_model.replace(path)
            flush(path.parent)
            if golden is not None:
                new_golden.replace(golden_file)
                flush(path.parent)
    except OSError as error:
        raise RepositoryError(f"cannot write to '{path.parent}': {error}") from error


def _updated_golden(path: Path, signature: Signature) -> bytes | None:
    """Return the golden examples of a model with what its new heads decide for; None where it has none.

    The signature gets their SHA-256.
    """
    file = path.with_name(GOLDEN_FILE)
    if not file.is_file():
        return None
    try:
        golden = golden_from_bytes(file.read_bytes(), signature.verification.golden_examples_sha256)
        outputs = {tensor.name: numpy_from_tensor(tensor) for tensor in golden.outputs}
        options = DecodeOptions(include_probabilities=golden.request.options.include_probabilities)
        del golden.response.predictions[:]
        for head in signature.heads:
            columns = decoder_for(head, signature.outputs).decode(outputs, options)
            content = prediction_encoder(head.name, columns)(0, golden.response.rows)
            golden.response.predictions.append(Prediction.FromString(content))
    except (KeyError, ValueError) as error:
        raise RepositoryError(f"{file}: {error}; export the model again") from error
    content = golden.SerializeToString(deterministic=True)
    signature.verification.golden_examples_sha256 = hashlib.sha256(content).hexdigest()
    return content


def _version_folder(path: Path) -> Path | None:
    """Return the folder of the version that a file is, as it is called or as a link calls it; None if it is none."""
    folders = (Path(os.path.abspath(path)).parent, path.parent.resolve())
    found = [folder for folder in folders if re.fullmatch("[1-9][0-9]*", folder.name)]
    return found[0] if found and path.name == MODEL_FILE else None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process has the folder locked, and lock it while the block runs."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems lock no folders.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Give the name of a hidden file beside another, on the same disk; delete what is there in the end."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copy2(file, target)
