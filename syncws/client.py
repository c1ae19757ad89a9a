"""The client: :func:`connect` opens a connection to a WebSocket URI (RFC 6455, sections 3 and 4.1).

It returns an open :class:`~syncws.websocket.WebSocket`, or raises and leaves no socket open. Wrong arguments raise
:class:`TypeError` or :class:`ValueError` before anything is sent. One deadline holds for all that follows: the TCP
connection, the proxy, TLS, the request and its answer, and redirects. Any number of threads may call it; each call
blocks its own thread. Only looking up a host name takes as long as the operating system's resolver likes.
"""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .client_body import beginning_of_body
from .errors import HandshakeError
from .http import read_response_head, request_bytes
from .options import Options
from .protocol.handshake import RequestHead, ResponseHead, check_response, new_key, request_fields
from .protocol.headers import Headers
from .proxy import choose_proxy, open_tunnel, time_left
from .transport import Transport, transport_for
from .transport_traced import traced
from .uri import WebSocketURI, basic_credentials, parse_uri
from .websocket import WebSocket

if TYPE_CHECKING:
    import ssl as _ssl

__all__ = ["connect"]

# RFC 9110, 15.4: the redirects that name one other place in Location.
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What only the server that it was meant for may see.
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})


def connect(
    uri: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    ssl: _ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    timeout: float | None = 10.0,
    proxy: str | bool | None = True,
    max_redirects: int = 0,
    sock: socket.socket | None = None,
    **options: Any,
) -> WebSocket:
    """Open a WebSocket connection and return it.

    :param uri: ``ws://host[:port]/path?query``, or ``wss://`` for TLS. A user name and a password before the host
        are sent as Basic authentication.
    :param headers: extra header fields of the request: a mapping, or pairs of name and value.
    :param subprotocols: the subprotocols to offer, the preferred one first.
    :param ssl: how TLS is done. Default: certificate and host name are verified with the system's authorities.
    :param server_hostname: the name that the server's certificate is for, if it is not the URI's host.
    :param timeout: seconds until the connection is open, all steps together; ``None``: for ever.
    :param proxy: URL of a proxy: ``http`` (CONNECT), ``socks5``, ``socks4``, or ``socks5h``, ``socks4a`` that look up
        the host name; ``True``: the environment's, if it has one; ``None``: none. Needs the extra ``syncws[proxy]``.
    :param max_redirects: how many redirects to follow, but never from ``wss`` to ``ws``. On the way to another
        scheme, host or port, ``Authorization`` and ``Cookie`` are dropped.
    :param sock: a connected socket to use instead, for example of a Unix socket; TLS is done on it for ``wss``,
        unless it is an :class:`ssl.SSLSocket`. It is closed if the connection cannot be opened.
    :param options: the options of a connection, see :class:`~syncws.Options`.
    :raises HandshakeError: the server or a proxy refused, or did not answer as it must. ``status`` is 0 if no HTTP
        response came; ``body`` has the first 1024 bytes of the response's.
    :raises TimeoutError: ``timeout`` passed.
    :raises OSError: the network's error: :class:`ConnectionRefusedError`, :class:`socket.gaierror`,
        :class:`ssl.SSLError`, …
    :raises ImportError: a proxy is to be used, and python-socks is not installed.
    :raises TypeError: an argument of another type, or an option that there is not.
    :raises ValueError: a URI or another argument that cannot be.
    """
    return connect_over(
        socket,
        transport_for,
        uri,
        headers=headers,
        subprotocols=subprotocols,
        ssl=ssl,
        server_hostname=server_hostname,
        proxy=proxy,
        max_redirects=max_redirects,
        sock=sock,
        timeout=timeout,
        options=options,
    )


def connect_over(
    network: ModuleType,
    transport_of: Callable[[Any], Transport],
    uri: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    subprotocols: Sequence[str],
    ssl: _ssl.SSLContext | None,
    server_hostname: str | None,
    proxy: str | bool | None,
    max_redirects: int,
    sock: socket.socket | None,
    timeout: float | None,
    options: Mapping[str, Any],
) -> WebSocket:
    """Do what :func:`connect` does, over sockets of threads or of greenlets.

    :param network: the module that sockets and addresses come from: :mod:`socket`, or what stands for it.
    :param transport_of: returns the transport for a connected socket, plain or TLS.
    """
    target = parse_uri(uri)
    settings = _client_options(options, headers=headers, subprotocols=subprotocols, open_timeout=timeout)
    _check_redirects(max_redirects)
    _check_combination(target, ssl, server_hostname, proxy, max_redirects, sock)
    opening = _Opening(
        network, transport_of, settings, settings.fields, ssl, server_hostname, proxy, sock, max_redirects
    )
    return opening.run(target)


