import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.benchmarks import pages
from headgate.benchmarks.decoders import __main__ as command
from headgate.benchmarks.decoders import classification
from headgate.benchmarks.errors import BenchmarkError


@pytest.fixture(autouse=True)
def only_classification(monkeypatch):
    """Other subjects import TensorFlow."""
    monkeypatch.setattr(command, "_SUBJECTS", ("classification",))


def test_a_run_prints_and_keeps_all_figures(tmp_path, capsys):
    processors = os.sched_getaffinity(0)
    command.main("Ordinal", 0.01, tmp_path / "figures.json", write=False)
    assert os.sched_getaffinity(0) == processors
    assert "## ordinal, 9 logits, one row" in capsys.readouterr().out
    assert [case["name"] for case in json.loads((tmp_path / "figures.json").read_text())["cases"]] == [
        "ordinal, 9 logits, one row"
    ]


def test_all_cases_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    monkeypatch.setattr(classification, "ROWS", 20)
    monkeypatch.setattr(classification, "find_spec", lambda package: None)
    command.main(None, 0.001, None, write=True)
    (written,) = tmp_path.glob("*-decoders.md")
    text = written.read_text()
    assert text.count("## ") == len(classification.cases())
    assert "Note: left out, not installed: scipy, keras, tensorflow." in text
    assert f"wrote {written}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("only", "folder", "message"),
    [("ordinal", ".", "leave out --only"), (None, "none", "there is no folder none here")],
)
def test_what_cannot_be_written_is_refused_at_once(only, folder, message, monkeypatch):
    monkeypatch.setattr(pages, "FOLDER", Path(folder))
    monkeypatch.setattr(command, "_cases", None)
    with pytest.raises(BenchmarkError, match=message):
        command.main(only, 0.01, None, write=True)


def test_a_name_that_no_case_has():
    with pytest.raises(
        BenchmarkError, match=r"^no case's name holds 'nothing'; there are\n  binary, a logit, one row\n "
    ):
        command.main("nothing", 0.01, None, write=False)


def test_only_the_chosen_cases_import_their_rivals():
    run = (
        "import sys; from headgate.benchmarks.decoders.__main__ import main; main('ordinal', 0.001, None); "
        "assert not {'tensorflow', 'keras', 'torch', 'scipy', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", run], check=True, stdout=subprocess.DEVNULL)
