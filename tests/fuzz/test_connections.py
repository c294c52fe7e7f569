"""Connections and calls that break rules, and those that keep to them in bad faith."""

import random

import pytest

from headgate.benchmarks.fuzz import frames
from headgate.benchmarks.fuzz.campaign import GOOD, LARGE
from headgate.benchmarks.fuzz.floods import floods
from headgate.benchmarks.resources import read_resources

pytestmark = pytest.mark.usefixtures("bystander")
BAD_CALLS = [*frames.bad_calls(GOOD), *frames.bombs()]
FLOODS = floods(GOOD, LARGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", [*frames.bad_calls(GOOD), *frames.bombs()], ids=lambda call: f"{call.name}: {call.path[:50]}"
)
def test_calls_that_break_rules(server, call):
    assert frames.send_call(server.port, call) is None


def test_a_good_call_breaks_none(server):
    """What is sent there is wrong for the reason that is given, and no other."""
    assert frames.send_call(server.port, frames.good_call(GOOD)) is None


def test_connections_that_break_rules(server):
    for beginning in frames.bad_beginnings(GOOD, random.Random(0), 100):
        assert frames.send_beginning(server.port, beginning) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_floods(server, name):
    FLOODS[name].attack(server.port)


@pytest.mark.slow
def test_what_is_held_is_let_go(server):
    """The second time nothing more is taken than the first time."""
    held = []
    for _ in range(2):
        for flood in FLOODS.values():
            flood.attack(server.port)
        held.append(read_resources(server.pid).resident_bytes)
    # One request of the largest size may stay with the allocator.
    assert held[1] - held[0] < 64 * 2**20
