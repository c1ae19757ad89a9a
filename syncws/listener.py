"""The listening socket and the accept loop of a server; what it is that the connections speak is not known here.

:class:`Listener` keeps to the conventions of :mod:`socketserver`. ``serve_forever()`` accepts in the calling thread and
never waits for a client: what a connection needs is done in the thread that serves it, and one that cannot be served
is refused with what the socket takes at once. ``shutdown()`` may be called from any thread. In the servers of
:mod:`syncws.gevent` all of these are greenlets.
"""

from __future__ import annotations

import contextlib
import errno
import math
import selectors
import socket
import socketserver
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .addresses import Address, check_listening, family_of, remove_socket_file, remove_stale_socket, socket_file
from .budgets import Budget, OverBudget, Places
from .bursts import Bursts
from .listener_headroom import NoHeadroom, check_headroom
from .logs import get_logger
from .opening import refusal
from .protocol.frames import close_payload
from .refusals import BUSY, Refusals
from .runtime import THREADS
from .serving import GOING_AWAY, GOING_AWAY_REASON, ServedConnection
from .serving_connections import Connections
from .transport import Transport, transport_for

if TYPE_CHECKING:
    import ssl

__all__ = ["Listener"]

_log = get_logger("syncws.server")

# What accept() fails with when the process or the system has run out of something, and a client waits in vain.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# How long, in seconds, the loop waits before it tries again, and how many clients it refuses before that. Both limit
# what a shortage costs, however many clients there are and however soon they come back.
_EXHAUSTED_PAUSE = 0.1
_REFUSED_AT_ONCE = 10
# How many clients are accepted in a row, and how long, in seconds, a loop with nothing to do waits.
_ACCEPTED_AT_ONCE = 20
_LONGEST = 1e6


