"""`python -m headgate.benchmarks.decoders`."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Annotated

import typer

from headgate.benchmarks import pages
from headgate.benchmarks.command import JsonFile, run
from headgate.benchmarks.decoders.case import Case
from headgate.benchmarks.decoders.report import page, table, to_json
from headgate.benchmarks.decoders.timing import measure
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.machine import describe_machine
from headgate.benchmarks.processors import running_on

# Detection first: of its rivals PyTorch has to be imported before TensorFlow, or LLVM ends the process.
_SUBJECTS = ("detection", "classification", "ctc")


def main(
    only: Annotated[str | None, typer.Option(help="Cases whose name holds this.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(help="How long each contender is timed.", min=0.001)] = 1.0,
    json_file: JsonFile = None,
    write: Annotated[bool, typer.Option("--write", help="Write the tables to benchmarks/results.")] = False,
) -> None:
    """Time each decoder beside its floors and what people use. Give the machine nothing else to do."""
    if write and only is not None:
        raise BenchmarkError("--write is for a run of all cases; leave out --only")
    if write:
        pages.check_folder()
    machine = describe_machine()
    # Threads, such as TensorFlow's, keep to where they were started.
    with running_on({max(os.sched_getaffinity(0))}):
        chosen = _cases(only)
        timings = []
        for case in chosen:
            timings.append(measure(case, seconds))
            print("\n".join(table(timings[-1])), flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps(to_json(machine, timings), indent=1) + "\n")
    if write:
        pages.write(machine, "decoders", page(machine, timings))


def _cases(only: str | None) -> list[Case]:
    subjects = [import_module(f"headgate.benchmarks.decoders.{subject}") for subject in _SUBJECTS]
    cases: list[Case] = [case for subject in subjects for case in subject.cases()]
    chosen = [case for case in cases if only is None or only.lower() in case.name.lower()]
    if not chosen:
        raise BenchmarkError("\n  ".join([f"no case's name holds '{only}'; there are", *(case.name for case in cases)]))
    return chosen


if __name__ == "__main__":
    run(main)
