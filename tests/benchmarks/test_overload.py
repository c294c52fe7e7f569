import json
import math
import subprocess
import sys
from collections import Counter

import pytest

from headgate.benchmarks.generator import Interval
from headgate.benchmarks.overload import GOALS, LOADS, WORKS, Repeat, Sample, recovery_s

OVERLOADED = {"ok": 10, "errors": 90, "p50_s": 0.3}
GOOD = {"ok": 50, "errors": 0, "p50_s": 0.01}
SLOW = {"ok": 50, "errors": 0, "p50_s": 0.1}


def timeline(*intervals):
    return [
        Interval(
            index * 0.25,
            each["ok"],
            each["ok"],
            each.get("late", 0),
            Counter({4: each["errors"]}),
            each["p50_s"],
            each["p50_s"],
            each["p50_s"],
        )
        for index, each in enumerate(intervals)
    ]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([GOOD], 0.25),
        ([OVERLOADED, SLOW, GOOD, GOOD], 0.75),
        ([SLOW, GOOD | {"errors": 5}, GOOD | {"late": 5}, GOOD], 1.0),
        ([{"ok": 0, "errors": 0, "p50_s": math.nan}, GOOD], 0.5),
        ([SLOW, OVERLOADED], math.inf),
        ([], math.inf),
    ],
)
def test_recovery(after, expected):
    # What is good during the overload does not count.
    run = timeline(GOOD, OVERLOADED, *after)
    assert recovery_s(run, 0.5, timeline(GOOD, GOOD | {"p50_s": 0.02}, GOOD)) == expected


def test_recovery_is_relative_to_what_there_is_without_an_overload():
    poor = GOOD | {"errors": 10, "late": 2}
    assert recovery_s(timeline(OVERLOADED, poor), 0.25, timeline(poor, poor)) == 0.25


def sample(load, **figures):
    return Sample(
        **{
            "load": load,
            "rate": 100 * load,
            "goodput": 100.0,
            "p99_s": 0.1,
            "errors": {},
            "refusal_p50_s": 0.001,
            "refusal_p99_s": 0.002,
            "busy": 1.0,
            "rows_run": 500,
            "rows_answered": 500,
            "resident_before": 100,
            "resident_peak": 100,
            "resident_after": 100,
            "has_kept_up": True,
        }
        | figures
    )


def reached(recovery=0.5, **worst):
    repeat = Repeat(100.0, [sample(0.5), sample(1.0), sample(2.0), sample(4.0, **worst)], recovery)
    (work, *_) = WORKS
    return [goal.is_reached(goal.quantity(repeat, work)) for goal in GOALS]


def test_goals():
    assert all(reached())
    assert reached(goodput=89.0) == [True, False, True, True, True, True]
    # The best load is the peak.
    assert reached(goodput=115.0) == [False, True, True, True, True, True]
    assert reached(refusal_p50_s=0.1) == [True, True, False, True, True, True]
    assert reached(rows_run=520) == [True, True, True, False, True, True]
    assert reached(resident_peak=120) == [True, True, True, True, False, True]
    assert reached(recovery=math.inf) == [True, True, True, True, True, False]


@pytest.mark.benchmark
def test_a_quick_run(tmp_path):
    file = tmp_path / "figures.json"
    result = subprocess.run(
        [sys.executable, "-m", "headgate.benchmarks.overload", "--quick", "--json", file],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "cnn: goodput at 4x / its peak" in result.stdout
    figures = json.loads(file.read_text())
    assert [work["model"] for work in figures["works"]] == ["cnn", "mlp"]
    assert len(figures["goals"]) == len(WORKS) * len(GOALS)
    for work in figures["works"]:
        (repeat,) = work["repeats"]
        assert repeat["capacity"] > 0
        assert [each["load"] for each in repeat["samples"]] == list(LOADS)
        for each in repeat["samples"]:
            # Whoever has an answer had it run: nothing is answered twice, or from nothing.
            assert each["rows_run"] >= each["rows_answered"] > 0
            assert each["resident_peak"] >= each["resident_after"] > 0
            assert each["goodput"] <= 1.5 * max(each["rate"], repeat["capacity"])
