import pytest

from headgate.benchmarks.fuzz.attack import Attack
from headgate.benchmarks.fuzz.bystander import Bystander
from headgate.benchmarks.fuzz.models import write_repository
from headgate.benchmarks.fuzz.seeds import valid_requests
from headgate.benchmarks.fuzz.services import find_targets
from headgate.benchmarks.fuzz.serving import open_channel, serving


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_repository(folder)
    return folder


@pytest.fixture(scope="module")
def server(repository):
    """A server, in whose log nothing stands that nobody asked for, and which ends as it should."""
    faults = []
    with serving(repository, ["--allow-shared-memory"], faults) as running:
        yield running
    assert faults == []


@pytest.fixture(scope="module")
def channel(server):
    with open_channel(server.port) as channel:
        yield channel


@pytest.fixture(scope="module")
def targets(channel):
    return find_targets(channel)


@pytest.fixture
def attack(channel, targets):
    return Attack(channel, targets, valid_requests(channel, "/nothing"), seed=0)


@pytest.fixture(scope="module")
def bystander(server):
    """Good requests all the time, which all have to get right answers."""
    with Bystander(f"127.0.0.1:{server.port}") as bystander:
        yield
    assert bystander.sightings
    assert [each.fault for each in bystander.sightings if each.fault] == []
