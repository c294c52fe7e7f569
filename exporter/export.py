"""From a Keras model to a version in a model repository."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from headgate.exporter.calibration.held_out import HeldOutArrays, read_held_out
from headgate.exporter.calibration.plan import CalibrationMethod, CalibrationPlan, SetMethod
from headgate.exporter.conversion.converter import DEFAULT_OPSET, OPSETS, convert, notes_of
from headgate.exporter.errors import CalibrationError, ConversionError, RepositoryError
from headgate.exporter.examples import named_arrays
from headgate.exporter.head_settings import HeadSetting, HeadSettings
from headgate.exporter.heads import build_heads, unread_masks
from headgate.exporter.heads_file import read_heads
from headgate.exporter.input_meanings import FeatureNames, find_input_meanings, lookup_remarks
from headgate.exporter.libraries import quiet, require_libraries, versions
from headgate.exporter.losses import LOST_LOSS, losses_of
from headgate.exporter.memory import release_memory
from headgate.exporter.model_files import add_metadata, count_nodes, size_of, write_model
from headgate.exporter.optimization.steps import DEFAULT_MAX_METRIC_LOSS, OptimizationPlan, optimize_model
from headgate.exporter.padding import find_padding, prove_padding
from headgate.exporter.proof.golden import write_golden
from headgate.exporter.proof.keras_runs import run_keras
from headgate.exporter.proof.verification import batch_remarks, count_changed_labels, remarks, verify
from headgate.exporter.reconstruction import find_reconstructions
from headgate.exporter.repository import check_target, next_version, publish, staged_version
from headgate.exporter.sources.custom_objects import import_custom_objects
from headgate.exporter.sources.keras_models import SourceModel, load_source
from headgate.exporter.stages import Stages
from headgate.exporter.timestamps import utc_now
from headgate.exporter.tracing.traced_models import TracedModel, trace
from headgate.exporter.triton import check_triton_config, write_triton_config
from headgate.v1 import Head, InputMeaning, Padding, Provenance, Signature, TargetScaling
from headgate.v1.signatures import METADATA_KEY, SCHEMA_VERSION, signature_to_json

if TYPE_CHECKING:
    import keras

#: Loggers, warnings and what TensorFlow, Keras and tf2onnx hold are the whole process's.
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and where to.

    Attributes:
        path: the ONNX file; of a dry run, where it would be.
        name: the model's name in the repository.
        version: its version there.
        signature: as stored in the file: inputs, outputs, heads, the comparison with Keras, where the model came from.
        notes: what had to be assumed, one sentence each; worth reading.
        seconds: how long each stage took.
        undecided: of a dry run, by output, why its meaning cannot be told and what to do; an export fails there.
        nodes: of the ONNX graph; 0 in a dry run.
        written: False in a dry run.
    """

    path: Path
    name: str
    version: int
    signature: Signature
    notes: tuple[str, ...]
    seconds: dict[str, float]
    undecided: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 0
    written: bool = True

    @property
    def size_bytes(self) -> int:
        """The size of the ONNX file, and of the file of its weights if it has one; 0 in a dry run."""
        return size_of(self.path) if self.written else 0


