"""Which transport serves."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Literal

import grpc

from headgate.server.errors import StartupError
from headgate.server.transport.base import Call, Method, MethodKind, Remaining, Transport
from headgate.server.transport.options import TransportOptions
from headgate.server.transport.public_api import PublicApiTransport

_log = logging.getLogger(__name__)

TransportName = Literal["auto", "completion-queue", "public-api"]

_CHECK_TIMEOUT_S = 5.0


def create_transport(
    name: TransportName, methods: Mapping[str, Method], on_drained: Callable[[], Remaining], options: TransportOptions
) -> Transport:
    """Create the transport of a name; "auto" is the completion queue's unless it does not work here.

    Raises:
        StartupError: "completion-queue" was asked for, and this grpcio does not have it.
    """
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_complaint)
    if name == "public-api" or (name == "auto" and not _works()):
        return PublicApiTransport(methods, on_drained, options)
    try:
        # Imported here: a grpcio may lack what it needs.
        from headgate.server.transport.completion_queue import CompletionQueueTransport
    except (ImportError, AttributeError) as error:
        raise StartupError(
            f"grpcio {grpc.__version__} has no completion queue as headgate knows it ({error}); "
            "take another grpcio or --transport public-api"
        ) from error
    return CompletionQueueTransport(methods, on_drained, options)


def _is_no_complaint(record: logging.LogRecord) -> bool:
    """Return False for what grpc logs, with a traceback each time, when a client sends metadata that is no UTF-8."""
    return not str(record.msg).startswith("Invalid encoding")


@functools.cache
def _works() -> bool:
    outcome: Future[None] = Future()

    def check() -> None:
        try:
            check_completion_queue()
        except Exception as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    # On a thread that is not waited for: what does not work may not end either.
    threading.Thread(target=check, name="transport-check", daemon=True).start()
    try:
        outcome.result(3 * _CHECK_TIMEOUT_S)
    except Exception as error:
        _log.warning(
            "the completion queue of grpcio %s does not work here (%s): "
            "serving on grpcio's public API, which takes several times the CPU",
            grpc.__version__,
            str(error) or type(error).__name__,
        )
        return False
    return True


def check_completion_queue() -> None:
    """Have the completion queue's transport answer a call and a stream over the loopback interface.

    Raises:
        Exception: whatever went wrong.
    """
    from headgate.server.transport.completion_queue import CompletionQueueTransport

    def echo(call: Call) -> None:
        call.reply(call.request)

    methods = {"/check/unary": Method(echo), "/check/stream": Method(echo, MethodKind.ORDERED_STREAM)}
    transport = CompletionQueueTransport(methods, lambda: Remaining.NOTHING, TransportOptions(port=0))
    try:
        transport.start()
        # Nothing on the way but the loopback interface.
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{transport.port}", options) as channel:
            answer = channel.unary_unary("/check/unary")(b"unary", timeout=_CHECK_TIMEOUT_S)
            answers = list(channel.stream_stream("/check/stream")(iter([b"stream"]), timeout=_CHECK_TIMEOUT_S))
        if (answer, answers) != (b"unary", [b"stream"]):
            raise RuntimeError("an answer is not the one that was sent")
    except grpc.RpcError as error:
        raise RuntimeError(
            f"a call over the loopback interface ended with {error.code()}: {error.details()}"
        ) from error
    finally:
        transport.drain(0)
        transport.close()
