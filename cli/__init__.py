"""The `headgate` command."""

from headgate.cli.app import main

__all__ = ["main"]
