"""What the scripts share: each check becomes a line of JSON. Runs in any client's environment."""

import contextlib
import json
import sys
import traceback
from pathlib import Path

DETAIL_CHARACTERS = 300


def client(name, version):
    """Say what the checks that follow are made with."""
    _write({"client": name, "version": version})


def missing(reason):
    """Say why the client cannot run here."""
    _write({"missing": reason})


@contextlib.contextmanager
def check(call, case=""):
    """Report a check: that of a call, in a case of it. It holds if what is within raises nothing."""
    try:
        yield
    except Exception as error:
        _write({"call": call, "case": case, "ok": False, "detail": _describe(error)})
    else:
        _write({"call": call, "case": case, "ok": True, "detail": ""})


@contextlib.contextmanager
def refused(*words, exception=Exception):
    """Expect an error whose text holds all of the words."""
    try:
        yield
    except exception as error:
        text = str(error)
        missing = [word for word in words if word not in text]
        assert not missing, f"the error does not say {missing}: {text}"
    else:
        raise AssertionError("no error")


def equal(actual, expected, what=""):
    """Expect two values to be the same."""
    assert actual == expected, f"{what or 'got'} {actual!r}, expected {expected!r}"


def _describe(error):
    # The line of the check itself; before it stands that of `check`.
    frame = traceback.extract_tb(error.__traceback__)[1]
    text = " ".join(str(error).split()) or frame.line
    return f"{type(error).__name__}: {text[:DETAIL_CHARACTERS]} ({Path(frame.filename).name}:{frame.lineno})"


def _write(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
