"""What the tests want from a library that others wrote, and both ends of one connection with it.

Each ``with_X.py`` beside this file fits one library to :class:`Library`; :func:`connected` opens a connection between
it and syncws, in either role. The tests then hold both ends in their hands: ``ours`` is a :class:`syncws.WebSocket`,
``theirs`` a :class:`Peer`.
"""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import trustme
from wire import DEADLINE

import syncws

__all__ = [
    "REDIRECT_PATH",
    "REFUSED_BODY",
    "REFUSED_PATH",
    "Authority",
    "ForeignServer",
    "Library",
    "Peer",
    "Refusal",
    "connected",
    "our_server",
    "uri_of",
]

# A redirect of every foreign server leads from here to "/"; a request for the other path is refused with 401.
REDIRECT_PATH = "/moved"
REFUSED_PATH = "/private"
REFUSED_BODY = b"who are you?"


class Peer(ABC):
    """An open connection, as the other library sees it. Pings are answered only while :meth:`receive` runs.

    :ivar subprotocol: agreed upon, or ``None``.
    :ivar headers: the fields of the head that this end has received, names in lower case.
    :ivar extensions: the value of ``Sec-WebSocket-Extensions`` in the 101; empty if it had none.
    :ivar shows_reason_of_answer: the reason in the close frame that answers :meth:`close` can be seen.
    """

    subprotocol: str | None
    headers: Mapping[str, str]
    extensions: str
    shows_reason_of_answer = True

    @abstractmethod
    def send(self, data: str | bytes) -> None: ...

    @abstractmethod
    def send_fragments(self, pieces: Sequence[str | bytes]) -> None:
        """Send a message, each piece in a frame."""

    @abstractmethod
    def receive(self) -> str | bytes:
        """Return the next message; ``EOFError`` when the connection has been closed."""

    @abstractmethod
    def ping(self, data: bytes) -> bytes:
        """Send a ping, wait for the pong, return its payload. Messages on the way are dropped."""

    @abstractmethod
    def close(self, code: int | None = None, reason: str = "") -> None:
        """Close; ``None``: with a close frame that has no code."""

    @abstractmethod
    def ended(self) -> tuple[int, str]:
        """Wait for the end, dropping messages; return code and reason of the close frame that was received.

        The code is 1006 if none was; the reason is empty where the library does not tell it.
        """

    @abstractmethod
    def dispose(self) -> None:
        """Give back everything, whatever state the connection is in."""


@dataclass(frozen=True)
class Refusal:
    """The answer that a foreign client got instead of a 101."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes | None  # None: the library does not tell


@dataclass(frozen=True)
class ForeignServer:
    """A server that runs; its connections come from ``accepted``."""

    port: int
    accepted: Callable[[], Peer]


class Library(ABC):
    """A library, in the roles that it has.

    In both roles, ``settings`` are: ``subprotocols``; ``headers``, pairs to add to the request or to the 101;
    ``deflate``, parameters of permessage-deflate by the names of RFC 7692 (none of them: the library's defaults);
    ``max_size`` of a message in bytes; ``tls``, an :class:`Authority`; ``unix``, the path of a socket.
    """

    @abstractmethod
    def client(self, uri: str, **settings: Any) -> Peer:
        """Connect to a server."""

    @abstractmethod
    def refused(self, uri: str, headers: Sequence[tuple[str, str]] = ()) -> Refusal:
        """Try to connect to a server that refuses."""

    def server(self, host: str = "127.0.0.1", **settings: Any) -> contextlib.AbstractContextManager[ForeignServer]:
        """Run a server on a free port."""
        raise NotImplementedError("this library has no server")

    def close(self) -> None:  # noqa: B027  # most have nothing to give back
        """Give back what all connections share."""


class Authority:
    """A certificate authority, the contexts of both ends, and its certificate in a file."""

    def __init__(self, directory: Any) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1", "::1")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.server)
        # websockets.sync reads in one thread while another one writes, which OpenSSL does not allow: when session
        # tickets come in at that moment, its request is lost now and then, with its own server as well.
        self.server.num_tickets = 0
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)
        self.authority_file = str(directory / "authority.pem")
        self.certificate_file = str(directory / "certificate.pem")
        authority.cert_pem.write_to_path(self.authority_file)
        certificate.private_key_and_cert_chain_pem.write_to_path(self.certificate_file)


def uri_of(port: int, path: str = "/", *, host: str = "127.0.0.1", tls: object = None) -> str:
    """The URI of a server on this machine."""
    return f"{'wss' if tls else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}{path}"


class OurServer:
    """One of our servers, whose handlers only hand their WebSocket over to the test."""

    def __init__(self, kind: str, address: Any, options: dict[str, Any]) -> None:
        self._accepted: queue.SimpleQueue[syncws.WebSocket] = queue.SimpleQueue()
        self._over = threading.Event()
        if kind == "WSGIServer":
            self._server: Any = syncws.WSGIServer(address, self._app, **options)
        else:
            self._server = syncws.WebSocketServer(address, self._handler, **options)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.port = None if isinstance(address, str) else self._server.server_address[1]

    def _handler(self, ws: syncws.WebSocket) -> None:
        self._accepted.put(ws)
        assert self._over.wait(6 * DEADLINE)

    def _app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self._handler(syncws.upgrade(environ))
        return []

    def accepted(self) -> syncws.WebSocket:
        return self._accepted.get(timeout=DEADLINE)

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE)


@contextlib.contextmanager
def our_server(kind: str, address: Any = ("127.0.0.1", 0), **options: Any) -> Iterator[OurServer]:
    """Run a WebSocketServer, or a WSGIServer with an app that upgrades."""
    server = OurServer(kind, address, options)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def connected(
    library: Library,
    role: str,
    *,
    ours: Mapping[str, Any] | None = None,
    theirs: Mapping[str, Any] | None = None,
    host: str = "127.0.0.1",
    path: str = "/",
    tls: Authority | None = None,
) -> Iterator[tuple[syncws.WebSocket, Peer]]:
    """Open a connection; yield our end and theirs.

    :param role: what we are: ``"WebSocketServer"``, ``"WSGIServer"`` or ``"connect"``, the client.
    :param ours: options for our end.
    :param theirs: settings for theirs.
    """
    options, settings = {"close_timeout": DEADLINE, **(ours or {})}, {"tls": tls, **(theirs or {})}
    with contextlib.ExitStack() as stack:
        if role == "connect":
            foreign = stack.enter_context(library.server(host, **settings))
            uri = uri_of(foreign.port, path, host=host, tls=tls)
            ws = syncws.connect(uri, ssl=tls and tls.client, proxy=None, **options)
            stack.callback(ws.close)
            peer = foreign.accepted()
        else:
            server = stack.enter_context(our_server(role, (host, 0), ssl=tls and tls.server, **options))
            assert server.port is not None
            peer = library.client(uri_of(server.port, path, host=host, tls=tls), **settings)
            ws = server.accepted()
        stack.callback(peer.dispose)
        stack.callback(ws.abort)
        yield ws, peer
