"""The examples of docs/http.md, run as a reader would run them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from headgate.v1 import (
    ACTIVATION_LOGITS,
    DataType,
    Head,
    InputMeaning,
    MulticlassHead,
    Signature,
    TabularInput,
    TensorSpec,
)
from headgate.v1.signatures import METADATA_KEY, signature_to_json

PAGE = (Path(__file__).parents[3] / "docs" / "http.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(curl .*?)```\n\n```json\n(.*?)```", PAGE, re.DOTALL)
# A logistic regression fitted to Fisher's irises.
GRAPH = """g (float[batch,4] measurements) => (float[batch,3] species)
<float[4,3] weights = {-0.42,0.53,-0.11, 0.97,-0.32,-0.65, -2.52,-0.21,2.72, -1.08,-0.94,2.02},
 float[3] bias = {9.85, 2.24, -12.09}>
{ product = MatMul(measurements, weights)  species = Add(product, bias) }"""
SIGNATURE = Signature(
    schema_version=1,
    inputs=[TensorSpec(name="measurements", datatype=DataType.DATA_TYPE_FP32, shape=[-1, 4])],
    heads=[
        Head(
            name="species",
            output="species",
            activation=ACTIVATION_LOGITS,
            multiclass=MulticlassHead(labels=["setosa", "versicolor", "virginica"]),
        )
    ],
    input_meanings=[
        InputMeaning(
            input="measurements",
            tabular=TabularInput(feature_names=["sepal_length", "sepal_width", "petal_length", "petal_width"]),
        )
    ],
)

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def irises(tmp_path_factory, write_model, service_class):
    folder = tmp_path_factory.mktemp("irises")
    write_model(folder, "iris", GRAPH, metadata={METADATA_KEY: signature_to_json(SIGNATURE)})
    running = service_class(folder)
    try:
        yield running.wait_until_ready()
    finally:
        running.end()


@pytest.mark.parametrize(("command", "answer"), EXAMPLES)
def test_answers_are_what_the_page_says(irises, command, answer):
    here = command.replace("curl ", "curl --silent --show-error ", 1).replace("localhost:8000", irises.url)
    told = subprocess.run(here, shell=True, capture_output=True, text=True, check=True, timeout=60)
    assert rounded(json.loads(told.stdout)) == rounded(json.loads(answer))


def test_there_are_examples():
    assert len(EXAMPLES) == PAGE.count("\ncurl ") == 4


def test_all_metrics_are_explained(irises):
    text = irises.get("/metrics").body.decode()
    names = set(re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


def test_all_paths_are_told(irises):
    beginnings = {"/".join(path.split("/")[:3]) for path in irises.get("/openapi.json").json["paths"]}
    assert {path for path in beginnings if path not in PAGE} == set()


def rounded(value):
    """Return a value whose numbers differ no more by rounding."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value