class Listener(socketserver.TCPServer):
    """A server on a TCP or Unix socket, with a thread for each connection.

    The with-statement ends with :meth:`shutdown` and :meth:`server_close`, whatever ends its block, such as Ctrl-C.

    :param address: ``(host, port)``; a host with a colon is an IPv6 address; a str is the path of a Unix socket. Or a
        socket that listens already, which the server takes over.
    :param context: for TLS.
    :param budget: how many connections there may be; one more is refused (over TLS: closed).
    :param shutdown_timeout: seconds that :meth:`shutdown` gives the connections to end.
    """

    allow_reuse_address = True
    request_queue_size = 1024
    # What runs the accept loop and the connections, and what fits to that.
    runtime = THREADS
    selector_class: Callable[[], selectors.BaseSelector] = selectors.DefaultSelector
    transport_for: Callable[[Any, Any], Transport] = staticmethod(transport_for)

    def __init__(
        self,
        address: Address | socket.socket,
        *,
        context: ssl.SSLContext | None,
        budget: Budget,
        shutdown_timeout: float | None,
    ) -> None:
        self._context = context
        self._changed = self._condition()  # guards the next two, and tells of their changes
        self._connections = Connections(self._changed, self.runtime.ident, shutdown_timeout)
        self._bursts = Bursts(self._changed)
        self._places = Places(self.runtime.rlock(), budget, self._bursts)
        self._accepting: int | None = None  # the thread in serve_forever()
        self._wake: socket.socket | None = None  # a byte sent here wakes it up
        self._refusals: Refusals | None = None
        self._watching = False  # the loop has registered the listening socket
        self._paused_until = 0.0
        self._unserved = 0  # connections for which there was no thread
        self._file: tuple[int, int] | None = None
        # Not by isinstance(): gevent's patches make socket.socket another class than that of a socket made before them.
        listening: Any = None if isinstance(address, (str, tuple)) or not hasattr(address, "accept") else address
        handler: Any = socketserver.BaseRequestHandler  # of no use here: a connection may outlive its first request
        if listening is not None:
            check_listening(listening)
            socketserver.BaseServer.__init__(self, listening.getsockname(), handler)
            self.address_family, self.socket = listening.family, listening
        else:
            self.address_family = family_of(address)  # type: ignore[arg-type]  # checked there
            super().__init__(address, handler)  # type: ignore[arg-type]  # an address may be a path

    @abstractmethod
    def _serve_on(self, transport: Transport) -> ServedConnection:
        """Return what serves a new connection."""

    def _condition(self) -> Any:
        # An RLock in it: a signal handler that calls shutdown() may have interrupted this very thread.
        return threading.Condition()

    # socketserver's hooks.

    def __exit__(self, *_: object) -> None:
        try:
            self.shutdown()
        finally:
            self.server_close()

    def server_bind(self) -> None:
        """Bind the socket; a Unix socket's file that was left behind by a process that has ended is replaced."""
        if isinstance(self.server_address, tuple):
            super().server_bind()
        else:
            remove_stale_socket(self.server_address)
            super().server_bind()
            self._file = socket_file(self.server_address)

    def server_close(self) -> None:
        """Close the listening socket, and remove the file of a Unix socket made here; open connections stay open."""
        super().server_close()
        if self._file is not None:
            remove_socket_file(self.server_address, self._file)
            self._file = None

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; OSError: there is none, and MemoryError: no memory for one."""
        try:
            return self.socket.accept()
        except OSError as error:
            accepted = self._run_short(error) if error.errno in _EXHAUSTED else None
            if accepted is None:
                raise
            return accepted

    def _run_short(self, error: OSError) -> tuple[socket.socket, Any] | None:
        """Refuse some of those who wait in vain, and do not spin; return a connection that can be served after all."""
        refusals = self._refusals
        if refusals is not None and refusals.give_way():
            return None  # those that were refused before have held what is missing
        refused = 0
        while refused < _REFUSED_AT_ONCE and refusals is not None and refusals.lend():
            try:
                accepted = self.socket.accept()
            except OSError as reason:
                if isinstance(reason, BlockingIOError) and not refused:
                    return None  # nobody waits: the operating system wants a descriptor before it looks
                break  # that was all of them; or another thread was faster, and has the descriptor
            if refusals.restore():
                return accepted  # there are descriptors again
            self._refuse(accepted[0], OverBudget(reason="descriptors"))
            refused += 1
        self._bursts.note("cannot accept connections", f"cannot accept connections for the moment: {error}")
        self._pause()
        return None

    def _pause(self) -> None:
        """Accept nobody for a moment. Clients stay in the queue, and select() would return at once."""
        if self._refusals is None:
            with self._changed:
                self._changed.wait_for(lambda: self._connections.stopping, _EXHAUSTED_PAUSE)
        elif self._watching:  # a pause is over when it is over
            # The loop goes on: refused clients that go away are ready for as long as nobody looks at them, which keeps
            # an event loop of greenlets busy.
            self._paused_until = time.monotonic() + _EXHAUSTED_PAUSE

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or refuse it."""
        try:
            place = self._places.take(client_address)
        except OverBudget as error:
            self._refuse(request, error)
            return
        try:
            check_headroom(self.runtime)
            if isinstance(client_address, tuple) and request.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise ConnectionAbortedError("before it was served")  # there may be a request, but nobody to answer
            sock = self._wrap(request)
            connection = self._serve_on(self.transport_for(sock, client_address))
        except NoHeadroom as error:
            place.leave()
            self._refuse_unserved(request, error)
            return
        except BaseException as error:
            place.leave()
            if not isinstance(error, OSError):
                raise
            _log.debug("%s went away: %s", client_address, error)
            request.close()
            return
        connection.place = place
        try:
            self._connections.add(connection)
            self.runtime.serve(Connections.serve, "syncws-connection", self._connections, connection)
        except (RuntimeError, MemoryError) as error:
            self._connections.forget(connection)
            self._refuse_unserved(sock, error)

    def _refuse_unserved(self, sock: socket.socket, error: Exception) -> None:
        """Refuse a connection for which there is no thread; do not spin if there are many of them."""
        message = f"refusing connections: no thread for the connection: {error}"
        self._bursts.note("refusing connections (no thread)", message)
        self._refuse(sock, OverBudget(reason="threads" if isinstance(error, RuntimeError) else "memory"))
        self._unserved += 1
        if self._unserved % _REFUSED_AT_ONCE == 0:
            self._pause()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong between accepting a connection and serving it; the loop goes on."""
        _log.exception("cannot serve %s", client_address)

    def _wrap(self, sock: socket.socket) -> socket.socket:
        if self._context is None:
            return sock
        sock.getpeername()  # if the client has gone already, wrap_socket() would fail and leave a socket open
        # The handshake is left to the connection's thread: it waits for the client.
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _refuse(self, sock: socket.socket, error: OverBudget | None) -> None:
        """Answer without waiting, or just close; without an error, there is no memory for more than what there is."""
        self._connections.totals.reject("memory" if error is None else error.reason)
        # Over TLS, nothing can be said before the handshake.
        if self._refusals is None or self._context is not None:
            sock.close()
        else:
            self._refusals.add(sock, BUSY if error is None else refusal(error, "", close=True))

    # The loop.

    def serve_forever(self, poll_interval: float | None = 0.5) -> None:
        """Accept connections until :meth:`shutdown` is called; returns at once if that has been.

        :param poll_interval: how often ``service_actions()`` is called at the least, in seconds; ``None``: only when
            something happens.
        :raises RuntimeError: another thread is here already.
        """
        woken, wake = socket.socketpair()
        with woken, wake, self.selector_class() as selector, Refusals(selector) as refusals:
            with self._changed:
                if self._accepting is not None:
                    raise RuntimeError("serve_forever() is running in another thread")
                if self._connections.stopping:
                    return
                self._accepting, self._wake, self._refusals = self.runtime.ident(), wake, refusals
            try:
                # A client may be gone again before it is accepted; accept() must not wait for the next one.
                self.socket.setblocking(False)
                selector.register(woken, selectors.EVENT_READ)
                self._loop(selector, refusals, _LONGEST if poll_interval is None else poll_interval)
            finally:
                with self._changed:
                    if self._connections.stopping:
                        self._stop_listening()
                    self._accepting = self._wake = self._refusals = None
                    self._watching = False
                    self._changed.notify_all()

    def _loop(self, selector: selectors.BaseSelector, refusals: Refusals, poll_interval: float) -> None:
        while not self._connections.stopping:
            try:
                for key, _ in selector.select(min(poll_interval, self._rest_of_pause(selector))):
                    if key.fileobj is self.socket:
                        # As many as refused clients are looked at: whoever is to be served does not wait for them.
                        for _ in range(_ACCEPTED_AT_ONCE):
                            if not self._accept():
                                break
                    elif key.data is not None:
                        refusals.on_readable(key.data)
                refusals.expire()
                self._bursts.settle()
                self.service_actions()
            except MemoryError:
                with contextlib.suppress(MemoryError):  # there may be none for this either
                    self._bursts.note("no memory", "no memory for the moment: the connection that came is closed")
                self._pause()

    def _rest_of_pause(self, selector: selectors.BaseSelector) -> float:
        """Watch the listening socket, or do not while there is a pause; return the seconds that there will be one."""
        left = self._paused_until - time.monotonic()
        if left > 0:
            if self._watching:
                self._watching = False
                selector.unregister(self.socket)
            return left
        if not self._watching and self.socket.fileno() != -1:
            selector.register(self.socket, selectors.EVENT_READ)
            self._watching = True
        return math.inf

    def _accept(self) -> bool:
        """Take the hooks of socketserver in turn, and go on whatever they raise; return whether to do so again."""
        try:
            request, client_address = self.get_request()
        except OSError:
            return False  # there is none, or get_request() has said what is wrong
        try:
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
            else:
                self.shutdown_request(request)
        except MemoryError:
            self._refuse(request, None)
            raise
        except Exception:
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        return not self._connections.stopping and self._paused_until <= time.monotonic()

    def _stop_listening(self) -> None:
        # Whoever waits in the queue, or comes now, is to learn at once that nobody will accept the connection.
        self.socket.close()

    def shutdown(self, code: int = GOING_AWAY, reason: str = GOING_AWAY_REASON) -> None:
        """Stop listening, end all connections, and return when they are gone.

        WebSockets are closed; requests of plain HTTP that are being served are completed; idle connections are
        dropped. Connections that are still there after ``shutdown_timeout`` are dropped too. May be called from any
        thread, before or during ``serve_forever()``, and more than once: code and time are those of the first call. A
        connection whose handler calls it is told to close, and not waited for. In a signal handler that gevent's event
        loop runs, where nothing can wait, a new greenlet does all of that, and the call returns at once.

        :param code: the close code for WebSockets. 1001: the server goes away. 1012: it comes back in a moment.
        :param reason: the close reason, at most 123 bytes in UTF-8.
        :raises: as :meth:`syncws.WebSocket.close`.
        """
        close_payload(code, reason)
        if not self.runtime.can_wait():
            self.runtime.spawn(lambda: self.shutdown(code, reason), "syncws-shutdown")
            return
        self._connections.stop(code, reason)
        with self._changed:
            if self._wake is not None:
                self._wake.send(b"\0")
            # A signal handler that interrupts serve_forever() in its own thread cannot wait for it.
            if self._accepting != self.runtime.ident():
                self._changed.wait_for(lambda: self._accepting is None)
                self._stop_listening()
        self._connections.end()
