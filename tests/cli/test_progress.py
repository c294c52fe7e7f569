import contextlib
import os
import sys

import pytest

from headgate.cli.progress import count_bar, stage_bar


def read_all(descriptor):
    """Read a terminal whose other end is closed."""
    content = b""
    with os.fdopen(descriptor, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while chunk := file.read(2**16):
            content += chunk
    return content.decode()


@pytest.fixture
def terminal(monkeypatch):
    """Make stderr a terminal; give what it was shown. (Not in the fixture: pytest sets stderr anew for the test.)"""

    @contextlib.contextmanager
    def terminal():
        ours, theirs = os.openpty()
        shown = []
        with os.fdopen(theirs, "w") as stderr, monkeypatch.context() as patch:
            patch.setenv("TERM", "xterm")
            patch.setenv("COLUMNS", "100")
            patch.setattr(sys, "stderr", stderr)
            yield shown
        shown.append(read_all(ours))

    return terminal


def test_a_terminal_is_shown_the_stages(terminal):
    with terminal() as shown, stage_bar(["load", "convert"], {"load": "loading"}) as begin:
        begin("load")
        begin("convert")
        begin("another")
    assert all(text in shown[0] for text in ("loading", "another", "0/2", "1/2"))


def test_a_terminal_is_shown_the_parts_of_a_stage(terminal):
    with terminal() as shown, stage_bar(["load", "calibrate"], {"calibrate": "calibrating"}) as begin:
        begin("calibrate")
        begin("calibrate: head '[red]: x'")
    assert "calibrating: head '[red]: x'" in shown[0]
    assert "1/2" in shown[0]


def test_a_terminal_is_shown_how_much_is_done(terminal):
    with terminal() as shown, count_bar("rows") as progress:
        progress(32, 150)
    assert all(text in shown[0] for text in ("rows", "32/150"))


def test_ctrl_c_gives_the_cursor_back(terminal):
    with terminal() as shown, pytest.raises(KeyboardInterrupt), stage_bar(["load"], {}):
        raise KeyboardInterrupt
    assert shown[0].rindex("\x1b[?25h") > shown[0].rindex("\x1b[?25l")


def test_anything_else_is_shown_nothing(capfd):
    with stage_bar(["load"], {}) as begin, count_bar("rows") as progress:
        begin("load")
        progress(1, 2)
    assert capfd.readouterr() == ("", "")
