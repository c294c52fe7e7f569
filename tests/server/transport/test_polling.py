from hypothesis import given
from hypothesis import strategies as st

from headgate.server.transport.polling import PollingPolicy

LONGEST = 200_000


def wait(policy, ns, times):
    for _ in range(times):
        policy.waited(ns)


def test_polls_while_waits_are_short():
    policy = PollingPolicy(LONGEST)
    assert policy.poll_ns == 0
    wait(policy, LONGEST // 2, 10)
    assert policy.poll_ns == LONGEST
    wait(policy, LONGEST * 2, 10)
    assert policy.poll_ns == 0


def test_one_long_wait_is_soon_forgotten():
    policy = PollingPolicy(LONGEST)
    wait(policy, LONGEST // 2, 10)
    policy.waited(3_600_000_000_000)
    assert policy.poll_ns == 0
    wait(policy, LONGEST // 2, 10)
    assert policy.poll_ns == LONGEST


@given(st.lists(st.integers(0, 10**12)))
def test_never_when_told_so(waits):
    policy = PollingPolicy(0)
    for ns in waits:
        policy.waited(ns)
        assert policy.poll_ns == 0


@given(st.lists(st.integers(LONGEST, 10**12)))
def test_never_where_no_wait_was_short(waits):
    policy = PollingPolicy(LONGEST)
    for ns in waits:
        policy.waited(ns)
        assert policy.poll_ns == 0
