"""What docs/client.md says: its examples, run in order as a reader would run them, and its figures."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from headgate.client import Client
from headgate.exporter import export_model
from headgate.server import Server, ServerSettings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "client.md").read_text(encoding="utf-8")
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Where a classifier is served that looks at petals."""
    import keras

    folder = tmp_path_factory.mktemp("models")
    model = keras.Sequential([keras.Input((4,), name="measurements"), keras.layers.Dense(3, "softmax", name="species")])
    weights = np.zeros((4, 3))
    weights[2, 0], weights[3, 2] = -2, 3
    model.set_weights([weights, np.array([6.0, 0.0, -4.6])])
    export_model(model, folder, name="iris", labels=["setosa", "versicolor", "virginica"], feature_names=FEATURES)
    server = Server(ServerSettings(repository=folder, port=0))
    server.start()
    yield f"localhost:{server.port}"
    server.stop()


def test_examples(url):
    pytest.importorskip("pandas", reason="pandas is not installed: pip install 'headgate[pandas]'")
    text = "\n".join(re.findall(r"```pycon\n(.*?)```", PAGE, re.DOTALL)).replace("localhost:8001", url)
    examples = doctest.DocTestParser().get_doctest(text, {}, "client.md", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(examples, clear_globs=False)
    for value in examples.globs.values():
        if isinstance(value, Client):
            value.close()
    assert runner.summarize().failed == 0
    assert len(examples.examples) > 20


def test_figures_are_those_of_the_run():
    [run] = re.findall(r"\((\.\./benchmarks/results/[^)]*-client\.md)\)", PAGE)
    figures = re.findall(r"^\| (\d+) \| (\w+) \| .*? \| (\d+) \| (\d+) \|", (DOCS / run).read_text(), re.MULTILINE)
    # One thread is measured as well as one task: the first table is that of threads.
    measured = {}
    for callers, way, client, server in figures:
        measured.setdefault((callers, way), []).append((client, server))
    claimed = re.findall(r"^\| (\d+) (threads?|tasks?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert len(claimed) == 5
    for callers, form, *costs in claimed:
        place = -1 if form.startswith("task") else 0
        predict, batcher = measured[callers, "predict"][place], measured[callers, "batcher"][place]
        assert costs == [predict[0], batcher[0], predict[1], batcher[1]]
