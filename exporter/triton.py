"""What Triton Inference Server wants beside the versions of a model: `config.pbtxt` and files of labels.

Triton reads headgate's model repositories as they are; the configuration adds batching and the names of classes.
Fields and types are those of `ModelConfig` in Triton's `model_config.proto`.
"""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from headgate.exporter.errors import RepositoryError
from headgate.v1 import Head, Signature, TensorSpec
from headgate.v1.tensors import data_type_name

CONFIG_FILE = "config.pbtxt"
#: As headgate's own server has it where `config.toml` says nothing.
MAX_BATCH_SIZE = 64
_HEADER = "# Written by `headgate export --triton-config`; the next such export writes it again.\n"


def check_triton_config(folder: Path) -> None:
    """Raise RepositoryError if the folder of a model holds a configuration that was not written by this module."""
    path = folder / CONFIG_FILE
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(_HEADER):
        raise RepositoryError(
            f"'{path}' was not written by headgate and is not replaced; move it away, or leave triton_config=True out"
        )


def write_triton_config(folder: Path, signature: Signature) -> None:
    """Write `config.pbtxt` and the files of labels into the folder of a model, each in one step.

    Raises:
        RepositoryError: the disk refuses.
    """
    # The configuration comes last: what it names is there before it is.
    for name, text in triton_files(folder.name, signature).items():
        staging = folder / f".export-{uuid.uuid4().hex}"
        try:
            staging.write_text(text, encoding="utf-8")
            os.replace(staging, folder / name)
        except OSError as error:
            raise RepositoryError(f"cannot write '{folder / name}': {error}") from error
        finally:
            staging.unlink(missing_ok=True)


def triton_files(model: str, signature: Signature) -> dict[str, str]:
    """Return the texts of the files of labels, and of `config.pbtxt`.

    Triton names the classes of an output [batch,units] with one label a unit; binary heads of one unit have none there.
    """
    units = {spec.name: spec.shape[1] for spec in signature.outputs if len(spec.shape) == 2}
    labels = {head.output: _labels(head) for head in signature.heads}
    labels = {output: names for output, names in labels.items() if len(names) == units.get(output)}
    files = {_labels_file(output): "".join(f"{label}\n" for label in names) for output, names in labels.items()}
    config = [
        _HEADER,
        f'name: "{model}"\n',
        'platform: "onnxruntime_onnx"\n',
        f"max_batch_size: {MAX_BATCH_SIZE}\n",
        *(_tensor("input", spec) for spec in signature.inputs),
        *(_tensor("output", spec, labelled=spec.name in labels) for spec in signature.outputs),
        "dynamic_batching { }\n",
    ]
    return {**files, CONFIG_FILE: "".join(config)}


def _tensor(field: str, spec: TensorSpec, *, labelled: bool = False) -> str:
    dims = list(spec.shape[1:])
    # Triton takes no empty dims: a tensor [batch] is [batch,1] to its clients.
    reshape = "" if dims else "  reshape { shape: [] }\n"
    labels = f'  label_filename: "{_labels_file(spec.name)}"\n' if labelled else ""
    return (
        f'{field} {{\n  name: "{spec.name}"\n  data_type: TYPE_{data_type_name(spec.datatype)}\n'
        f"  dims: {dims or [1]}\n{reshape}{labels}}}\n"
    )


def _labels(head: Head) -> Sequence[str]:
    kind = head.WhichOneof("kind")
    labels: Sequence[str] = getattr(getattr(head, kind), "labels", ()) if kind else ()
    return [" ".join(label.split()) for label in labels]


def _labels_file(output: str) -> str:
    return f"{output}_labels.txt"
