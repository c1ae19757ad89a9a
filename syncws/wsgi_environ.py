"""A request's head as the environ of WSGI (PEP 3333, "environ Variables", and RFC 3875, section 4.1).

A pure function but for asking the socket for its own address; any thread may call it.
"""

from __future__ import annotations

import re
import sys
from typing import Any
from urllib.parse import unquote_to_bytes

from .protocol.handshake import RequestHead
from .transport import Transport
from .wsgi_response import FileWrapper

__all__ = ["make_environ"]

# RFC 9112, 3.2.2: the absolute form of a request target.
_ABSOLUTE = re.compile(r"https?://([^/?]*)", re.IGNORECASE)


def make_environ(head: RequestHead, transport: Transport) -> dict[str, Any]:
    """Return a new environ, complete but for ``wsgi.input``."""
    path = head.path
    environ: dict[str, Any] = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        # PEP 3333: a str that stands for bytes by way of ISO 8859-1. The target of "OPTIONS *" has none.
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") if path.startswith("/") else "/",
        "QUERY_STRING": head.target.partition("?")[2],
        "REQUEST_URI": head.target,
        "SERVER_PROTOCOL": f"HTTP/{head.version}",
        "SERVER_SOFTWARE": "syncws",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if transport.secure else "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    if transport.secure:
        environ["HTTPS"] = "on"
    _add_addresses(environ, transport)
    _add_fields(environ, head)
    return environ


def _add_addresses(environ: dict[str, Any], transport: Transport) -> None:
    local, remote = transport.sock.getsockname(), transport.remote_address
    if isinstance(local, tuple):
        # RFC 3875, 4.1.14: an IPv6 address stands in brackets.
        environ["SERVER_NAME"] = f"[{local[0]}]" if ":" in local[0] else local[0]
        environ["SERVER_PORT"] = str(local[1])
    else:
        # A Unix socket has neither, and both are required.
        environ["SERVER_NAME"] = "localhost"
        environ["SERVER_PORT"] = "443" if transport.secure else "80"
    if isinstance(remote, tuple):
        environ["REMOTE_ADDR"] = remote[0]
        environ["REMOTE_PORT"] = str(remote[1])
    else:
        environ["REMOTE_ADDR"] = ""


def _add_fields(environ: dict[str, Any], head: RequestHead) -> None:
    for name, value in head.headers.pairs():
        key = name.upper().replace("-", "_")
        if "_" in name or key == "PROXY":
            # X_Forwarded_For would pass for X-Forwarded-For, which a proxy vouches for; and HTTP_PROXY is a variable
            # that programs run by the app would take for their own proxy.
            continue
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        if key in environ:
            # RFC 9110, 5.3: several lines are one list. Cookies are the exception (RFC 6265, 4.2.1).
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{value}"
        environ[key] = value
    absolute = _ABSOLUTE.match(head.target)
    if absolute:
        # RFC 9112, 3.2.2: with the absolute form, Host MUST be ignored.
        environ["HTTP_HOST"] = absolute[1]
