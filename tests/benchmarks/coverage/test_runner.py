import importlib
import os
from pathlib import Path

import pytest

from headgate.benchmarks.coverage.runner import Worker


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def make_answer(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("answers").make_answer


@pytest.fixture
def worker(make_answer):
    with Worker(make_answer) as worker:
        yield worker


def test_one_process_answers_all(worker):
    assert worker.ask({"any": "question"}, 60) == {"any": "question"}
    assert worker.ask("pid", 60) == worker.ask("pid", 60) != os.getpid()


def test_a_crash_is_told_and_loses_no_other_question(worker):
    before = worker.ask("pid", 60)
    with pytest.raises(ChildProcessError, match="ended with code 3: about to end"):
        worker.ask("exit", 60)
    with pytest.raises(ChildProcessError, match="ended with code -6"):
        worker.ask("abort", 60)
    assert worker.ask("pid", 60) != before


def test_a_question_that_takes_too_long_is_ended(worker):
    before = worker.ask("pid", 60)
    with pytest.raises(TimeoutError, match=r"no answer after 0\.1 s"):
        worker.ask("hang", 0.1)
    assert not is_running(before)
    assert worker.ask("next", 60) == "next"


def test_nothing_is_left_running(make_answer):
    with Worker(make_answer) as worker:
        pid = worker.ask("pid", 60)
    assert not is_running(pid)
