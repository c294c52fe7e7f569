"""Features by name go to the version that is the latest, in its order, whatever the client knew before."""

import asyncio
import shutil
import time
from functools import partial

import numpy as np
import pytest

from headgate.client import AsyncClient, Client, InvalidRequestError
from headgate.exporter import export_model
from headgate.server import ModelConfig, Server, ServerSettings
from headgate.server.config import VersionsConfig

NAMES = ["a", "b", "c", "d"]
ROW = {"a": 1.0, "b": -2.0, "c": 3.0, "d": -4.0}


@pytest.fixture
def exported(keras_models, tmp_path):
    """A folder with two versions of a model, which take the same features, in opposite order."""
    for names in (NAMES, NAMES[::-1]):
        export_model(keras_models["prices"], tmp_path / "exported", name="model", feature_names=names)
    return tmp_path / "exported" / "model"


@pytest.fixture
def server(exported, tmp_path):
    """It serves the first version, and keeps it beside the second that is to come."""
    shutil.copytree(exported / "1", tmp_path / "served" / "model" / "1")
    running = Server(
        ServerSettings(
            repository=tmp_path / "served",
            port=0,
            model_control="poll",
            poll_interval_s=0.05,
            model_defaults=ModelConfig(versions=VersionsConfig(latest=2)),
        )
    )
    running.start()
    yield running
    running.stop()


@pytest.fixture
def add_version(server, exported, tmp_path):
    def add_version():
        shutil.copytree(exported / "2", tmp_path / "served" / "model" / "2")
        with Client(f"localhost:{server.port}") as other:
            other.wait_until_ready(model="model", version=2)

    return add_version


async def first(answers):
    return await anext(answers)


#: Each asks a client for one row; those of the asyncio client are awaited.
WAYS = {
    "predict": lambda client: partial(client.predict, "model"),
    "batcher": lambda client: client.batcher("model").predict,
    "stream": lambda client: lambda row: next(client.stream_predict("model", [row])),
    "async stream": lambda client: lambda row: first(client.stream_predict("model", [row])),
}


def check(predictions, target, version, is_replaced=False):
    row = list(ROW.values())
    with Client(target) as client:
        expected = client.predict("model", [row[::-1] if version == 2 or is_replaced else row], version=version)
    assert predictions.version == version
    np.testing.assert_allclose(predictions.head.values, expected.head.values, rtol=1e-5)


@pytest.mark.parametrize("way", ["predict", "batcher", "stream"])
def test_blocking(server, add_version, way):
    target = f"localhost:{server.port}"
    with Client(target) as client:
        ask = WAYS[way](client)
        check(ask(ROW), target, 1)
        add_version()
        for _ in range(2):
            check(ask(ROW), target, 2)
        check(client.predict("model", ROW, version=1), target, 1)


@pytest.mark.parametrize("way", ["predict", "batcher", "async stream"])
def test_asyncio(server, add_version, way):
    target = f"localhost:{server.port}"

    async def main():
        async with AsyncClient(target) as client:
            ask = WAYS[way](client)
            before = await ask(ROW)
            await asyncio.to_thread(add_version)
            return before, await ask(ROW), await ask(ROW), await client.predict("model", ROW, version=1)

    for predictions, version in zip(asyncio.run(main(), debug=True), (1, 2, 2, 1), strict=True):
        check(predictions, target, version)


@pytest.fixture
def replace(server, exported, tmp_path):
    """Put the second version in the place of the first, under its number."""

    def replace():
        with Client(f"localhost:{server.port}") as other:
            before = other.model("model").inputs_hash
            for file in (exported / "2").iterdir():
                shutil.copy(file, tmp_path / "served" / "model" / "1" / file.name)
            while other.model("model").inputs_hash in (0, before):
                time.sleep(0.01)

    return replace


@pytest.mark.parametrize("way", ["predict", "batcher", "stream"])
def test_blocking_client_of_a_version_that_is_replaced(server, replace, way):
    target = f"localhost:{server.port}"
    with Client(target) as client:
        ask = WAYS[way](client)
        check(ask(ROW), target, 1)
        replace()
        check(ask(ROW), target, 1, is_replaced=True)


@pytest.mark.parametrize("way", ["predict", "batcher", "async stream"])
def test_asyncio_client_of_a_version_that_is_replaced(server, replace, way):
    target = f"localhost:{server.port}"

    async def main():
        async with AsyncClient(target) as client:
            ask = WAYS[way](client)
            await ask(ROW)
            await asyncio.to_thread(replace)
            return await ask(ROW)

    check(asyncio.run(main(), debug=True), target, 1, is_replaced=True)


def test_a_stream_ends_where_its_version_is_replaced(server, replace):
    def rows():
        yield ROW
        replace()
        yield ROW

    with Client(f"localhost:{server.port}") as client:
        answers = client.stream_predict("model", rows())
        next(answers)
        with pytest.raises(InvalidRequestError, match="made for another model than 'model' version 1"):
            next(answers)


def test_a_stream_keeps_its_version(server, add_version):
    target = f"localhost:{server.port}"

    def rows():
        yield ROW
        add_version()
        yield ROW

    with Client(target) as client:
        for predictions in client.stream_predict("model", rows()):
            check(predictions, target, 1)
