"""`headgate inspect`: what an ONNX file says about itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate.cli.errors import CommandError
from headgate.cli.json_text import json_text
from headgate.cli.model_files import find_model_file

if TYPE_CHECKING:
    from headgate.v1 import Signature, TensorSpec


def inspect(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|FOLDER", help="An ONNX file, or a model's folder in a repository.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print what a model takes, what its outputs mean, and where it came from.

    Of a model's folder the latest version is shown. TensorFlow is not needed.

      headgate inspect models/iris
      headgate inspect models/iris/2 --json
      headgate inspect model.onnx
    """
    from headgate.server.session import Session
    from headgate.v1.signatures import METADATA_KEY, signature_from_json

    path = find_model_file(model)
    session = Session(path, "CPUExecutionProvider", intra_op_threads=1)
    try:
        text = session.metadata.get(METADATA_KEY)
        signature = None if text is None else signature_from_json(text)
    except ValueError as error:
        raise CommandError(f"{path}: {error}") from error
    if as_json:
        print(json_text(_facts(path, session.inputs, session.outputs, signature)))
    else:
        _print_table(path, session.inputs, session.outputs, signature)


def _size(path: Path) -> int:
    """Return the bytes of a file, and of that of its weights where it has one."""
    weights = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (weights.stat().st_size if weights.is_file() else 0)


def _facts(
    path: Path, inputs: "Sequence[TensorSpec]", outputs: "Sequence[TensorSpec]", signature: "Signature | None"
) -> dict[str, Any]:
    from google.protobuf import json_format

    def plain(message: "Signature | TensorSpec") -> dict[str, Any]:
        return json_format.MessageToDict(message, preserving_proto_field_name=True)

    return {
        "file": str(path),
        "bytes": _size(path),
        "inputs": [plain(spec) for spec in inputs],
        "outputs": [plain(spec) for spec in outputs],
        "signature": None if signature is None else plain(signature),
    }


def _print_table(
    path: Path, inputs: "Sequence[TensorSpec]", outputs: "Sequence[TensorSpec]", signature: "Signature | None"
) -> None:
    from rich.filesize import decimal

    from headgate.cli.heads import describe_fitting, describe_head
    from headgate.cli.signatures import (
        describe_golden,
        describe_input,
        describe_optimization,
        describe_padding,
        describe_provenance,
        describe_verification,
        print_sections,
    )
    from headgate.v1.tensors import format_spec

    sections = {
        "file": [f"{path}, {decimal(_size(path))}"],
        "inputs": [describe_input(spec, signature.input_meanings if signature else ()) for spec in inputs],
        "outputs": [f"{spec.name}: {format_spec(spec)}" for spec in outputs],
    }
    if signature is None:
        sections["signature"] = [
            "none: the file does not say what its outputs mean; `headgate export` writes files that do"
        ]
    else:
        sections["padding"] = [describe_padding(padding) for padding in signature.paddings]
        sections["heads"] = [describe_head(head) for head in signature.heads]
        calibrated = [head for head in signature.heads if head.HasField("calibration")]
        sections["calibration"] = [line for head in calibrated for line in describe_fitting(head)]
        if signature.optimizations:
            sections["optimized"] = [describe_optimization(step) for step in signature.optimizations]
        sections["verification"] = describe_verification(signature.verification)
        sections["golden"] = [describe_golden(path, signature.verification)]
        sections["provenance"] = describe_provenance(signature.provenance) if signature.HasField("provenance") else []
    print_sections(sections)
