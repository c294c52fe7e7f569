"""All attacks on a server, one after another, and what a bystander sees of them."""

from __future__ import annotations

import functools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import grpc

from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.fuzz import frames
from headgate.benchmarks.fuzz.attack import Attack, Finding
from headgate.benchmarks.fuzz.bystander import Bystander, Sighting
from headgate.benchmarks.fuzz.floods import floods
from headgate.benchmarks.fuzz.http import HttpAttack
from headgate.benchmarks.fuzz.models import write_repository
from headgate.benchmarks.fuzz.recognition import compare, request_caches
from headgate.benchmarks.fuzz.seeds import HTTP_BODIES, MEMORY_BYTES, infer_request, valid_requests
from headgate.benchmarks.fuzz.services import find_targets
from headgate.benchmarks.resources import Resources, read_resources
from headgate.foreign import open_inference as oip
from headgate.server import Server, ServerSettings

#: How inputs are shared among the attacks that can have any number of them.
_MESSAGES, _BYTES, _BEGINNINGS, _RECOGNITION, _TRANSIENT, _HTTP = 0.43, 0.27, 0.02, 0.2, 0.03, 0.05
#: So much of all happens before the server's memory is measured.
_WARMUP = 0.05
_CALM_S = 10.0
_FIELD_BYTES = 2**20
_STOP_TIMEOUT_S = 60.0
_NOTHING = Resources(0, 0, 0, 0)
#: What a server may write to stderr: what a client had it log, and models that failed on an input. What its supervisor
#: warns of is a process that died.
_EXPECTED_LINE = re.compile(
    r"\S+ \S+ (INFO|DEBUG|WARNING(?! headgate\.server\.supervisor)|"
    r"ERROR (worker \d+ )?\S*batch_runner: lookup/1 failed on request) "
)
GOOD = infer_request("classes", "FP32", [1, 4], bytes(16))
LARGE = infer_request("bytes", "UINT8", [10**6, 3], bytes(3 * 10**6))


