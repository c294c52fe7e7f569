"""What bad requests are compared with."""

import pytest

from headgate.benchmarks.fuzz.attack import Attack
from headgate.benchmarks.fuzz.campaign import GOOD, LARGE
from headgate.benchmarks.fuzz.control import Control, large_requests
from headgate.benchmarks.fuzz.floods import floods
from headgate.benchmarks.fuzz.seeds import valid_requests
from headgate.benchmarks.processors import process_cpu_ns

#: Several are compared with the same.
SENDS = {flood.good: name for name, flood in floods(GOOD, LARGE).items()}


@pytest.fixture
def seeds(channel):
    return valid_requests(channel, "/nothing")


@pytest.fixture
def control(channel, targets, seeds):
    return Control(channel, targets, seeds, seed=0)


def test_good_requests_are_good(control, targets):
    """To methods of all dialects, and large ones in all forms."""
    for target in targets:
        assert control.send(target, [(b"bad",), (b"bad",) * 3]) == 4
    for size in (2**12, 2**20 + 3):
        forms = len(list(large_requests(size)))
        assert control.send(targets[0], [(bytes(size),)] * forms) == forms == 8
    assert control.faults == []


def test_bad_messages_take_little_more_of_the_server_than_good_ones_at_most(server, channel, targets, seeds, control):
    attack = Attack(channel, targets, seeds, seed=0)
    took = {}
    # The first time some things are made that are kept.
    for _ in range(2):
        for name, send in (("bad", None), ("good", control.send)):
            before = process_cpu_ns(server.pid)
            attack.send_changed(1000, 0.5, send)
            took[name] = process_cpu_ns(server.pid) - before
    # Two thirds, usually; a processor's speed varies.
    assert took["bad"] < 1.5 * took["good"]
    assert control.faults == []


@pytest.mark.slow
@pytest.mark.parametrize("send", SENDS, ids=SENDS.get)
def test_floods_of_good_requests(server, send):
    """They fail if one of theirs does."""
    send(server.port)
