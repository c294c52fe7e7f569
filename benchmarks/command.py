"""What the commands of the benchmarks share: an option, a progress bar, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn

from headgate.benchmarks.errors import BenchmarkError

JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write all figures to this file.", dir_okay=False, show_default=False)
]


def run(main: Callable[..., None]) -> None:
    """Run a function with the options of the command line; a BenchmarkError ends the process with one line."""
    try:
        typer.run(main)
    except BenchmarkError as error:
        sys.exit(f"error: {error}")


@contextmanager
def progress_bar(time: ProgressColumn, beginning: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show on stderr what goes on, and yield what is told how much is done, how much there is, and what is next."""
    columns = (BarColumn(), MofNCompleteColumn(), time, TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=2) as progress:
        task = progress.add_task(beginning, total=None)

        def show(done: int, total: int, description: str) -> None:
            progress.update(task, completed=done, total=total, description=description)

        yield show
