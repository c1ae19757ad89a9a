"""What Gunicorn's settings mean for a request; most of it needs no Gunicorn that runs."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from support import require_module
from wire import ClientSocket, Running, get, pair

from syncws.gunicorn_requests import Connection, Requests
from syncws.options import Options
from syncws.runtime import THREADS
from syncws.transport import SocketTransport

require_module("gunicorn")

from gunicorn.config import Config  # noqa: E402


class Log:
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def access(self, response: Any, request: Any, environ: Any, took: Any) -> None:
        assert took.total_seconds() >= 0
        # Gunicorn's logger for statsd wants a number.
        assert int(response.status.split(None, 1)[0]) == response.status_code
        self.lines.append((request.method, request.uri, response.status))

    def info(self, text: str) -> None:
        self.lines.append(text)

    exception = info

    def debug(self, *_: object) -> None:
        pass


def asked(
    request: bytes, remote_address: Any = ("10.1.2.3", 1), nr: int = 0, **settings: Any
) -> tuple[int, dict[str, str], list[Any]]:
    """What a request is answered with, some of its environ, and what is logged."""
    config = Config()
    for name, value in settings.items():
        config.set(name, value)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        seen.update({name: value for name, value in environ.items() if isinstance(value, str)})
        return [b""]

    seen: dict[str, str] = {}
    log = Log()
    worker = SimpleNamespace(cfg=config, wsgi=app, log=log, nr=nr, max_requests=10, end=lambda: log.info("end"))
    requests = Requests(worker, THREADS, io.StringIO)
    with pair() as (sock, client):
        transport = SocketTransport(sock)
        transport.remote_address = remote_address
        connection = Connection(requests, transport, app, Options())
        with Running(connection.serve):
            client.send(request)
            status = client.read_response()[0]
            client.close()
    assert worker.nr == nr + 1
    return status, seen, log.lines


PROXY = ("10.1.2.3", 1)


@pytest.mark.parametrize(
    ("allowed", "remote_address", "scheme"),
    [
        ("10.1.2.3", PROXY, "https"),
        ("10.0.0.0/8,192.168.1.1", PROXY, "https"),
        ("*", PROXY, "https"),
        ("127.0.0.1,::1", PROXY, "http"),
        ("", PROXY, "http"),
        ("fe80::/10", ("fe80::1%eth0", 1, 0, 2), "https"),
        ("127.0.0.1", "", "https"),  # over a Unix socket
    ],
)
def test_who_may_tell_of_tls(allowed: str, remote_address: Any, scheme: str) -> None:
    if "/" in allowed and not hasattr(Config, "forwarded_allow_networks"):
        pytest.skip("this Gunicorn knows no networks")
    request = get("/", "X-Forwarded-Proto: https")
    status, environ, _ = asked(request, remote_address, forwarded_allow_ips=allowed)
    assert (status, environ["wsgi.url_scheme"]) == (200, scheme)
    assert environ.get("HTTPS") == ("on" if scheme == "https" else None)


def test_what_tells_of_tls() -> None:
    settings = {"forwarded_allow_ips": "*", "secure_scheme_headers": {"X-TLS": "yes", "X-SECURE": "1"}}
    assert asked(get("/", "X-Forwarded-Proto: https"), **settings)[1]["wsgi.url_scheme"] == "http"
    assert asked(get("/", "x-tls: yes", "X-Secure: 1"), **settings)[1]["wsgi.url_scheme"] == "https"
    assert asked(get("/", "x-tls: no"), **settings)[1]["wsgi.url_scheme"] == "http"
    assert asked(get("/", "X-TLS: yes", "X-Secure: 0"), **settings)[0] == 400
    assert asked(get("/", "X-TLS: yes", "X-TLS: no"), **settings)[0] == 400


def test_script_name_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/app")
    for target, path in ("/app/a%20b?q", "/a b"), ("/app", ""), ("/app/", "/"):
        status, environ, _ = asked(get(target))
        assert (status, environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (200, "/app", path)
    for target in "/", "/apple", "/other":
        status, environ, lines = asked(get(target))
        assert (status, environ) == (404, {})
        assert lines == [("GET", target, "404 Not Found")]


def test_script_name_of_a_proxy() -> None:
    request = get("/app/x", "SCRIPT_NAME: /app")
    _, environ, _ = asked(request, forwarded_allow_ips="*")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/app", "/x")
    for settings in {"forwarded_allow_ips": "127.0.0.1"}, {"forwarded_allow_ips": "*", "forwarder_headers": ""}:
        _, environ, _ = asked(request, **settings)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("", "/app/x")


@pytest.mark.parametrize(("limit", "status"), [(20, 200), (19, 431), (0, 200)])
def test_size_of_a_field(limit: int, status: int) -> None:
    assert asked(get("/", "X-Name: " + "a" * 14), limit_request_field_size=limit)[0] == status


@pytest.mark.parametrize(("nr", "enough"), [(8, False), (9, True), (10, False)])
def test_number_of_requests(nr: int, enough: bool) -> None:
    lines = asked(get("/"), nr=nr)[2]
    assert ("end" in lines) == enough


def test_hooks() -> None:
    calls: list[Any] = []

    def before(worker: Any, request: Any) -> None:
        calls.append((request.method, request.path, request.query, request.version, dict(request.headers)["HOST"]))

    def after(worker: Any, request: Any, environ: Any, response: Any) -> None:
        calls.append((environ["RAW_URI"], response.status_code, response.headers))
        raise ValueError

    _, _, lines = asked(get("/a?b"), pre_request=before, post_request=after)
    assert calls == [("GET", "/a", "b", (1, 1), "example.com"), ("/a?b", 200, [])]
    assert lines[-1] == "Exception in post_request hook"


def test_request_that_gets_no_answer() -> None:
    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        raise AssertionError

    def after(worker: Any, request: Any, environ: Any, response: Any) -> None:
        statuses.append((response.status, response.status_code))

    statuses: list[tuple[str, int]] = []
    config = Config()
    config.set("post_request", after)
    log = Log()
    worker = SimpleNamespace(cfg=config, wsgi=app, log=log, nr=0, max_requests=10)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with ClientSocket(socket.create_connection(listener.getsockname())) as client:
            transport = SocketTransport(listener.accept()[0])
            with Running(Connection(Requests(worker, THREADS, io.StringIO), transport, app, Options()).serve):
                client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
                client.read_until(b"\r\n\r\n")
                # Closed so, it is reset.
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
    assert statuses == [("499 Client Closed Request", 499)]
    assert [line[2][:3] for line in log.lines] == ["499"]


def test_access_log_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(Log, "access", lambda *_: 1 / 0)
    status, _, lines = asked(get("/"), post_request=lambda a, b, c, d: calls.append(d))
    assert (status, lines, len(calls)) == (200, ["Exception in the access log"], 1)
