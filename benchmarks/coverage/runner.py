"""Cases tried in processes of their own, so that one that crashes or hangs loses nothing but itself."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

#: A worker's answer to a question, in the worker's process.
Answer = Callable[[Any], Any]


class Worker:
    """A process that answers questions, started again after one that ended it or took too long."""

    def __init__(self, make_answer: Callable[[], Answer]) -> None:
        self._make_answer = make_answer
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._connection: Connection[Any, Any]
        self._stderr: IO[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def ask(self, question: Any, timeout_s: float) -> Any:
        """Return the answer.

        Raises:
            TimeoutError: it took longer; the process was ended.
            ChildProcessError: the process ended, with what it wrote last.
        """
        if self._process is None:
            self._start()
        self._connection.send(question)
        if not self._connection.poll(timeout_s):
            self.stop()
            raise TimeoutError(f"no answer after {timeout_s:g} s")
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code, words = self._process.exitcode, _last_line(self._stderr)
            self.stop()
            raise ChildProcessError(f"the process ended with code {code}{': ' if words else ''}{words}") from None

    def stop(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._connection.close()
            self._stderr.close()
            self._process = None

    def _start(self) -> None:
        self._stderr = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(theirs, self._make_answer, Path(self._stderr.name)), daemon=True
        )
        self._process.start()
        # Otherwise the end of the process would not be seen here.
        theirs.close()


def _serve(connection: Connection[Any, Any], make_answer: Callable[[], Answer], stderr: Path) -> None:
    file = os.open(stderr, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    answer = make_answer()
    while True:
        try:
            question = connection.recv()
        except EOFError:
            return
        connection.send(answer(question))


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
