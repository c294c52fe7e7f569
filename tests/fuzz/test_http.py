"""Bad input over HTTP."""

import pytest

from headgate.benchmarks.fuzz.campaign import serving
from headgate.benchmarks.fuzz.http import HttpAttack
from headgate.benchmarks.fuzz.seeds import HTTP_BODIES

pytestmark = pytest.mark.usefixtures("bystander")
pytest.importorskip("fastapi", reason="HTTP is not installed: pip install 'headgate[http]'")


@pytest.fixture(scope="module")
def server(repository):
    faults = []
    with serving(repository, ["--http-port", "0"], faults) as running:
        yield running
    assert faults == []


@pytest.mark.slow
def test_requests_that_are_almost_right(server):
    attack = HttpAttack(server.http_port, ("classes", "pair", "text"), HTTP_BODIES, seed=0)
    assert attack.send(500) >= 500
    assert attack.record.findings == {}
    assert {"200", "400", "404", "413"} < set(attack.record.statuses)
