import pytest

pytestmark = [pytest.mark.polyglot, pytest.mark.timeout(1500)]

ANYTHING = ["-Dartifact=io.grpc:grpc-bom:1.83.1:pom", "-Dtransitive=false", "-Dmaven.repo.local=target/empty"]


@pytest.fixture(scope="module")
def client(build_client):
    folder = build_client(
        "java",
        ["mvn", "--batch-mode", "--quiet", "package"],
        tools=["java"],
        registry=["mvn", "--quiet", "dependency:get", *ANYTHING],
    )
    return ["java", "-jar", folder / "target" / "predict.jar"]


def test_client(client, check_client):
    check_client(client)
