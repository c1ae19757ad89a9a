"""TLS for the load generator: OpenSSL's own functions, so that its loops in C can read and write without Python.

They come from the shared library, which needs no headers. :exc:`OSError` says that there is none. Certificates are not
verified: it is our own server.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from typing import Any

__all__ = ["TLS"]

_SET_READ_AHEAD, _SET_MODE = 41, 33  # SSL_CTRL_SET_READ_AHEAD, SSL_CTRL_MODE
_PARTIAL_WRITES, _MOVING_BUFFER = 1, 2  # SSL_MODE_ENABLE_PARTIAL_WRITE, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER


class TLS:
    """A client's context. One thread at a time."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("ssl")
        if name is None:
            raise OSError("no shared library libssl was found; install OpenSSL's")
        self._library = library = ctypes.CDLL(name)
        for function in (library.TLS_client_method, library.SSL_CTX_new, library.SSL_new):
            function.restype = ctypes.c_void_p
        self._context = library.SSL_CTX_new(ctypes.c_void_p(library.TLS_client_method()))
        # A record comes in with one call instead of two.
        library.SSL_CTX_ctrl(ctypes.c_void_p(self._context), _SET_READ_AHEAD, ctypes.c_long(1), None)
        modes = ctypes.c_long(_PARTIAL_WRITES | _MOVING_BUFFER)
        library.SSL_CTX_ctrl(ctypes.c_void_p(self._context), _SET_MODE, modes, None)
        self.read_address = ctypes.cast(library.SSL_read, ctypes.c_void_p)
        self.write_address = ctypes.cast(library.SSL_write, ctypes.c_void_p)

    def connect(self, sock: socket.socket) -> Any:
        """Do the handshake on a blocking socket; return what the other methods, and the loops, want."""
        session = self._library.SSL_new(ctypes.c_void_p(self._context))
        self._library.SSL_set_fd(ctypes.c_void_p(session), sock.fileno())
        if self._library.SSL_connect(ctypes.c_void_p(session)) != 1:
            raise OSError("the TLS handshake has failed")
        return session

    def send(self, session: Any, data: bytes) -> None:
        """Write all of it; blocking."""
        if self._library.SSL_write(ctypes.c_void_p(session), data, len(data)) != len(data):
            raise OSError("writing over TLS has failed")

    def receive(self, session: Any) -> bytes:
        """Read what there is, at least a byte; ``b""`` at the end; blocking."""
        buffer = ctypes.create_string_buffer(4096)
        size = self._library.SSL_read(ctypes.c_void_p(session), buffer, len(buffer))
        return buffer.raw[: max(size, 0)]

    def free(self, session: Any) -> None:
        """Forget a connection."""
        self._library.SSL_free(ctypes.c_void_p(session))
