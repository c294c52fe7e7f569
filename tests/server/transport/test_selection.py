"""Which transport is taken, and when the completion queue's is not."""

import logging
import sys

import grpc
import pytest

from headgate.server.errors import StartupError
from headgate.server.transport import Remaining, TransportOptions, create_transport, selection
from headgate.server.transport.completion_queue import CompletionQueueTransport
from headgate.server.transport.public_api import PublicApiTransport


@pytest.fixture(autouse=True)
def check_again():
    selection._works.cache_clear()
    yield
    selection._works.cache_clear()


@pytest.fixture
def no_completion_queue(monkeypatch):
    monkeypatch.setitem(sys.modules, "headgate.server.transport.completion_queue", None)


@pytest.fixture
def deaf(monkeypatch):
    """The completion queue's transport takes calls, but does not answer."""
    calls = []
    monkeypatch.setattr(CompletionQueueTransport, "_on_call", lambda self, event: calls.append(event))
    monkeypatch.setattr(selection, "_CHECK_TIMEOUT_S", 0.1)


def kind(name):
    return type(create_transport(name, {}, lambda: Remaining.NOTHING, TransportOptions(port=0)))


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_by_name(caplog):
    assert kind("auto") is CompletionQueueTransport
    assert kind("completion-queue") is CompletionQueueTransport
    assert kind("public-api") is PublicApiTransport
    assert warnings(caplog) == []


def test_check(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    selection.check_completion_queue()


def test_grpcio_without_it(no_completion_queue, caplog):
    assert kind("auto") is kind("auto") is PublicApiTransport
    (warning,) = warnings(caplog)
    assert warning.startswith(f"the completion queue of grpcio {grpc.__version__} does not work here (")
    assert kind("public-api") is PublicApiTransport
    with pytest.raises(StartupError, match="--transport public-api"):
        kind("completion-queue")


def test_one_that_does_not_answer(deaf, caplog):
    assert kind("auto") is kind("auto") is PublicApiTransport
    (warning,) = warnings(caplog)
    assert "\n" not in warning
