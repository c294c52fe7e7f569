"""Taking an address to listen on, and saying why it cannot be had."""

from __future__ import annotations

import socket
from collections.abc import Callable

from headgate.server.errors import StartupError
from headgate.server.transport.options import TransportOptions


def listen(options: TransportOptions, bind: Callable[[str], int]) -> int:
    """Have grpc bind the address of `options`; return the port, 0 for a Unix socket.

    `bind` takes the address as gRPC writes it, and fails by RuntimeError or by returning 0.

    Raises:
        StartupError: the address cannot be listened on.
    """
    address = options.address()
    if options.on_unix_socket:
        _refuse_if_taken(address)
    try:
        port = bind(address)
    except RuntimeError:
        port = 0
    if port:
        return 0 if options.on_unix_socket else port
    if options.on_unix_socket:
        raise StartupError(
            f"cannot listen on {address}: choose a path of at most 107 bytes, in a folder that is there and may be "
            "written, where no other file stands"
        )
    raise StartupError(f"cannot listen on {address}: is the port taken by another server? choose another with --port")


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
