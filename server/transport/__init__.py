"""How requests reach the server and answers leave it. A transport knows no models; nothing else knows gRPC calls."""

from headgate.server.transport.base import Call, Method, MethodKind, Transport, TransportOptions
from headgate.server.transport.completion_queue import CompletionQueueTransport

__all__ = ["Call", "CompletionQueueTransport", "Method", "MethodKind", "Transport", "TransportOptions"]