def export_model(
    model: "str | os.PathLike[str] | keras.Model | object",
    repository: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: int | None = None,
    heads: HeadSettings | None = None,
    labels: Sequence[object] | Mapping[str, Sequence[object]] | None = None,
    positive_label: object | Mapping[str, object] | None = None,
    threshold: float | Sequence[float] | Mapping[str, float | Sequence[float]] | None = None,
    units: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
    target_scaling: TargetScaling | Mapping[str, Any] | object | None = None,
    paddings: Sequence[str | Padding] = (),
    feature_names: FeatureNames | None = None,
    input_meanings: Sequence[InputMeaning] = (),
    examples: ArrayLike | Mapping[str, ArrayLike] | None = None,
    opset: int = DEFAULT_OPSET,
    signature: str | None = None,
    custom_objects: str | Sequence[str] | Mapping[str, Any] | None = None,
    fp16: bool = False,
    int8: Literal["dynamic", "static"] | None = None,
    optimize: Literal["cpu", "cuda"] | None = None,
    int8_data: ArrayLike | Mapping[str, ArrayLike] | None = None,
    labelled: HeldOutArrays | None = None,
    max_metric_loss: float = DEFAULT_MAX_METRIC_LOSS,
    calibration: HeldOutArrays | None = None,
    calibration_method: CalibrationMethod = "auto",
    choose_threshold: str | Mapping[str, str] | None = None,
    confidence_levels: Sequence[float] | None = None,
    prediction_sets: SetMethod = "aps",
    safe_mode: bool = True,
    triton_config: bool = False,
    dry_run: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Export a Keras model to `<repository>/<name>/<version>/model.onnx`, together with what its outputs mean.

    Heads are inferred from each output's last operation and the loss that the model was compiled with (see
    `headgate.exporter.inference`). The ONNX model is compared with Keras before anything is written, and a version
    appears complete or not at all.

    Args:
        model: the path of a `.keras` or `.h5` file or of a SavedModel, or a built keras.Model or tf_keras model, a
            tf.function with an `input_signature`, or a tf.Module that has one.
        repository: the folder of the model repository; made if it is not there.
        name: letters, digits and `_.-`; default: the file's name without its suffix, or the model's name.
        version: a positive integer that is not taken; default: the next free one.
        heads: `{output: setting}`, for outputs whose head cannot be inferred or is to be another. A setting is a kind
            (`"binary"`), a dictionary of fields (`{"kind": "binary", "activation": "logits", "labels": [...]}`; any of
            head.proto's fields of the head and its kind, what is left out is inferred), a `headgate.v1.Head`, or None
            for an output without a head. Enums are named without their prefix (`"box_format": "cxcywh"`), messages are
            dictionaries, vectors and boxes arrays. Of an autoencoder `{"kind": "anomaly", "reconstructed_input": "x",
            "reconstruction_error": "squared"}` exports the error in place of the reconstruction. Outputs are called as
            Keras calls them. Or the path of a heads.toml with one table an output (see
            `headgate.exporter.heads_file.read_heads`).
        labels: the class labels, in the order of the units; default `"0"`, `"1"`, ... Like the next four, for the one
            head that it fits, or as a dictionary by name of head.
        positive_label: the label whose probability a binary head reports; default: the second.
        threshold: the probability, 0..1, from which a binary head (or each label of a multilabel head) is positive;
            default 0.5.
        units: the unit of a regression's targets: `"mg/dl"`.
        target_scaling: how a regression's targets were scaled for training, undone while serving:
            `{"mean": ..., "scale": ..., "log1p": ...}` (see head.proto), `{"min": ..., "max": ..., "range": [0, 1]}`,
            or a fitted scikit-learn StandardScaler, RobustScaler or MinMaxScaler.
        paddings: the free axes of inputs that the server may fill up, so that requests of different sizes run as one
            batch: each a `headgate.v1.Padding` or, shorter, `"tokens:1"`, `"tokens:1=0,segments:1=0"` for axes that
            have one size (with what is filled in; default 0, text is filled with ""),
            `"tokens:1,mask=attention"` for a model with an input that tells real elements from those filled in. The
            outputs' axes that have this size are found. Refused where it changes an answer.
        feature_names: the names of the columns of an input [batch, features], for the only such input or by name of
            input. Clients can then send features by name; the names travel with the model.
        input_meanings: more that is known of inputs, such as the order of an image's channels. What the model tells
            itself (vocabularies, the layout of images and the range of pixels) need not be said.
        examples: real inputs to compare on as well: an array [rows, ...], `{input: array}`, or a DataFrame; where a
            model has one input, and no feature names are given, the columns' names are them. Needed for models that
            take text, and for subclassed models that take integers, since Keras does not record that.
        opset: the ONNX operator set, 13 to 18.
        signature: the signature of a SavedModel, default `serving_default`, or the tf.function of a tf.Module, default
            `__call__`.
        custom_objects: classes and functions of your own that the file names: `{"Attention": Attention}`, or as
            `"my_layers:Attention"`, one or a list, which is imported, from the current folder as well.
        fp16: compute in float16: half the size, and faster on GPUs; inputs and outputs stay as they are.
        int8: compute in 8 bits where that is faster, and store other large weights in 8 bits. `"dynamic"` finds the
            ranges of activations anew for each batch (transformers, LSTMs, MLPs), `"static"` takes them from
            `int8_data` (convolutional networks).
        optimize: let onnxruntime rewrite the graph now, for `"cpu"` or `"cuda"`, and not only when it is loaded.
        int8_data: some hundred real inputs for `int8="static"`, as `examples`; default: these.
        labelled: held-out data, to measure what fp16, int8 and optimize cost: `(x, y)`, or `{input: array, head:
            targets}` (`x` and `y` where there is one of them), see `headgate.exporter.labelled_data.labelled_data`.
            Default: `calibration`; without it, how much the answers to `examples`, or to random inputs, change.
        max_metric_loss: refuse a step that makes the accuracy, the R2 or another metric of a head (see
            `headgate.exporter.optimization.metrics.BOUNDED_METRICS`) worse by more than that, or an output of 8 bits
            lose more than that, or 0.1, of its fidelity (see `headgate.exporter.optimization.metrics.fidelity`).
        calibration: held-out data, as `labelled`, that the model was not trained on: it goes through the exported
            model, and heads that it has targets for get calibrated probabilities, and sets or intervals that hold the
            truth as often as they say (docs/calibration.md). Anomaly heads need no targets: the rows are taken for
            usual ones then.
        calibration_method: how probabilities are scaled: `"temperature"`, `"platt"`, `"isotonic"`, `"none"`, or
            `"auto"` for the one of the lowest cross-validated log-loss.
        choose_threshold: choose the threshold of a binary, multilabel (one a label) or anomaly head on the same data,
            by `"f1"`, `"balanced_accuracy"`, `"precision>=0.9"`, `"recall>=0.95"`,
            `"cost:false_positive=1,false_negative=5"` or, anomaly only, `"percentile:99"`; or `{head: criterion}`.
        confidence_levels: of sets and intervals; default: those of 0.8, 0.9, 0.95 and 0.99 that the rows allow. Answers
            hold those of 0.9 unless requests ask for others.
        prediction_sets: how sets of labels are made: `"aps"`, never empty and larger for rows that are hard, or
            `"lac"`, on average the smallest, and empty for some rows where the level is below the accuracy.
        safe_mode: refuse files that hold code (Lambda layers) or read other files when they are loaded.
        triton_config: write `config.pbtxt` and files of labels for Triton Inference Server beside the versions.
        dry_run: infer the inputs and the heads, convert nothing and write nothing.
        progress: called with the name of each stage as it begins (`headgate.exporter.stages.STAGES`), and while heads
            are calibrated with how far that is: `"calibrate: 40 % of 5000 rows"`, `"calibrate: head 'digit'"`.

    Raises:
        ExportError: the model cannot be exported as asked; nothing was written.

    Example:
        export_model("churn.keras", "models", labels=["stays", "leaves"], threshold=0.31)
    """
    stages = Stages(progress)
    if opset not in OPSETS:
        raise ConversionError(f"opset is {opset!r}; give a number from {OPSETS[0]} to {OPSETS[-1]}")

    stages.begin("import")
    with _ONE_AT_A_TIME, quiet():
        require_libraries()
        plan = OptimizationPlan(fp16, int8, optimize, max_metric_loss)
        plan.check_used(has_int8_data=int8_data is not None, has_labelled=labelled is not None)
        calibration_plan = CalibrationPlan(calibration_method, choose_threshold, confidence_levels, prediction_sets)
        if calibration is None and calibration_plan != CalibrationPlan():
            raise CalibrationError(
                "calibration_method=, choose_threshold=, confidence_levels= and prediction_sets= say what is fitted on "
                "held-out data; give it as calibration="
            )
        stages.begin("load")
        source = load_source(
            model,
            safe_mode=safe_mode,
            signature=signature,
            custom_objects=import_custom_objects(custom_objects or {}),
        )
        target = name if name is not None else source.name
        check_target(Path(repository), target, version)
        if triton_config:
            check_triton_config(Path(repository) / target)
        settings = read_heads(heads) if isinstance(heads, str | os.PathLike) else heads or {}
        traced = trace(source.model, examples, reconstructions=find_reconstructions(settings))
        meanings = find_input_meanings(traced, feature_names, input_meanings, examples)
        arrays = None if examples is None else named_arrays(traced.inputs, examples, meanings)
        int8_arrays = (
            None if int8_data is None else named_arrays(traced.inputs, int8_data, meanings, "the rows of int8_data=")
        )
        found_paddings = find_padding(paddings, traced)

        stages.begin("infer heads")
        shortcuts = {
            "labels": labels,
            "positive_label": positive_label,
            "threshold": threshold,
            "units": units,
            "target_scaling": target_scaling,
        }
        undecided: dict[str, str] = {}
        said = settings, shortcuts, undecided if dry_run else None, calibration is not None
        declared_heads, notes = _infer_heads(source, traced, *said)
        if masks := unread_masks(declared_heads, traced):
            traced = trace(source.model, examples, reconstructions=find_reconstructions(settings), masks=masks)
            declared_heads, notes = _infer_heads(source, traced, *said)
        notes += lookup_remarks(traced, meanings)
        notes += notes_of(traced)
        # Until they are calibrated, they have no intervals or sets of the levels that they declare.
        built_heads = declared_heads if calibration is None else [_without_level(head) for head in declared_heads]
        model_signature = Signature(
            schema_version=SCHEMA_VERSION,
            inputs=traced.inputs,
            outputs=traced.outputs,
            heads=built_heads,
            paddings=found_paddings,
            input_meanings=meanings,
            provenance=_provenance(source, opset),
        )
        held_out, measured = (
            None if data is None else read_held_out(traced.inputs, built_heads, meanings, data)
            for data in (calibration, labelled)
        )
        measured = measured or held_out
        calibration_plan.criteria_of(built_heads)
        if held_out is not None:
            calibration_plan.check_used([head for head in built_heads if head.name in held_out.targets])
        int8_arrays = plan.int8_inputs(int8_arrays, arrays, measured)
        if dry_run:
            number = version or next_version(Path(repository), target)
            path = Path(repository) / target / str(number) / "model.onnx"
            return ExportReport(
                path, target, number, model_signature, tuple(notes), stages.end(), undecided=undecided, written=False
            )

        stages.begin("convert")
        onnx_model = convert(traced, opset)
        nodes = len(onnx_model.graph.node)
        with staged_version(Path(repository), target) as staging:
            path = write_model(onnx_model, staging)
            # From here on the weights are in the file, and need no memory twice.
            del onnx_model
            release_memory()

            stages.begin("verify")
            runs = run_keras(traced, arrays)
            verification = verify(traced, path, runs=runs, heads=built_heads)
            if plan:
                stages.begin("optimize")
                optimized = optimize_model(path, plan, traced, built_heads, runs, arrays, int8_arrays, measured)
                model_signature.optimizations.extend(optimized.steps)
                notes += optimized.notes
                nodes = count_nodes(path)
            if held_out is not None:
                stages.begin("calibrate")
                # scikit-learn takes a second to import.
                from headgate.exporter.calibration.heads import calibrate_heads

                built_heads, remarks_on_heads = calibrate_heads(
                    path, declared_heads, traced.outputs, held_out, calibration_plan, stages.go_on
                )
                del model_signature.heads[:]
                model_signature.heads.extend(built_heads)
                notes += remarks_on_heads
            if plan:
                stages.begin("verify")
                verification = verify(traced, path, runs=runs, heads=built_heads, precision=optimized.precision)
            elif held_out is not None:
                count_changed_labels(verification, traced, path, runs, built_heads)
            model_signature.verification.CopyFrom(verification)
            notes += remarks(model_signature.verification, runs)
            notes += batch_remarks(traced, model_signature.verification, runs)
            golden = write_golden(staging, runs, traced.outputs, built_heads)
            model_signature.verification.golden_examples_sha256 = golden
            if not golden:
                notes.append("no golden examples were written: a single row of inputs and outputs is too large")
            if found_paddings:
                del model_signature.paddings[:]
                model_signature.paddings.extend(prove_padding(found_paddings, traced, path, arrays))

            stages.begin("write")
            add_metadata(path, METADATA_KEY, signature_to_json(model_signature))
            folder = publish(staging, version)
    if triton_config:
        try:
            write_triton_config(folder.parent, model_signature)
        except RepositoryError as error:
            raise RepositoryError(f"{error}; version {folder.name} itself is written") from error
    return ExportReport(
        path=folder / "model.onnx",
        name=target,
        version=int(folder.name),
        signature=model_signature,
        notes=tuple(notes),
        seconds=stages.end(),
        nodes=nodes,
    )


def _infer_heads(
    source: SourceModel,
    traced: TracedModel,
    settings: Mapping[str, HeadSetting],
    shortcuts: Mapping[str, Any],
    undecided: dict[str, str] | None,
    calibrating: bool,
) -> tuple[list[Head], list[str]]:
    aliases = [traced.aliases[spec.name] for spec in traced.outputs]
    losses = [LOST_LOSS] * len(aliases) if source.lost_loss else losses_of(source.model, aliases)
    heads, notes = build_heads(traced, losses, settings, shortcuts, undecided, calibrating)
    if source.lost_loss:
        notes.insert(0, f"the loss could not be loaded, so it tells nothing about the heads: {source.lost_loss}")
    return heads, notes


def _without_level(head: Head) -> Head:
    copy = Head()
    copy.CopyFrom(head)
    copy.ClearField("confidence_level")
    return copy


def _provenance(source: SourceModel, opset: int) -> Provenance:
    return Provenance(
        source_file=source.file,
        source_sha256=source.sha256,
        exported_at=utc_now(),
        opset=opset,
        versions=versions(),
    )
