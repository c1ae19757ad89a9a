"""The table of servers: each is recognised by its environ, and what it has read behind a request is found."""

from __future__ import annotations

import io
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import ServerHandler
from wsgiref.validate import InputWrapper

import gevent.pywsgi
import gevent.socket
import gunicorn.config
import gunicorn.http.parser
import gunicorn.http.wsgi
import gunicorn.workers.base
import pytest
import werkzeug.test
from werkzeug.wsgi import LimitedStream
from wire import ws_request

from syncws.wsgi_hosts import HOSTS, INPUT_KEY, Room, find_host, is_strict
from syncws.wsgi_socket import take

NATIVE: Any = socket.socket
GEVENT: Any = gevent.socket.socket
BEHIND = b"\x81\x80\0\0\0\0"


class Eventlet:
    """A socket of a kind that cannot be taken over."""


class Watcher:
    """Whoever has taken a socket."""

    def owner_closes(self) -> None:
        """Nothing to note."""


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    server, client = socket.socketpair()
    with server, client:
        yield server, client


def gunicorn_environ(**values: Any) -> dict[str, Any]:
    return {"SERVER_SOFTWARE": "gunicorn/27.0.1", "wsgi.multithread": True, **values}


@pytest.mark.parametrize(
    ("environ", "name", "pooled"),
    [
        (lambda: gunicorn_environ(**{"gunicorn.socket": NATIVE()}), "Gunicorn (gthread)", True),
        (lambda: gunicorn_environ(**{"gunicorn.socket": GEVENT()}), "Gunicorn (gevent)", False),
        (
            lambda: {"gunicorn.sock": GEVENT(), "SERVER_SOFTWARE": "gevent/26.9 gunicorn/27.0.1"},
            "Gunicorn (gevent_pywsgi)",
            False,
        ),
        (lambda: {"werkzeug.socket": NATIVE(), "SERVER_SOFTWARE": "Werkzeug/3.1.9"}, "Werkzeug", False),
        (lambda: {"SERVER_SOFTWARE": "gevent/26.9 Python/3.11"}, "gevent.pywsgi", False),
        (lambda: {"SERVER_SOFTWARE": "WSGIServer/0.2 CPython/3.11.7"}, "wsgiref", False),
    ],
)
def test_server_with_a_connection(environ: Callable[[], dict[str, Any]], name: str, pooled: bool) -> None:
    values = environ()
    host = find_host(values)
    assert (host.name, host.room is not None) == (name, pooled)
    for value in values.values():
        if hasattr(value, "close"):
            value.close()


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"gunicorn.socket": None, "SERVER_SOFTWARE": "gunicorn/27.0.1"},
            r"gunicorn/27\.0\.1 does not let an app have the connection",
        ),
        (
            {"gunicorn.socket": Eventlet(), "wsgi.multithread": False},
            r"Gunicorn's sync worker serves one request at a time.* syncws\.gunicorn\.ThreadWorker, or gthread",
        ),
        (
            gunicorn_environ(**{"gunicorn.socket": Eventlet()}),
            r"This kind of Gunicorn's workers does not let .* or gevent\. Or: run the same app",
        ),
        ({"waitress.client_disconnected": bool, "SERVER_SOFTWARE": "my server"}, "waitress does not let"),
        ({"uwsgi.version": b"2.0.31"}, "uWSGI does not let"),
        ({"mod_wsgi.version": (5, 0, 0), "SERVER_SOFTWARE": "Apache/2.4"}, "mod_wsgi does not let"),
        ({"SERVER_SOFTWARE": "Granian"}, "Granian does not let"),
        ({"werkzeug.request": None, "wsgi.input": io.StringIO()}, "this server does not let"),
        ({"SERVER_SOFTWARE": "Other/1.0"}, r"Other/1\.0 does not let"),
        ({}, "this server does not let"),
    ],
)
def test_server_without_a_connection(environ: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=message) as caught:
        find_host(environ)
    assert "python -m syncws serve module:app" in str(caught.value)
    assert "howto/behind-a-proxy" in str(caught.value)


