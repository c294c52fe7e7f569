"""Attacks on a server, each beside as many good requests, and what a bystander sees of both."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import grpc

from headgate.benchmarks.fuzz.bystander import Bystander
from headgate.benchmarks.fuzz.report import Load, Phase
from headgate.benchmarks.fuzz.serving import RunningServer
from headgate.benchmarks.processors import tree_cpu_ns
from headgate.foreign import open_inference as oip

_SERVER_LIVE = f"/{oip.SERVICE.full_name}/ServerLive"
_NICENESS = 10
_Result = TypeVar("_Result")


class Phases:
    """What a server is sent, one thing after another.

    Attributes:
        done: in order.
        faults: what was wrong with the answers that a bystander got.
    """

    def __init__(self, server: RunningServer, channel: grpc.Channel, say: Callable[[str], None]) -> None:
        """Take the server, a channel to it, and who is told what happens."""
        self.done: list[Phase] = []
        self.faults: list[str] = []
        self._server = server
        self._channel = channel
        self._say = say

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have a bystander ask all the time."""
        with Bystander(f"127.0.0.1:{self._server.port}") as bystander:
            yield
        for phase in self.done:
            phase.bad.take_from(bystander.sightings)
            phase.good.take_from(bystander.sightings)
        faults = Counter(each.fault for each in bystander.sightings if each.fault)
        self.faults += [f"{count} good requests: {fault}" for fault, count in faults.items()]

    def run(
        self,
        name: str,
        attack: Callable[[], int | None],
        control: Callable[[], object] | None = None,
        turns: int = 1,
    ) -> None:
        """Attack, so many times, each time after as many good requests; the attack returns how many inputs it had."""
        self._say(name)
        phase = Phase(name)
        for _ in range(turns):
            if control is not None:
                self._send(control, phase.good)
            phase.inputs += self._send(attack, phase.bad) or 0
        self.done.append(phase)

    def _send(self, send: Callable[[], _Result], load: Load) -> _Result:
        start, cpu_ns = time.monotonic(), tree_cpu_ns(self._server.pid)
        # The bystander shares the processor: it must not be this that it waits for.
        with ThreadPoolExecutor(1, initializer=os.nice, initargs=(_NICENESS,)) as thread:
            result = thread.submit(send).result()
        # Answered after what came before it.
        self._channel.unary_unary(_SERVER_LIVE)(b"")
        load.cpu_s += (tree_cpu_ns(self._server.pid) - cpu_ns) / 1e9
        load.spans.append((start, time.monotonic()))
        return result
