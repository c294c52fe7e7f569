import json

import pytest

from tests.conformance.clients.checks import check, client, equal, missing, refused


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_lines(capsys):
    client("c", "1.2")
    with check("Infer", "FP32"):
        pass
    with check("Infer"):
        equal(1, 2, "rows")
    missing("no such library")
    told, right, wrong, absent = lines(capsys)
    assert told == {"client": "c", "version": "1.2"}
    assert right == {"call": "Infer", "case": "FP32", "ok": True, "detail": ""}
    assert (wrong["case"], wrong["ok"]) == ("", False)
    assert wrong["detail"].startswith("AssertionError: rows 1, expected 2 (test_checks.py:")
    assert absent == {"missing": "no such library"}


def test_a_bare_assertion_and_many_lines(capsys):
    with check("a"):
        raise ValueError("one\n  two" + "x" * 1000)
    [line] = lines(capsys)
    assert line["detail"].startswith("ValueError: one two")
    assert len(line["detail"]) < 400


def test_refused():
    with refused("no model", exception=ValueError):
        raise ValueError("there is no model 'x'")
    with pytest.raises(AssertionError, match="no error"), refused():
        pass
    with pytest.raises(AssertionError, match="does not say"), refused("no model"):
        raise ValueError("failed")
    with pytest.raises(KeyError), refused(exception=ValueError):
        raise KeyError("other")
