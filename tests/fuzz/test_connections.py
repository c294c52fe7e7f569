"""Connections and calls that break rules, and those that keep to them in bad faith."""

import random

import pytest

from headgate.benchmarks.fuzz import frames
from headgate.benchmarks.fuzz.campaign import GOOD, LARGE
from headgate.benchmarks.fuzz.floods import floods
from headgate.benchmarks.resources import read_resources

pytestmark = pytest.mark.usefixtures("bystander")
FLOODS = floods(GOOD, LARGE)


@pytest.mark.slow
@pytest.mark.parametrize("call", frames.bad_calls(GOOD), ids=lambda call: f"{call.name}: {call.path[:50]}")
def test_calls_that_break_rules(server, call):
    assert frames.send_call(server.port, call) is None


def test_a_good_call_breaks_none(server):
    """What is sent there is wrong for the reason that is given, and no other."""
    good = frames.BadCall("good", frames.message(GOOD), frozenset({"OK"}))
    assert frames.send_call(server.port, good) is None


def test_connections_that_break_rules(server):
    for beginning in frames.bad_beginnings(GOOD, random.Random(0), 100):
        assert frames.send_beginning(server.port, beginning) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_floods(server, name):
    FLOODS[name](server.port)


@pytest.mark.slow
def test_what_is_held_is_let_go(server):
    """The second time nothing more is taken than the first time."""
    held = []
    for _ in range(2):
        for flood in FLOODS.values():
            flood(server.port)
        held.append(read_resources(server.pid).resident_bytes)
    # One request of the largest size may stay with the allocator.
    assert held[1] - held[0] < 64 * 2**20
