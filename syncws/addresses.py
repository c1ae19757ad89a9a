"""Addresses that a server listens on: TCP over IPv4 and IPv6, and Unix sockets with their files.

A process that ends without closing its server leaves the file of its Unix socket behind. Such a file is removed when a
server wants its path, after an attempt to connect has shown that nobody listens there; anything else at that path is
left alone and is an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Iterator
from typing import Any

__all__ = [
    "Address",
    "check_listening",
    "family_of",
    "named_in_errors",
    "remove_socket_file",
    "remove_stale_socket",
    "socket_file",
]

Address = tuple[str, int] | tuple[str, int, int, int] | str

# What looks like host and port, as other programs take it. The name of an abstract Unix socket begins with NUL.
_HOST_AND_PORT = re.compile(r"\[?([^/\0]*?)\]?:(\d+)")


def family_of(address: Address) -> int:
    """Return the address family that an address is of.

    :raises TypeError: it is no address.
    :raises ValueError: it is a host and a port in one str, which would make a Unix socket of that name.
    """
    if isinstance(address, str):
        if found := _HOST_AND_PORT.fullmatch(address):
            raise ValueError(
                f"the address {address!r} is the path of a Unix socket, as every str; for TCP write "
                f"({found[1]!r}, {found[2]}); if a Unix socket is meant, write {'./' + address!r}"
            )
        return socket.AF_UNIX
    if not isinstance(address, tuple) or len(address) not in (2, 4) or not isinstance(address[0], str):
        raise TypeError(
            f"an address is (host, port), the path of a Unix socket as a str, or a listening socket, not {address!r}"
        )
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


@contextlib.contextmanager
def named_in_errors(address: object) -> Iterator[None]:
    """Have an :class:`OSError` that the block raises name the address, unless it names something already."""
    try:
        yield
    except OSError as error:
        # One without a number has a text of its own, which a name would take the place of.
        if error.errno is not None and error.filename is None:
            error.filename = _shown(address)
        raise


def _shown(address: object) -> object:
    if not isinstance(address, tuple):
        return address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_listening(sock: socket.socket) -> None:
    """Raise an error unless connections can be accepted from this socket.

    :raises TypeError: it is a socket of TLS; the server does that itself.
    :raises ValueError: it does not listen.
    """
    if hasattr(sock, "do_handshake"):
        raise TypeError("a listening socket must be a plain one; for TLS, give the server the context: ssl=context")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(f"the socket does not listen: call its listen() first: {sock!r}")


def remove_stale_socket(path: str) -> None:
    """Make a path free for a new Unix socket, if nothing but a socket without a server is there.

    :raises OSError: ``EADDRINUSE``: a server is listening there, or it is a file of another kind.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EADDRINUSE, "there is a file at the path of the Unix socket, and it is no socket", path)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody listens, and has a full queue
    raise OSError(errno.EADDRINUSE, "another server is listening on this Unix socket", path)


def socket_file(path: str) -> tuple[int, int]:
    """Return what identifies the file of a Unix socket, whatever becomes of its path."""
    info = os.stat(path)
    return info.st_dev, info.st_ino


def remove_socket_file(path: Any, file: tuple[int, int]) -> None:
    """Remove the file of a Unix socket, unless another server has put its own in its place."""
    with contextlib.suppress(FileNotFoundError):
        if socket_file(path) == file:
            os.unlink(path)
