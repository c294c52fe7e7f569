"""How commands that ask a server connect to it over TLS."""

from pathlib import Path
from typing import Annotated, Any

import typer

from headgate.cli.errors import CommandError


def _file(text: str) -> Any:
    return typer.Option(metavar="FILE", help=text, show_default=False, rich_help_panel="TLS")


Tls = Annotated[bool, typer.Option("--tls", help="Connect over TLS.", rich_help_panel="TLS")]
TlsRoots = Annotated[Path | None, _file("TLS: trust these roots (PEM) instead of the usual ones.")]
TlsCertificate = Annotated[Path | None, _file("Mutual TLS: the certificate (chain) to show the server, PEM.")]
TlsKey = Annotated[Path | None, _file("The private key of --tls-cert, PEM, not encrypted.")]


def check_pair(certificate: Path | None, key: Path | None) -> None:
    """Check that a certificate has its key, and a key its certificate.

    Raises:
        CommandError: one of them is missing.
    """
    if (certificate is None) != (key is None):
        raise CommandError("a client's certificate takes its key: give both --tls-cert and --tls-key")
