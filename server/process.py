"""A server as a process: from its start to the signal that ends it."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from headgate.server.config import ServerSettings
from headgate.server.errors import Interrupted
from headgate.server.processors import available_processors
from headgate.server.signals import handling
from headgate.server.supervisor import Supervisor

if TYPE_CHECKING:
    from headgate.server.model import LoadedModel


def serve(settings: ServerSettings, report: Callable[[str], None] = lambda line: None) -> bool:
    """Run a server until SIGTERM or SIGINT, then drain it; return whether all accepted requests finished.

    A second signal during the drain ends it at once. Call it on the main thread.

    Args:
        settings: what it is started with; with several workers each is a process of its own, and so is HTTP.
        report: is told, in one line each, that a model is loaded, that the server is ready, and that it stops.

    Raises:
        StartupError: the server cannot start as asked.
    """
    workers = settings.workers or available_processors()
    if workers > 1 or settings.http_port is not None:
        return Supervisor(settings, workers, report).run()
    # Late: a supervisor has no need of what runs models.
    from headgate.server.server import Server

    server = Server(settings)
    # Unlike an event's `set`, its `put` may be called by a signal's handler.
    stop: SimpleQueue[None] = SimpleQueue()
    interrupts = True

    def request_stop(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        if interrupts:
            raise Interrupted
        interrupts = True
        stop.put(None)

    try:
        with handling(request_stop):
            server.listen()
            server.load(lambda model: report(describe(model)))
            # Before it is ready: who then stops it finds a server that drains.
            interrupts = False
            server.set_ready()
            report(f"ready: serving on {server.address}")
            stop.get()
            report("stopping: finishing accepted requests")
            return server.stop()
    except Interrupted:
        return False


def describe(model: LoadedModel) -> str:
    """Say in one line what was loaded."""
    heads = ", ".join(model.decoders) or "no heads: raw tensors only"
    return f"loaded {model.name} version {model.version} on {model.provider} ({heads})"
