"""Waiting for a server and for a model of it, blocking and for asyncio."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from headgate.client.channel import error_from_rpc
from headgate.client.errors import DeadlineExceededError, NotFoundError, UnavailableError
from headgate.foreign import health
from headgate.v1 import GetModelResponse, Model

#: Between two questions.
_PAUSE_S = 0.1
_SERVING = "SERVING"
_READY = "READY"
#: What may be otherwise a moment later.
_PASSING = (NotFoundError, UnavailableError)


def wait_for_server(channel: grpc.Channel, target: str, timeout_s: float) -> None:
    """Return as soon as the server says that it is serving.

    Raises:
        DeadlineExceededError: that was not so within `timeout_s`.
    """
    deadline, seen = time.monotonic() + timeout_s, "no connection"
    while (left_s := deadline - time.monotonic()) > 0:
        call = _watch(channel, left_s)
        try:
            for response in call:
                seen = _status(response)
                if seen == _SERVING:
                    return
        except grpc.RpcError as error:
            seen = _why_not_yet(error, seen)
        finally:
            call.cancel()
        time.sleep(min(_PAUSE_S, left_s))
    raise _not_ready(target, seen)


async def wait_for_server_async(channel: grpc.aio.Channel, target: str, timeout_s: float) -> None:
    """Do what `wait_for_server` does."""
    deadline, seen = time.monotonic() + timeout_s, "no connection"
    while (left_s := deadline - time.monotonic()) > 0:
        call = _watch(channel, left_s)
        try:
            async for response in call:
                seen = _status(response)
                if seen == _SERVING:
                    return
        except grpc.aio.AioRpcError as error:
            seen = _why_not_yet(error, seen)
        finally:
            call.cancel()
        await asyncio.sleep(min(_PAUSE_S, left_s))
    raise _not_ready(target, seen)


def wait_for_model(ask: Callable[[float], GetModelResponse], what: str, timeout_s: float) -> None:
    """Return as soon as a model is ready; `ask` has so many seconds to find out.

    Raises:
        DeadlineExceededError: it was not within `timeout_s`.
    """
    deadline, seen = time.monotonic() + timeout_s, "no answer"
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            seen = state_of(ask(left_s).model)
        except DeadlineExceededError:
            break
        except _PASSING as error:
            seen = str(error)
        if seen == _READY:
            return
        time.sleep(min(_PAUSE_S, left_s))
    raise _not_ready(what, seen)


async def wait_for_model_async(
    ask: Callable[[float], Awaitable[GetModelResponse]], what: str, timeout_s: float
) -> None:
    """Do what `wait_for_model` does."""
    deadline, seen = time.monotonic() + timeout_s, "no answer"
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            seen = state_of((await ask(left_s)).model)
        except DeadlineExceededError:
            break
        except _PASSING as error:
            seen = str(error)
        if seen == _READY:
            return
        await asyncio.sleep(min(_PAUSE_S, left_s))
    raise _not_ready(what, seen)


def _watch(channel: Any, timeout_s: float) -> Any:
    watch = channel.unary_stream(
        f"/{health.SERVICE.full_name}/Watch",
        request_serializer=health.HealthCheckRequest.SerializeToString,
        response_deserializer=health.HealthCheckResponse.FromString,
    )
    return watch(health.HealthCheckRequest(), timeout=timeout_s, wait_for_ready=True)


def _status(response: Any) -> str:
    name: str = health.HealthCheckResponse.ServingStatus.Name(response.status)
    return name


def state_of(model: Model) -> str:
    """Return in words where a version of a model stands, and why.

    >>> state_of(Model(state=Model.STATE_UNAVAILABLE, reason="there is no memory left"))
    'UNAVAILABLE: there is no memory left'
    """
    state = Model.State.Name(model.state).removeprefix("STATE_")
    return f"{state}: {model.reason}" if model.reason else state


def _why_not_yet(error: grpc.RpcError, seen: str) -> str:
    """Return what was heard last; raise what no waiting will mend."""
    match error_from_rpc(error):
        case DeadlineExceededError():
            return seen
        case UnavailableError() as passing:
            return str(passing)
        case lasting:
            raise lasting from None


def _not_ready(what: str, seen: str) -> DeadlineExceededError:
    return DeadlineExceededError(f"{what} is not ready: {seen}")
