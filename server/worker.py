"""One of several processes that serve on a port: `python -m headgate.server.worker`, as a supervisor starts it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from headgate.server.child import Drain, Order, Progress, portable, tell
from headgate.server.errors import ServerError, UnavailableError
from headgate.server.process import describe
from headgate.server.supervisor import Assignment

if TYPE_CHECKING:
    from headgate.server.model_control import ModelControl
    from headgate.server.repository import ModelRepository
    from headgate.server.workers import Workers

_log = logging.getLogger(__name__)


class Worker:
    """A server that does what its supervisor says, and ends when that is gone."""

    def __init__(self, control: Connection[object, Any], assignment: Assignment) -> None:
        self._control = control
        self._assignment = assignment
        self._released = threading.Event()
        # Unlike an event's `set`, its `put` may be called by a signal's handler.
        self._stop: SimpleQueue[float] = SimpleQueue()

    def run(self) -> bool:
        """Serve until told to stop; return whether all accepted requests finished.

        Raises:
            StartupError: the server cannot start as asked.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._end(self._assignment.settings.drain_timeout_s))
        threading.Thread(target=self._obey, name="headgate-control", daemon=True).start()
        # What these import takes longer than all before.
        from headgate.server.server import Server
        from headgate.server.workers import Workers

        assignment = self._assignment
        addresses = tuple(f"unix:{assignment.folder / str(index)}" for index in range(assignment.count))
        workers, settings = Workers(addresses, assignment.index), assignment.settings
        joins_others = assignment.rejoins and assignment.count > 1
        joins_explicit = joins_others and settings.model_control == "explicit"
        # Where all have died, what clients had loaded is not known any more.
        if joins_explicit and (models := workers.models()) is not None:
            settings = settings.model_copy(update={"load_models": sorted({name for name, _ in models})})
        server = Server(settings, workers)
        if not assignment.rejoins:
            server.listen()
        server.load(lambda model: self.tell(describe(model)))
        self.tell(Progress.LOADED)
        self._released.wait()
        if joins_others and settings.allow_shared_memory:
            # Whose client has let go of the memory cannot be found.
            for region in workers.system_regions():
                with suppress(ServerError):
                    server.memory.register_system(region.name, region.key, region.offset, region.byte_size)
            for registration in workers.cuda_regions():
                with suppress(ServerError):
                    server.memory.register_cuda(**registration)
        others_models = None
        if joins_explicit:
            others_models = _follow(workers, server.control)
        elif joins_others and settings.model_control == "none":
            # One that hangs is no reason for this one not to serve.
            with suppress(UnavailableError):
                others_models = workers.models()
        if others_models is not None:
            _warn_of_differences(server.repository, others_models)
        # Before it listens: who connects to one that was started again finds it ready.
        server.set_ready()
        if assignment.rejoins:
            server.listen()
        self.tell(Progress.SERVING)
        return server.stop(self._stop.get())

    def tell(self, message: object) -> None:
        """Tell the supervisor; one that has died is noticed by `_obey`."""
        tell(self._control, message)

    def _obey(self) -> None:
        try:
            while True:
                order = self._control.recv()
                if isinstance(order, Drain):
                    self._end(order.timeout_s)
                elif order is Order.ECHO:
                    self.tell(order)
                else:
                    self._released.set()
        except (EOFError, OSError):
            # Otherwise the supervisor does this.
            shutil.rmtree(self._assignment.folder, ignore_errors=True)
            self._end(self._assignment.settings.drain_timeout_s)

    def _end(self, timeout_s: float) -> None:
        if not self._released.is_set():
            os._exit(1)
        self._stop.put(timeout_s)


def _follow(workers: Workers, control: ModelControl) -> Sequence[tuple[str, str]] | None:
    """Load and unload what clients have had the others load and unload, until nothing of that has happened meanwhile.

    Returns:
        What the others have, see `Workers.models`.

    Raises:
        ServerError: a model cannot be loaded, or another worker does not answer.
    """
    known = None
    while (models := workers.models()) is not None and models != known:
        names = {name for name, _ in models}
        control.serve(names)
        for name in names:
            # Its files may have changed after they were read.
            control.load(name)
        known = models
    return models


def _warn_of_differences(repository: ModelRepository, others_models: Sequence[tuple[str, str]]) -> None:
    own, others = {(each.name, str(each.version)) for each in repository if each.model is not None}, {*others_models}
    if own != others:
        only_own, only_others = (
            ", ".join(f"{name} version {version}" for name, version in sorted(models)) or "nothing more"
            for models in (own - others, others - own)
        )
        _log.warning(
            "it serves %s, the other workers %s, since the repository has changed: have clients load the models, or "
            "start the server anew, so that all serve the same",
            only_own,
            only_others,
        )


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
        worker.tell(portable(error))
        finished = False
    except Exception:
        _log.exception("it cannot go on")
        finished = False
    # The interpreter's orderly end would abort threads that still run batches in C++.
    os._exit(0 if finished else 1)


if __name__ == "__main__":
    main()
