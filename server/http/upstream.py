"""The gRPC server behind HTTP: its workers, asked in turn."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

import headgate.v1
from headgate.client.channel import error_from_rpc
from headgate.foreign import open_inference as oip
from headgate.server.errors import UnavailableError
from headgate.server.http.requests import Deadline
from headgate.v1.prediction_service_pb2 import DESCRIPTOR

_PREDICTION_SERVICE = DESCRIPTOR.services_by_name["PredictionService"].full_name
_CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A worker that was started again is to be found soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
#: grpc takes what is centuries away for the past.
_MOST_TIMEOUT_S = 365 * 24 * 3600.0
#: How long a request waits for a worker that is being started.
_CONNECT_TIMEOUT_S = 5.0


class Upstream:
    """Asks one worker after the other; those that are not there are left out.

    The methods raise HeadgateError for what the worker answered, or where there is no answer, and UnavailableError
    where there is no worker.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        """Take the workers' addresses, as gRPC writes them; in an event loop."""
        self._channels = [grpc.aio.insecure_channel(address, _CHANNEL_OPTIONS) for address in addresses]
        self._turns = itertools.cycle(range(len(addresses)))
        #: Attempts to connect, by channel: one at a time, however many requests wait for it.
        self._attempts: dict[grpc.aio.Channel, asyncio.Future[None]] = {}

    async def predict(self, method: str, request: Any, deadline: Deadline) -> Any:
        """Call a method of `headgate.v1.PredictionService`."""
        response_class = getattr(headgate.v1, f"{method}Response")
        return await self._ask(f"/{_PREDICTION_SERVICE}/{method}", request, response_class, deadline)

    async def infer(self, request: Any, deadline: Deadline) -> Any:
        """Have ModelInfer answer a request."""
        return await self._ask(f"/{oip.SERVICE.full_name}/ModelInfer", request, oip.ModelInferResponse, deadline)

    async def protocol(self, method: str, deadline: Deadline, **fields: Any) -> Any:
        """Call a method of the Open Inference Protocol, with a request of these fields."""
        request, response_class = getattr(oip, f"{method}Request")(**fields), getattr(oip, f"{method}Response")
        return await self._ask(f"/{oip.SERVICE.full_name}/{method}", request, response_class, deadline)

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()
        # They end with their channels. Cancelled, they would have gRPC tell an event loop that may be gone.
        await asyncio.gather(*self._attempts.values(), return_exceptions=True)

    async def _ask(self, path: str, request: Any, response_class: Any, deadline: Deadline) -> Any:
        channel = self._connected() or await self._connect(deadline)
        method = channel.unary_unary(path, None, response_class.FromString)
        try:
            return await method(request.SerializeToString(), timeout=min(deadline.left_s(), _MOST_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            # It is not asked again, or of another: what ended one worker would end them all.
            raise error_from_rpc(error, deadline.timeout_s) from None

    def _connected(self) -> grpc.aio.Channel | None:
        """Return the next channel that is connected; have the others connect."""
        turn = next(self._turns)
        for channel in self._channels[turn:] + self._channels[:turn]:
            if channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
                return channel
        return None

    async def _connect(self, deadline: Deadline) -> grpc.aio.Channel:
        """Return the channel that is the first to be connected."""
        for channel in self._channels:
            if channel not in self._attempts or self._attempts[channel].done():
                self._attempts[channel] = asyncio.ensure_future(channel.channel_ready())
        waiting = {self._attempts[channel]: channel for channel in self._channels}
        timeout_s = min(_CONNECT_TIMEOUT_S, deadline.left_s())
        connected, _ = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not connected:
            raise UnavailableError("the server behind HTTP cannot be reached; it is being started again")
        return waiting[connected.pop()]
