"""Which of a client's requests a line of the log is about, by the header of W3C Trace Context."""

from __future__ import annotations

import re
from typing import Protocol

_TRACEPARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class _HasMetadata(Protocol):
    def metadata(self, key: str) -> str | None: ...


def trace_of(call: _HasMetadata) -> str:
    """Return what a line of the log says of a call's trace: " (traceparent ...)", or nothing where it has none."""
    traceparent = call.metadata("traceparent") or ""
    return f" (traceparent {traceparent})" if _TRACEPARENT.fullmatch(traceparent) else ""
