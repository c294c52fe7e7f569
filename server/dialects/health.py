"""The dialect `grpc.health.v1.Health`: what load balancers and orchestrators ask."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from headgate.foreign import health
from headgate.server.dialects.messages import parse
from headgate.server.errors import NotFoundError
from headgate.server.transport import Call, Method, MethodKind

SERVICE = health.SERVICE
_Status = health.HealthCheckResponse.ServingStatus


class HealthDialect:
    """One status for the server ("") and all of its services; a change is pushed to those who watch."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._serving = False
        self._watchers: dict[Call, str] = {}
        # Without it a watcher that comes as the status changes might be told the old one last.
        self._lock = threading.Lock()

    def methods(self) -> Mapping[str, Method]:
        """Return the methods by path."""
        return {
            f"/{SERVICE.full_name}/Check": Method(self._check),
            f"/{SERVICE.full_name}/List": Method(self._list),
            f"/{SERVICE.full_name}/Watch": Method(self._watch, MethodKind.SERVER_STREAM),
        }

    @property
    def is_serving(self) -> bool:
        """The status of all services."""
        return self._serving

    def set_serving(self, serving: bool) -> None:
        """Change the status of all services."""
        with self._lock:
            self._serving = serving
            for call, service in self._watchers.items():
                call.push(self._status(service).SerializeToString())

    def _check(self, call: Call) -> None:
        service = parse(health.HealthCheckRequest, call.request).service
        if service not in self._services:
            raise NotFoundError(
                f"there is no service '{service}'; this server has {', '.join(sorted(self._services - {''}))}"
            )
        call.reply(self._status(service).SerializeToString())

    def _list(self, call: Call) -> None:
        parse(health.HealthListRequest, call.request)
        statuses = {service: self._status(service) for service in self._services}
        call.reply(health.HealthListResponse(statuses=statuses).SerializeToString())

    def _watch(self, call: Call) -> None:
        service = parse(health.HealthCheckRequest, call.request).service
        call.watch_cancellation(lambda: self._forget(call))
        with self._lock:
            self._watchers[call] = service
            call.push(self._status(service).SerializeToString())

    def _forget(self, call: Call) -> None:
        with self._lock:
            self._watchers.pop(call, None)

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return health.HealthCheckResponse(status=_Status.Value("SERVICE_UNKNOWN"))
        return health.HealthCheckResponse(status=_Status.Value("SERVING" if self._serving else "NOT_SERVING"))
