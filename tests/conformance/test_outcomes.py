import pytest

from tests.conformance.outcomes import ClientRun, Limit, Outcome, judge, read_outcomes

LIMIT = Limit("old-*", "Infer", "BF*", "no type", "not served")


def run(*outcomes, name="old-one", **fields):
    return ClientRun(name, name, list(outcomes), **fields)


def test_reading():
    read = ClientRun("c", "Client {version}, asyncio")
    read_outcomes(
        'noise\n{"client": "c", "version": "1.2"}\n{"call": "Infer", "case": "", "ok": true, "detail": ""}\n'
        '{"call": "Infer", "case": "BF16", "ok": false, "detail": "why"}\n{"other": 1}\n',
        read,
    )
    assert read.title == "Client 1.2, asyncio"
    assert read.outcomes == [Outcome("Infer", "", True), Outcome("Infer", "BF16", False, "why")]
    read_outcomes('{"missing": "no such library"}', read)
    assert read.missing == "no such library"


def test_runs_of_several_clients_as_one():
    both = ClientRun("tls", "TLS")
    outcomes = [Outcome("Infer", "BF16", False, "why"), Outcome("Live", "", True)]
    both.add(ClientRun("c", "Client {version}, HTTP", outcomes))
    assert [(each.call, each.case) for each in both.outcomes] == [
        ("Client, HTTP", "Infer, BF16"),
        ("Client, HTTP", "Live"),
    ]
    assert judge([both], [], complete=True) == ["tls: Client, HTTP (Infer, BF16): why"]
    both.add(run(Outcome("Live", "", True), name="other", problem="ended with 1"))
    both.add(run(name="third"))
    assert judge([both], [], complete=True)[0] == "tls: other: ended with 1; third: made no checks"


def test_all_as_expected():
    runs = [
        run(Outcome("Infer", "", True), Outcome("Infer", "BF16", False, "no type BF16")),
        run(name="new", missing="no Go"),
    ]
    assert judge(runs, [LIMIT], complete=True) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (run(Outcome("Infer", "", False, "why")), "old-one: Infer: why"),
        (run(Outcome("Infer", "FP32", False, "why")), "old-one: Infer (FP32): why"),
        (run(Outcome("Infer", "BF16", False, "why")), "old-one: Infer (BF16): why"),
        (run(Outcome("Infer", "BF16", False, "no type"), name="new"), "new: Infer (BF16): no type"),
        (run(Outcome("Infer", "BF16", True)), "old-one: Infer (BF16): works, though a limit says: not served"),
        (run(Outcome("Infer", "", True), problem="hung"), "old-one: hung"),
        (run(), "old-one: made no checks"),
    ],
)
def test_problems(given, problem):
    assert judge([given], [LIMIT], complete=False) == [problem]


def test_none_that_was_run():
    assert judge([run(name="new", missing="no Go")], [LIMIT], complete=True) == ["no client was run"]


def test_a_limit_has_to_be_met_where_all_clients_ran():
    runs = [run(Outcome("Infer", "", True))]
    assert judge(runs, [LIMIT], complete=False) == []
    assert judge(runs, [LIMIT], complete=True) == [f"a limit that no check meets: {LIMIT}"]
    assert judge([*runs, run(name="new", missing="no Go")], [LIMIT], complete=True) == []
