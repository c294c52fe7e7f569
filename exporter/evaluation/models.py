"""Running exported models on data with targets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.decoders import DecodeOptions, Decoder, HeadError, decoder_for
from headgate.exporter.calibration.held_out import fingerprint
from headgate.exporter.errors import EvaluationError, listed, reason_of
from headgate.exporter.evaluation.anomalies import AnomalyScorer
from headgate.exporter.evaluation.boxes import DetectionScorer
from headgate.exporter.evaluation.embeddings import EmbeddingScorer
from headgate.exporter.evaluation.images import KeypointsScorer, SegmentationScorer
from headgate.exporter.evaluation.labels import BinaryScorer, MulticlassScorer, MultilabelScorer, OrdinalScorer
from headgate.exporter.evaluation.numbers import NumbersScorer
from headgate.exporter.evaluation.scorer import EvaluationSettings, Scorer
from headgate.exporter.evaluation.sequences import CtcScorer, SequenceTagsScorer
from headgate.exporter.labelled_data import BOX_DTYPE, LabelledData, labelled_data
from headgate.exporter.proof.sessions import open_session
from headgate.exporter.tracing.traced_models import Arrays
from headgate.v1 import Head, Signature
from headgate.v1.columns import Columns
from headgate.v1.signatures import METADATA_KEY, signature_from_json

SCORERS: dict[str, type[Scorer]] = {
    "regression": NumbersScorer,
    "quantile": NumbersScorer,
    "count": NumbersScorer,
    "mean_variance": NumbersScorer,
    "binary": BinaryScorer,
    "multiclass": MulticlassScorer,
    "multilabel": MultilabelScorer,
    "ordinal": OrdinalScorer,
    "anomaly": AnomalyScorer,
    "segmentation": SegmentationScorer,
    "detection": DetectionScorer,
    "keypoints": KeypointsScorer,
    "sequence_tags": SequenceTagsScorer,
    "ctc": CtcScorer,
    "embedding": EmbeddingScorer,
}

#: Decoders of these heed a threshold that is asked for.
_THRESHOLD_KINDS = ("binary", "multilabel", "segmentation", "detection")

#: Inputs of a batch take about so many bytes, within bounds.
_BATCH_BYTES, _MOST_ROWS = 2**24, 256

#: Called with the rows that have run, and with how many there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ExportedModel:
    """A model as it was exported, on the CPU.

    Attributes:
        path: the ONNX file.
        session: of onnxruntime.
        signature: what the file says of itself.
        decoders: by head.
    """

    path: Path
    session: Any
    signature: Signature
    decoders: Mapping[str, Decoder]

    def read(self, data: Mapping[str, ArrayLike]) -> LabelledData:
        """Read inputs and targets as `labelled_data` does; raises ModelLoadError where they do not fit the model."""
        return labelled_data(self.signature.inputs, self.signature.heads, data)

    def run(self, inputs: Arrays) -> Arrays:
        """Return the outputs of a batch, by name; raises EvaluationError where onnxruntime fails."""
        names = [node.name for node in self.session.get_outputs()]
        try:
            return dict(zip(names, self.session.run(names, inputs), strict=True))
        except Exception as error:
            raise EvaluationError(f"{self.path} fails on the data: {reason_of(error)}") from error


def open_model(path: Path) -> ExportedModel:
    """Load an exported model.

    Raises:
        EvaluationError: the file does not say what its outputs mean, or contradicts itself.
        VerificationError: onnxruntime cannot load it.
    """
    session = open_session(path)
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise EvaluationError(
            f"{path} does not say what its outputs mean; give a file that `headgate export` has written"
        )
    try:
        signature = signature_from_json(text)
        missing = {spec.name for spec in signature.outputs} - {node.name for node in session.get_outputs()}
        if missing:
            raise ValueError(f"its signature has the outputs {listed(sorted(missing))}, its graph has not")
        decoders = {head.name: decoder_for(head, signature.outputs) for head in signature.heads}
    except (HeadError, ValueError) as error:
        raise EvaluationError(f"{path}: {error}") from error
    return ExportedModel(path, session, signature, decoders)


def evaluate_model(
    model: ExportedModel,
    data: LabelledData,
    head: str | None = None,
    settings: EvaluationSettings | None = None,
    progress: Progress = lambda done, rows: None,
) -> list[Scorer]:
    """Run a model on data with targets.

    Args:
        model: of `open_model`.
        data: of `ExportedModel.read`.
        head: the only head to score; default: all that have targets.
        settings: what to ask of the decoders.
        progress: called after each batch.

    Returns:
        One scorer a head, which has seen all rows.

    Raises:
        EvaluationError: there is no such head, it cannot do what the settings say, or the model fails.
    """
    settings = settings or EvaluationSettings()
    heads = _scored(model, data, head)
    kinds = [str(one.WhichOneof("kind")) for one in heads]
    if settings.threshold is not None and not set(kinds) & set(_THRESHOLD_KINDS):
        raise EvaluationError(f"a threshold is for heads of kind {listed(_THRESHOLD_KINDS)}, not {listed(kinds)}")
    try:
        scorers = {
            one.name: SCORERS[str(one.WhichOneof("kind"))](one, model.decoders[one.name], settings) for one in heads
        }
        _run(model, data, scorers, settings, progress)
        if any(one.HasField("calibration") for one in heads):
            data_sha256 = fingerprint(data)
            for scorer in scorers.values():
                scorer.data_sha256 = data_sha256
    except ValueError as error:
        if isinstance(error, EvaluationError):
            raise
        raise EvaluationError(str(error)) from error
    return list(scorers.values())


def _scored(model: ExportedModel, data: LabelledData, name: str | None) -> list[Head]:
    heads = [head for head in model.signature.heads if head.name in data.targets or head.HasField("anomaly")]
    if name is None:
        return heads
    known = {head.name: head for head in heads}
    if name not in known:
        raise EvaluationError(f"there is no head '{name}' with targets; those with targets are {listed(known)}")
    return [known[name]]


def _run(
    model: ExportedModel,
    data: LabelledData,
    scorers: Mapping[str, Scorer],
    settings: EvaluationSettings,
    progress: Progress,
) -> None:
    rows = len(next(iter(data.inputs.values())))
    row_bytes = sum(array[:1].nbytes for array in data.inputs.values())
    size = settings.batch_rows or int(np.clip(_BATCH_BYTES // max(row_bytes, 1), 1, _MOST_ROWS))
    for start in range(0, rows, size):
        stop = min(start + size, rows)
        outputs = model.run({name: array[start:stop] for name, array in data.inputs.items()})
        for name in (name for head in scorers for name in model.decoders[head].reads):
            if outputs[name].shape[:1] != (stop - start,):
                raise EvaluationError(
                    f"{model.path} gives output '{name}' of shape {list(outputs[name].shape)} for {stop - start} rows"
                )
        for name, scorer in scorers.items():
            decode = partial(_decode, model.decoders[name], outputs)
            scorer.add(decode, _part(data.targets.get(name), start, stop))
        progress(stop, rows)


def _decode(decoder: Decoder, outputs: Arrays, options: DecodeOptions) -> Columns:
    return decoder.decode(outputs, options)


def _part(targets: NDArray[Any] | None, start: int, stop: int) -> NDArray[Any] | None:
    """Return the targets of some rows."""
    if targets is None or targets.dtype != BOX_DTYPE:
        return targets if targets is None else targets[start:stop]
    part = targets[slice(*np.searchsorted(targets["row"], [start, stop]))].copy()
    part["row"] -= start
    return part
