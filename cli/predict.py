"""`headgate predict`: ask a server."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headgate.cli.errors import CommandError
from headgate.cli.json_text import json_text
from headgate.cli.tls import Tls, TlsCertificate, TlsKey, TlsRoots, check_pair

if TYPE_CHECKING:
    import grpc

    from headgate.client import Predictions
    from headgate.v1 import Head, Signature


#: What gRPC says where there is no server.
_NOT_REACHED = re.compile("failed to connect|resolv", re.IGNORECASE)


class Masks(StrEnum):
    """How segmentation's masks come."""

    CLASS_MAP = "class-map"
    RUN_LENGTHS = "run-lengths"
    NONE = "none"


def predict(
    model: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    inputs: Annotated[
        str,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE|JSON|-",
            help="A .npy, .npz, .json or .csv file, JSON itself, or - for JSON on stdin.",
            show_default=False,
        ),
    ],
    url: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The server: host:port or unix:/path.")
    ] = "localhost:8001",
    version: Annotated[int, typer.Option(metavar="N", min=0, help="The model's version; 0 is the latest.")] = 0,
    top_k: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="How many labels, texts or boxes a row; 0: as many as the model says."),
    ] = 0,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="The threshold of a decision or a score, instead of the model's own.",
            show_default=False,
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also print the probabilities of all labels.")
    ] = False,
    entropy: Annotated[bool, typer.Option("--entropy", help="Multiclass: also print the entropy of each row.")] = False,
    margin: Annotated[
        bool, typer.Option("--margin", help="Multiclass: also print how far the best label is ahead of the next.")
    ] = False,
    groups: Annotated[
        bool, typer.Option("--groups", help="Multiclass: also print the scores of groups of labels.")
    ] = False,
    level: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="The confidence level of intervals or sets of labels, such as 0.9; 0: none of them; default: the "
            "model's own.",
            show_default=False,
        ),
    ] = None,
    half_precision: Annotated[bool, typer.Option("--half-precision", help="Embeddings as float16.")] = False,
    masks: Annotated[
        Masks, typer.Option(help="Segmentation: a label for each pixel, run lengths, or areas alone.")
    ] = Masks.CLASS_MAP,
    relative: Annotated[
        bool, typer.Option("--relative", help="Coordinates as fractions of the image's sides, not pixels.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Seconds to wait for the server.")] = 30.0,
    tls: Tls = False,
    tls_ca: TlsRoots = None,
    tls_cert: TlsCertificate = None,
    tls_key: TlsKey = None,
) -> None:
    """Ask a server for predictions and print them, one line a row.

    The first dimension of an input is the batch: one row of four numbers is
    [[1, 2, 3, 4]]. For a model with several inputs give a JSON object or an
    .npz file with an array for each name, or a .csv file with a column for each.
    Features that the model names may be given by name, in any order.

      headgate predict iris --input '[[5.1, 3.5, 1.4, 0.2]]' --top-k 3
      headgate predict digits --input images.npy --json
      headgate predict prices --input '{"area": [[72]], "rooms": [[3]]}'
      headgate predict heart --input '{"age": 61, "sex": 1, "bmi": 21.5}'
      headgate predict streets --input photo.npy --masks run-lengths --json
      cat rows.json | headgate predict iris --url gpu1:8001 --input -
      headgate predict iris --input flowers.csv --url gpu1:8001 --tls-ca ca.pem

    In JSON, null stands for answers that are infinite or NaN; inputs may hold
    NaN and Infinity.
    """
    # Read when grpc is imported, which otherwise writes lines of its own.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from headgate.cli.arrays import read_inputs
    from headgate.client import Client, UnavailableError
    from headgate.client.requests import check_known

    try:
        with Client(url, timeout_s=timeout, credentials=_credentials(tls, tls_ca, tls_cert, tls_key)) as client:
            described = client.model(model, version)
            check_known(described, model)
            signature = described.signature
            predictions = client.predict(
                model,
                read_inputs(inputs, signature),
                version=version,
                top_k=top_k,
                threshold=threshold,
                include_probabilities=probabilities,
                include_entropy=entropy,
                include_margin=margin,
                include_groups=groups,
                confidence_level=level,
                half_precision=half_precision,
                mask_encoding=masks.name.lower(),  # type: ignore[arg-type]
                relative_coordinates=relative,
            )
    except UnavailableError as error:
        hint = f"; --url takes host:port of a server that runs{' with TLS' if tls or tls_ca or tls_cert else ''}"
        raise CommandError(f"{url}: {error}{hint if _NOT_REACHED.search(str(error)) else ''}") from error
    if as_json:
        answer = {"model": predictions.model, "version": predictions.version, "predictions": predictions.to_dicts()}
        print(json_text(answer))
    else:
        _print_table(predictions, signature)


def _credentials(
    tls: bool, ca: Path | None, certificate: Path | None, key: Path | None
) -> "grpc.ChannelCredentials | None":
    import ssl

    import grpc

    check_pair(certificate, key)
    if not tls and ca is certificate is None:
        return None
    pem = [file.read_bytes() if file else None for file in (ca, key, certificate)]
    # What grpc says of files that it cannot use is that the server cannot be reached; OpenSSL is clearer.
    context = ssl.create_default_context()
    try:
        if ca:
            context.load_verify_locations(ca)
        if certificate:
            context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        files = ", ".join(str(file) for file in (ca, certificate, key) if file)
        raise CommandError(
            f"{files} cannot be used: {error.reason or error}; give PEM files, a certificate and its key, not encrypted"
        ) from error
    return grpc.ssl_channel_credentials(*pem)


def _print_table(predictions: "Predictions", signature: "Signature") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    labels = {head.name: _labels(head) for head in signature.heads}
    table = Table("row", *predictions, title=f"{predictions.model} version {predictions.version}", title_justify="left")
    for number, row in enumerate(predictions.to_dicts()):
        table.add_row(str(number), *(Text(_cell(values, labels[head])) for head, values in row.items()))
    Console().print(table)


def _cell(values: dict[str, Any] | None, labels: list[str]) -> str:
    from headgate.client.rows import describe_row

    lines, values = [describe_row(values)], values or {}
    if "probabilities" in values:
        each = zip(labels, values["probabilities"], strict=True)
        lines.append("all: " + ", ".join(f"{label} {probability:.4g}" for label, probability in each))
    if "groups" in values:
        lines.append("groups: " + ", ".join(f"{group['label']} {group['score']:.4g}" for group in values["groups"]))
    lines += [f"{name}: {values[name]:.4g}" for name in ("entropy", "margin") if name in values]
    return "\n".join(lines)


def _labels(head: "Head") -> list[str]:
    return list(getattr(getattr(head, head.WhichOneof("kind") or ""), "labels", ()))
