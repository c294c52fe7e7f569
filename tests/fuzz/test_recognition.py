"""Requests that are recognised instead of parsed."""

import random

import pytest

from headgate.benchmarks.fuzz.recognition import compare, request_caches
from headgate.benchmarks.fuzz.seeds import valid_requests
from headgate.benchmarks.fuzz.serving import open_channel
from headgate.server import Server, ServerSettings
from headgate.server.dialects.request_cache import RequestCache


@pytest.fixture
def caches(repository):
    server = Server(ServerSettings(repository=repository, port=0))
    server.start()
    with open_channel(server.port) as channel:
        requests = [each for requests in valid_requests(channel, "/nothing").values() for each in requests]
    yield [(cache, requests) for cache in request_caches() if cache._repository is server.repository]
    server.stop()


def test_what_is_recognised_is_what_would_be_parsed(caches):
    assert len(caches) >= 4
    for cache, requests in caches:
        assert compare(cache, requests, random.Random(0), 300) == []
    assert any(cache._size for cache, _ in caches)


def test_without_its_proof_it_would_be_noticed(caches, monkeypatch):
    monkeypatch.setattr(RequestCache, "_are_elements", lambda self, request, start, stop: True)
    assert all(compare(cache, requests, random.Random(0), 1000) for cache, requests in caches)
