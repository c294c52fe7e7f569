from tests.conformance.catalog import Section
from tests.conformance.outcomes import ClientRun, Limit, Outcome
from tests.conformance.page import render

LIMITS = [Limit("*", "Infer", "BF16", "why", "Not served."), Limit("b", "Infer", "FP16", "", "b has none.")]
RUNS = [
    ClientRun(
        "a",
        "A 1.0",
        [
            Outcome("Live", "", True),
            Outcome("Infer", "", True),
            Outcome("Infer", "FP32", True),
            Outcome("Infer", "BF16", False, "why"),
            Outcome("Load", "", True),
            Outcome("Infer", "INT8", True),
        ],
    ),
    ClientRun(
        "b", "B 2.0", [Outcome("Infer", "FP16", False), Outcome("Infer", "BF16", False), Outcome("Live", "", True)]
    ),
    ClientRun("c", "C {version}, asyncio", missing="Go is not installed"),
]


def test_tables():
    page = render([Section("First", ["a", "b"]), Section("Second", ["c"]), Section("Third", ["none"])], RUNS, LIMITS)
    first, second = page.split("\n## ")[1:]
    assert (
        first
        == """\
First

| call | cases | A 1.0 | B 2.0 |
|---|---|---|---|
| Live |  | yes | yes |
| Infer | plain; FP32; INT8 | yes |  |
| Infer | BF16 | no (1) | no (1) |
| Infer | FP16 |  | no (2) |
| Load |  | yes |  |

1. Not served.
2. b has none.
"""
    )
    assert second == "Second\n\nC, asyncio was not run: Go is not installed.\n"


def test_a_failure_that_is_not_expected():
    page = render([Section("First", ["a"])], RUNS, [])
    assert "1. Not expected: why\n" in page


def test_a_check_made_several_times_works_if_it_does_each_time():
    runs = [ClientRun("a", "A", [Outcome("Infer", "", True), Outcome("Infer", "", False, "why")])]
    assert "| Infer |  | no (1) |" in render([Section("First", ["a"], ("client", "calls"))], runs, [])
