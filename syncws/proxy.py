"""Proxies between a client and a server: which one to use, and how to get through it.

:func:`choose_proxy` decides from the argument or the environment and sends nothing. :func:`open_tunnel` asks a proxy
for the connection to the server (HTTP CONNECT, SOCKS4 or SOCKS5, spoken by python-socks); afterwards the socket
behaves as if it ended at the server. Any thread may call both; ``open_tunnel`` blocks until its deadline at most.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any, cast

from .errors import HandshakeError
from .transport import remaining
from .uri import WebSocketURI, parse_authority

__all__ = ["Proxy", "choose_proxy", "open_tunnel", "time_left"]

# Scheme of a proxy's URL: name of the protocol in python_socks.ProxyType, and who looks up the server's name.
# socks5h and socks4a: the proxy does, as curl defined it.
_SCHEMES = {
    "http": ("HTTP", True),
    "socks4": ("SOCKS4", False),
    "socks4a": ("SOCKS4", True),
    "socks5": ("SOCKS5", False),
    "socks5h": ("SOCKS5", True),
}
_DEFAULT_PORTS = {"HTTP": 80, "SOCKS4": 1080, "SOCKS5": 1080}
# How the environment names the proxy for a scheme (http_proxy, …), the most specific one first.
_VARIABLES = {"ws": ("http", "socks", "all"), "wss": ("https", "socks", "all")}
# Bytes that the head of a proxy's answer to CONNECT may have.
_MAX_ANSWER = 16384


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, checked; ``str()`` gives its URL without user name and password.

    :param scheme: ``"http"``, ``"socks4"``, ``"socks4a"``, ``"socks5"`` or ``"socks5h"``.
    :param host: in lower case and ASCII; an IPv6 address without its brackets.
    :param userinfo: user name and password, or ``None``.
    """

    scheme: str
    host: str
    port: int
    userinfo: tuple[str, str] | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def choose_proxy(uri: WebSocketURI, proxy: str | bool | None) -> Proxy | None:
    """Return the proxy for a connection to ``uri``; ``None``: connect directly.

    :param proxy: a URL, ``True`` for what the environment (on macOS and Windows also the system's settings) says,
        or ``None`` for no proxy. The environment's variables are ``http_proxy`` for ``ws``, ``https_proxy`` for
        ``wss``, then ``socks_proxy`` and ``all_proxy``; ``no_proxy`` lists hosts to connect to directly.
    :raises TypeError: ``proxy`` is of another type.
    :raises ValueError: the proxy's URL is wrong.
    :raises ImportError: a proxy is to be used and python-socks is not installed.
    """
    if proxy is None:
        return None
    if isinstance(proxy, str):
        chosen = _parse(proxy, "proxy")
    elif proxy is True:
        found = _from_environment(uri)
        if found is None:
            return None
        chosen = _parse(*found)
    else:
        raise TypeError(f"proxy must be a URL, True (the environment's) or None (no proxy), not {proxy!r}")
    try:
        import python_socks.sync  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"connecting to {uri} through the proxy {chosen} needs python-socks: pip install 'syncws[proxy]'; "
            "or pass proxy=None to connect without a proxy"
        ) from error
    return chosen


def open_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int, deadline: float | None) -> socket.socket:
    """Ask ``proxy`` for a connection to ``host`` and ``port``; return the socket that then ends there.

    :param sock: a socket that is connected to the proxy. It is taken over, and closed if this fails.
    :param deadline: a time of :func:`time.monotonic`, in seconds; ``None`` waits for ever.
    :raises HandshakeError: the proxy refused, or did not answer as its protocol wants; ``status`` is the HTTP status
        of an HTTP proxy, else 0.
    :raises TimeoutError: the deadline passed.
    :raises OSError: the connection to the proxy was lost, or the host's name could not be looked up.
    """
    import python_socks.sync

    protocol, remote_lookup = _SCHEMES[proxy.scheme]
    user, password = proxy.userinfo or (None, None)
    line = _Line(sock, deadline, whole_heads=protocol == "HTTP")
    client = python_socks.sync.Proxy(
        python_socks.ProxyType[protocol],
        proxy.host,
        proxy.port,
        user,
        password,
        rdns=remote_lookup,
        forward=cast("python_socks.sync.Proxy", _Connected(line)),
    )
    try:
        client.connect(host, port)
        return socket.socket(fileno=line.detach())
    except python_socks.ProxyTimeoutError:
        raise TimeoutError("timed out") from None
    except (python_socks.ProxyError, UnicodeDecodeError) as error:  # the latter: a name in the proxy's answer
        status = getattr(error, "error_code", None) if protocol == "HTTP" else None
        raise HandshakeError(
            f"the proxy {proxy} did not connect to {host}:{port}: {str(error)[:120]!r}", status=status or 0
        ) from None
    finally:
        line.close()  # does nothing after detach()


