"""The stages of an export: which one runs, and how long each took."""

import logging
import time
from collections.abc import Callable

#: The stages, in their order.
STAGES = ("import", "load", "infer heads", "convert", "verify", "optimize", "calibrate", "write")

_log = logging.getLogger("headgate.exporter")


class Stages:
    """Tells a listener which stage begins, and which part of a long one, and keeps the seconds of each.

    >>> stages = Stages(print)
    >>> stages.begin("load")
    load
    >>> stages.begin("calibrate")
    calibrate
    >>> stages.go_on("head 'digit'")
    calibrate: head 'digit'
    >>> list(stages.end())
    ['load', 'calibrate']
    """

    def __init__(self, listener: Callable[[str], None] | None = None) -> None:
        self._listener = listener
        self._seconds: dict[str, float] = {}
        self._running: tuple[str, float] | None = None

    def begin(self, stage: str) -> None:
        """End the stage that runs, if any, and begin another; one that comes again goes on."""
        self.end()
        self._running = stage, time.perf_counter()
        _log.info("stage: %s", stage)
        if self._listener is not None:
            self._listener(stage)

    def go_on(self, part: str) -> None:
        """Tell which part of the stage that runs begins, or has ended."""
        if self._listener is not None and self._running is not None:
            self._listener(f"{self._running[0]}: {part}")

    def end(self) -> dict[str, float]:
        """End the stage that runs, and return the seconds of each so far."""
        if self._running is not None:
            stage, begun = self._running
            self._seconds[stage] = self._seconds.get(stage, 0.0) + time.perf_counter() - begun
            self._running = None
        return dict(self._seconds)
