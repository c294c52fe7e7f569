"""Bad messages, to every method that the server lists."""

import json
from pathlib import Path

import pytest

from headgate.benchmarks.fuzz.attack import TIMEOUT_S, sender
from headgate.benchmarks.fuzz.verdict import errors_in, judge

pytestmark = pytest.mark.usefixtures("bystander")
CORPUS = json.loads(Path(__file__).with_name("corpus").joinpath("messages.json").read_text())


def read(request):
    """A request is hexadecimal, or a list of such parts and how often each is repeated."""
    parts = [[request, 1]] if isinstance(request, str) else request
    return b"".join(bytes.fromhex(part) * times for part, times in parts)


@pytest.mark.parametrize("case", CORPUS, ids=[f"{case['method'].rsplit('/')[-1]}: {case['fault']}" for case in CORPUS])
def test_what_was_wrong_once(channel, targets, case):
    (target,) = [target for target in targets if target.path == case["method"]]
    requests = tuple(map(read, case["requests"]))
    outcome = sender(channel, target)(requests)
    assert judge(target, requests, outcome, TIMEOUT_S) is None
    if outcome.answers:
        ((code, details),) = errors_in(target.answer.FromString(outcome.answers[0]))
    else:
        code, details = outcome.code, outcome.details
    assert details[: len(case["says"])] == case["says"]
    assert case["code"] in ("", code and code.name)


def test_every_method_is_attacked(targets, attack):
    services = {target.path.split("/")[1] for target in targets}
    assert {"headgate.v1.PredictionService", "inference.GRPCInferenceService"} < services
    attack.send_changed(1000, 0.5)
    assert set(attack.record.paths) == {target.path for target in targets}


@pytest.mark.parametrize("mutated", [0.0, 1.0], ids=["changed", "mutated"])
def test_messages_that_are_almost_right(attack, mutated):
    assert attack.send_changed(1500, mutated) >= 1500
    assert list(attack.record.findings.values()) == []
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} < set(attack.record.codes)


@pytest.mark.slow
def test_one_large_field(attack):
    """Each field that can be large has 200 kB: more than what is parsed in the usual way."""
    assert attack.send_enlarged(200_000) > 100
    assert list(attack.record.findings.values()) == []
