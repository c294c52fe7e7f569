"""What an export made, as a table and as JSON."""

from collections.abc import Mapping, Sequence

from google.protobuf import json_format
from rich.filesize import decimal

from headgate.cli.heads import describe_head
from headgate.cli.json_text import json_text
from headgate.cli.signatures import (
    describe_input,
    describe_optimization,
    describe_padding,
    describe_parity,
    print_sections,
)
from headgate.decoders import decoder_for
from headgate.exporter import ExportReport
from headgate.v1.tensors import format_spec


def print_json(report: ExportReport, notes: Sequence[str], undecided: Mapping[str, str]) -> None:
    """Print all that is known of an export; `notes` and `undecided` are the report's, in the words of the command."""
    facts = {
        "file": str(report.path),
        "written": report.written,
        "name": report.name,
        "version": report.version,
        "bytes": report.size_bytes,
        "nodes": report.nodes,
        "seconds": report.seconds,
        "notes": notes,
        "undecided": undecided,
        "signature": json_format.MessageToDict(report.signature, preserving_proto_field_name=True),
    }
    print(json_text(facts))


def print_table(report: ExportReport, notes: Sequence[str], undecided: Mapping[str, str]) -> None:
    """Print what a reader of an export wants to check; `notes` and `undecided` as in `print_json`."""
    signature = report.signature
    decoded = {name for head in signature.heads for name in decoder_for(head, signature.outputs).reads}
    raw = [spec for spec in signature.outputs if spec.name not in decoded | undecided.keys()]
    took = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report.seconds.items())
    sections = {
        "inputs": [describe_input(spec, signature.input_meanings) for spec in signature.inputs],
        "padding": [describe_padding(padding) for padding in signature.paddings],
        "heads": [describe_head(head) for head in signature.heads],
        "undecided": list(undecided.values()),
        "raw outputs": [f"{spec.name}: {format_spec(spec)}" for spec in raw],
        "optimized": [describe_optimization(step) for step in signature.optimizations],
        "parity": describe_parity(signature.verification),
        "notes": notes,
        "seconds": [f"{sum(report.seconds.values()):.1f}: {took}"],
    }
    target = f"{report.path}: {report.name} version {report.version}"
    if report.written:
        size = f"{decimal(report.size_bytes)}, {report.nodes} nodes, opset {signature.provenance.opset}"
        repository = report.path.parents[2]
        sections = {"written": [target], **sections, "size": [size], "next": [f"headgate serve {repository}"]}
    else:
        sections = {"dry run": [f"{target}, not written"], **sections}
    print_sections({title: lines for title, lines in sections.items() if lines})
