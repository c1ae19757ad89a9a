"""A proxy that sends on what passes between any client and any server, and reports it: that of ``syncws trace``.

It knows nothing of WebSockets and judges nothing, so what is wrong passes as well; what it changes is in
:mod:`syncws.trace.rewriting`. Each connection has two threads. A side that ends its direction is passed on; over TLS,
that ends the connection, because what the server still sends cannot be read behind it.

:meth:`TraceProxy.serve_forever` returns after :meth:`TraceProxy.shutdown`, as with any :mod:`socketserver`;
:meth:`TraceProxy.stop` does all of it: no new connections, the open ones dropped, the socket given back.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from ..http import text_response
from ..logs import get_logger
from ..transport import Transport, transport_for
from ..transport_traced import Report, Sender, Tracer
from ..uri import WebSocketURI
from .rewriting import Own, Rewriter

__all__ = ["TraceProxy"]

_log = get_logger("syncws.trace")

# How long, in seconds, a connection to the server may take.
_CONNECT_TIMEOUT = 10.0
# How long a client may take for the answer that there is no such connection.
_ANSWER_TIMEOUT = 2.0
# And how long connections may take to be over that have been dropped.
_STOP_TIMEOUT = 5.0


class TraceProxy(socketserver.ThreadingTCPServer):
    """Listens for clients, and connects each of them to the server.

    :param address: where to listen: host and port.
    :param target: the server; what its path is makes no difference.
    :param tracer: is told of all that passes.
    :param context: how TLS is done with the server; ``None``: as usual.
    :param rewrite: have ``Host`` and ``Origin`` fit to the server where they name the proxy: with the address that it
        is told to listen on, the one that a client has connected to, or ``localhost``.
    :raises OSError: the address cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        target: WebSocketURI,
        tracer: Tracer,
        *,
        context: ssl.SSLContext | None = None,
        rewrite: bool = True,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._target = target
        self._tracer = tracer
        self._context = context
        self._rewrite = rewrite
        self._name = address[0]
        self._changed = threading.Condition()  # guards the two below, and tells when a connection is over
        self._open: set[Transport] = set()
        self._stopped = False
        super().__init__(address, socketserver.BaseRequestHandler)

    def stop(self) -> None:
        """Stop listening, drop all connections, and wait until they are over. Not in the thread of the accept loop."""
        self.shutdown()
        self.server_close()
        with self._changed:
            self._stopped = True
            for transport in self._open:
                transport.abort()
            self._changed.wait_for(lambda: not self._open, _STOP_TIMEOUT)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, in its thread."""
        try:
            server = self._connect()
        except OSError as error:
            why = f"cannot connect to {self._target}: {error.strerror or error}"
            _log.error("%s", why)
            _answer(request, text_response(502, why, "GET"))
            return
        client = transport_for(request)
        with self._changed:
            stopped = self._stopped
            self._open |= {client, server}
        try:
            if not stopped:
                self._relay(client, server, self._rewriter(request) if self._rewrite else None)
        finally:
            with self._changed:
                self._open -= {client, server}
                self._changed.notify_all()
            client.close()
            server.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what went wrong with a connection; the others go on."""
        _log.exception("cannot serve %s", client_address)

    def _connect(self) -> Transport:
        sock = socket.create_connection((self._target.host, self._target.port), _CONNECT_TIMEOUT)
        try:
            if self._target.secure:
                context = self._context or ssl.create_default_context()
                sock = context.wrap_socket(sock, server_hostname=self._target.host.rstrip("."))
            return transport_for(sock)
        except BaseException:
            sock.close()
            raise

    def _rewriter(self, request: socket.socket) -> Rewriter:
        address, port = request.getsockname()[:2]
        scheme = "https" if self._target.secure else "http"
        host = self._target.host_field
        return Rewriter(host, f"{scheme}://{host}", Own((self._name, address), port))

    def _relay(self, client: Transport, server: Transport, rewriter: Rewriter | None) -> None:
        """Send on what comes from either side, until both have ended."""
        report = self._tracer.attach()
        back = threading.Thread(
            target=_pump, args=(server, client, "server", report, None), name="syncws-trace", daemon=True
        )
        back.start()
        _pump(client, server, "client", report, rewriter)
        back.join()


def _answer(sock: socket.socket, response: bytes) -> None:
    """Send a response, and wait until the client has ended: with unread input, its way would end in a reset."""
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    transport = transport_for(sock)
    with contextlib.suppress(OSError):
        transport.send_all(response, deadline)
        transport.shutdown_write()
        while transport.recv(deadline) and time.monotonic() < deadline:
            pass


def _pump(source: Transport, sink: Transport, sender: Sender, report: Report, rewriter: Rewriter | None) -> None:
    """Send on all that comes from one side, then the end of it."""

    def send_on(data: bytes) -> bool:
        if not data:
            return True
        # Reported first: so the answer to it cannot be reported before it.
        report(sender, data)
        try:
            sink.send_all(data)
        except OSError:
            # The other side is gone: this one is to learn it.
            source.abort()
            return False
        return True

    rewrite: Callable[[bytes], bytes] = bytes if rewriter is None else rewriter.feed
    while data := _received(source):
        if not send_on(rewrite(data)):
            break
    if rewriter is not None:
        send_on(rewriter.end())
    report(sender, b"")
    if sink.secure:
        sink.abort()
    else:
        sink.shutdown_write()


def _received(source: Transport) -> bytes:
    try:
        return source.recv()
    except OSError:
        return b""
