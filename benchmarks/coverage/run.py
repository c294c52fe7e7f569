"""The matrix run: which case goes to which process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.benchmarks.coverage.outcome import Outcome, Result
from headgate.benchmarks.coverage.runner import Answer, Worker
from headgate.benchmarks.errors import BenchmarkError

#: TensorFlow keeps some memory of every model.
_CASES_A_PROCESS = 150


@dataclass(frozen=True)
class Settings:
    """How cases are tried.

    Attributes:
        timeout_s: how long a case may take.
        application_timeout_s: how long an architecture of keras.applications may take.
        known: outcomes by set and name of the case; these cases are not tried again.
    """

    timeout_s: float
    application_timeout_s: float
    known: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)


def run_matrix(
    sets: Sequence[str], is_wanted: Callable[[str], bool], settings: Settings
) -> Iterator[tuple[Result, int, int]]:
    """Try the cases; yield each result with its position and their number.

    Cases share a process, save those of `applications`, which are large and have one each.

    Raises:
        BenchmarkError: the cases, Keras or the exporter cannot be imported.
    """
    with Worker(make_answer) as worker:
        try:
            cases = [row for row in worker.ask(("list", sets), settings.timeout_s) if is_wanted(row[1])]
        except (ChildProcessError, TimeoutError) as error:
            raise BenchmarkError(f"the cases cannot be listed: {error}") from None
        for position, (set_name, name, refused) in enumerate(cases, 1):
            if (set_name, name) in settings.known:
                yield Result(set_name, name, refused, settings.known[set_name, name]), position, len(cases)
                continue
            alone = set_name == "applications"
            if alone or position % _CASES_A_PROCESS == 0:
                worker.stop()
            timeout = settings.application_timeout_s if alone else settings.timeout_s
            try:
                outcome = worker.ask(("try", set_name, name), timeout)
            except TimeoutError as error:
                outcome = Outcome("timed out", str(error), timeout)
            except ChildProcessError as error:
                outcome = Outcome("crashed", str(error))
            yield Result(set_name, name, refused, outcome), position, len(cases)


def make_answer() -> Answer:
    """Import Keras and the cases, in a worker."""
    from headgate.exporter.libraries import quiet, require_libraries, silent_tensorflow

    require_libraries()
    with quiet(), silent_tensorflow():
        from headgate.benchmarks.coverage.matrix import SETS, case_of
        from headgate.benchmarks.coverage.trial import try_case

    def answer(question: tuple[Any, ...]) -> Any:
        match question:
            case "list", sets:
                return [(name, case.name, case.refused) for name in sets for case in SETS[name]]
            case "try", set_name, name:
                return try_case(case_of(set_name, name))
        raise ValueError(f"no such question: {question}")

    return answer
