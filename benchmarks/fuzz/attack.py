"""Sending what was drawn, and learning from the answers what to draw next."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from headgate.benchmarks.fuzz.messages import MessageFuzzer, enlarge
from headgate.benchmarks.fuzz.mutations import mutate
from headgate.benchmarks.fuzz.services import Target
from headgate.benchmarks.fuzz.verdict import Outcome, judge

#: Far more than the slowest answer takes: who waits for longer waits for ever.
TIMEOUT_S = 30.0
_CONCURRENCY = 8
_ROUND = 16
#: Requests that each method keeps to change: one for each kind of answer.
_MAX_SEEDS, _MAX_SEED_BYTES = 256, 10_000
_MAX_WORDS = 256
_DIGITS_AND_NAMES = re.compile(r"'[^']*'|[0-9]+|\[.*?\]")

Messages = tuple[bytes, ...]
Call = tuple[Target, Messages]
#: Sends calls to a method; returns how many messages they had.
Send = Callable[[Target, Sequence[Messages]], int]


@dataclass(frozen=True, slots=True)
class Finding:
    """An input that was answered wrongly.

    Attributes:
        path: of the method.
        requests: one, or the messages of a stream.
        fault: what is wrong.
    """

    path: str
    requests: Messages
    fault: str


@dataclass(slots=True)
class Record:
    """What an attack has seen.

    Attributes:
        inputs: how many messages were sent.
        codes: how calls ended, by the name of the status.
        paths: of the methods that were called.
        findings: one for each kind of fault of a method.
        slowest_s: the longest that a call took, in seconds.
    """

    inputs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    slowest_s: float = 0.0


class Attack:
    """Sends bad input to the methods of a server, the same for the same seed and server."""

    def __init__(
        self, channel: grpc.Channel, targets: Sequence[Target], seeds: Mapping[str, Sequence[bytes]], seed: int
    ) -> None:
        """Take valid requests by the path of their method, as far as there are any."""
        self.record = Record()
        self._channel = channel
        self._targets = targets
        self._rng = random.Random(seed)
        self._seeds: dict[str, list[Messages]] = {target.path: [] for target in targets}
        self._kinds: dict[str, set[Any]] = {target.path: set() for target in targets}
        self._words = {""}
        for target in targets:
            for request in seeds.get(target.path, ()):
                self._learn(target, (request,), [target.request.FromString(request)])

    def send_changed(self, inputs: int, mutated: float, send: Send | None = None) -> int:
        """Send about as many messages, of which a share was mutated as bytes; return how many.

        `send` may send something else in their place.
        """
        turns = self._turns()
        sent = 0
        while sent < inputs:
            target = next(turns)
            fuzzer = MessageFuzzer(self._rng, sorted(self._words))
            calls = [self._draw(target, fuzzer, mutated) for _ in range(_ROUND)]
            sent += (send or self._send)(target, calls)
        return sent

    def send_enlarged(self, size: int, send: Send | None = None) -> int:
        """Send messages of about as many bytes, each with one field that takes them: one for every field there is.

        Returns how many; `send` may send something else in their place.
        """
        sent = 0
        for target in self._targets:
            example = self._seeds[target.path][0][0] if self._seeds[target.path] else b""
            for change in _enlargements(target.request.DESCRIPTOR):
                message = target.request.FromString(example)
                change(message, size)
                sent += (send or self._send)(target, [(message.SerializeToString(),)])
        return sent

    def _turns(self) -> Iterator[Target]:
        """Go through all methods, and then on and on: those whose requests have more fields come more often."""
        yield from self._targets
        weights = [_weight(target.request.DESCRIPTOR) for target in self._targets]
        while True:
            yield self._rng.choices(self._targets, weights)[0]

    def _draw(self, target: Target, fuzzer: MessageFuzzer, mutated: float) -> Messages:
        rng = self._rng
        count = rng.choice((1, 1, 2, 5)) if target.takes_stream else 1
        return tuple(self._draw_one(target, fuzzer, rng.random() < mutated) for _ in range(count))

    def _draw_one(self, target: Target, fuzzer: MessageFuzzer, is_mutated: bool) -> bytes:
        rng = self._rng
        seeds = self._seeds[target.path]
        message = target.request()
        if seeds and rng.random() < 0.9:
            message.ParseFromString(rng.choice(rng.choice(seeds)))
        else:
            fuzzer.draw(message)
        if not is_mutated or rng.random() < 0.2:
            for _ in range(rng.choice((1, 1, 2, 3))):
                fuzzer.change(message)
        serialized: bytes = message.SerializeToString()
        if is_mutated:
            others = [request for messages in rng.sample(seeds, min(4, len(seeds))) for request in messages]
            serialized = mutate(rng, serialized, [serialized, *others])
        return serialized

    def _send(self, target: Target, calls: Sequence[Messages]) -> int:
        outcomes = send_all(self._channel, [(target, messages) for messages in calls])
        # In their order, so that what is learnt is the same each time.
        for messages, outcome in zip(calls, outcomes, strict=True):
            self._note(target, messages, outcome)
        return sum(map(len, calls))

    def _note(self, target: Target, messages: Messages, outcome: Outcome) -> None:
        record = self.record
        record.inputs += len(messages)
        record.codes[outcome.code.name] += 1
        record.paths[target.path] += 1
        record.slowest_s = max(record.slowest_s, outcome.seconds)
        fault = judge(target, messages, outcome, TIMEOUT_S)
        if fault is not None:
            kind = target.path, _DIGITS_AND_NAMES.sub("_", fault)
            record.findings.setdefault(kind, Finding(target.path, messages, fault))
        if sum(map(len, messages)) < _MAX_SEED_BYTES:
            self._keep(target, messages, outcome)

    def _keep(self, target: Target, messages: Messages, outcome: Outcome) -> None:
        """Keep what got a new kind of answer, and can be changed."""
        try:
            parsed = [target.request.FromString(message) for message in messages]
        except DecodeError:
            return
        kind: Any = outcome.code, _DIGITS_AND_NAMES.sub("_", outcome.details)
        if outcome.code is grpc.StatusCode.OK:
            kind = outcome.code, frozenset(path for message in parsed for path in _paths(message))
        known, seeds = self._kinds[target.path], self._seeds[target.path]
        if kind not in known and len(seeds) < _MAX_SEEDS:
            known.add(kind)
            self._learn(target, messages, parsed)

    def _learn(self, target: Target, messages: Messages, parsed: Sequence[Any]) -> None:
        self._seeds[target.path].append(messages)
        for message in parsed:
            if len(self._words) < _MAX_WORDS:
                self._words.update(text for text in _texts(message) if len(text) < 100)


def send_all(channel: grpc.Channel, calls: Sequence[Call]) -> list[Outcome]:
    """Make calls, several at a time; return what became of each."""
    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        return list(pool.map(lambda call: sender(channel, call[0])(call[1]), calls))


def sender(channel: grpc.Channel, target: Target) -> Callable[[Messages], Outcome]:
    """Return what makes a call with one message, or a stream of several."""

    def send(messages: Messages) -> Outcome:
        answers: list[bytes] = []
        started = time.monotonic()
        code, details = grpc.StatusCode.OK, ""
        try:
            if target.takes_stream:
                answers += channel.stream_stream(target.path)(iter(messages), timeout=TIMEOUT_S)
            elif target.gives_stream:
                # It would go on for ever.
                call = channel.unary_stream(target.path)(messages[0], timeout=TIMEOUT_S)
                answers.append(next(call))
                call.cancel()
            else:
                answers.append(channel.unary_unary(target.path)(messages[0], timeout=TIMEOUT_S))
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
        return Outcome(code, details, answers, time.monotonic() - started)

    return send


def _weight(descriptor: Any) -> int:
    return 2 + sum(1 for _ in itertools.islice(_all_fields(descriptor), 100))


def _all_fields(descriptor: Any, depth: int = 4) -> Iterator[tuple[Any, ...]]:
    """Go through the fields of a message and those in it, each as the way to it."""
    for each in descriptor.fields:
        yield (each,)
        if each.message_type is not None and depth and not each.message_type.GetOptions().map_entry:
            for below in _all_fields(each.message_type, depth - 1):
                yield (each, *below)


def _enlargements(descriptor: Any) -> Iterator[Callable[[Any, int], None]]:
    for *way, last in _all_fields(descriptor):
        if not (last.is_repeated or last.type in (last.TYPE_STRING, last.TYPE_BYTES)):
            continue

        def change(message: Any, size: int, way: Sequence[Any] = way, last: Any = last) -> None:
            for each in way:
                child = getattr(message, each.name)
                if each.is_repeated:
                    child = child[0] if len(child) else child.add()
                message = child
            enlarge(message, last, size)

        yield change


def _paths(message: Any, prefix: str = "") -> Iterator[str]:
    for each, value in message.ListFields():
        yield prefix + each.name
        if each.message_type is not None and not each.message_type.GetOptions().map_entry:
            for child in value[:4] if each.is_repeated else (value,):
                yield from _paths(child, f"{prefix}{each.name}.")


def _texts(message: Any) -> Iterator[str]:
    for each, value in message.ListFields():
        if each.message_type is not None and each.message_type.GetOptions().map_entry:
            yield from (key for key in value if isinstance(key, str))
        elif each.message_type is not None:
            for child in value[:8] if each.is_repeated else (value,):
                yield from _texts(child)
        elif each.type == each.TYPE_STRING:
            yield from value[:8] if each.is_repeated else (value,)