def test_test_client_of_werkzeug() -> None:
    environ = werkzeug.test.EnvironBuilder().get_request().environ
    with pytest.raises(
        RuntimeError, match=r"Werkzeug's test client .* syncws\.testing\.connect\(client, path\)"
    ) as caught:
        find_host(environ)
    assert "behind-a-proxy" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "strict"),
    [({"SERVER_SOFTWARE": "WSGIServer/0.2"}, True), ({"waitress.client_disconnected": bool}, True), ({}, False)],
)
def test_servers_that_insist_on_pep_3333(environ: dict[str, Any], strict: bool) -> None:
    assert is_strict(environ) == strict


def test_the_way_out_is_documented() -> None:
    assert os.path.exists(os.path.join(os.path.dirname(__file__), "..", "docs", "howto", "behind-a-proxy.rst"))


def test_last_row_is_for_all_others() -> None:
    assert HOSTS[-1].connection is None
    assert HOSTS[-1].recognise({})


@pytest.mark.parametrize("behind", [b"", BEHIND, BEHIND * 1000])
def test_what_gunicorn_has_read(ends: tuple[socket.socket, socket.socket], behind: bytes) -> None:
    server, client = ends
    client.sendall(ws_request() + behind)
    config = gunicorn.config.Config()
    parser = gunicorn.http.parser.RequestParser(config, server, ("127.0.0.1", 1))
    request = next(parser)
    _, environ = gunicorn.http.wsgi.create(request, server, ("127.0.0.1", 1), ("127.0.0.1", 80), config)
    environ["wsgi.multithread"] = True
    host = find_host(environ)
    assert host.connection is not None
    # Middleware may wrap the stream.
    for stream in environ["wsgi.input"], InputWrapper(environ["wsgi.input"]):
        sock, take_buffered = host.connection({**environ, "wsgi.input": stream})
        assert sock is server
        client.shutdown(socket.SHUT_WR)
        buffered = take_buffered()
        assert take_buffered() == b""
        assert buffered + server.makefile("rb").read() == behind
        behind = b""


def wrapped(stream: Any, how: str) -> Any:
    if how == "validator":
        return InputWrapper(stream)
    if how == "werkzeug":
        return LimitedStream(InputWrapper(stream), 0)
    if how == "pywsgi":
        return gevent.pywsgi.Input(stream, 0)
    if how == "itself":
        wrapper = InputWrapper(None)
        wrapper.other, wrapper.input = wrapper, stream
        return wrapper
    return stream


@pytest.mark.parametrize("how", ["", "validator", "werkzeug", "pywsgi", "itself"])
@pytest.mark.parametrize("key", ["werkzeug.socket", "SERVER_SOFTWARE"])
def test_what_a_file_has_read(ends: tuple[socket.socket, socket.socket], key: str, how: str) -> None:
    server, client = ends
    client.sendall(b"GET / HTTP/1.1\r\n" + BEHIND)
    with server.makefile("rb") as file:
        file.readline()
        environ = {"SERVER_SOFTWARE": "WSGIServer/0.2", key: server, "wsgi.input": wrapped(file, how)}
        if key == "SERVER_SOFTWARE":
            environ[key] = "WSGIServer/0.2"
        host = find_host(environ)
        assert host.connection is not None
        sock, take_buffered = host.connection(environ)
        assert sock is server
        ours = take(sock, Watcher())
        client.sendall(BEHIND)
        assert take_buffered() == BEHIND
        assert take_buffered() == b""
        assert ours.recv(100) == BEHIND
        ours.close()


