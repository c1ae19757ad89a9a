"""Taking a connected socket away from the server that owns it, so that this server never touches the connection again.

:func:`take` returns a socket object of our own for the connection. The owner keeps its object, and with it every
reference that its handlers, files and selectors have, but the object gets another class: it behaves like a socket whose
client has gone. Reading finds the end of the stream, writing raises :class:`BrokenPipeError`, all else does nothing.
WSGI servers know that from clients that hang up, and do not log it.

What the owner attempts is told to a :class:`Watcher`, in the owner's thread: its first attempt to write or to close
means that the app has returned. While the owner handles an exception, it is told that its write has succeeded: an error
in an error handler is what some servers do log.

:func:`take` may be called from any thread; while it runs, nobody else may use the socket.
"""

from __future__ import annotations

import _socket
import errno
import functools
import os
import sys
import threading
import weakref
from typing import Any, Protocol

__all__ = ["Watcher", "is_taken", "take"]


class Watcher(Protocol):
    """Whoever is told what the former owner of a connection attempts; each time."""

    def owner_writes(self, beginning: bytes) -> bool:
        """Return whether to let the owner believe that it has succeeded.

        :param beginning: the first bytes of what was to be written.
        """
        ...

    def owner_closes(self) -> None: ...


# Sockets have no room for an attribute.
_watchers: weakref.WeakKeyDictionary[Any, Watcher] = weakref.WeakKeyDictionary()
_numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_lock = threading.Lock()  # guards the making of the one below
_dead_ends: list[int] = []

_MESSAGE = "the connection has become a WebSocket"


def take(sock: Any, watcher: Watcher) -> Any:
    """Return a new socket object for the connection of ``sock``, of the same kind: plain or TLS, native or gevent's.

    Of a TLS connection, the session goes on.

    :param sock: the owner's object; a :class:`socket.socket` or a gevent socket.
    :raises TypeError: it is neither of them; nothing has happened to it.
    """
    kind: Any = type(sock)
    gone = _gone_class(kind)
    _watchers[sock] = watcher
    if not isinstance(sock, _socket.socket):
        ours = _copy_of_gevent_socket(sock)
        sock.__class__ = gone
        return ours
    sock.__class__ = gone
    if hasattr(sock, "_sslobj"):
        return _second_tls_socket(sock, kind)
    return _new_socket(kind, sock, _socket.socket.detach(sock))


def is_taken(sock: object) -> bool:
    """Whether a socket has been taken away from its owner already."""
    return isinstance(sock, _Gone)


def _new_socket(kind: Any, sock: Any, descriptor: int) -> Any:
    """Return a native socket of class ``kind`` for a descriptor, past the ``__init__`` of that class."""
    ours = kind.__new__(kind)
    _socket.socket.__init__(ours, sock.family, sock.type, sock.proto, descriptor)
    ours._io_refs, ours._closed = 0, False
    return ours


def _second_tls_socket(sock: Any, kind: Any) -> Any:
    """Return an SSLSocket with the TLS session of ``sock``, whose class was ``kind``."""
    # OpenSSL's object asks the socket that it was made for whether to wait, and works only as long as that one lives
    # and has a descriptor. So the owner's object keeps the number, too, until ours is closed.
    ours = _new_socket(_second_tls_class(kind), sock, _socket.socket.fileno(sock))
    vars(ours).update(vars(sock), _first=sock)
    _socket.socket.setblocking(sock, False)
    return ours


@functools.cache
def _second_tls_class(kind: Any) -> Any:
    def close(self: Any) -> None:
        # The number may be another's as soon as it is closed.
        _socket.socket.detach(self._first)
        kind._real_close(self)

    return type(kind.__name__, (kind,), {"_real_close": close})


def _copy_of_gevent_socket(sock: Any) -> Any:
    """Return a gevent socket with the native socket, the watchers and the TLS session of ``sock``."""
    kind: Any = type(sock)
    ours = kind.__new__(kind)
    slots = [name for cls in kind.__mro__ for name in cls.__dict__.get("__slots__", ()) if name != "__weakref__"]
    for name in slots:
        setattr(ours, name, getattr(sock, name))
    for name, value in getattr(sock, "__dict__", {}).items():
        setattr(ours, name, value)
    ours._io_refs, ours._closed = 0, False
    return ours


@functools.cache
def _gone_class(kind: Any) -> Any:
    """Return the class that an owner's object of class ``kind`` is to have."""
    native = issubclass(kind, _socket.socket)
    if not native and not hasattr(kind, "_gevent_sock_class"):
        raise TypeError(f"cannot take over a {kind.__module__}.{kind.__qualname__}: it is no socket.socket")
    # Python changes the class of an object only to one whose objects look the same in memory.
    bases: tuple[Any, ...] = (_Gone if native else _GoneOfGevent, kind)
    return type(f"Gone{kind.__name__}", bases, {"__slots__": ()})


def _dead_end() -> int:
    """Return the process's descriptor for sockets without one: selectors find it readable, at its end."""
    with _lock:
        if not _dead_ends:
            end, other = _socket.socketpair()
            other.close()
            _dead_ends.append(end.detach())
    return _dead_ends[0]


def _own_dead_end(sock: Any) -> int:
    """Return a descriptor of that kind for one socket: a selector does not take the same one for two of them."""
    if sock not in _numbers:
        try:
            number = os.dup(_dead_end())
        except OSError:
            return _dead_end()
        _numbers[sock] = number
        weakref.finalize(sock, os.close, number)
    return _numbers[sock]


def _write(sock: Any, data: Any) -> int:
    with memoryview(data) as view:
        size, beginning = view.nbytes, bytes(view[:16])
    believe = _watchers[sock].owner_writes(beginning)
    if sys.exc_info()[1] is None and not believe:
        raise BrokenPipeError(errno.EPIPE, _MESSAGE)
    return size


class _Gone:
    """The methods of a socket whose client has gone, in front of those of its real class."""

    __slots__ = ()

    def recv(self, *_: object) -> bytes:
        return b""

    def recv_into(self, *_: object, **__: object) -> int:
        return 0

    def read(self, _size: int = 1024, buffer: object = None) -> bytes | int:
        return b"" if buffer is None else 0

    def pending(self) -> int:
        return 0

    def send(self, data: Any, *_: object) -> int:
        return _write(self, data)

    write = send

    def sendall(self, data: Any, *_: object) -> None:
        _write(self, data)

    def sendfile(self, *_: object, **__: object) -> int:
        return _write(self, b"")

    def fileno(self) -> int:
        return _own_dead_end(self)

    def getpeername(self) -> Any:
        raise OSError(errno.ENOTCONN, _MESSAGE)

    def setblocking(self, _flag: bool) -> None:
        pass

    def settimeout(self, _value: float | None) -> None:
        pass

    def unwrap(self) -> Any:
        return self

    def detach(self) -> int:
        return -1

    def shutdown(self, _how: int) -> None:
        _watchers[self].owner_closes()

    def close(self) -> None:
        _watchers[self].owner_closes()


class _NoSocket:
    """What a gevent socket has instead of its native one; pywsgi reads from that and closes it."""

    __slots__ = ()

    def recv(self, *_: object) -> bytes:
        return b""

    def close(self) -> None:
        pass


class _GoneOfGevent(_Gone):
    __slots__ = ()

    @property
    def _sock(self) -> _NoSocket:
        return _NoSocket()
