"""How requests reach the server and answers leave it. A transport knows no models; nothing else knows gRPC calls."""

from headgate.server.transport.base import Call, Method, MethodKind, Remaining, Transport
from headgate.server.transport.options import TlsOptions, TransportOptions, read_tls_options
from headgate.server.transport.selection import TransportName, create_transport

__all__ = [
    "Call",
    "Method",
    "MethodKind",
    "Remaining",
    "TlsOptions",
    "Transport",
    "TransportName",
    "TransportOptions",
    "create_transport",
    "read_tls_options",
]
