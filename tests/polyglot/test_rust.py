from pathlib import Path

import pytest

pytestmark = [pytest.mark.polyglot, pytest.mark.timeout(1500)]
#: Kept, so that what did not change is not built again.
TARGET = Path(__file__).parents[2] / "build" / "polyglot" / "rust"


@pytest.fixture(scope="module")
def client(build_client):
    build_client(
        "rust",
        ["cargo", "build", "--locked", "--target-dir", TARGET],
        registry=["cargo", "info", "tonic"],
    )
    return [TARGET / "debug" / "predict"]


def test_client(client, check_client):
    check_client(client)
