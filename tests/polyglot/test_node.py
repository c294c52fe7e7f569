import pytest

pytestmark = [pytest.mark.polyglot, pytest.mark.timeout(1500)]
# Three attempts, but without half a minute between them.
HURRY = ["--fetch-retry-mintimeout", "500", "--fetch-retry-maxtimeout", "2000"]


@pytest.fixture(scope="module")
def client(build_client):
    folder = build_client(
        "node", ["npm", "ci", *HURRY], ["npm", "run", "build"], tools=["node"], registry=["npm", "ping", *HURRY]
    )
    return ["node", folder / "build" / "predict.js"]


def test_client(client, check_client):
    check_client(client)
