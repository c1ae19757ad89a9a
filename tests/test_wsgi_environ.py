"""The environ of a request."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from syncws.protocol.handshake import RequestHead
from syncws.protocol.headers import Headers
from syncws.transport import SocketTransport
from syncws.wsgi_environ import make_environ
from syncws.wsgi_response import FileWrapper


def environ_of(target: str = "/", *fields: tuple[str, str], method: str = "GET") -> dict[str, Any]:
    left, right = socket.socketpair()
    with left, right:
        head = RequestHead(method, target, "1.1", Headers([("Host", "example.com:8000"), *fields]))
        return make_environ(head, SocketTransport(left))


def test_variables() -> None:
    environ = environ_of("/caf%C3%A9/a%2Fb?x=1&y=%20?z", ("X-Name", "value"), method="PATCH")
    assert environ == {
        "REQUEST_METHOD": "PATCH",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/cafÃ©/a/b",
        "QUERY_STRING": "x=1&y=%20?z",
        "REQUEST_URI": "/caf%C3%A9/a%2Fb?x=1&y=%20?z",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "syncws",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REMOTE_ADDR": "",
        "HTTP_HOST": "example.com:8000",
        "HTTP_X_NAME": "value",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        ("/", "/", "", "example.com:8000"),
        ("/?", "/", "", "example.com:8000"),
        ("//double//", "//double//", "", "example.com:8000"),
        ("http://other.example:81/a/b?c", "/a/b", "c", "other.example:81"),
        ("HTTPS://other.example?c", "/", "c", "other.example"),
        ("*", "/", "", "example.com:8000"),
        ("example.com:80", "/", "", "example.com:8000"),
    ],
)
def test_targets(target: str, path: str, query: str, host: str) -> None:
    environ = environ_of(target)
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_HOST"]) == (path, query, host)


def test_fields() -> None:
    environ = environ_of(
        "/",
        ("Content-Type", "text/plain"),
        ("Content-Length", "5"),
        ("Accept", "text/html"),
        ("accept", "text/plain"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
        ("X-Latin", "café"),
    )
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/plain", "5")
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert environ["HTTP_ACCEPT"] == "text/html, text/plain"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_X_LATIN"] == "café"


def test_fields_that_would_pass_for_others_are_dropped() -> None:
    environ = environ_of(
        "/", ("X_Forwarded_For", "10.0.0.1"), ("Proxy", "http://evil.example"), ("Content_Length", "5")
    )
    assert {key for key in environ if key.startswith(("HTTP_", "CONTENT"))} == {"HTTP_HOST"}


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")],
)
def test_addresses(host: str, name: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        with socket.create_connection(listener.getsockname()[:2]) as client:
            server, _ = listener.accept()
            with server:
                environ = make_environ(RequestHead("GET", "/", "1.1", Headers()), SocketTransport(server))
                assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, str(server.getsockname()[1]))
                assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (host, str(client.getsockname()[1]))
                assert "HTTPS" not in environ


def test_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport: Any = SimpleNamespace(secure=True, sock=listener, remote_address=("10.0.0.1", 4321))
        environ = make_environ(RequestHead("GET", "/", "1.1", Headers()), transport)
    assert (environ["wsgi.url_scheme"], environ["HTTPS"]) == ("https", "on")


def test_tls_on_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        transport: Any = SimpleNamespace(secure=True, sock=sock, remote_address="")
        environ = make_environ(RequestHead("GET", "/", "1.1", Headers()), transport)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == ("localhost", "443", "")