def time_left(deadline: float | None) -> float | None:
    """Return the seconds until ``deadline``, for :meth:`socket.socket.settimeout`.

    :raises TimeoutError: there are none left.
    """
    left = remaining(deadline)
    if left == 0:
        raise TimeoutError("timed out")
    return left


class _Line(socket.socket):
    """The connection to a proxy, for python-socks, which gives every single wait the same timeout.

    All waits together end at one deadline. With ``whole_heads``, a read returns the whole head of an answer however
    many packets it comes in, and nothing of what follows it.
    """

    def __init__(self, sock: socket.socket, deadline: float | None, *, whole_heads: bool) -> None:
        super().__init__(fileno=sock.detach())
        self._deadline = deadline
        self._whole_heads = whole_heads

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.settimeout(time_left(self._deadline))
        super().sendall(data, flags)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if not self._whole_heads:
            return self._recv(bufsize, flags)
        head = bytearray()
        # One byte at a time: what follows the head belongs to the tunnel.
        while not head.endswith(b"\r\n\r\n"):
            if len(head) == _MAX_ANSWER:
                raise HandshakeError(f"the proxy's answer has a head of more than {_MAX_ANSWER} bytes", status=0)
            byte = self._recv(1, flags)
            if not byte:
                raise HandshakeError("the proxy closed the connection without a whole answer", status=0)
            head += byte
        return bytes(head)

    def _recv(self, size: int, flags: int) -> bytes:
        self.settimeout(time_left(self._deadline))
        return super().recv(size, flags)


class _Connected:
    """In the place of a first proxy in a chain: has the connection to the next one already."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    def connect(self, dest_host: str, dest_port: int, timeout: float | None = None) -> socket.socket:
        return self._line


def _from_environment(uri: WebSocketURI) -> tuple[str, str] | None:
    """Return the proxy's URL that the environment has for ``uri``, and where it says so."""
    import urllib.request  # with half of what there is for HTTP and mail behind it

    proxies = urllib.request.getproxies()
    name = next((name for name in _VARIABLES[uri.scheme] if name in proxies), None)
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    # no_proxy names hosts with and without a port, and IPv6 addresses with and without brackets.
    if name is None or any(urllib.request.proxy_bypass(form) for form in (f"{host}:{uri.port}", uri.host)):
        return None
    return proxies[name], f"{name}_proxy of the environment"


def _parse(url: str, source: str) -> Proxy:
    """Take a proxy's URL apart; ``source`` says in messages where it comes from."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url  # the environment's variables often have just host and port
    scheme = scheme.lower()
    if scheme not in _SCHEMES:
        raise ValueError(f"{source}: a proxy's URL begins with {'://, '.join(_SCHEMES)}://, not with {scheme[:40]!r}")
    protocol, _ = _SCHEMES[scheme]
    try:
        authority = parse_authority(re.split(r"[/?#]", rest, maxsplit=1)[0])
        _check_userinfo(authority.userinfo, protocol)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    return Proxy(scheme, authority.host, authority.port or _DEFAULT_PORTS[protocol], authority.userinfo)


def _check_userinfo(userinfo: tuple[str, str] | None, protocol: str) -> None:
    """See to it that python-socks can send user name and password, and does not leave them out."""
    if userinfo is None:
        return
    try:
        "".join(userinfo).encode("latin-1" if protocol == "HTTP" else "ascii")
    except UnicodeEncodeError:
        raise ValueError(f"user name or password has a character that {protocol} proxies do not take") from None
    # RFC 1929, 2: one byte has the length of each, 1 to 255.
    if protocol == "SOCKS5" and not all(1 <= len(part) <= 255 for part in userinfo):
        raise ValueError("a SOCKS5 proxy takes a user name and a password of 1 to 255 characters each")
