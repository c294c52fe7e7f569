"""Processes below a supervisor, and what the two tell each other."""

from __future__ import annotations

import enum
import math
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from headgate.server.errors import StartupError


class Progress(enum.Enum):
    """What a child tells, beside lines for the user and the exception for which it cannot start."""

    #: It has what it needs, and waits for the order to serve.
    LOADED = enum.auto()
    SERVING = enum.auto()


class Order(enum.Enum):
    """What a child is told after its assignment. Told nothing any more, its supervisor having died, it drains."""

    SERVE = enum.auto()
    #: To be told back: a sign of life.
    ECHO = enum.auto()


@dataclass(frozen=True, slots=True)
class Drain:
    """The order to finish what was accepted, and to end."""

    timeout_s: float


class Child:
    """A process below this one, as the process above sees it.

    Attributes:
        name: what it is called in the log.
        progress: what it told last.
        serves_since: in seconds of `time.monotonic()`.
        released: whether it was told to serve.
        error: why it cannot start.
        missing_echoes: how many orders to give a sign of life it has not followed.
        control: what it says is read from here.
    """

    def __init__(self, name: str, module: str, assignment: object, descriptors: Sequence[int] = ()) -> None:
        """Start a module of Python's; it is told its assignment first, and inherits file descriptors.

        Raises:
            OSError: there cannot be another process.
        """
        self.name = name
        self.progress: Progress | None = None
        self.serves_since = math.inf
        self.released = False
        self.error: Exception | None = None
        self.missing_echoes = 0
        self.control, theirs = Pipe()
        with theirs:
            # -P: what lies in the working directory is not imported. A process group of its own: Ctrl-C in a terminal
            # is for the process above.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module], stdin=theirs.fileno(), process_group=0, pass_fds=descriptors
            )
        tell(self.control, assignment)

    def order(self, order: Order | Drain) -> None:
        """Tell it what to do next."""
        self.released |= order is Order.SERVE
        self.missing_echoes += order is Order.ECHO
        tell(self.control, order)

    def wait(self) -> tuple[int, str]:
        """Wait for its end; return the exit code, and how it ended in words."""
        self.control.close()
        code = self._process.wait()
        if code < 0:
            return code, f"was ended by signal {-code} ({signal.strsignal(-code)})"
        return code, f"ended with exit code {code}"

    def kill(self) -> None:
        """End it at once; that it has ended shows in `control`."""
        self._process.kill()


def tell(control: Connection[Any, Any], message: object) -> None:
    """Tell the other side; one that has just died is noticed when it is listened to."""
    with suppress(OSError):
        control.send(message)


def portable(error: Exception) -> Exception:
    """Return an exception, or what it says where it cannot be told to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return StartupError(str(error))
    return error
