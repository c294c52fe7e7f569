"""`python -m headgate.benchmarks.coverage`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import typer

from headgate.benchmarks.command import run
from headgate.benchmarks.coverage.outcome import Outcome, Result
from headgate.benchmarks.coverage.report import page
from headgate.benchmarks.coverage.run import Settings, run_matrix
from headgate.benchmarks.errors import BenchmarkError

_SETS = ("layers", "activations", "shapes", "applications")


def main(
    sets: Annotated[
        list[str] | None, typer.Option("--set", help=f"One of {', '.join(_SETS)}; may be given several times.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Cases whose name holds this, or matches it as a pattern: 'Conv2D/*'.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for a case.", min=1)] = 120,
    application_timeout: Annotated[float, typer.Option(help="Seconds for an application.", min=1)] = 1800,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcomes there, too.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Try only what the --json file does not hold, or not as expected.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the page goes; default: docs/coverage.md for a run of everything, else standard output.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export every case, compare it with Keras, and write down what passes."""
    chosen = sets or list(_SETS)
    if unknown := [name for name in chosen if name not in _SETS]:
        raise BenchmarkError(f"there is no set {', '.join(unknown)}; choose from {', '.join(_SETS)}")

    def is_wanted(name: str) -> bool:
        return only is None or only.lower() in name.lower() or fnmatch(name.lower(), only.lower())

    kept = _read(json_file) if resume and json_file is not None and json_file.exists() else {}
    known = {key: result.outcome for key, result in kept.items() if result.is_expected}
    results: list[Result] = []
    for result, position, total in run_matrix(chosen, is_wanted, Settings(timeout, application_timeout, known)):
        results.append(result)
        kept[result.set, result.name] = result
        print(f"[{position}/{total}] {_line(result)}", file=sys.stderr)
        if json_file is not None:
            _write(json_file, kept.values())
    if not results:
        raise BenchmarkError(f"no case is called '{only}'")
    everything = sets is None and only is None
    text = page(results)
    if output is None and everything:
        output = Path("docs/coverage.md")
    if output is None:
        print(text)
    else:
        output.write_text(text)
        print(f"wrote {output}")
    if not all(result.is_expected for result in results):
        sys.exit(1)


def _read(file: Path) -> dict[tuple[str, str], Result]:
    rows = json.loads(file.read_text())
    return {(row["set"], row["name"]): Result(**row | {"outcome": Outcome(**row["outcome"])}) for row in rows}


def _write(file: Path, results: Iterable[Result]) -> None:
    file.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


def _line(result: Result) -> str:
    outcome = result.outcome
    error = f", error {outcome.error:.1e}" if outcome.status == "equal" else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    unexpected = "" if result.is_expected else "  <-- not as expected"
    return f"{result.name}: {outcome.status}{error}, {outcome.seconds:.1f} s{reason}{unexpected}"


if __name__ == "__main__":
    run(main)
