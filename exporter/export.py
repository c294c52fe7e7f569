"""From a Keras model to a version in a model repository."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from headgate.exporter import conversion
from headgate.exporter.conversion import convert
from headgate.exporter.errors import ConversionError
from headgate.exporter.examples import named_arrays
from headgate.exporter.head_settings import HeadSetting
from headgate.exporter.heads import build_heads
from headgate.exporter.keras_models import SourceModel, load_source
from headgate.exporter.libraries import quiet, require_libraries, versions
from headgate.exporter.losses import LOST_LOSS, Loss, losses_of
from headgate.exporter.padding import find_padding, prove_padding
from headgate.exporter.repository import check_target, write_version
from headgate.exporter.traced_models import trace
from headgate.exporter.verification import verify
from headgate.v1 import Padding, Provenance, Signature, TargetScaling
from headgate.v1.signatures import METADATA_KEY, SCHEMA_VERSION, signature_to_json

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and where to.

    Attributes:
        path: the ONNX file.
        name: the model's name in the repository.
        version: its version there.
        signature: as stored in the file: inputs, outputs, heads, the comparison with Keras, where the model came from.
        notes: what had to be assumed, one sentence each; worth reading.
    """

    path: Path
    name: str
    version: int
    signature: Signature
    notes: tuple[str, ...]


def export_model(
    model: "str | os.PathLike[str] | keras.Model",
    repository: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: int | None = None,
    heads: Mapping[str, HeadSetting] | None = None,
    labels: Sequence[object] | Mapping[str, Sequence[object]] | None = None,
    positive_label: object | Mapping[str, object] | None = None,
    threshold: float | Sequence[float] | Mapping[str, float | Sequence[float]] | None = None,
    units: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    target_scaling: TargetScaling | Mapping[str, Any] | object | None = None,
    paddings: Sequence[str | Padding] = (),
    examples: ArrayLike | Mapping[str, ArrayLike] | None = None,
    opset: int = conversion.DEFAULT_OPSET,
    safe_mode: bool = True,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a Keras model to `<repository>/<name>/<version>/model.onnx`, together with what its outputs mean.

    Heads are inferred from each output's last operation and the loss that the model was compiled with (see
    `headgate.exporter.inference`). The ONNX model is compared with Keras before anything is written, and a version
    appears complete or not at all.

    Args:
        model: the path of a `.keras` or `.h5` file, or a built keras.Model.
        repository: the folder of the model repository; made if it is not there.
        name: letters, digits and `_.-`; default: the file's name without its suffix, or the model's name.
        version: a positive integer that is not taken; default: the next free one.
        heads: `{output: setting}`, for outputs whose head cannot be inferred or is to be another. A setting is a kind
            (`"binary"`), a dictionary of fields (`{"kind": "binary", "activation": "logits", "labels": [...]}`; any of
            head.proto's fields of the head and its kind, what is left out is inferred), a `headgate.v1.Head`, or None
            for an output without a head. Outputs are called as Keras calls them.
        labels: the class labels, in the order of the units; default `"0"`, `"1"`, ... Like the next four, for the one
            head that it fits, or as a dictionary by name of head.
        positive_label: the label whose probability a binary head reports; default: the second.
        threshold: the probability, 0..1, from which a binary head (or each label of a multilabel head) is positive;
            default 0.5.
        units: the unit of a regression's targets: `"mg/dl"`.
        target_scaling: how a regression's targets were scaled for training, undone while serving:
            `{"mean": ..., "scale": ..., "log1p": ...}` (see head.proto), or a fitted scikit-learn StandardScaler.
        paddings: the free axes of inputs that the server may fill up, so that requests of different sizes run as one
            batch: each a `headgate.v1.Padding` or, shorter, `"tokens:1"`, `"tokens:1=0,segments:1=0"` for axes that
            have one size (with what is filled in; default 0, text is filled with ""),
            `"tokens:1,mask=attention"` for a model with an input that tells real elements from those filled in. The
            outputs' axes that have this size are found. Refused where it changes an answer.
        examples: real inputs to compare on as well: an array [rows, ...], or `{input: array}`. Needed for models that
            take text, and for subclassed models that take integers, since Keras does not record that.
        opset: the ONNX operator set, 13 to 18.
        safe_mode: refuse files that hold code (Lambda layers).
        progress: called with the name of each stage: `load`, `infer heads`, `convert`, `verify`, `write`.

    Raises:
        ExportError: the model cannot be exported as asked; nothing was written.

    Example:
        export_model("churn.keras", "models", labels=["stays", "leaves"], threshold=0.31)
    """
    report_stage = progress or (lambda stage: None)
    if opset not in conversion.OPSETS:
        raise ConversionError(
            f"opset is {opset!r}; give a number from {conversion.OPSETS[0]} to {conversion.OPSETS[-1]}"
        )

    report_stage("load")
    require_libraries()
    with quiet():
        source = load_source(model, safe_mode=safe_mode)
        target = name if name is not None else source.name
        check_target(Path(repository), target, version)
        traced = trace(source.model, examples)
        arrays = None if examples is None else named_arrays(traced.inputs, examples)
        found_paddings = find_padding(paddings, traced)

        report_stage("infer heads")
        shortcuts = {
            "labels": labels,
            "positive_label": positive_label,
            "threshold": threshold,
            "units": units,
            "target_scaling": target_scaling,
        }
        if source.lost_loss:
            losses: list[Loss | None] = [LOST_LOSS] * len(traced.outputs)
        else:
            losses = losses_of(source.model, [traced.aliases[spec.name] for spec in traced.outputs])
        built_heads, notes = build_heads(traced, losses, heads, shortcuts)
        if source.lost_loss:
            notes.insert(0, f"the loss could not be loaded, so it tells nothing about the heads: {source.lost_loss}")

        report_stage("convert")
        onnx_model = convert(traced, opset)
        onnx_bytes = onnx_model.SerializeToString()

        report_stage("verify")
        signature = Signature(
            schema_version=SCHEMA_VERSION,
            inputs=traced.inputs,
            outputs=traced.outputs,
            heads=built_heads,
            verification=verify(traced, onnx_bytes, arrays),
            paddings=prove_padding(found_paddings, traced, onnx_bytes, arrays) if found_paddings else [],
            provenance=_provenance(source, opset),
        )

    report_stage("write")
    onnx_model.metadata_props.add(key=METADATA_KEY, value=signature_to_json(signature))
    folder = write_version(Path(repository), target, version, {"model.onnx": onnx_model.SerializeToString()})
    return ExportReport(folder / "model.onnx", target, int(folder.name), signature, tuple(notes))


def _provenance(source: SourceModel, opset: int) -> Provenance:
    # https://reproducible-builds.org/specs/source-date-epoch/
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    return Provenance(
        source_file=source.file,
        source_sha256=source.sha256,
        exported_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)),
        opset=opset,
        versions=versions(),
    )
