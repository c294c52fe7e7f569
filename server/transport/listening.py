"""Taking an address to listen on, and saying why it cannot be had."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from headgate.server.errors import StartupError
from headgate.server.transport.options import UNIX, TlsOptions, TransportOptions

#: How often to choose a free port, which may be free on one address of the host and taken on another.
_ATTEMPTS = 20
_BACKLOG = 2048
#: How long a client may leave unread what was sent to it.
_UNREAD_TIMEOUT_MS = 60_000


def listen(options: TransportOptions, bind: Callable[[str, TlsOptions | None], int]) -> int:
    """Have grpc bind the addresses of `options`; return the port, 0 for a Unix socket.

    `bind` takes an address as gRPC writes it, and fails by RuntimeError or by returning 0.

    Raises:
        StartupError: an address cannot be listened on.
    """
    address = options.address()
    if address == UNIX:
        raise _unusable(address)
    if options.on_unix_socket:
        _refuse_if_taken(address)
    port = _try(bind, address, options.tls)
    if not port and options.on_unix_socket:
        raise _unusable(address)
    if not port:
        # grpc does not say why; the system does.
        with reserve_port(options):
            raise _refused(address)
    if options.internal_address and not _try(bind, options.internal_address, None):
        raise _unusable(options.internal_address)
    return 0 if options.on_unix_socket else port


@contextmanager
def reserve_port(options: TransportOptions) -> Iterator[int]:
    """Hold the port of `options` for processes that share it (`share_port`), without listening; give its number.

    Whoever does not share it as they do cannot listen there meanwhile, and is not let in by another `reserve_port`.

    Raises:
        StartupError: the port is taken or not allowed, or the host is none of this machine's.
    """
    with ExitStack() as held:
        try:
            sockets = _hold(options, held, _bind_alone, _ATTEMPTS)
        except (OSError, UnicodeError) as error:
            raise _refused(options.address(), error) from error
        for each in sockets:
            # Only now: asked for before, it would have let this socket join those of another server.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield sockets[0].getsockname()[1]


@contextmanager
def listen_on(options: TransportOptions, flags: str) -> Iterator[list[socket.socket]]:
    """Listen on the port of `options`; give the sockets, one for each address of the host.

    `flags` is what the options of the command line begin with that say where.

    Raises:
        StartupError: the port is taken or not allowed, or the host is none of this machine's.
    """
    with ExitStack() as held:
        try:
            sockets = _hold(options, held, _bind_and_listen, _ATTEMPTS)
        except (OSError, UnicodeError) as error:
            raise _refused(options.address(), error, flags) from error
        yield sockets


def _hold(
    options: TransportOptions, held: ExitStack, bind: Callable[[socket.socket, tuple[Any, ...]], None], attempts: int
) -> list[socket.socket]:
    """Bind the port on all addresses of the host, until `held` is closed."""
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, (host, _, *rest) in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            bound = held.enter_context(socket.socket(family))
            bind(bound, (host, sockets[0].getsockname()[1] if sockets else options.port, *rest))
        except OSError as error:
            if sockets and not options.port and error.errno == errno.EADDRINUSE and attempts > 1:
                held.close()
                return _hold(options, held, bind, attempts - 1)
            # A name may stand for an address of a protocol that this machine does not speak.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            failure = error
            continue
        sockets.append(bound)
    if not sockets and failure is not None:
        raise failure
    return sockets


def _bind_and_listen(bound: socket.socket, address: tuple[Any, ...]) -> None:
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. Without it one whose client reads no more is kept, with all that is to be sent.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_TIMEOUT_MS)
    bound.bind(address)
    bound.listen(_BACKLOG)


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


def _refused(address: str, error: Exception | None = None, flags: str = "--") -> StartupError:
    number = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error)
    if error is None or number == errno.EADDRINUSE:
        why = f"is the port taken by another server? choose another with {flags}port"
    elif number == errno.EACCES:
        why = f"{reason}; ports below 1024 may need rights that this user lacks, choose another with {flags}port"
    else:
        why = f"{reason}; give {flags}host a name or an address of this machine"
    return StartupError(f"cannot listen on {address}: {why}")


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
