"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table


def make_table(first: str, headings: Sequence[str]) -> Table:
    """Start a table: a column of names, which are not wrapped, and columns of figures."""
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), caption_justify="left")
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table
