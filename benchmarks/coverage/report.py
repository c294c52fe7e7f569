"""The matrix as a page of Markdown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby

from headgate.benchmarks.coverage.outcome import SILENT, Result
from headgate.benchmarks.machine import describe_machine

_PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx", "onnxruntime", "numpy")

_INTRODUCTION = """\
Each case is a Keras model with weights that are random in every part, exported by `headgate.exporter.export_model`, as
`headgate export` does; the file is then loaded into onnxruntime by itself and compared with Keras at two further batch
sizes, on inputs that the exporter did not see. `make coverage-matrix` runs all of it again.

- **exported**: headgate wrote a file, after its own comparison with Keras.
- **loads**: onnxruntime loads and runs it.
- **named**: inputs and outputs have the names that they have in Keras, the batch is the symbol `batch` in all of them,
  and no other free dimension has a name that says nothing (`unk__6`).
- **equal**: all of this, and onnxruntime computes what Keras computes: |onnx - keras| <= 1e-4 + 1e-3 |keras| for each
  number (1e-2 + 2e-2 |keras| where the model computes in 16 bits), integers and text exactly, shapes and types too.
- **error**: the largest |onnx - keras|, as a part of the largest |keras| of that output.
- **refused**: headgate said in one line why it does not export the model, and wrote nothing. Where ONNX cannot express
  the model, that is what is expected.
- **silent**: files that were written and are wrong or do not load. There must be none.
"""

_HEADINGS = (
    *("set", "cases", "exported", "loads", "named", "equal", "refused as expected", "not as expected", "silent"),
    *("skipped", "worst error", "seconds"),
)
_TITLES = {
    "layers": "Layers",
    "activations": "Activations",
    "shapes": "Shapes of models",
    "applications": "keras.applications",
}


def page(results: Sequence[Result]) -> str:
    """Return the page."""
    return "\n".join(_page(results)) + "\n"


def _page(results: Sequence[Result]) -> Iterator[str]:
    machine = describe_machine()
    yield "# Coverage: what of Keras exports\n"
    yield _INTRODUCTION
    yield f"{machine['date'][:10]}, {machine['cpu']}, Python {machine['python']}, {_versions()}.\n"
    yield _row(_HEADINGS)
    yield f"|---{'|---:' * (len(_HEADINGS) - 1)}|"
    for name, rows in _by_set(results):
        yield _summary(_TITLES[name], rows)
    if len(list(_by_set(results))) > 1:
        yield _summary("all", results)
    yield ""
    yield from _reasons(
        "What ONNX cannot express, or headgate does not export",
        [result for result in results if result.refused and result.is_expected],
    )
    yield from _reasons("Not as expected", [result for result in results if not result.is_expected])
    yield from _reasons("Skipped", [result for result in results if result.outcome.status == "skipped"])
    for name, rows in _by_set(results):
        yield f"## {_TITLES[name]}\n"
        yield from _by_subject(rows) if name == "layers" else _by_case(rows)
        yield ""


def _by_set(results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    for name, rows in groupby(results, lambda result: result.set):
        yield name, list(rows)


def _summary(title: str, results: Sequence[Result]) -> str:
    statuses = [result.outcome.status for result in results]
    equal, wrong = statuses.count("equal"), statuses.count("wrong")
    loads = equal + wrong + statuses.count("badly named")
    cells = [
        title,
        len(results),
        loads + statuses.count("unloadable"),
        loads,
        equal + wrong,
        equal,
        sum(1 for result in results if result.refused and result.is_expected),
        sum(1 for result in results if not result.is_expected),
        sum(1 for status in statuses if status in SILENT),
        statuses.count("skipped"),
        f"{max((result.outcome.error for result in results), default=0):.0e}",
        f"{sum(result.outcome.seconds for result in results):.0f}",
    ]
    return _row(cells)


def _reasons(title: str, results: Sequence[Result]) -> Iterator[str]:
    if results:
        yield f"## {title}\n"
        yield _row(["case", "result", "why", "headgate says"] if results[0].refused else ["case", "result", "reason"])
        yield f"|---|---|---{'|---' if results[0].refused else ''}|"
        for result in results:
            why = [result.refused] if results[0].refused else []
            yield _row([result.name, result.outcome.status, *why, result.outcome.reason])
        yield ""


def _by_subject(results: Sequence[Result]) -> Iterator[str]:
    """Write one row for all configurations of a layer."""
    yield "| layer | configurations | equal | worst error | nodes | seconds |"
    yield "|---|---|---:|---:|---:|---:|"
    for subject, group in groupby(sorted(results, key=_subject), _subject):
        rows = list(group)
        variants = "; ".join(
            variant if row.outcome.status == "equal" else f"~~{variant}~~"
            for row in rows
            for variant in [row.name.partition("/")[2]]
        )
        equal = [row.outcome for row in rows if row.outcome.status == "equal"]
        nodes = sorted(outcome.nodes for outcome in equal) or [0]
        yield _row(
            [
                subject,
                variants,
                f"{len(equal)} of {len(rows)}",
                f"{max((outcome.error for outcome in equal), default=0):.0e}",
                f"{nodes[0]} to {nodes[-1]}" if nodes[0] != nodes[-1] else nodes[0],
                f"{sum(row.outcome.seconds for row in rows):.1f}",
            ]
        )


def _by_case(results: Sequence[Result]) -> Iterator[str]:
    yield "| case | result | error | nodes | seconds | tolerance, where not the usual |"
    yield "|---|---|---:|---:|---:|---|"
    for result in results:
        outcome = result.outcome
        numbers = [f"{outcome.error:.0e}", outcome.nodes or "", f"{outcome.seconds:.1f}"]
        yield _row([result.name, outcome.status, *numbers, outcome.reason if outcome.status == "equal" else ""])


def _subject(result: Result) -> str:
    return result.name.partition("/")[0]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _versions() -> str:
    found = []
    for package in _PACKAGES:
        # TensorFlow is installed under one of two names.
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)