@dataclass(slots=True)
class Phase:
    """One kind of attack, or none.

    Attributes:
        inputs: how many were sent.
        start_s, end_s: when, by `time.monotonic`.
        sightings: of the bystander meanwhile.
    """

    name: str
    inputs: int
    start_s: float
    end_s: float
    sightings: list[Sighting] = field(default_factory=list)


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


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server under attack; `http_port` is 0 if it has none."""

    port: int
    http_port: int
    pid: int


class Campaign:
    """Attacks servers that it starts, with as many inputs as it is told."""

    def __init__(self, inputs: int, seed: int, folder: Path, say: Callable[[str], None]) -> None:
        """Take the number of inputs, the source of chance, an empty folder, and who is told what happens."""
        self.report = Report()
        self._inputs = inputs
        self._seed = seed
        self._repository = folder / "models"
        self._say = say
        write_repository(self._repository)

    def run(self) -> Report:
        """Run all attacks."""
        memory = SharedMemory(f"headgate-fuzz-{os.getpid()}", create=True, size=MEMORY_BYTES)
        try:
            self._attack_server(f"/{memory.name}")
            self._attack_transient_models(f"/{memory.name}")
        finally:
            memory.close()
            memory.unlink()
        self._attack_recognition()
        return self.report

    def _attack_server(self, memory_key: str) -> None:
        with (
            serving(self._repository, ["--allow-shared-memory"], self.report.faults) as server,
            open_channel(server.port) as channel,
        ):
            url, rng = f"127.0.0.1:{server.port}", random.Random(self._seed)
            attack = Attack(channel, find_targets(channel), valid_requests(channel, memory_key), self._seed)
            self._say("a first round, until memory has settled")
            attack.send_changed(round(_WARMUP * self._inputs), 0.3)
            attack.send_enlarged(_FIELD_BYTES)
            self._send_bad_calls(server.port)
            for flood in floods(GOOD, LARGE).values():
                flood(server.port)
            self.report.settled = _resources(server, channel)
            with Bystander(url) as bystander:
                first = len(self.report.phases)
                self._phase("calm", lambda: time.sleep(_CALM_S))
                self._phase("changed messages", lambda: attack.send_changed(round(_MESSAGES * self._inputs), 0.0))
                self._phase("mutated bytes", lambda: attack.send_changed(round(_BYTES * self._inputs), 1.0))
                self._phase("one field of a megabyte", lambda: attack.send_enlarged(_FIELD_BYTES))
                self._phase("calls that break rules", lambda: self._send_bad_calls(server.port))
                self._phase("connections that break rules", lambda: self._send_beginnings(server.port, rng))
                for name, flood in floods(GOOD, LARGE).items():
                    self._phase(name, functools.partial(flood, server.port))
                self._phase("calm again", lambda: time.sleep(_CALM_S))
            self.report.ended = _resources(server, channel)
            self._take_sightings(bystander, first)
            self._take(attack)

    def _attack_transient_models(self, memory_key: str) -> None:
        arguments = ("--model-control", "explicit", "--load-model", "*", "--http-port", "0", "--allow-shared-memory")
        with (
            serving(self._repository, arguments, self.report.faults) as server,
            open_channel(server.port) as channel,
        ):
            # A list of models there is one of all models that are to be served: the bystander's is not among them.
            targets = [each for each in find_targets(channel) if not each.path.endswith("/HandleReloadConfigRequest")]
            attack = Attack(channel, targets, valid_requests(channel, memory_key), self._seed)
            http = HttpAttack(server.http_port, ("classes", "pair", "text"), HTTP_BODIES, self._seed)
            with Bystander(f"127.0.0.1:{server.port}") as bystander:
                first = len(self.report.phases)
                count = round(_TRANSIENT * self._inputs)
                self._phase("models that come and go", lambda: attack.send_changed(count, 0.2))
                self._phase("HTTP", lambda: http.send(round(_HTTP * self._inputs)))
            self._take_sightings(bystander, first)
            self._take(attack)
            self.report.codes += Counter({f"HTTP {status}": count for status, count in http.record.statuses.items()})
            self.report.faults += http.record.findings.values()

    def _attack_recognition(self) -> None:
        """Have requests recognised in this process, where nothing else takes time."""
        server = Server(ServerSettings(repository=self._repository, port=0))
        server.start()
        try:
            with open_channel(server.port) as channel:
                requests = [each for requests in valid_requests(channel, "").values() for each in requests]
            caches = request_caches()
            count = round(_RECOGNITION * self._inputs / len(caches))
            rng = random.Random(self._seed)

            def attack() -> int:
                for cache in caches:
                    for request in compare(cache, requests, rng, count):
                        self.report.faults.append(f"a request was taken for another one: {request.hex()}")
                return count * len(caches)

            self._phase("requests like earlier ones", attack)
        finally:
            server.stop()

    def _phase(self, name: str, attack: Callable[[], int | None]) -> None:
        self._say(name)
        start = time.monotonic()
        inputs = attack() or 0
        self.report.phases.append(Phase(name, inputs, start, time.monotonic()))

    def _send_bad_calls(self, port: int) -> int:
        calls = frames.bad_calls(GOOD)
        self.report.faults += [fault for call in calls if (fault := frames.send_call(port, call)) is not None]
        return len(calls)

    def _send_beginnings(self, port: int, rng: random.Random) -> int:
        beginnings = list(frames.bad_beginnings(GOOD, rng, round(_BEGINNINGS * self._inputs)))
        faults = [frames.send_beginning(port, beginning) for beginning in beginnings]
        self.report.faults += [fault for fault in faults if fault is not None]
        return len(beginnings)

    def _take_sightings(self, bystander: Bystander, first: int) -> None:
        for phase in self.report.phases[first:]:
            phase.sightings = [each for each in bystander.sightings if phase.start_s <= each.at_s < phase.end_s]
        faults = Counter(each.fault for each in bystander.sightings if each.fault)
        self.report.faults += [f"{count} good requests: {fault}" for fault, count in faults.items()]

    def _take(self, attack: Attack) -> None:
        record, report = attack.record, self.report
        report.codes += record.codes
        report.findings += record.findings.values()
        report.faults += [f"{finding.path}: {finding.fault}" for finding in record.findings.values()]
        report.slowest_s = max(report.slowest_s, record.slowest_s)


@contextmanager
def serving(repository: Path, arguments: Sequence[str], faults: list[str]) -> Iterator[RunningServer]:
    """Serve models with arguments of the command line; add to `faults` what the server should not have done.

    That is to die, to end otherwise than with exit code 0, and to write to stderr what nobody asked for.

    Raises:
        BenchmarkError: it did not start.
    """
    command = [sys.executable, "-m", "headgate.cli", "serve", str(repository), "--port", "0", *arguments]
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            try:
                yield _wait_until_ready(process)
            finally:
                died = process.poll() is not None
                process.terminate()
                try:
                    process.wait(_STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
        if died or process.returncode:
            faults.append(f"the server {'died' if died else 'ended'} with exit code {process.returncode}")
        log.seek(0)
        unexpected = [line.rstrip() for line in log if not _EXPECTED_LINE.match(line)]
        faults += [f"the server wrote: {line[:300]}" for line in unexpected[:20]]


def _resources(server: RunningServer, channel: grpc.Channel) -> Resources:
    """Read what a server holds, without the shared memory that it was told of: a descriptor for each region."""
    channel.unary_unary(f"/{oip.SERVICE.full_name}/SystemSharedMemoryUnregister")(b"")
    return read_resources(server.pid)


def _wait_until_ready(process: subprocess.Popen[str]) -> RunningServer:
    assert process.stdout is not None
    for line in process.stdout:
        if ready := re.match(r"ready: serving on \S+:(\d+)(?: and http://\S+:(\d+))?$", line):
            return RunningServer(int(ready[1]), int(ready[2] or 0), process.pid)
    raise BenchmarkError("the server ended before it was ready")


def open_channel(port: int) -> grpc.Channel:
    """Open a channel of its own to a port of this machine, for messages of any size."""
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options)


def to_json(report: Report) -> str:
    """Write the figures of a report, and its findings as the corpus of the tests has them."""
    phases = [
        {"name": phase.name, "inputs": phase.inputs, "seconds": phase.end_s - phase.start_s} for phase in report.phases
    ]
    findings = [
        {"method": finding.path, "requests": [each.hex() for each in finding.requests], "fault": finding.fault}
        for finding in report.findings
    ]
    return json.dumps({"phases": phases, "faults": report.faults, "findings": findings}, indent=1)
