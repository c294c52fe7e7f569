"""One of several processes that serve on a port: `python -m headgate.server.worker`, as a supervisor starts it."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from headgate.server.errors import ServerError, StartupError
from headgate.server.process import describe
from headgate.server.supervisor import Assignment, Order, Progress

_log = logging.getLogger(__name__)


class Worker:
    """A server that does what its supervisor says, and ends when that is gone."""

    def __init__(self, control: Connection[object, Any], assignment: Assignment) -> None:
        self._control = control
        self._assignment = assignment
        self._released = threading.Event()
        # Unlike an event's `set`, its `put` may be called by a signal's handler.
        self._stop: SimpleQueue[None] = SimpleQueue()

    def run(self) -> bool:
        """Serve until told to stop; return whether all accepted requests finished.

        Raises:
            StartupError: the server cannot start as asked.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._end())
        threading.Thread(target=self._obey, name="headgate-control", daemon=True).start()
        # What these import takes longer than all before.
        from headgate.server.server import Server
        from headgate.server.workers import Workers

        assignment = self._assignment
        addresses = tuple(f"unix:{assignment.folder / str(index)}" for index in range(assignment.count))
        server = Server(assignment.settings, Workers(addresses, assignment.index))
        if not assignment.rejoins:
            server.listen()
        server.load(lambda model: self.tell(describe(model)))
        self.tell(Progress.LOADED)
        self._released.wait()
        if assignment.rejoins:
            server.listen()
        server.set_ready()
        self.tell(Progress.SERVING)
        self._stop.get()
        return server.stop()

    def tell(self, message: object) -> None:
        """Tell the supervisor; one that has died is noticed by `_obey`."""
        with suppress(OSError):
            self._control.send(message)

    def _obey(self) -> None:
        try:
            while True:
                if self._control.recv() is Order.SERVE:
                    self._released.set()
                else:
                    self._end()
        except (EOFError, OSError):
            # Otherwise the supervisor does this.
            shutil.rmtree(self._assignment.folder, ignore_errors=True)
            self._end()

    def _end(self) -> None:
        if not self._released.is_set():
            os._exit(1)
        self._stop.put(None)


def main() -> None:
    """Run a worker; its supervisor is at the other end of its standard input."""
    control: Connection[object, Any] = Connection(0)
    try:
        assignment: Assignment = control.recv()
    except EOFError:
        return
    logging.basicConfig(
        level=assignment.log_level,
        format=f"%(asctime)s %(levelname)s worker {assignment.index} %(name)s: %(message)s",
    )
    worker = Worker(control, assignment)
    try:
        finished = worker.run()
    except (ServerError, OSError, ModuleNotFoundError) as error:
        worker.tell(_portable(error))
        finished = False
    except Exception:
        _log.exception("it cannot go on")
        finished = False
    # The interpreter's orderly end would abort threads that still run batches in C++.
    os._exit(0 if finished else 1)


def _portable(error: Exception) -> Exception:
    """Return an exception, or what it says where it cannot be told to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return StartupError(str(error))
    return error


if __name__ == "__main__":
    main()
