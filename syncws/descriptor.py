"""Reading and writing a connected stream socket: the system calls of a transport, and how much to ask for.

A :class:`Descriptor` never waits with the GIL, and nothing in it is an exception but a lost connection. Where the
extension module ``_descriptor`` has been built, the one there is used, which does the same.

One thread at a time may be in :meth:`~Descriptor.recv` or :meth:`~Descriptor.recv_now`, and one at a time in
:meth:`~Descriptor.send`; :meth:`~Descriptor.close` may be called only when no thread is in any of them.
"""

from __future__ import annotations

import socket

__all__ = ["RECV_SIZE", "Descriptor"]

# How many bytes one call reads at the most, and how many it asks for at first. The less it asks for, the faster it is
# (38 bytes: 3.6 µs for 448, 5.2 for 65536), and a thread that waits owns the memory that it has asked for.
RECV_SIZE = 131072
_LEAST = 448
# Where this flag is missing (Windows), a send waits for the peer without regard to its deadline.
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)


class PureDescriptor:
    """The descriptor of a socket, in plain Python.

    :param sock: a connected socket, in blocking mode for :meth:`recv`.
    :ivar filled: the latest read has brought as much as it asked for, so that there may be more.
    :ivar sent: how many bytes the operating system has taken over.
    """

    __slots__ = ("_size", "_sock", "filled", "sent")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._size = _LEAST
        self.filled = True
        self.sent = 0

    def close(self) -> None:
        """Forget the socket, which is about to be closed."""
        self.filled = True  # the next read will not wait for it

    def recv(self) -> bytes | None:
        """Wait for bytes and return them; ``b""`` at the end of the stream.

        ``None``: a signal has interrupted it, whose handler may have its turn now; call again.

        :raises OSError: the connection was lost.
        """
        return self._recv(0)

    def recv_now(self) -> bytes | None:
        """Return what has arrived, ``b""`` at the end of the stream, ``None`` if nothing has.

        :raises OSError: the connection was lost.
        """
        try:
            return self._recv(_DONTWAIT)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """Write as much as is possible without waiting, and return how many bytes that was.

        :raises OSError: the connection was lost.
        """
        try:
            sent = self._sock.send(data, _DONTWAIT)
        except BlockingIOError:
            return 0
        except TimeoutError as error:
            raise _lost(error) from None
        self.sent += sent
        return sent

    def send_both(self, head: bytes, tail: bytes) -> int:
        """Write one behind the other as :meth:`send` does, and return how many bytes of both that was."""
        try:
            sent = self._sock.sendmsg((head, tail), (), _DONTWAIT)
        except BlockingIOError:
            return 0
        except TimeoutError as error:
            raise _lost(error) from None
        self.sent += sent
        return sent

    def _recv(self, flags: int) -> bytes:
        size = self._size
        try:
            if size == _LEAST:
                data = self._sock.recv(size, flags)
            else:
                # recv() cuts off what it has not filled of its block of memory. If that is little, glibc keeps it aside
                # for a small request to come, and no later read fits into the rest: a flood leaves megabytes of such
                # holes.
                buffer = bytearray(size)
                data = bytes(memoryview(buffer)[: self._sock.recv_into(buffer, size, flags)])
        except TimeoutError as error:
            raise _lost(error) from None
        # More next time, or less, by how much of what was asked for has come.
        self.filled = len(data) == size
        if self.filled:
            self._size = min(RECV_SIZE, size * 4)
        elif len(data) * 16 < size:
            self._size = max(_LEAST, size // 4)
        return data


def _lost(error: TimeoutError) -> OSError:
    # ETIMEDOUT of the operating system means that the peer's machine does not answer, not that a deadline has passed.
    return ConnectionAbortedError(error.errno, error.strerror)


try:
    from ._descriptor import Descriptor
except ModuleNotFoundError:
    Descriptor = PureDescriptor  # type: ignore[assignment, misc]
