"""All attacks on a server, one after another, and what a bystander sees of them."""

from __future__ import annotations

import functools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import grpc

from headgate.benchmarks.fuzz import frames
from headgate.benchmarks.fuzz.attack import Attack
from headgate.benchmarks.fuzz.control import Control
from headgate.benchmarks.fuzz.floods import floods
from headgate.benchmarks.fuzz.http import HttpAttack
from headgate.benchmarks.fuzz.models import write_repository
from headgate.benchmarks.fuzz.phases import Phases
from headgate.benchmarks.fuzz.recognition import compare, request_caches
from headgate.benchmarks.fuzz.report import Phase, Report
from headgate.benchmarks.fuzz.seeds import HTTP_BODIES, MEMORY_BYTES, infer_request, valid_requests
from headgate.benchmarks.fuzz.services import find_targets
from headgate.benchmarks.fuzz.serving import RunningServer, open_channel, serving
from headgate.benchmarks.processors import running_on, split_processors
from headgate.benchmarks.resources import Resources, read_resources
from headgate.foreign import open_inference as oip
from headgate.server import Server, ServerSettings

#: How inputs are shared among the attacks that can have any number of them.
_MESSAGES, _BYTES, _BEGINNINGS, _RECOGNITION, _TRANSIENT, _HTTP = 0.43, 0.27, 0.02, 0.2, 0.03, 0.05
#: So much of all happens before the server's memory is measured.
_WARMUP = 0.05
#: Attacks that can have any number of inputs take turns with the good requests that they are compared with.
_TURNS = 10
_CALM_S = 10.0
_LOAD = f"/{oip.SERVICE.full_name}/RepositoryModelLoad"
_FIELD_BYTES = 2**20
GOOD = infer_request("classes", "FP32", [1, 4], bytes(16))
LARGE = infer_request("bytes", "UINT8", [10**6, 3], bytes(3 * 10**6))
#: As much as the server takes, once it is decompressed.
_GOOD_COMPRESSED = infer_request("images", "FP32", [1300, 64, 64, 3], bytes(1300 * 64 * 64 * 3 * 4), "pixels")


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
        with self._under_attack("--allow-shared-memory") as (server, channel, phases):
            rng = random.Random(self._seed)
            targets, seeds = find_targets(channel), valid_requests(channel, memory_key)
            attack = Attack(channel, targets, seeds, self._seed)
            control = Control(channel, targets, seeds, self._seed)
            send_calls, send_beginnings = (
                functools.partial(self._send_frames, functools.partial(send, server.port))
                for send in (frames.send_call, frames.send_beginning)
            )
            all_floods = floods(GOOD, LARGE)
            self._say("a first round, until memory has settled")
            attack.send_changed(round(_WARMUP * self._inputs), 0.3)
            for send in (None, control.send):
                attack.send_enlarged(_FIELD_BYTES, send)
            send_calls([*frames.bad_calls(GOOD), *frames.bombs(), frames.good_compressed_call(_GOOD_COMPRESSED)])
            for flood in all_floods.values():
                flood.attack(server.port)
            for send_good in dict.fromkeys(flood.good for flood in all_floods.values()):
                send_good(server.port)
            self.report.settled = _resources(server, channel)
            with phases.watched():
                phases.run("calm", lambda: time.sleep(_CALM_S))
                for name, share, mutated in (("changed messages", _MESSAGES, 0.0), ("mutated bytes", _BYTES, 1.0)):
                    change = functools.partial(attack.send_changed, round(share * self._inputs / _TURNS), mutated)
                    phases.run(name, change, functools.partial(change, control.send), _TURNS)
                enlarge = functools.partial(attack.send_enlarged, _FIELD_BYTES)
                phases.run("one field of a megabyte", enlarge, functools.partial(enlarge, control.send))
                for name, bad, good in (
                    ("calls that break rules", frames.bad_calls(GOOD), frames.good_call(GOOD)),
                    ("a gigabyte compressed", frames.bombs(), frames.good_compressed_call(_GOOD_COMPRESSED)),
                ):
                    phases.run(
                        name, functools.partial(send_calls, bad), functools.partial(send_calls, [good] * len(bad))
                    )
                beginnings = list(frames.bad_beginnings(GOOD, rng, round(_BEGINNINGS * self._inputs)))
                phases.run(
                    "connections that break rules",
                    lambda: send_beginnings(beginnings),
                    lambda: send_beginnings([frames.good_beginning(GOOD)] * len(beginnings)),
                )
                for name, flood in all_floods.items():
                    phases.run(
                        name, functools.partial(flood.attack, server.port), functools.partial(flood.good, server.port)
                    )
                phases.run("calm again", lambda: time.sleep(_CALM_S))
            self.report.ended = _resources(server, channel)
            self._take(attack, control)

    def _attack_transient_models(self, memory_key: str) -> None:
        arguments = ("--model-control", "explicit", "--load-model", "*", "--http-port", "0", "--allow-shared-memory")
        with self._under_attack(*arguments) as (server, channel, phases):
            # A list of models there is one of all models that are to be served: the bystander's is not among them.
            targets = [each for each in find_targets(channel) if not each.path.endswith("/HandleReloadConfigRequest")]
            seeds = valid_requests(channel, memory_key)
            attack = Attack(channel, targets, seeds, self._seed)
            control = Control(channel, targets, seeds, self._seed)
            http = HttpAttack(server.http_port, ("classes", "pair", "text"), HTTP_BODIES, self._seed)
            count = round(_HTTP * self._inputs)
            change = functools.partial(attack.send_changed, round(_TRANSIENT * self._inputs), 0.2)
            with phases.watched():
                phases.run("models that come and go", change, functools.partial(change, control.send))
                for request in seeds[_LOAD]:
                    channel.unary_unary(_LOAD)(request)
                phases.run("HTTP", lambda: http.send(count), lambda: http.send_good(count))
            self._take(attack, control)
            self.report.codes += Counter({f"HTTP {status}": count for status, count in http.record.statuses.items()})
            self.report.faults += http.record.findings.values()

    def _attack_recognition(self) -> None:
        """Have requests recognised in this process, where nothing else takes time."""
        name = "requests like earlier ones"
        self._say(name)
        server = Server(ServerSettings(repository=self._repository, port=0))
        server.start()
        try:
            with open_channel(server.port) as channel:
                requests = [each for requests in valid_requests(channel, "").values() for each in requests]
            caches = request_caches()
            count = round(_RECOGNITION * self._inputs / len(caches))
            rng = random.Random(self._seed)
            for cache in caches:
                for request in compare(cache, requests, rng, count):
                    self.report.faults.append(f"a request was taken for another one: {request.hex()}")
            self.report.phases.append(Phase(name, count * len(caches)))
        finally:
            server.stop()

    @contextmanager
    def _under_attack(self, *arguments: str) -> Iterator[tuple[RunningServer, grpc.Channel, Phases]]:
        """Serve on a processor, and do all else in the `with` statement on others."""
        processor, others = split_processors()
        with ExitStack() as stack:
            with running_on(processor):
                server = stack.enter_context(serving(self._repository, arguments, self.report.faults))
            stack.enter_context(running_on(others))
            channel = stack.enter_context(open_channel(server.port))
            phases = Phases(server, channel, self._say)
            yield server, channel, phases
            self.report.phases += phases.done
            self.report.faults += phases.faults

    def _send_frames(self, send: Callable[[Any], str | None], inputs: Sequence[Any]) -> int:
        self.report.faults += [fault for each in inputs if (fault := send(each)) is not None]
        return len(inputs)

    def _take(self, attack: Attack, control: Control) -> None:
        record, report = attack.record, self.report
        report.codes += record.codes
        report.findings += record.findings.values()
        report.faults += [f"{finding.path}: {finding.fault}" for finding in record.findings.values()]
        report.faults += control.faults
        report.slowest_s = max(report.slowest_s, record.slowest_s)


def _resources(server: RunningServer, channel: grpc.Channel) -> Resources:
    """Read what a server holds, without the shared memory that it was told of: a descriptor for each region."""
    channel.unary_unary(f"/{oip.SERVICE.full_name}/SystemSharedMemoryUnregister")(b"")
    return read_resources(server.pid)
