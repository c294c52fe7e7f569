"""Taking an address to listen on, and saying why it cannot be had."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from headgate.server.errors import StartupError
from headgate.server.transport.options import TlsOptions, TransportOptions


def listen(options: TransportOptions, bind: Callable[[str, TlsOptions | None], int]) -> int:
    """Have grpc bind the addresses of `options`; return the port, 0 for a Unix socket.

    `bind` takes an address as gRPC writes it, and fails by RuntimeError or by returning 0.

    Raises:
        StartupError: an address cannot be listened on.
    """
    address = options.address()
    if options.on_unix_socket:
        _refuse_if_taken(address)
    port = _try(bind, address, options.tls)
    if not port:
        raise _unusable(address) if options.on_unix_socket else _taken(address)
    if options.internal_address and not _try(bind, options.internal_address, None):
        raise _unusable(options.internal_address)
    return 0 if options.on_unix_socket else port


@contextmanager
def reserve_port(options: TransportOptions) -> Iterator[int]:
    """Hold the port of `options` for processes that share it (`share_port`), without listening; give its number.

    Whoever does not share it as they do cannot listen there meanwhile, and is not let in by another `reserve_port`.

    Raises:
        StartupError: the port is taken, or the host is none of this machine's.
    """
    with ExitStack() as held:
        port = 0
        for family, (host, _, *rest) in _socket_addresses(options):
            try:
                reserved = held.enter_context(socket.socket(family))
                _bind_alone(reserved, (host, port or options.port, *rest))
            except OSError as error:
                # A name may stand for an address of a protocol that this machine does not speak.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise _taken(options.address()) from error
                continue
            port = reserved.getsockname()[1]
            # Only now: asked for before, it would have let this socket join those of another server.
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if not port:
            raise _taken(options.address())
        yield port


def _socket_addresses(options: TransportOptions) -> Iterable[tuple[int, tuple[Any, ...]]]:
    try:
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return ()
    return dict.fromkeys((family, address) for family, _, _, _, address in found)


def _bind_alone(reserved: socket.socket, address: tuple[Any, ...]) -> None:
    try:
        reserved.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Connections of a server that has ended may linger for a minute. They do not count where this is set, and
        # neither does a socket that has it set too and does not listen yet: so only now, and not for longer.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _try(bind: Callable[[str, TlsOptions | None], int], address: str, tls: TlsOptions | None) -> int:
    try:
        return bind(address, tls)
    except RuntimeError:
        return 0


def _taken(address: str) -> StartupError:
    return StartupError(f"cannot listen on {address}: is the port taken by another server? choose another with --port")


def _unusable(address: str) -> StartupError:
    return StartupError(
        f"cannot listen on {address}: choose a path of at most 107 bytes, in a folder that is there and may be "
        "written, where no other file stands"
    )


def _refuse_if_taken(address: str) -> None:
    # grpc removes a socket that stands there, be it left behind or another server's.
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(address.partition(":")[2])
        except TimeoutError:
            # It is there, though too busy to answer.
            pass
        except OSError:
            return
    raise StartupError(f"cannot listen on {address}: another server does; choose another path with --host")