def test_replaced_stream(ends: tuple[socket.socket, socket.socket]) -> None:
    environ = {"werkzeug.socket": ends[0], "wsgi.input": io.BytesIO()}
    host = find_host(environ)
    assert host.connection is not None
    with pytest.raises(
        RuntimeError, match=r"wsgi\.input has been replaced by one of type BytesIO.*middleware"
    ) as caught:
        host.connection(environ)
    assert "Bottle" not in str(caught.value)
    with pytest.raises(RuntimeError, match=r"Bottle.*request\.query.*import syncws\.bottle"):
        host.connection({**environ, "bottle.app": "the app"})
    # Unless somebody has noted what was there before.
    with ends[0].makefile("rb") as file:
        assert host.connection({**environ, INPUT_KEY: file}).sock is ends[0]


def test_names_of_real_servers() -> None:
    """The names that servers give themselves are what the table looks for."""
    assert ServerHandler.server_software is not None
    for software in ServerHandler.server_software, gevent.pywsgi.WSGIServer.base_env["SERVER_SOFTWARE"]:
        assert find_host({"SERVER_SOFTWARE": software}).connection is not None


@pytest.fixture
def worker() -> Iterator[Any]:
    """One of Gunicorn's workers, whose signal handler is that of this process."""
    config = gunicorn.config.Config()
    worker = gunicorn.workers.base.Worker(1, os.getppid(), [], None, 30, config, logging.getLogger("test"))
    before = signal.signal(signal.SIGTERM, worker.handle_exit)
    yield worker
    signal.signal(signal.SIGTERM, before)
    worker.tmp.close()


def room() -> Room:
    (only,) = [host.room for host in HOSTS if host.room is not None]
    return only()


@pytest.mark.parametrize(
    ("descriptors", "limit", "why"),
    [
        (1000, 750, "ulimit -n"),
        (2000, 1000, "worker_connections"),
        (resource.RLIM_INFINITY, 1000, "worker_connections"),
    ],
)
def test_room_of_gunicorn(worker: Any, descriptors: int, limit: int, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, resource.RLIM_INFINITY))
    assert room().limit == limit
    assert why in room().why
    # Without Gunicorn's handler there are the descriptors only.
    signal.signal(signal.SIGTERM, lambda *_: None)
    limited = descriptors != resource.RLIM_INFINITY
    assert room() == (Room(descriptors * 3 // 4, room().why) if limited else Room(sys.maxsize, ""))


def on_stop(callback: Callable[[float | None], object]) -> None:
    host = next(host for host in HOSTS if host.on_stop is not None)
    assert host.on_stop is not None
    host.on_stop(callback)


@pytest.mark.parametrize(
    ("graceful_timeout", "timeout", "seconds"), [(30, 60, 29), (120, 30, 29), (120, 0, 119), (1, 30, 0.5), (0, 30, 0)]
)
def test_gunicorn_is_told_to_stop(worker: Any, graceful_timeout: int, timeout: int, seconds: float) -> None:
    worker.cfg.set("graceful_timeout", graceful_timeout)
    worker.cfg.set("timeout", timeout)
    called = []
    on_stop(lambda seconds: called.append((worker.alive, seconds)))
    worker.alive = True
    assert called == []
    os.kill(os.getpid(), signal.SIGTERM)
    assert called == [(False, seconds)]
    assert not worker.alive
    assert isinstance(worker, gunicorn.workers.base.Worker)


def test_gunicorn_is_told_to_stop_quickly(worker: Any) -> None:
    called = []
    on_stop(called.append)
    with pytest.raises(SystemExit):
        worker.handle_quit(signal.SIGQUIT, None)
    assert called == [None]


def test_gunicorn_has_been_told_to_stop(worker: Any) -> None:
    called = []
    worker.alive = False
    on_stop(lambda seconds: called.append((worker.alive, seconds)))
    assert called == [(False, 29)]


def test_app_with_a_signal_handler_of_its_own(worker: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: None)
    on_stop(pytest.fail)
    signal.signal(signal.SIGTERM, handler := Handler().handle)
    on_stop(pytest.fail)
    worker.alive = False
    assert signal.getsignal(signal.SIGTERM) == handler


class Handler:
    """A signal handler of the app, which is a method."""

    def handle(self, *_: object) -> None:
        """Nothing to do."""
