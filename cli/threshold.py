"""`headgate threshold`: the thresholds of an exported model, what others would lead to, and changing them."""

import copy
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate.cli.errors import CommandError
from headgate.cli.json_text import json_text
from headgate.cli.model_files import find_model_file, open_checked

if TYPE_CHECKING:
    from headgate.exporter.evaluation.trade_offs import Comparison
    from headgate.exporter.thresholds import Threshold
    from headgate.v1 import Head, Signature


def threshold(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER", help="An ONNX file, or a model's folder in a repository.", show_default=False
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA", help="A .npz file of inputs and targets, as for `headgate evaluate`.", show_default=False
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="HEAD[/LABEL]", help="This head alone, or one of its labels.", show_default=False),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            metavar="CRITERION",
            help="With DATA: f1, balanced_accuracy, precision>=0.9, recall>=0.95, "
            "cost:false_positive=1,false_negative=5, or of anomalies percentile:99.",
            show_default=False,
        ),
    ] = None,
    value: Annotated[
        float | None,
        typer.Option("--set", metavar="X", help="Write this threshold into the model.", show_default=False),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write what --criterion chooses on DATA into the model.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="In a repository: change the version itself rather than add one.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show the thresholds of a model, compare others on data, or write new ones, without exporting again.

    In a repository a new threshold makes a new version, which is there at once
    or not at all, and can be taken back; a file elsewhere is changed itself.
    Weights stay as they are. TensorFlow is not needed.

      headgate threshold models/heart
      headgate threshold models/heart test.npz
      headgate threshold models/heart test.npz --criterion 'recall>=0.95' --write
      headgate threshold models/tags --head tags/urgent --set 0.31
    """
    from headgate.exporter.thresholds import set_threshold, thresholds_of

    _check_usage(data, criterion, value, write, in_place)
    path = find_model_file(model)
    signature = _signature_of(path)
    before = copy.deepcopy(signature)
    heads, label = _named_heads(signature, head)
    compared = [] if data is None else _compare(path, data, heads, label, criterion)
    if value is not None:
        if len(heads) > 1:
            names = ", ".join(one.name for one in heads)
            raise CommandError(f"{path} has several heads with thresholds; give one with --head: {names}")
        set_threshold(heads[0], label, value)
    elif write:
        chosen = [(one, choice) for one, comparison in compared for choice in comparison.choices]
        if not chosen:
            raise CommandError(next(iter(compared[0][1].refusals.values())))
        for one, choice in chosen:
            set_threshold(one, choice.label, choice.threshold, choice)
    written = _write(path, before, signature, in_place) if write or value is not None else None
    shown = [one for one in thresholds_of(heads) if label in ("", one.label)]
    (_print_json if as_json else _print_tables)(path, shown, compared, written)


def _check_usage(data: Path | None, criterion: str | None, value: float | None, write: bool, in_place: bool) -> None:
    if criterion is not None and data is None:
        raise typer.BadParameter("needs data to choose on: give a .npz file", param_hint="--criterion")
    if write and criterion is None:
        raise typer.BadParameter("needs --criterion, by which the threshold is chosen", param_hint="--write")
    if value is not None and data is not None:
        raise typer.BadParameter("goes without data: the threshold is given", param_hint="--set")
    if in_place and not write and value is None:
        raise typer.BadParameter("goes with --set or --write", param_hint="--in-place")


def _signature_of(path: Path) -> "Signature":
    from headgate.exporter.model_files import read_metadata
    from headgate.v1.signatures import METADATA_KEY, signature_from_json

    text = read_metadata(path, METADATA_KEY)
    if text is None:
        raise CommandError(f"{path} does not say what its outputs mean; give a file that `headgate export` has written")
    try:
        return signature_from_json(text)
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error


def _named_heads(signature: "Signature", name: str | None) -> "tuple[list[Head], str]":
    """Return the head that HEAD or HEAD/LABEL names, and the label; or all heads that have thresholds."""
    from headgate.exporter.thresholds import check_label, thresholds_of

    heads = {head.name: head for head in signature.heads if thresholds_of([head])}
    if not heads:
        raise CommandError("no head of this model decides by a threshold")
    if name is None:
        return list(heads.values()), ""
    if name in heads:
        return [heads[name]], ""
    # Heads may have names with slashes, too.
    found = max((head for head in heads if name.startswith(f"{head}/")), key=len, default=None)
    if found is None:
        raise CommandError(f"there is no head '{name}' with thresholds; those with thresholds are {', '.join(heads)}")
    label = name.removeprefix(f"{found}/")
    check_label(heads[found], label)
    return [heads[found]], label


def _compare(
    path: Path, data: Path, heads: "Sequence[Head]", label: str, criterion: str | None
) -> "list[tuple[Head, Comparison]]":
    """Compare thresholds of the heads that have targets; the choices are for the head's own, and say on which data."""
    from headgate.cli.arrays import read_named_arrays
    from headgate.cli.progress import count_bar
    from headgate.exporter.calibration.held_out import fingerprint
    from headgate.exporter.evaluation.models import evaluate_model
    from headgate.exporter.evaluation.trade_offs import compare_thresholds
    from headgate.exporter.thresholds import thresholds_of

    model = open_checked(path)
    labelled = model.read(read_named_arrays(data))
    sha256 = fingerprint(labelled)
    with count_bar("rows") as progress:
        scorers = evaluate_model(model, labelled, heads[0].name if len(heads) == 1 else None, progress=progress)
    by_name = {head.name: head for head in heads}
    compared = []
    for scorer in scorers:
        head = by_name.get(scorer.head.name)
        current = {one.label: one.value for one in thresholds_of([scorer.head])}
        if head is None:
            continue
        for ranking in scorer.rankings():
            if label in ("", ranking.label):
                criteria = None if criterion is None else [criterion]
                comparison = compare_thresholds(head, ranking, current[ranking.label], criteria)
                for choice in comparison.choices:
                    choice.data_sha256 = sha256
                compared.append((head, comparison))
    if not compared:
        raise CommandError(f"{data} has no targets for a binary, multilabel or anomaly head of {path}")
    return compared


def _write(path: Path, before: "Signature", signature: "Signature", in_place: bool) -> Path:
    """Write the new signature; return the file that has it."""
    from headgate.decoders import HeadError, decoder_for
    from headgate.exporter.signature_files import is_version, write_in_place, write_new_version

    try:
        for head in signature.heads:
            decoder_for(head, signature.outputs)
    except HeadError as error:
        raise CommandError(str(error)) from error
    if is_version(path) and not in_place:
        return write_new_version(path, signature)
    write_in_place(path, before, signature)
    return path


def _print_json(
    path: Path, thresholds: "Sequence[Threshold]", compared: "Sequence[tuple[Head, Comparison]]", written: Path | None
) -> None:
    from dataclasses import asdict

    from google.protobuf import json_format

    facts: dict[str, Any] = {"file": str(path), "thresholds": [asdict(threshold) for threshold in thresholds]}
    if compared:
        facts["comparisons"] = [
            {
                "head": head.name,
                "label": comparison.label,
                "costs": dict(zip(("false_positive", "false_negative"), comparison.costs, strict=True)),
                "trade_offs": comparison.table.to_dicts(),
                "choices": [
                    json_format.MessageToDict(choice, preserving_proto_field_name=True) for choice in comparison.choices
                ],
                "refusals": comparison.refusals,
            }
            for head, comparison in compared
        ]
    if written is not None:
        facts["written"] = str(written)
    print(json_text(facts))


def _print_tables(
    path: Path, thresholds: "Sequence[Threshold]", compared: "Sequence[tuple[Head, Comparison]]", written: Path | None
) -> None:
    from rich.console import Console
    from rich.text import Text

    from headgate.cli.signatures import print_sections
    from headgate.cli.tables import print_table
    from headgate.exporter.evaluation.results import Table

    sections = {"written" if written else "file": [str(written or path)]}
    sections["thresholds"] = [
        f"{_titled(one.head, one.label)}: {'none' if one.value is None else f'{one.value:.6g}'}, {one.origin}"
        for one in thresholds
    ]
    print_sections(sections)
    for head, comparison in compared:
        title = _titled(head.name, comparison.label)
        costs = "a false positive costs {:g}, a false negative {:g}".format(*comparison.costs)
        print_table(
            Table(f"{title}: what thresholds lead to; {costs}", comparison.table.header, comparison.table.lines)
        )
        # Of a percentile of usual rows alone they are not known.
        lines = [
            (choice.criterion, choice.threshold, *((choice.precision, choice.recall) if choice.recall else (nan, nan)))
            for choice in comparison.choices
        ]
        if lines:
            header = ("criterion", "threshold", "precision", "recall")
            print_table(Table(f"{title}: what criteria choose", header, lines))
        for refusal in dict.fromkeys(comparison.refusals.values()):
            refused = ", ".join(name for name, reason in comparison.refusals.items() if reason == refusal)
            Console().print(Text(f"{refused}: {refusal}"))
    if any(comparison.choices for _, comparison in compared):
        Console().print(Text("Precision and recall are those of the rows that choose: expect a little less of others."))


def _titled(head: str, label: str) -> str:
    return f"{head}/{label}" if label else head
