"""Addresses that a server listens on: TCP over IPv4 and IPv6, and Unix sockets with their files.

A process that ends without closing its server leaves the file of its Unix socket behind. Such a file is removed when a
server wants its path, after an attempt to connect has shown that nobody listens there; anything else at that path is
left alone and is an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import Any

__all__ = ["Address", "family_of", "remove_socket_file", "remove_stale_socket", "socket_file"]

Address = tuple[str, int] | tuple[str, int, int, int] | str


def family_of(address: Address) -> int:
    """Return the address family that an address is of.

    :raises TypeError: it is no address.
    """
    if isinstance(address, str):
        return socket.AF_UNIX
    if not isinstance(address, tuple) or len(address) not in (2, 4) or not isinstance(address[0], str):
        raise TypeError(f"an address is (host, port) or the path of a Unix socket as a str, not {address!r}")
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


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
