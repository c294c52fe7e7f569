"""`headgate export`: from a Keras file to a version in a model repository."""

import logging
import os
from contextlib import nullcontext
from inspect import signature as signature_of
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli.arguments import (
    name_options,
    read_by_head,
    read_criteria,
    read_images,
    read_kinds,
    read_labels,
    read_list,
    read_numbers,
)
from headgate.cli.errors import CommandError

_SOURCE = "How the file is read"
_HEADS = "What the outputs mean (HEAD=VALUE, repeated, where there are several heads)"
_INPUTS = "What the inputs are"
_FILES = "What is written"
_SMALLER = "Smaller and faster"
_FITTED = "What is fitted on held-out data"
_SHOWN = "What is shown"
#: Stages in words; others are shown as they are called.
_STAGES = {
    "import": "importing TensorFlow",
    "load": "loading the model",
    "infer heads": "inferring heads",
    "convert": "converting to ONNX",
    "verify": "comparing with Keras",
    "optimize": "making it smaller or faster",
    "calibrate": "calibrating",
    "write": "writing",
}


def export(
    model: Annotated[Path, typer.Argument(help="A .keras or .h5 file, or a SavedModel.", show_default=False)],
    repository: Annotated[
        Path, typer.Argument(help="The model repository, a folder; made if it is not there.", show_default=False)
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model's name; default: that of the file.", show_default=False),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The model's version; default: the next free one.",
            show_default=False,
        ),
    ] = None,
    signature: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The signature of a SavedModel; default: serving_default.",
            show_default=False,
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    custom_object: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="A class or function of your own that the file names; found in the current folder, too. Repeated.",
            show_default=False,
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe",
            help="Load files that hold code (Lambda layers) or read other files: only if you trust their origin.",
            rich_help_panel=_SOURCE,
        ),
    ] = False,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OUTPUT=KIND",
            help="regression, binary, multiclass, ... (docs/heads.md lists all kinds), or none; default: inferred from "
            "the model. KIND:logits or KIND:probabilities where that cannot be told. Fields without an option of their "
            "own are said in a --heads file.",
            rich_help_panel=_HEADS,
        ),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A heads.toml: for each output a table with the fields of its head.",
            show_default=False,
            rich_help_panel=_HEADS,
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,...|@FILE",
            help="The class labels in the order of the units, or a file with one a line.",
            rich_help_panel=_HEADS,
        ),
    ] = None,
    positive_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Binary: the label whose probability is reported; default: the second.",
            rich_help_panel=_HEADS,
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P",
            help="The probability from which a label is predicted; multilabel: P,P,... one a label. Anomaly: a score.",
            rich_help_panel=_HEADS,
        ),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(metavar="UNIT,...", help="Of numbers: the unit of each target.", rich_help_panel=_HEADS),
    ] = None,
    target_mean: Annotated[
        str | None,
        typer.Option(
            metavar="X,...", help="Of numbers: the mean that was subtracted for training.", rich_help_panel=_HEADS
        ),
    ] = None,
    target_scale: Annotated[
        str | None,
        typer.Option(metavar="X,...", help="Of numbers: what was divided by for training.", rich_help_panel=_HEADS),
    ] = None,
    target_log1p: Annotated[
        bool,
        typer.Option(
            "--target-log1p", help="Of numbers: the targets were log1p(y) before scaling.", rich_help_panel=_HEADS
        ),
    ] = False,
    pad: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT:AXIS[=FILL],...",
            help="Fill up a free axis (default: with 0), so that requests of different sizes run as one batch. By "
            "commas: axes of the same size, and mask=INPUT, which is 1 for real elements. Repeated: other sizes. "
            "Refused where it changes an answer.",
            show_default=False,
            rich_help_panel=_INPUTS,
        ),
    ] = None,
    feature_names: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,...|@FILE",
            help="The names of an input's columns, or a file with one a line; clients can then send features by name. "
            "INPUT=NAMES, repeated, where several inputs have columns.",
            show_default=False,
            rich_help_panel=_INPUTS,
        ),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT=PART,...",
            help="What an image holds: the order of its channels (gray, rgb, bgr, rgba), its layout (nhwc, nchw), the "
            "range of its values (MIN..MAX), such as photo=rgb,0..255; default: as far as the model tells.",
            show_default=False,
            rich_help_panel=_INPUTS,
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Real inputs to compare on too: an .npy or .npz file, or a .csv file whose first line names features.",
            show_default=False,
            rich_help_panel=_INPUTS,
        ),
    ] = None,
    fp16: Annotated[
        bool,
        typer.Option("--fp16", help="Compute in float16: half the size, faster on GPUs.", rich_help_panel=_SMALLER),
    ] = False,
    int8: Annotated[
        str | None,
        typer.Option(
            metavar="dynamic|static",
            help="Compute in 8 bits: a quarter of the size. dynamic for MLPs, transformers and LSTMs; static, which "
            "needs --int8-data or --examples, for convolutional networks.",
            show_default=False,
            rich_help_panel=_SMALLER,
        ),
    ] = None,
    optimize: Annotated[
        str | None,
        typer.Option(
            metavar="cpu|cuda",
            help="Let onnxruntime rewrite the graph for this device now, not only when it is loaded.",
            show_default=False,
            rich_help_panel=_SMALLER,
        ),
    ] = None,
    int8_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Some hundred real inputs for --int8 static: a file as for --examples; default: these.",
            show_default=False,
            rich_help_panel=_SMALLER,
        ),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Held-out inputs and targets, to measure what these cost: an .npz file with an array for each input "
            "and each head, or x and y; default: --calibrate.",
            show_default=False,
            rich_help_panel=_SMALLER,
        ),
    ] = None,
    max_metric_loss: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Refuse what costs a head more accuracy, R2, mean IoU, ... than that; default: 0.01.",
            show_default=False,
            rich_help_panel=_SMALLER,
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Held-out inputs and targets, as --labelled: probabilities are calibrated, and answers get sets or "
            "intervals that hold the truth as often as they say.",
            show_default=False,
            rich_help_panel=_FITTED,
        ),
    ] = None,
    calibration_method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="How probabilities are scaled: temperature, platt, isotonic, none, or auto, the best of them.",
            show_default=False,
            rich_help_panel=_FITTED,
        ),
    ] = None,
    choose_threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CRITERION",
            help="Choose the threshold, one for each label of a multilabel head, by f1, balanced_accuracy, "
            "precision>=0.9, recall>=0.95, what errors cost (see above), or of an anomaly head percentile:99. "
            "HEAD=CRITERION, repeated, where several heads have thresholds.",
            show_default=False,
            rich_help_panel=_FITTED,
        ),
    ] = None,
    confidence_levels: Annotated[
        str | None,
        typer.Option(
            metavar="X,...",
            help="Of sets and intervals; default: those of 0.8, 0.9, 0.95 and 0.99 that the data allows.",
            show_default=False,
            rich_help_panel=_FITTED,
        ),
    ] = None,
    prediction_sets: Annotated[
        str | None,
        typer.Option(
            metavar="aps|lac",
            help="How sets of labels are made: aps, never empty (default), or lac, on average the smallest.",
            show_default=False,
            rich_help_panel=_FITTED,
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(metavar="N", help="The ONNX operator set, 13 to 18.", show_default=False, rich_help_panel=_FILES),
    ] = None,
    triton_config: Annotated[
        bool,
        typer.Option(
            "--triton-config",
            help="Also write config.pbtxt and files of labels for Triton Inference Server.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the inputs and heads that would be exported; convert nothing, write nothing.",
            rich_help_panel=_SHOWN,
        ),
    ] = False,
    write_heads: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --dry-run: write the inferred heads to a new file, to be edited and read by --heads.",
            show_default=False,
            rich_help_panel=_SHOWN,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=_SHOWN)
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Log what TensorFlow and tf2onnx say.", rich_help_panel=_SHOWN),
    ] = False,
) -> None:
    r"""Export a Keras model to a model repository, together with what its outputs mean.

    The file is converted to ONNX, compared with Keras on batches of several
    sizes, and written to <repository>/<name>/<version>/model.onnx, or not at all.

      headgate export iris.keras models --labels setosa,versicolor,virginica
      headgate export churn.keras models --labels stays,leaves --threshold 0.31
      headgate export price.keras models --units EUR --target-scale 88.5
      headgate export scan.keras models --labels organ=@organs.txt --units size=mm
      headgate export review.keras models --pad tokens:1
      headgate export churn.keras models --calibrate held_out.npz \
        --choose-threshold cost:false_positive=1,false_negative=5
      headgate export scan.keras models --dry-run --write-heads heads.toml
      headgate export scan.keras models --heads heads.toml
    """
    from headgate.cli.arrays import read_examples, read_named_arrays
    from headgate.cli.progress import stage_bar
    from headgate.cli.reports import print_json, print_table
    from headgate.exporter import ExportError, export_model
    from headgate.exporter.heads_file import heads_text, read_heads
    from headgate.exporter.stages import STAGES

    if write_heads and (not dry_run or heads):
        raise typer.BadParameter("goes with --dry-run, and not with --heads", param_hint="--write-heads")
    scaling = {
        "mean": None if target_mean is None else read_numbers(target_mean, "--target-mean"),
        "scale": None if target_scale is None else read_numbers(target_scale, "--target-scale"),
        "log1p": target_log1p or None,
    }
    given = {
        "name": name,
        "version": version,
        "heads": {**(read_heads(heads) if heads else {}), **read_kinds(head or [])} or None,
        "labels": read_by_head(labels or [], "--labels", read_labels),
        "positive_label": read_by_head(positive_label or [], "--positive-label", str),
        "threshold": read_by_head(threshold or [], "--threshold", lambda text: read_numbers(text, "--threshold")),
        "units": read_by_head(units or [], "--units", read_list),
        "target_scaling": {key: value for key, value in scaling.items() if value is not None} or None,
        "paddings": pad,
        "feature_names": read_by_head(feature_names or [], "--feature-names", read_labels),
        "input_meanings": read_images(image or []) or None,
        "examples": None if examples is None else read_examples(examples),
        "fp16": fp16 or None,
        "int8": int8,
        "optimize": optimize,
        "int8_data": None if int8_data is None else read_examples(int8_data),
        "labelled": None if labelled is None else read_named_arrays(labelled),
        "max_metric_loss": max_metric_loss,
        "calibration": None if calibrate is None else read_named_arrays(calibrate),
        "calibration_method": calibration_method,
        "choose_threshold": read_criteria(choose_threshold or []),
        "confidence_levels": confidence_levels and read_numbers(confidence_levels, "--confidence-levels"),
        "prediction_sets": prediction_sets,
        "opset": opset,
        "signature": signature,
        "custom_objects": custom_object,
        "safe_mode": not unsafe,
        "triton_config": triton_config,
        "dry_run": dry_run,
    }
    if verbose:
        _log_everything()
    arguments = list(signature_of(export_model).parameters)
    try:
        with nullcontext() if verbose else stage_bar(STAGES, _STAGES) as begin:
            report = export_model(
                model, repository, progress=begin, **{key: value for key, value in given.items() if value is not None}
            )
    except ExportError as error:
        raise CommandError(name_options(str(error), arguments)) from error
    notes = [name_options(note, arguments) for note in report.notes]
    undecided = {output: name_options(reason, arguments) for output, reason in report.undecided.items()}
    if as_json:
        print_json(report, notes, undecided)
    else:
        print_table(report, notes, undecided)
    if write_heads:
        # Never over a file that someone may have edited.
        try:
            with write_heads.open("x", encoding="utf-8") as file:
                file.write(heads_text(report.name, report.signature, undecided))
        except FileExistsError as error:
            raise CommandError(f"{write_heads} is there already and stays as it is; give another name") from error
    elif undecided:
        raise CommandError(next(iter(undecided.values())))


def _log_everything() -> None:
    """Log what the libraries say to stderr; TensorFlow's C++ part heeds this only before it is imported."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("headgate.exporter").setLevel(logging.DEBUG)
