import os
from pathlib import Path

import pytest

from headgate.benchmarks import client as benchmark
from headgate.benchmarks import pages
from headgate.benchmarks.errors import BenchmarkError
from headgate.benchmarks.load import Sample


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(benchmark, "THREADS", (3,))
    monkeypatch.setattr(benchmark, "TASKS", (3,))
    monkeypatch.setattr(benchmark, "_WARMUP_S", 0.05)


def test_all_ways_are_measured_and_written(few, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    processors = os.sched_getaffinity(0)
    benchmark.main(0.3, 2, write=True)
    assert os.sched_getaffinity(0) == processors
    [written] = tmp_path.glob("*-client.md")
    text = written.read_text()
    assert text in capsys.readouterr().out
    threads, tasks = text.partition("## Threads")[2].split("## Tasks")
    for table in (threads, tasks):
        lines = [line for line in table.splitlines() if line.startswith("| 3 |")]
        assert [line.split(" | ")[1] for line in lines] == ["predict", "stream_predict", "batcher"]
        assert all(float(figure) > 0 for line in lines for figure in line.replace(",", "").strip("| ").split(" | ")[2:])


def test_only_what_ends_in_the_window_is_counted():
    spans = [[(0, 9), (9, 12), (12, 19)], [(1, 20)]]
    assert benchmark._sample(spans, (10, 5, 7), (20, 105, 57)) == Sample(2, 10, 100, 50, 0.005, 0.00696)


def test_a_window_without_answers():
    with pytest.raises(BenchmarkError, match="measure for longer, with --seconds"):
        benchmark._sample([[(0, 9)]], (10, 0, 0), (20, 1, 1))


def test_a_folder_that_is_not_there_is_noticed_at_once(monkeypatch):
    monkeypatch.setattr(pages, "FOLDER", Path("none"))
    monkeypatch.setattr(benchmark, "measure", None)
    with pytest.raises(BenchmarkError, match="there is no folder none here"):
        benchmark.main(1, 1, write=True)