def _client_options(options: Mapping[str, Any], **given: Any) -> Options:
    if "origins" in options:
        raise TypeError("origins is an option of servers; a client sends an Origin with headers={'Origin': ...}")
    if "open_timeout" in options:
        raise TypeError("connect() has timeout in the place of open_timeout")
    return Options.of({**options, **given})


def _check_redirects(max_redirects: object) -> None:
    if isinstance(max_redirects, bool) or not isinstance(max_redirects, int):
        raise TypeError(f"max_redirects must be an int, not {max_redirects!r}")
    if max_redirects < 0:
        raise ValueError(f"max_redirects must be at least 0; it is {max_redirects}")


def _check_combination(
    target: WebSocketURI,
    ssl: _ssl.SSLContext | None,
    server_hostname: str | None,
    proxy: str | bool | None,
    max_redirects: int,
    sock: socket.socket | None,
) -> None:
    """Refuse arguments that would have no effect, where something else was surely meant."""
    if ssl is not None:
        import ssl as _ssl

        if not isinstance(ssl, _ssl.SSLContext):
            raise TypeError(f"ssl must be an ssl.SSLContext or None, not {ssl!r}")
    # A redirect may lead from ws to wss.
    if not target.secure and not max_redirects and (ssl is not None or server_hostname is not None):
        raise ValueError(f"ssl and server_hostname are for wss:// only, and the URI is {target}")
    if sock is not None and isinstance(proxy, str):
        raise ValueError("sock is used as it is: proxy cannot be given with it")
    if sock is not None and max_redirects:
        raise ValueError("a redirect needs another connection: max_redirects cannot be given with sock")


