"""What a long command is doing, for whoever watches."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def stage_bar(stages: Sequence[str], titles: dict[str, str]) -> Iterator[Callable[[str], None]]:
    """Show a bar on stderr while the block runs, if that is a terminal; give the function that begins a stage.

    Args:
        stages: all of them, in their order.
        titles: what to call them; default: as they are called. What a stage says of its parts, "stage: part", is shown
            after its title.
    """
    with _bar() as bar:
        if bar is None:
            yield lambda stage: None
            return
        task = bar.add_task(titles.get(stages[0], stages[0]), total=len(stages))

        def begin(said: str) -> None:
            stage, colon, part = said.partition(": ")
            done = stages.index(stage) if stage in stages else None
            bar.update(task, description=f"{titles.get(stage, stage)}{colon}{part}", completed=done)

        yield begin


@contextmanager
def count_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs, if that is a terminal; give the function that says how far it is."""
    with _bar() as bar:
        if bar is None:
            yield lambda done, total: None
            return
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _bar() -> "Iterator[Progress | None]":
    """Give a bar, or None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        # Names of heads may hold what rich takes for markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # A file descriptor of its own: the exporter holds 2 back while TensorFlow writes to it.
    with (
        os.fdopen(os.dup(sys.stderr.fileno()), "w") as stderr,
        Progress(*columns, console=Console(file=stderr), transient=True) as bar,
    ):
        yield bar
