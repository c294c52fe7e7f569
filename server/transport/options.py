"""What a transport is started with: its address, who may connect, and its limits."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc

from headgate.server.errors import StartupError

Compression = Literal["none", "deflate", "gzip"]

UNIX = "unix:"
#: gRPC takes no larger numbers; as a time it means "never".
_LARGEST_INT = 2**31 - 1
#: Of calls that have come and were not taken from gRPC yet, gRPC answers some with CANCELLED from here on, and all from
#: twice as many on: by default from 1000, as many as come while this process pauses for a moment. What waits for a
#: model is bounded, and refused with reasons, later.
_PENDING_CALLS = 2**14
_COMPRESSION = {
    "none": grpc.Compression.NoCompression,
    "deflate": grpc.Compression.Deflate,
    "gzip": grpc.Compression.Gzip,
}


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What proves who the server is, and who its clients are; all of it PEM."""

    #: The server's certificate, followed by those between it and its root.
    certificate: bytes
    #: Its private key, not encrypted.
    key: bytes
    #: The roots that a client's certificate must come from; None lets clients in without one.
    client_ca: bytes | None = None


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Addresses and limits."""

    #: A name, an IP address, or "unix:/path" for a Unix socket.
    host: str = "127.0.0.1"
    #: 0 takes any free port. Unix sockets have none.
    port: int = 8001
    #: Whether other processes of this user may listen on the port too; the kernel spreads connections over them.
    share_port: bool = False
    #: A Unix socket that is listened on as well, "unix:/path", without encryption: who may open its folder may call.
    internal_address: str = ""
    #: None serves without encryption.
    tls: TlsOptions | None = None
    max_message_bytes: int = 64 * 1024 * 1024
    #: How many messages of one stream may be unanswered or unsent before the server stops reading it.
    stream_window: int = 256
    #: How many bytes these messages may have, of requests and of answers. One message is read whatever its size.
    stream_window_bytes: int = 16 * 2**20
    #: How many calls a connection may have under way; its client keeps the rest. 0: any number, with which one that
    #: begins and cancels calls as fast as it can keeps others waiting for seconds.
    max_concurrent_streams: int = 1024
    #: For how many microseconds the I/O thread polls for the next event before it sleeps, while they come within that
    #: time on average and no batches run on threads: a call on its own is answered sooner. 0: it sleeps at once.
    busy_poll_us: int = 200
    #: After this many seconds a client is asked to connect anew (`math.inf`: never). Behind a balancer of connections a
    #: server that was added later would otherwise never see the clients that were there before it.
    max_connection_age_s: float = 1800
    #: How long calls on such a connection may still take, then they are cancelled. By default without limit: a stream
    #: that works is not worth less than an even load.
    max_connection_age_grace_s: float = math.inf
    #: How answers are compressed where the client understands it. Requests may always be compressed.
    compression: Compression = "none"

    @property
    def on_unix_socket(self) -> bool:
        """Whether `host` names a Unix socket."""
        return self.host.startswith(UNIX)

    def address(self, port: int | None = None) -> str:
        """Return what to listen on, or to connect to, as gRPC writes it; `port` replaces the one that was asked for.

        >>> TransportOptions("::1", 0).address(50051)
        '[::1]:50051'
        >>> TransportOptions("unix:/run/headgate.sock").address()
        'unix:/run/headgate.sock'
        """
        if self.on_unix_socket:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port if port is None else port}"

    def channel_args(self) -> tuple[tuple[str, int], ...]:
        """Return the options of a gRPC server."""
        return (
            # By grpc's default, 1, a second server could share the port unnoticed.
            ("grpc.so_reuseport", int(self.share_port)),
            ("grpc.max_receive_message_length", min(self.max_message_bytes, _LARGEST_INT)),
            ("grpc.max_send_message_length", -1),
            # Clients may ping as often as they like. By default grpc ends connections for that (GOAWAY too_many_pings),
            # and spends seconds on some ten thousand pings, in which nothing else is done; to answer them takes
            # milliseconds.
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.default_compression_algorithm", int(_COMPRESSION[self.compression])),
            ("grpc.max_connection_age_ms", _milliseconds(self.max_connection_age_s)),
            ("grpc.max_connection_age_grace_ms", _milliseconds(self.max_connection_age_grace_s)),
            ("grpc.max_concurrent_streams", min(self.max_concurrent_streams or _LARGEST_INT, _LARGEST_INT)),
            # Otherwise grpc refuses some calls of clients that keep to it, where many end at once.
            ("grpc.http.overload_protection", 0),
            ("grpc.server.max_pending_requests", _PENDING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING_CALLS),
        )


def _milliseconds(seconds: float) -> int:
    return int(min(seconds * 1000, _LARGEST_INT))


def read_tls_options(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsOptions | None:
    """Read PEM files and check that they fit together; None if there are none.

    Raises:
        StartupError: one of certificate and key is missing, or a file cannot be read or used.
    """
    if certificate is None or key is None:
        if certificate is key is client_ca is None:
            return None
        raise StartupError("TLS takes a certificate and its key: give both --tls-cert and --tls-key")
    # What grpc says of files that it cannot use is that the port cannot be bound; OpenSSL is clearer.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate_pem, key_pem = _read(certificate, "certificate"), _read(key, "key")
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        raise StartupError(
            f"the certificate {certificate} and the key {key} cannot be used: {error.reason or error}; "
            "give two PEM files that belong together, the key not encrypted"
        ) from error
    if client_ca is None:
        return TlsOptions(certificate_pem, key_pem)
    client_ca_pem = _read(client_ca, "client CA")
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise StartupError(f"the client CA {client_ca} holds no PEM certificate: {error.reason or error}") from error
    return TlsOptions(certificate_pem, key_pem, client_ca_pem)


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"the {what} {path} cannot be read: {error.strerror}") from error
