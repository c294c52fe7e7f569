"""Connections that are idle for long, behind proxies that forget them."""

import grpc
import numpy as np
import pytest

from headgate.client import Client, HeadgateError, RetryPolicy
from headgate.client.channel import channel_options
from headgate.server import Server, ServerSettings

FEATURES = np.zeros((1, 4))
#: What balancers, proxies and gateways in front of servers have by default starts here.
SHORTEST_IDLE_LIMIT_S = 60
#: Pings a second apart, which is as often as gRPC's clients send them.
SOON = [
    ("grpc.keepalive_time_ms", 500),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 1000),
]


def test_pings_come_before_anyone_forgets():
    options = dict(channel_options(None, None))
    assert 2 * options["grpc.keepalive_time_ms"] <= SHORTEST_IDLE_LIMIT_S * 1000
    assert options["grpc.keepalive_permit_without_calls"]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["completion-queue", "public-api"])
def test_an_idle_connection_is_kept(repository, proxy, transport):
    server = Server(ServerSettings(repository=repository, port=0, transport=transport))
    server.start()
    through = proxy(server.port, idle_s=3)
    try:
        with Client(through.target, options=SOON) as client:
            client.predict("churn", FEATURES)
            # A server that finds pings too frequent says so at the third.
            assert not through.forgotten.wait(5)
            assert client.predict("churn", FEATURES).rows == 1
        assert through.connections == 1
    finally:
        server.stop()


def test_a_connection_that_was_forgotten_is_replaced_under_a_call(server, proxy):
    through = proxy(server.port, idle_s=0.1)
    # Without calls it does not ping.
    options = [*SOON, ("grpc.keepalive_permit_without_calls", 0)]
    with Client(through.target, options=options) as client:
        client.predict("churn", FEATURES)
        assert through.forgotten.wait(20)
        assert client.predict("churn", FEATURES).rows == 1
    assert through.connections == 2


def test_the_callers_own_options_win(target):
    with (
        Client(target, options=[("grpc.max_receive_message_length", 1)]) as client,
        pytest.raises(HeadgateError) as caught,
    ):
        client.models()
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_server_that_comes_back(repository, free_port):
    def start():
        server = Server(ServerSettings(repository=repository, port=free_port, drain_timeout_s=0.1))
        server.start()
        return server

    server = start()
    with Client(f"localhost:{free_port}", retry=RetryPolicy(5, initial_backoff_s=0.5)) as client:
        client.predict("churn", FEATURES)
        server.stop()
        server = start()
        try:
            assert client.predict("churn", FEATURES).rows == 1
        finally:
            server.stop()
