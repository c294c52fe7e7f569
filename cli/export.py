"""`headgate export`: from a Keras file to a version in a model repository."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate.cli.errors import CommandError

if TYPE_CHECKING:
    from headgate.exporter import ExportReport

_MEANING = "What the outputs mean (HEAD=VALUE, repeated, where there are several heads)"
_STAGES = {
    "load": "loading",
    "infer heads": "inferring heads",
    "convert": "converting",
    "verify": "comparing with Keras",
}


def export(
    model: Annotated[Path, typer.Argument(help="A .keras or .h5 file.", show_default=False)],
    repository: Annotated[
        Path, typer.Argument(help="The model repository, a folder; made if it is not there.", show_default=False)
    ],
    name: Annotated[
        str | None, typer.Option(help="The model's name; default: that of the file.", show_default=False)
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="The model's version; default: the next free one.", show_default=False)
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OUTPUT=KIND",
            help="regression, binary, multiclass, multilabel, or none; default: inferred from the model.",
            rich_help_panel=_MEANING,
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,...|@FILE",
            help="The class labels in the order of the units, or a file with one a line.",
            rich_help_panel=_MEANING,
        ),
    ] = None,
    positive_label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="Binary: the label whose probability is reported; default: the second.",
            rich_help_panel=_MEANING,
        ),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="P",
            help="Binary, multilabel: the probability from which a label is predicted; P,P,... one a label.",
            rich_help_panel=_MEANING,
        ),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(metavar="UNIT,...", help="Regression: the unit of each target.", rich_help_panel=_MEANING),
    ] = None,
    target_mean: Annotated[
        str | None,
        typer.Option(
            metavar="X,...", help="Regression: the mean that was subtracted for training.", rich_help_panel=_MEANING
        ),
    ] = None,
    target_scale: Annotated[
        str | None,
        typer.Option(metavar="X,...", help="Regression: what was divided by for training.", rich_help_panel=_MEANING),
    ] = None,
    target_log1p: Annotated[
        bool,
        typer.Option(
            "--target-log1p", help="Regression: the targets were log1p(y) before scaling.", rich_help_panel=_MEANING
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
        ),
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="Real inputs to compare on too: an .npy or .npz file.", show_default=False)
    ] = None,
    opset: Annotated[int | None, typer.Option(help="The ONNX operator set, 13 to 18.", show_default=False)] = None,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe", help="Load files that hold code (Lambda layers): only if you trust their origin."),
    ] = False,
) -> None:
    """Export a Keras model to a model repository, together with what its outputs mean.

    The file is converted to ONNX, compared with Keras on batches of several
    sizes, and written to <repository>/<name>/<version>/model.onnx, or not at all.

      headgate export iris.keras models --labels setosa,versicolor,virginica
      headgate export churn.keras models --labels stays,leaves --threshold 0.31
      headgate export price.keras models --units EUR --target-mean 210.5 --target-scale 88
      headgate export scan.keras models --labels organ=@organs.txt --units size=mm
      headgate export review.keras models --pad tokens:1
      headgate export review.keras models --pad tokens:1=0,mask=attention
    """
    from rich.console import Console

    from headgate.cli.arrays import read_arrays

    scaling = {
        "mean": _floats(target_mean, "--target-mean"),
        "scale": _floats(target_scale, "--target-scale"),
        "log1p": target_log1p or None,
    }
    given = {
        "name": name,
        "version": version,
        "heads": _kinds(head or []),
        "labels": _by_head(labels or [], "--labels", _read_labels),
        "positive_label": _by_head(positive_label or [], "--positive-label", str),
        "threshold": _by_head(threshold or [], "--threshold", lambda text: _floats(text, "--threshold")),
        "units": _by_head(units or [], "--units", _split),
        "target_scaling": {key: value for key, value in scaling.items() if value is not None} or None,
        "paddings": pad,
        "examples": None if examples is None else read_arrays(examples),
        "opset": opset,
    }
    with Console(stderr=True).status("importing TensorFlow") as status:
        from headgate.exporter import ExportError, export_model

        try:
            report = export_model(
                model,
                repository,
                safe_mode=not unsafe,
                progress=lambda stage: status.update(_STAGES.get(stage, stage)),
                **{key: value for key, value in given.items() if value is not None},
            )
        except ExportError as error:
            raise CommandError(_name_options(str(error))) from error
    _print_report(report, repository)


def _kinds(settings: Sequence[str]) -> dict[str, str | None] | None:
    kinds: dict[str, str | None] = {}
    for setting in settings:
        output, equals, kind = setting.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{setting}' is not OUTPUT=KIND, such as price=regression", param_hint="--head")
        kinds[output] = None if kind == "none" else kind
    return kinds or None


def _by_head(values: Sequence[str], option: str, read: Callable[[str], Any]) -> Any:
    """Read the values of an option: one for the only head that it fits, or a dict of HEAD=VALUE; None without any."""
    if not values:
        return None
    if len(values) == 1 and "=" not in values[0]:
        return read(values[0])
    pairs = [value.partition("=") for value in values]
    odd = next((head for head, equals, _ in pairs if not equals), None)
    if odd is not None:
        raise typer.BadParameter(f"'{odd}' is given beside others; write HEAD=VALUE for each head", param_hint=option)
    return {head: read(value) for head, _, value in pairs}


def _read_labels(text: str) -> list[str]:
    if text.startswith("@"):
        return Path(text[1:]).read_text(encoding="utf-8").splitlines()
    return _split(text)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _floats(text: str | None, option: str) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no number", param_hint=option) from None


def _print_report(report: "ExportReport", repository: Path) -> None:
    from headgate.cli.signatures import describe_head, describe_padding, print_sections
    from headgate.v1.tensors import format_spec

    signature = report.signature
    worst = max(signature.verification.checks, key=lambda check: check.max_absolute_error)
    sections = {
        "written": [f"{report.path}: {report.name} version {report.version}"],
        "inputs": [f"{spec.name}: {format_spec(spec)}" for spec in signature.inputs],
        "padding": [describe_padding(padding) for padding in signature.paddings],
        "heads": [describe_head(head) for head in signature.heads],
        "worst error": [f"|onnx - keras| = {worst.max_absolute_error:.2g} in '{worst.output}'"],
        "notes": [_name_options(note) for note in report.notes],
        "next": [f"headgate serve {repository}"],
    }
    print_sections(sections)


def _name_options(message: str) -> str:
    """Write the arguments that the exporter speaks of as the options of this command.

    >>> _name_options("say it with heads={'price': 'regression'}")
    'say it with --head price=regression'
    """
    message = re.sub(r"heads=\{'([^']*)': '?(\w+)'?\}", r"--head \1=\2", message).replace("=None", "=none")
    message = message.replace("safe_mode=False", "--unsafe")
    return re.sub(r"\b(labels|name|opset|threshold|units)=", r"--\1 ", message).rstrip()
