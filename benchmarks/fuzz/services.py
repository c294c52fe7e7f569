"""The methods of a server, found by its reflection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from headgate.foreign import reflection_v1

_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """A method.

    Attributes:
        path: "/package.Service/Method".
        request, answer: classes of its messages.
        takes_stream, gives_stream: whether there are any number of them.
    """

    path: str
    request: Any
    answer: Any
    takes_stream: bool
    gives_stream: bool


def find_targets(channel: grpc.Channel) -> list[Target]:
    """Return the methods of all services, by path.

    Raises:
        grpc.RpcError: the server has no reflection.
    """
    pool = DescriptorPool()
    services = [each.name for each in _ask(channel, list_services="*").list_services_response.service]
    added: set[str] = set()
    for service in services:
        files = _ask(channel, file_containing_symbol=service).file_descriptor_response.file_descriptor_proto
        # The file itself comes first, what it imports after it.
        for serialized in reversed(files):
            file = FileDescriptorProto.FromString(serialized)
            if file.name not in added:
                added.add(file.name)
                pool.Add(file)
    return sorted((target for service in services for target in _methods(pool, service)), key=lambda each: each.path)


def _methods(pool: DescriptorPool, service: str) -> Iterator[Target]:
    for method in pool.FindServiceByName(service).methods:
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        yield Target(f"/{service}/{method.name}", request, answer, method.client_streaming, method.server_streaming)


def _ask(channel: grpc.Channel, **question: str) -> Any:
    method = channel.stream_stream(f"/{reflection_v1.SERVICE.full_name}/ServerReflectionInfo")
    request = reflection_v1.ServerReflectionRequest(**question)
    (answer,) = method(iter([request.SerializeToString()]), timeout=_TIMEOUT_S)
    return reflection_v1.ServerReflectionResponse.FromString(answer)
