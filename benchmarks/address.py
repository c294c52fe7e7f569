"""Where a server listens, and connections to it: TCP, Unix sockets, TLS."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from headgate.benchmarks.errors import BenchmarkError

_UNIX = "unix:"
_CONNECT_TIMEOUT_S = 5.0
_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        url: "host:port", "[ipv6]:port" or "unix:/path".
        is_secure: connect over TLS (no Unix sockets).
        root_certificates: with TLS, a PEM file of those to trust; None means the system's.
        certificate, key: with mutual TLS, PEM files of what to show the server.

    Raises:
        BenchmarkError: the URL is none of these.
    """

    url: str
    is_secure: bool = False
    root_certificates: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        tcp = re.fullmatch(r"(?:\[[^]]+\]|[^:/\[\]]+):(\d{1,5})", self.url)
        is_right = self.url != _UNIX if self._is_unix else tcp is not None and int(tcp[1]) <= _LARGEST_PORT
        if not is_right:
            raise BenchmarkError(f"the server's address is '{self.url}'; give host:port, [ipv6]:port or unix:/path")

    @property
    def authority(self) -> str:
        """What HTTP calls the server."""
        return "localhost" if self._is_unix else self.url

    @property
    def scheme(self) -> str:
        return "https" if self.is_secure else "http"

    def connect(self) -> socket.socket:
        """Open a connection that does not block, ready for HTTP/2.

        Raises:
            OSError: nobody listens; its server is not trusted.
            BenchmarkError: the server does not speak HTTP/2 over TLS.
        """
        if self._is_unix:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.url.removeprefix(_UNIX).removeprefix("//"))
        else:
            host, _, port = self.url.rpartition(":")
            host = host.strip("[]")
            connection = socket.create_connection((host, int(port)), _CONNECT_TIMEOUT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.is_secure:
                context = self._context()
                context.set_alpn_protocols(["h2"])
                connection = context.wrap_socket(connection, server_hostname=host)
                if connection.selected_alpn_protocol() != "h2":
                    raise BenchmarkError(f"{self.url} does not speak HTTP/2 over TLS")
        connection.setblocking(False)
        return connection

    def channel(self) -> grpc.Channel:
        """Open a channel of grpcio's, for calls that are not measured.

        Raises:
            OSError: a PEM file cannot be read.
            BenchmarkError: it cannot be used.
        """
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if not self.is_secure:
            return grpc.insecure_channel(self.url, options)
        files = (self.root_certificates, self.key, self.certificate)
        pem = [None if file is None else file.read_bytes() for file in files]
        # What grpc says of files that it cannot use is that the server cannot be reached; OpenSSL is clearer.
        self._context()
        return grpc.secure_channel(self.url, grpc.ssl_channel_credentials(*pem), options)

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.root_certificates)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except ssl.SSLError as error:
            files = [str(file) for file in (self.root_certificates, self.certificate, self.key) if file is not None]
            raise BenchmarkError(
                f"{', '.join(files)} cannot be used: {error.reason or error}; give PEM files, a certificate and its "
                "key, not encrypted"
            ) from error
        return context

    @property
    def _is_unix(self) -> bool:
        return self.url.startswith(_UNIX)
