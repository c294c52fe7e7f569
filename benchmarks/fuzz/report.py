"""What attacks sent, and what became of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from headgate.benchmarks.fuzz.attack import Finding
from headgate.benchmarks.fuzz.bystander import Sighting
from headgate.benchmarks.resources import Resources

_NOTHING = Resources(0, 0, 0, 0)


@dataclass(slots=True)
class Load:
    """What was sent for a while, and what became of it.

    Attributes:
        spans: from when to when, by `time.monotonic`.
        cpu_s: of the server and its processes.
        sightings: of the bystander meanwhile.
    """

    spans: list[tuple[float, float]] = field(default_factory=list)
    cpu_s: float = 0.0
    sightings: list[Sighting] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return sum(end - start for start, end in self.spans)

    def take_from(self, sightings: Sequence[Sighting]) -> None:
        """Take what was seen meanwhile."""
        self.sightings = [each for each in sightings if any(start <= each.at_s < end for start, end in self.spans)]


@dataclass(slots=True)
class Phase:
    """One kind of attack, or none.

    Attributes:
        inputs: how many were sent.
        bad: the attack.
        good: as many good requests; nothing if it is compared with none.
    """

    name: str
    inputs: int = 0
    bad: Load = field(default_factory=Load)
    good: Load = field(default_factory=Load)


@dataclass(slots=True)
class Report:
    """What was seen.

    Attributes:
        phases: in order, the first one calm.
        codes: how calls ended, by the name of the status.
        faults: of the server, in one line each.
        findings: inputs that show some of the faults.
        settled, ended: what the server held when it had seen some of everything, and at the end.
        slowest_s: the longest that a call took.
    """

    phases: list[Phase] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    settled: Resources = _NOTHING
    ended: Resources = _NOTHING
    slowest_s: float = 0.0

    @property
    def inputs(self) -> int:
        """All of them."""
        return sum(phase.inputs for phase in self.phases)

    def cpu_s(self, load: Load) -> float:
        """Return what a load took of the server, beside what it takes when it is calm; NaN if there was none."""
        if not load.spans:
            return math.nan
        calm = self.phases[0].bad
        return load.cpu_s - calm.cpu_s / calm.seconds * load.seconds


def to_json(report: Report) -> str:
    """Write the figures of a report, and its findings as the corpus of the tests has them."""
    phases = [
        {"name": phase.name, "inputs": phase.inputs, "bad": _figures(phase.bad), "good": _figures(phase.good)}
        for phase in report.phases
    ]
    findings = [
        {"method": finding.path, "requests": [each.hex() for each in finding.requests], "fault": finding.fault}
        for finding in report.findings
    ]
    return json.dumps({"phases": phases, "faults": report.faults, "findings": findings}, indent=1)


def _figures(load: Load) -> dict[str, float | list[float]]:
    latencies_ms = [each.latency_s * 1e3 for each in load.sightings]
    return {"seconds": load.seconds, "cpu_s": load.cpu_s, "latencies_ms": latencies_ms}
