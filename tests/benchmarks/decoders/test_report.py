import json

import pytest

from headgate.benchmarks.decoders.case import Case
from headgate.benchmarks.decoders.report import page, to_json
from headgate.benchmarks.decoders.timing import Timing

MACHINE = {"cpu": "a processor", "date": "2026-01-02", "python": "3.11", "versions": {"numpy": "2.0"}}
TIMING = Timing(
    Case("one row", dict, "under 15 µs", "left out: scipy"),
    {"headgate": [2e-6, 4e-6, 4e-6], "floor": [1e-6, 3e-6, 3e-6], "Python": [2.0] * 3},
)


def test_page():
    text = page(MACHINE, [TIMING])
    assert "a processor, 2026-01-02, Python 3.11, numpy 2.0" in text
    assert "## one row\n\nGoal: under 15 µs. Note: left out: scipy.\n" in text
    assert "| headgate | 4 µs | 2 µs | 1.00 |  |\n| floor | 3 µs | 1 µs | 0.75 | 1 µs |\n" in text
    assert "| Python | 2 s | 2 s | 500000.00 |  |\n" in text


def test_json():
    (case,) = json.loads(json.dumps(to_json(MACHINE, [TIMING])))["cases"]
    assert (case["name"], case["goal"], case["note"]) == ("one row", "under 15 µs", "left out: scipy")
    assert case["contenders"]["Python"] == {"median": 2, "ratio": pytest.approx(500000), "samples": [2] * 3}
