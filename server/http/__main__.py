"""The process that speaks HTTP: `python -m headgate.server.http`, as a supervisor starts it."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import ssl
import sys
from multiprocessing.connection import Connection
from typing import Any

import uvicorn
import uvloop

from headgate.server.child import Drain, Order, Progress, portable, tell
from headgate.server.http.app import make_app, with_head
from headgate.server.http.gateway import Gateway
from headgate.server.http.metrics import HttpMetrics
from headgate.server.http.protocol import LimitedProtocol
from headgate.server.http.upstream import Upstream
from headgate.server.supervisor import HttpAssignment

#: Longer than the balancers in front keep a connection that is idle (60 s): they, not this server, are to close it.
_KEEP_ALIVE_S = 75
#: The largest body where the settings name no largest message.
_MOST_BODY_BYTES = 64 * 1024 * 1024


class HttpServer(uvicorn.Server):
    """Serves until its supervisor says otherwise, or is gone, or SIGTERM."""

    def __init__(self, config: uvicorn.Config, control: Connection[object, Any]) -> None:
        super().__init__(config)
        self._control = control
        self.all_finished = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests, and say so."""
        await super().startup(sockets=sockets)
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._obey)
        tell(self._control, Progress.LOADED)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was accepted."""
        await super().shutdown(sockets=sockets)
        self.all_finished = not (self.server_state.tasks or self.server_state.connections)

    def _obey(self) -> None:
        try:
            order: Order | Drain | None = self._control.recv()
        except (EOFError, OSError):
            order = None
        if order is Order.SERVE:
            tell(self._control, Progress.SERVING)
            return
        if order is Order.ECHO:
            tell(self._control, order)
            return
        asyncio.get_running_loop().remove_reader(self._control.fileno())
        if isinstance(order, Drain):
            self.config.timeout_graceful_shutdown = math.ceil(order.timeout_s)
        self.should_exit = True


async def serve(assignment: HttpAssignment, control: Connection[object, Any]) -> bool:
    """Serve until told to stop; return whether all accepted requests finished."""
    settings = assignment.settings
    upstream = Upstream(assignment.addresses)
    gateway = Gateway(
        upstream, settings.http_timeout_s, settings.max_message_bytes or _MOST_BODY_BYTES, settings.compression
    )
    metrics = HttpMetrics()
    config = uvicorn.Config(
        with_head(metrics.count(make_app(gateway, metrics))),
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        ssl_ca_certs=settings.tls_client_ca,
        ssl_cert_reqs=ssl.CERT_NONE if settings.tls_client_ca is None else ssl.CERT_REQUIRED,
    )
    server = HttpServer(config, control)
    await server.serve([socket.socket(fileno=number) for number in assignment.descriptors])
    await upstream.close()
    return server.all_finished


def main() -> None:
    """Run the server; its supervisor is at the other end of standard input."""
    control: Connection[object, Any] = Connection(0)
    try:
        assignment: HttpAssignment = control.recv()
    except EOFError:
        return
    logging.basicConfig(level=assignment.log_level, format="%(asctime)s %(levelname)s http %(name)s: %(message)s")
    # It would warn of each request that is no HTTP.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # uvicorn raises again what it has drained for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)
    try:
        finished = uvloop.run(serve(assignment, control))
    except OSError as error:
        tell(control, portable(error))
        finished = False
    sys.exit(0 if finished else 1)


if __name__ == "__main__":
    main()
