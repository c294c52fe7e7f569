"""Keras files, a repository that `headgate export` filled, and a running `headgate serve`."""

import contextlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from headgate.cli import main

HEADGATE = [sys.executable, "-m", "headgate.cli"]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(exit_.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def refused(run):
    """Run a command that is to fail for a mistake of its user; return the one line that it says."""

    def refused(*arguments):
        ended = run(*arguments)
        assert ended.code == 1
        assert re.fullmatch(r"error: .+\n", ended.err)
        return ended.err

    return refused


@pytest.fixture
def strict():
    """Read JSON as others than Python do: without NaN and Infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return lambda text: json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory):
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    folder = tmp_path_factory.mktemp("keras")
    features = keras.Input((4,), name="features")
    area, rooms = keras.Input((1,), name="area"), keras.Input((1,), name="rooms", dtype="int32")
    tokens = keras.Input((None,), name="tokens", dtype="int32")
    image = keras.Input((6, 6, 1), name="image")
    house = layers.Concatenate()([area, layers.Rescaling(1.0)(rooms)])
    models = {
        "iris": keras.Model(features, layers.Dense(3, "softmax", name="species")(features)),
        "house": keras.Model(
            [area, rooms],
            [layers.Dense(1, name="price")(house), layers.Dense(1, "sigmoid", name="sold")(house)],
        ),
        "review": keras.Model(
            tokens,
            layers.Dense(1, "sigmoid", name="good")(
                layers.GlobalAveragePooling1D()(layers.Embedding(9, 4, mask_zero=True)(tokens))
            ),
        ),
        "scan": keras.Model(
            image, [layers.Conv2D(1, 1, activation="sigmoid", name="lesion")(image), layers.Flatten(name="raw")(image)]
        ),
        "code": keras.Model(features, layers.Lambda(lambda x: 2 * x, name="doubled")(features)),
    }
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
    return folder


@pytest.fixture(scope="session")
def exported(keras_files, tmp_path_factory):
    """What the export of a model printed, and the repository."""
    repository = tmp_path_factory.mktemp("models")
    meaning = ["--labels", "sold=open,sold", "--units", "EUR", "--target-mean", "210.5", "--target-scale", "88"]
    for arguments in (["house", *meaning], ["iris", "--labels", "setosa,versicolor,virginica"]):
        command = [*HEADGATE, "export", keras_files / f"{arguments[0]}.keras", repository, *arguments[1:]]
        ended = subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "200"}, timeout=100)
        assert ended.returncode == 0, ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr), repository


@pytest.fixture(scope="session")
def repository(exported):
    return exported[1]


@pytest.fixture(scope="session")
def serving():
    """Serve a repository while a block runs; give the server's URL."""

    @contextlib.contextmanager
    def serving(repository, *options):
        command = [*HEADGATE, "serve", repository, "--port", "0", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            ready = next((line for line in process.stdout if line.startswith("ready")), "never ready")
            try:
                yield f"localhost:{int(ready.rpartition(':')[2])}"
            finally:
                process.terminate()
                process.stdout.read()
        assert process.returncode == 0

    return serving


@pytest.fixture(scope="session")
def url(repository, serving):
    with serving(repository) as url:
        yield url