@dataclasses.dataclass(slots=True)
class _Opening:
    """One call of :func:`connect`: what it was asked for, and where it is; ``step`` is for the error message."""

    network: Any
    transport_of: Callable[[Any], Transport]
    options: Options
    fields: list[tuple[str, str]]
    ssl: _ssl.SSLContext | None
    server_hostname: str | None
    proxy: str | bool | None
    sock: socket.socket | None
    redirects_left: int
    deadline: float | None = None
    step: str = "the first step"

    def run(self, target: WebSocketURI) -> WebSocket:
        """Open a connection to ``target``, or to where it redirects, before the deadline."""
        timeout = self.options.open_timeout
        self.deadline = None if timeout is None else time.monotonic() + timeout
        outcome: WebSocket | WebSocketURI = target
        try:
            while isinstance(outcome, WebSocketURI):
                outcome = self.open(outcome)
        except TimeoutError as error:
            if error.errno is not None:
                raise  # the operating system gave up, not we
            raise TimeoutError(f"{target} was not open within {timeout} s; {self.step} took too long") from None
        return outcome

    def open(self, target: WebSocketURI) -> WebSocket | WebSocketURI:
        """Open a connection to ``target``; return it, or the URI that a redirect to be followed leads to."""
        sock = self._connected(target)
        try:
            transport = traced(self._secured(sock, target), "client", self.options.trace)
        except BaseException:
            sock.close()
            raise
        try:
            outcome = self._shake_hands(transport, target)
        except BaseException:
            transport.close()
            raise
        if isinstance(outcome, WebSocketURI):
            transport.close()
        return outcome

    def _connected(self, target: WebSocketURI) -> socket.socket:
        """Return a socket that ends at ``target``'s server."""
        if self.sock is not None:
            return self.sock
        proxy = choose_proxy(target, self.proxy)
        if proxy is None:
            self.step = f"the TCP connection to {target.host} port {target.port}"
            return _connect_tcp(self.network, target.host, target.port, self.deadline)
        self.step = f"the TCP connection to the proxy {proxy}"
        sock = _connect_tcp(self.network, proxy.host, proxy.port, self.deadline)
        self.step = f"the answer of the proxy {proxy}"
        return open_tunnel(sock, proxy, target.host, target.port, self.deadline)

    def _secured(self, sock: socket.socket, target: WebSocketURI) -> Transport:
        """Return the transport for ``sock``, after the TLS handshake if there is to be one."""
        if not target.secure or hasattr(sock, "do_handshake"):
            return self.transport_of(sock)
        self.step = f"the TLS handshake with {target.host}"
        from ssl import create_default_context  # here, as most connections of programs to each other have no TLS

        context = self.ssl or create_default_context()
        # RFC 6455, 4.1: a client MUST use the Server Name Indication. RFC 6066, 3: without a trailing dot.
        name = self.server_hostname or target.host.rstrip(".")
        secured = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        transport = self.transport_of(secured)
        try:
            transport.handshake(self.deadline)
        except BaseException:
            transport.close()
            raise
        return transport

    def _shake_hands(self, transport: Transport, target: WebSocketURI) -> WebSocket | WebSocketURI:
        """Send the request and read the answer."""
        self.step = "the server's answer to the opening handshake"
        key = new_key()
        fields = request_fields(
            target.host_field,
            key,
            subprotocols=self.options.subprotocols,
            compression=self.options.deflate,
            headers=self._extra_fields(target),
        )
        transport.send_all(request_bytes("GET", target.target, fields), self.deadline)
        head, leftover = read_response_head(lambda: transport.recv(self.deadline))
        try:
            following = self._redirected(head, target)
            if following is not None:
                return following
            agreement = check_response(
                head, key, subprotocols=self.options.subprotocols, compression=self.options.deflate
            )
        except HandshakeError as error:
            body = b"" if head.status == 101 else beginning_of_body(transport, head, leftover, self.deadline)
            raise HandshakeError(
                f"{target}: {error}", status=head.status, headers=head.headers.pairs(), body=body
            ) from None
        request = RequestHead("GET", target.target, "1.1", Headers(fields))
        return WebSocket(transport, "client", request, agreement, self.options, leftover=leftover)

    def _extra_fields(self, target: WebSocketURI) -> list[tuple[str, str]]:
        """The caller's header fields, and ours that the caller has not set."""
        ours = [("User-Agent", "syncws")]
        if target.userinfo is not None:
            ours.append(("Authorization", basic_credentials(target.userinfo)))
        given = {name.lower() for name, _ in self.fields}
        return [*(field for field in ours if field[0].lower() not in given), *self.fields]

    def _redirected(self, head: ResponseHead, target: WebSocketURI) -> WebSocketURI | None:
        """Return where a redirect that is to be followed leads; ``None`` if the answer is not a redirect.

        RFC 6455, 4.1, response item 1: a client may follow redirects, and need not.
        """
        location = head.headers.get("Location")
        if head.status not in _REDIRECTS or location is None:
            return None
        if not self.redirects_left:
            raise HandshakeError(
                f"the server answered {head.status}, a redirect to {location[:200]!r}; "
                "connect to that address, or let max_redirects be greater"
            )
        try:
            following = target.resolve(location)
        except ValueError as error:
            raise HandshakeError(
                f"the server answered {head.status}, a redirect to {location[:200]!r}, "
                f"which is not a WebSocket URI: {error}"
            ) from None
        if target.secure and not following.secure:
            raise HandshakeError(f"the server answered {head.status}, a redirect from wss to {following}: not secure")
        self.redirects_left -= 1
        if following.origin != target.origin:
            self.fields = [field for field in self.fields if field[0].lower() not in _CREDENTIALS]
            if following.host != target.host:
                self.server_hostname = None
            return following
        return dataclasses.replace(following, userinfo=following.userinfo or target.userinfo)


def _connect_tcp(network: Any, host: str, port: int, deadline: float | None) -> socket.socket:
    """Connect to the first address of ``host`` that accepts; raise the last one's error if none does.

    Each address gets its share of the time that is left, so that a silent one does not use up all of it.
    """
    addresses = network.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failures: list[OSError] = []
    try:
        for untried, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                left = time_left(deadline)
                return _connect_address(
                    network, (family, kind, protocol), address, None if left is None else left / untried
                )
            except OSError as error:
                failures.append(error)
        raise failures[-1]
    finally:
        failures.clear()  # or the error, its traceback and this list keep one another alive


def _connect_address(network: Any, kind: tuple[int, int, int], address: Any, timeout: float | None) -> socket.socket:
    sock: socket.socket = network.socket(*kind)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
