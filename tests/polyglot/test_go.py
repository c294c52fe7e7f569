import pytest

pytestmark = [pytest.mark.polyglot, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def client(build_client):
    folder = build_client(
        "go",
        ["go", "generate"],
        ["go", "build", "-o", "build/predict"],
        registry=["go", "list", "-m", "-versions", "google.golang.org/grpc"],
    )
    return [folder / "build" / "predict"]


def test_client(client, check_client):
    check_client(client)
