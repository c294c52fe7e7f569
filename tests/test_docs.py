"""The examples in the guide to heads, run as a reader would run them."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from headgate.client.rows import plain_rows
from headgate.decoders import DecodeOptions, decoder_for
from headgate.exporter.head_settings import KINDS
from headgate.exporter.libraries import quiet, require_libraries, silent_tensorflow
from headgate.v1 import PredictOptions
from headgate.v1.tensors import NUMPY_DTYPES

require_libraries()

import keras  # noqa: E402

from headgate.exporter import export_model  # noqa: E402

PAGE = (Path(__file__).parents[1] / "docs" / "heads.md").read_text(encoding="utf-8")
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}


def block(section, language):
    [text] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return text


def raw_outputs(section, report):
    """The arrays that stand in the text as `name = [[...]]`."""
    types = {spec.name: NUMPY_DTYPES[spec.datatype] for spec in report.signature.outputs}
    written = dict(re.findall(r"`(\w+) = (\[.*?\])`", section))
    return {name: np.asarray(ast.literal_eval(array), types[name]) for name, array in written.items()}


def answer_of(section, folder):
    """Export the section's model with its heads.toml; decode the raw outputs that its text holds."""
    namespace = {
        "keras": keras,
        "features": keras.Input((8,), name="features"),
        "tokens": keras.Input((None,), dtype="int32", name="tokens"),
        "image": keras.Input((64, 64, 3), name="image"),
    }
    exec(block(section, "python"), namespace)
    (folder / "heads.toml").write_text(block(section, "toml"), encoding="utf-8")
    report = export_model(namespace["model"], folder, name="m", heads=folder / "heads.toml", dry_run=True)
    [head] = report.signature.heads
    decoder = decoder_for(head, report.signature.outputs)
    outputs = raw_outputs(section, report)
    assert outputs.keys() == decoder.reads.keys()
    return head, plain_rows(decoder.decode(outputs, DecodeOptions()))[0]


@pytest.fixture(autouse=True)
def _quiet_tensorflow():
    with quiet(), silent_tensorflow():
        yield


def test_every_kind_has_a_section():
    assert SECTIONS.keys() - {"Declaring heads"} == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_what_the_page_says(kind, tmp_path):
    head, answer = answer_of(SECTIONS[kind], tmp_path)
    assert head.WhichOneof("kind") == kind
    assert_alike(answer, json.loads(block(SECTIONS[kind], "json")))


@pytest.mark.parametrize("kind", KINDS)
def test_all_fields_are_explained(kind):
    missing = [
        field for field in KINDS[kind] if f"`{field}" not in SECTIONS[kind] and f"\n{field} =" not in SECTIONS[kind]
    ]
    assert not missing


def test_all_options_of_requests_are_explained():
    sections = [section for name, section in SECTIONS.items() if name != "Declaring heads"]
    options = {field.name for field in PredictOptions.DESCRIPTOR.fields} - {"heads"}
    told = " ".join(
        line for section in sections for line in re.findall(r"[Rr]equests[: ].*?(?=\n- |\n\n)", section, re.S)
    )
    assert {option for option in options if f"`{option}`" not in told} == set()


def test_the_example_in_python_and_its_file_say_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = SECTIONS["Declaring heads"]
    namespace = {}
    exec(block(section, "python").replace("export_model(", "report = export_model(", 1), namespace)
    assert (tmp_path / "models" / "stay" / "1" / "model.onnx").is_file()
    (tmp_path / "heads.toml").write_text(block(section, "toml"), encoding="utf-8")
    again = export_model(namespace["model"], "models", heads="heads.toml", dry_run=True)
    assert list(again.signature.heads) == list(namespace["report"].signature.heads)


def assert_alike(actual, expected):
    """Compare answers; numbers may differ by rounding."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_alike(actual[key], expected[key])
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, rel=1e-5)
    else:
        assert actual == expected
