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
    """Another time nothing more is taken than the first time."""

    def resident_bytes():
        for flood in FLOODS.values():
            flood.attack(server.port)
        return read_resources(server.pid).resident_bytes

    first = resident_bytes()
    # What is free is 0 to 200 MB of it, until it is given back; what is never freed would be more each time. One
    # request of the largest size may stay with the allocator.
    assert any(resident_bytes() - first < 64 * 2**20 for _ in range(8))
