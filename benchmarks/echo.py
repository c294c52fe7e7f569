"""Servers that answer every request with itself: the least that a gRPC server in Python has to do.

`python -m headgate.benchmarks.echo headgate` runs on headgate's transport, `... aio` on grpcio's own asyncio server.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import AsyncIterator

import grpc

from headgate.server.transport import Call, Method, MethodKind, Remaining, TransportOptions
from headgate.server.transport.completion_queue import CompletionQueueTransport

_SERVICE = "headgate.benchmarks.Echo"
UNARY = f"/{_SERVICE}/Unary"
STREAM = f"/{_SERVICE}/Stream"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve_on_headgate() -> None:
    """Serve on headgate's transport until SIGTERM or SIGINT."""

    def echo(call: Call) -> None:
        call.reply(call.request)

    stop = threading.Event()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda number, frame: stop.set())
    methods = {UNARY: Method(echo), STREAM: Method(echo, MethodKind.ORDERED_STREAM)}
    transport = CompletionQueueTransport(methods, lambda: Remaining.NOTHING, TransportOptions(port=0))
    transport.start()
    _report_ready(transport.port)
    stop.wait()
    transport.drain(grace_s=1)
    transport.close()


async def serve_on_aio() -> None:
    """Serve on `grpc.aio` until SIGTERM or SIGINT, with handlers that get and give bytes."""

    async def echo(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return request

    async def echo_all(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    stop = asyncio.Event()
    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo),
        "Stream": grpc.stream_stream_rpc_method_handler(echo_all),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _report_ready(port)
    await stop.wait()
    await server.stop(grace=1)


def _report_ready(port: int) -> None:
    print(f"ready: serving on 127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["headgate"]:
        serve_on_headgate()
    elif sys.argv[1:] == ["aio"]:
        asyncio.run(serve_on_aio())
    else:
        sys.exit("usage: python -m headgate.benchmarks.echo headgate|aio")
