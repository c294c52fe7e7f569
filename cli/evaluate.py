"""`headgate evaluate`: how well an exported model does on data with targets."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headgate.cli.errors import CommandError
from headgate.cli.json_text import json_text
from headgate.cli.model_files import find_model_file, open_checked

if TYPE_CHECKING:
    from headgate.exporter.evaluation.models import ExportedModel
    from headgate.exporter.evaluation.results import HeadEvaluation


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER", help="An ONNX file, or a model's folder in a repository.", show_default=False
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A .npz file: an array for each input, and targets for heads.", show_default=False
        ),
    ],
    head: Annotated[
        str | None,
        typer.Option(metavar="HEAD", help="Score this head alone; default: all with targets.", show_default=False),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="The level of intervals, or of sets of labels; default: all.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Binary, multilabel, segmentation, detection: instead of the model's own.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Rows that run at a time; default: some megabytes.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with pictures: one .html file.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Score an exported model on data with targets, through the decoders that servers answer with.

    An .npz file holds arrays by name: x for the only input and y for the only
    head, else the names of inputs and heads. docs/evaluation.md tells what
    targets each kind of head has, and what each metric means. TensorFlow is not needed.

      headgate evaluate models/iris test.npz
      headgate evaluate models/iris/2 test.npz --report iris.html
      headgate evaluate model.onnx test.npz --head diagnosis --threshold 0.3 --json
    """
    from headgate.cli.arrays import read_named_arrays
    from headgate.cli.progress import count_bar
    from headgate.exporter.evaluation.models import evaluate_model
    from headgate.exporter.evaluation.plots import require_matplotlib
    from headgate.exporter.evaluation.scorer import EvaluationSettings

    if report is not None:
        if report.suffix.lower() not in (".html", ".htm"):
            raise typer.BadParameter(f"'{report}' is no .html file", param_hint="--report")
        require_matplotlib()
    exported = open_checked(find_model_file(model))
    settings = EvaluationSettings(threshold, level, batch_size)
    with count_bar("rows") as progress:
        scorers = evaluate_model(exported, exported.read(read_named_arrays(data)), head, settings, progress)
    evaluations = [scorer.evaluation() for scorer in scorers]
    if report is not None:
        _write_report(report, exported, data, evaluations)
    if as_json:
        facts = {"file": str(exported.path), "data": str(data), "heads": [found.to_dict() for found in evaluations]}
        print(json_text(facts))
    else:
        for found in evaluations:
            _print_tables(found)


def _write_report(path: Path, model: "ExportedModel", data: Path, evaluations: "Sequence[HeadEvaluation]") -> None:
    from headgate.cli.heads import describe_fitting, describe_head
    from headgate.cli.signatures import describe_provenance
    from headgate.exporter.evaluation.report import report_of

    signature = model.signature
    names = {found.head for found in evaluations}
    heads = [head for head in signature.heads if head.name in names]
    facts = {
        "model": [str(model.path)],
        "data": [str(data)],
        "heads": [describe_head(head) for head in heads],
        "calibration": [line for head in heads if head.HasField("calibration") for line in describe_fitting(head)],
        "provenance": describe_provenance(signature.provenance) if signature.HasField("provenance") else [],
    }
    page = report_of(f"Evaluation of {model.path}", facts, evaluations)
    try:
        # Names of files may hold what is no text.
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error


def _print_tables(found: "HeadEvaluation") -> None:
    from rich.console import Console
    from rich.text import Text

    from headgate.cli.signatures import print_sections
    from headgate.cli.tables import print_table
    from headgate.exporter.evaluation.report import warnings_of
    from headgate.exporter.evaluation.results import number_in_words

    console = Console()
    console.print(Text(f"{found.head}: {found.kind}, {found.rows} rows", style="bold"))
    for warning in warnings_of(found):
        console.print(Text(warning, style="yellow"))
    print_sections({name: [number_in_words(value)] for name, value in found.scores.metrics.items()})
    for table in found.scores.tables:
        print_table(table)
    console.print()
