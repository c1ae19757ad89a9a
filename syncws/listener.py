"""The listening socket and the accept loop of a server; what it is that the connections speak is not known here.

:class:`Listener` keeps to the conventions of :mod:`socketserver`. ``serve_forever()`` accepts in the calling thread and
never waits for a client: what a connection needs is done in the thread that serves it, and one that cannot be served
is refused with what the socket takes at once. ``shutdown()`` may be called from any thread.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import socketserver
import ssl
import threading
import time
from abc import abstractmethod
from typing import Any

from .accept import deadline_after
from .addresses import Address, family_of, remove_socket_file, remove_stale_socket, socket_file
from .http import text_response
from .refusals import Refusals
from .serving import ServedConnection
from .transport import Transport, transport_for

__all__ = ["Listener"]

_log = logging.getLogger("syncws.server")

# What accept() fails with when the process or the system has run out of something, and a client waits in vain.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# How long, in seconds, the loop waits before it tries again.
_EXHAUSTED_PAUSE = 0.1
# For so long, in seconds, there must have been no shortage before the next one is logged.
_QUIET = 60.0


class Listener(socketserver.TCPServer):
    """A server on a TCP or Unix socket, with a thread for each connection.

    The with-statement ends with :meth:`shutdown` and :meth:`server_close`, so that an exception, such as that of
    Ctrl-C, which ends ``serve_forever()`` in its block, ends the connections as it should.

    :param address: ``(host, port)``; a host with a colon is an IPv6 address; a str is the path of a Unix socket.
    :param context: for TLS.
    :param max_connections: how many connections there may be; one more is refused with 503 (over TLS: closed).
    :param shutdown_timeout: seconds that :meth:`shutdown` gives the connections to end.
    """

    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(
        self,
        address: Address,
        *,
        context: ssl.SSLContext | None,
        max_connections: int | None,
        shutdown_timeout: float | None,
    ) -> None:
        self._context = context
        self._max_connections = max_connections
        self._shutdown_timeout = shutdown_timeout
        self._changed = threading.Condition()  # guards the next six, and tells of their changes
        self._stopping = False
        self._give_up: float | None = None  # when shutdown() drops what is left
        self._dropped: set[ServedConnection] = set()
        self._accepting: int | None = None  # the thread in serve_forever()
        self._wake: socket.socket | None = None  # a byte sent here wakes it up
        self._connections: dict[ServedConnection, int] = {}  # each with the thread that serves it
        self._refusals: Refusals | None = None
        self._refusal_logged_until = self._exhausted_logged_until = 0.0
        self._file: tuple[int, int] | None = None
        self.address_family = family_of(address)
        # The handler class of socketserver is of no use here: a connection may outlive its first request.
        super().__init__(address, socketserver.BaseRequestHandler)  # type: ignore[arg-type]  # an address may be a path

    @abstractmethod
    def _serve_on(self, transport: Transport) -> ServedConnection:
        """Return what serves a new connection."""

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
        """Close the listening socket, and remove the file of a Unix socket. Open connections stay open."""
        super().server_close()
        if self._file is not None:
            remove_socket_file(self.server_address, self._file)
            self._file = None

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        :raises OSError: there is none; when the process has run out of descriptors, that takes a moment.
        """
        try:
            return self.socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause(error)
            raise

    def _pause(self, error: OSError) -> None:
        # The client stays in the queue and select() would return at once: do not spin.
        now = time.monotonic()
        # A server at its limit accepts one client whenever another has left: still the same shortage.
        if now >= self._exhausted_logged_until:
            _log.error("cannot accept connections for the moment: %s", error)
        self._exhausted_logged_until = now + _QUIET
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, _EXHAUSTED_PAUSE)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, or refuse it."""
        count = len(self._connections)
        if self._max_connections is not None and count >= self._max_connections:
            self._refuse(request, f"the server has {count} connections, as many as it may have (max_connections)")
            return
        try:
            sock = self._wrap(request)
            connection = self._serve_on(transport_for(sock))
        except OSError as error:
            _log.debug("%s went away: %s", client_address, error)
            request.close()
            return
        with self._changed:
            self._connections[connection] = 0
        try:
            threading.Thread(target=self._run, args=(connection,), name="syncws-connection", daemon=True).start()
        except RuntimeError as error:
            self._forget(connection)
            self._refuse(sock, f"no thread for the connection: {error}")
            return
        if self._stopping:
            connection.stop()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong between accepting a connection and serving it; the loop goes on."""
        _log.exception("cannot serve %s", client_address)

    def _wrap(self, sock: socket.socket) -> socket.socket:
        if self._context is None:
            return sock
        # A client that has gone already would make wrap_socket() fail, and leave a socket that nobody can close.
        sock.getpeername()
        # The handshake is left to the connection's thread: it waits for the client.
        return self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def _refuse(self, sock: socket.socket, reason: str) -> None:
        """Answer 503 without waiting, or just close, and log the first of a row."""
        # Over TLS, nothing can be said before the handshake.
        refusals = self._refusals if self._context is None else None
        now = time.monotonic()
        if now >= self._refusal_logged_until:
            _log.error("refusing connections%s: %s", "" if refusals is None else " with 503", reason)
        self._refusal_logged_until = now + _QUIET
        if refusals is None:
            sock.close()
        else:
            refusals.add(sock, text_response(503, "The server is busy; try again later.", ""))

    # The connections.

    def _run(self, connection: ServedConnection) -> None:
        with self._changed:
            self._connections[connection] = threading.get_ident()
        try:
            connection.serve()
        finally:
            self._forget(connection)

    def _forget(self, connection: ServedConnection) -> None:
        with self._changed:
            del self._connections[connection]
            self._changed.notify_all()

    def _others(self) -> list[ServedConnection]:
        """Return the connections that are not served by the calling thread."""
        with self._changed:
            return [connection for connection, thread in self._connections.items() if thread != threading.get_ident()]

    # The loop.

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Accept connections until :meth:`shutdown` is called; returns at once if that has been.

        :param poll_interval: how often ``service_actions()`` is called at the least, in seconds.
        :raises RuntimeError: another thread is here already.
        """
        woken, wake = socket.socketpair()
        with woken, wake, selectors.DefaultSelector() as selector, Refusals(selector) as refusals:
            with self._changed:
                if self._accepting is not None:
                    raise RuntimeError("serve_forever() is running in another thread")
                if self._stopping:
                    return
                self._accepting, self._wake, self._refusals = threading.get_ident(), wake, refusals
            try:
                # A client may be gone again before it is accepted; accept() must not wait for the next one.
                self.socket.setblocking(False)
                selector.register(self.socket, selectors.EVENT_READ)
                selector.register(woken, selectors.EVENT_READ)
                self._loop(selector, refusals, poll_interval)
            finally:
                with self._changed:
                    if self._stopping:
                        self._stop_listening()
                    self._accepting = self._wake = self._refusals = None
                    self._changed.notify_all()

    def _loop(self, selector: selectors.BaseSelector, refusals: Refusals, poll_interval: float) -> None:
        while not self._stopping:
            for key, _ in selector.select(poll_interval):
                if key.fileobj is self.socket:
                    self._accept()
                elif key.data is not None:
                    refusals.on_readable(key.data)
            refusals.expire()
            self.service_actions()

    def _accept(self) -> None:
        """Take the hooks of socketserver in turn; whatever one of them raises, the loop goes on."""
        try:
            request, client_address = self.get_request()
        except OSError:
            return  # the client has gone again, or get_request() has said what is wrong
        try:
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
            else:
                self.shutdown_request(request)
        except Exception:
            self.handle_error(request, client_address)
            self.shutdown_request(request)

    def _stop_listening(self) -> None:
        # Whoever waits in the queue, or comes now, is to learn at once that nobody will accept the connection.
        self.socket.close()

    def shutdown(self) -> None:
        """Stop listening, end all connections, and return when they are gone.

        WebSockets are closed with 1001; requests of plain HTTP that are being served are completed; idle connections
        are dropped. Connections that are still there after ``shutdown_timeout`` are dropped too. May be called from
        any thread, before or during ``serve_forever()``, and more than once: the time is that of the first call. A
        connection whose handler calls it is told to close, and not waited for.
        """
        with self._changed:
            if not self._stopping:
                self._give_up = deadline_after(self._shutdown_timeout)
            self._stopping = True
            self._changed.notify_all()
            if self._wake is not None:
                self._wake.send(b"\0")
            # A signal handler that interrupts serve_forever() in its own thread cannot wait for it.
            if self._accepting != threading.get_ident():
                self._changed.wait_for(lambda: self._accepting is None)
                self._stop_listening()
            connections = list(self._connections)
        for connection in connections:
            connection.stop()
        with self._changed:
            left = None if self._give_up is None else max(0.0, self._give_up - time.monotonic())
            if self._changed.wait_for(lambda: not self._others(), left):
                return
            rest = set(self._others()) - self._dropped
            self._dropped |= rest
        if rest:
            _log.warning("dropping %d connections that are still open after %s s", len(rest), self._shutdown_timeout)
        for connection in rest:
            connection.abort()
