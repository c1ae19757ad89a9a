"""WebSockets in Bottle apps, over real sockets."""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref import simple_server

import pytest
from peers import DEADLINE, eventually, start
from support import require_module

import syncws
from syncws import testing

require_module("bottle")
bottle = importlib.import_module("bottle")
syncws_bottle = importlib.import_module("syncws.bottle")
SyncwsServer, WebSocketPlugin = syncws_bottle.SyncwsServer, syncws_bottle.WebSocketPlugin
upgrade, websocket = syncws_bottle.upgrade, syncws_bottle.websocket


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@contextlib.contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:
    """Serve an app on threads; give host and port."""
    with syncws.WSGIServer(("127.0.0.1", 0), app, **options) as server:
        accepting = start(server.serve_forever)
        yield "{}:{}".format(*server.server_address[:2])
        server.shutdown()
        accepting.result()


@contextlib.contextmanager
def wsgiref_server(app: Any) -> Iterator[str]:
    """Serve an app on the standard library's server; give host and port."""

    class Quiet(simple_server.WSGIRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        accepting = start(server.serve_forever)
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        accepting.result()


def get(address: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def new_app(**options: Any) -> Any:
    app = bottle.Bottle()
    app.install(WebSocketPlugin(**options))
    return app


def test_a_route_for_a_handler_beside_others() -> None:
    app = new_app()

    @app.route("/chat/<room>", websocket=True)
    def chat(ws: syncws.WebSocket, room: str) -> str:
        for message in ws:
            ws.send(f"{room}: {message} from {bottle.request.query.name} to {bottle.request.path}")
        return "nobody reads this"

    @app.route("/page")
    def page() -> str:
        return "a page"

    with serving(app) as address:
        with syncws.connect(f"ws://{address}/chat/lobby?name=ann") as ws:
            ws.send("hello")
            assert ws.receive(timeout=DEADLINE) == "lobby: hello from ann to /chat/lobby"
            assert get(address, "/page")[::2] == (200, b"a page")
        assert get(address, "/nothing")[0] == 404
    assert chat.__name__ == "chat"


def test_what_is_no_handshake_is_answered_by_bottle(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()
    app.route("/ws", websocket=True, callback=lambda ws: None)
    caplog.set_level(logging.INFO, "syncws")
    with serving(app) as address:
        status, headers, body = get(address, "/ws")
        assert (status, headers["Upgrade"]) == (426, "websocket")
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert b"WebSocket" in body
        with pytest.raises(syncws.HandshakeError) as refused:
            syncws.connect(f"ws://{address}/ws", headers={"Origin": "http://evil.example"})
        assert refused.value.status == 403
        # The message for the log is not for the client.
        assert b"origins=" not in refused.value.body
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "origins=" in caplog.records[1].getMessage()


def test_options_of_plugin_and_route() -> None:
    app = new_app(subprotocols=["v1"], max_message_size=10, headers=[("X-Plugin", "1")])
    app.config["websocket.compression"] = True  # not an option of any route

    def handler(ws: syncws.WebSocket) -> None:
        ws.send(f"{ws.subprotocol} {ws.extensions}")
        ws.receive()

    app.route("/one", websocket=True, callback=handler)
    app.route("/two", websocket={"subprotocols": ["v2"], "max_message_size": 20}, callback=handler)
    app.route("/page", callback=lambda: "a page")
    with testing.connect(app, "/one", subprotocols=["v1", "v2"], compression=True) as ws:
        assert ws.response.headers["X-Plugin"] == "1"
        assert ws.receive(timeout=DEADLINE) == "v1 ()"
    with testing.connect(app, "/two", subprotocols=["v1", "v2"]) as ws:
        assert ws.receive(timeout=DEADLINE) == "v2 ()"
        ws.send("x" * 20)
    with pytest.raises(syncws.HandshakeError, match="a page"):
        testing.connect(app, "/page")


def test_options_of_the_server_hold_where_the_app_has_none() -> None:
    app = new_app()
    app.hook("before_request")(lambda: bottle.response.set_header("X-Hook", "1"))
    app.route("/one", websocket=True, callback=lambda ws: None)
    app.route("/two", callback=lambda: upgrade() and "")
    app.route("/own", websocket={"headers": [("X-Route", "1")]}, callback=lambda ws: None)
    app.route("/dict", websocket={"headers": {"X-Route": "1", "X-Second.1": "2"}}, callback=lambda ws: None)
    with serving(app, headers={"X-Server": "1"}) as address:
        for path, names in [
            ("/one", {"x-server"}),
            ("/two", {"x-server"}),
            ("/own", {"x-route"}),
            ("/dict", {"x-route", "x-second.1"}),
        ]:
            status, headers, _ = get(address, path, **HANDSHAKE)
            assert status == 101
            assert {name.lower() for name in headers if name.startswith("X-")} == {"x-hook"} | names


def test_options_that_do_not_exist() -> None:
    with pytest.raises(TypeError, match="max_size"):
        WebSocketPlugin(max_size=1)
    with pytest.raises(TypeError, match="max_size"):
        websocket(max_size=1)
    app = new_app()
    app.route("/ws", websocket={"max_size": 1}, callback=lambda ws: None)
    with pytest.raises(TypeError, match="max_size"):
        app.routes[0].prepare()


def user_required(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not bottle.request.get_cookie("user"):
            bottle.abort(401, "log in first")
        return function(*args, **kwargs)

    return wrapper


def test_decorators_hooks_and_plugins_come_before_the_101() -> None:
    app = new_app()

    @app.hook("before_request")
    def before() -> None:
        bottle.response.set_cookie("seen", "1")
        bottle.response.add_header("X-Hook", "yes")
        bottle.response.content_type = "text/plain"
        if bottle.request.query.blocked:
            raise bottle.HTTPResponse("blocked", 403)

    @app.route("/below", websocket=True)
    @bottle.auth_basic(lambda user, password: password == "secret")
    @user_required
    def below(ws: syncws.WebSocket) -> None:
        ws.send(bottle.request.get_cookie("user"))

    @app.route("/applied", websocket=True, apply=[user_required])
    def applied(ws: syncws.WebSocket) -> None:
        ws.send("in")

    for path, credentials, status, text in [
        ("/below", "", 401, "Access denied"),
        ("/below", "me:secret@", 401, "log in first"),
        ("/applied", "", 401, "log in first"),
        ("/applied?blocked=1", "", 403, "blocked"),
    ]:
        with pytest.raises(syncws.HandshakeError, match=text) as refused:
            testing.connect(app, f"ws://{credentials}localhost{path}")
        assert refused.value.status == status
    with testing.connect(app, "ws://me:secret@localhost/below", headers={"Cookie": "user=ann"}) as ws:
        assert ws.receive(timeout=DEADLINE) == "ann"
        assert ws.response.headers["Set-Cookie"] == "seen=1"
        assert ws.response.headers["X-Hook"] == "yes"
        assert "Content-Type" not in ws.response.headers


def test_the_decorator_without_a_plugin() -> None:
    app = bottle.Bottle()

    @app.route("/one")
    @websocket
    def one(ws: syncws.WebSocket) -> None:
        ws.send("one")

    @app.route("/two/<room>")
    @user_required
    @websocket(subprotocols=["a"])
    def two(ws: syncws.WebSocket, room: str) -> None:
        ws.send(f"two {room} {ws.subprotocol}")

    @app.route("/three", apply=[websocket])
    def three(ws: syncws.WebSocket) -> None:
        ws.send("three")

    for path, text in [("/one", "one"), ("/two/x", "two x a"), ("/three", "three")]:
        with testing.connect(app, path, headers={"Cookie": "user=1"}, subprotocols=["a"]) as ws:
            assert ws.receive(timeout=DEADLINE) == text
    with pytest.raises(syncws.HandshakeError, match="log in first"):
        testing.connect(app, "/two/x")


def app_with_upgrade() -> Any:
    app = bottle.Bottle()

    @app.route("/feed")
    def feed() -> str:
        if bottle.request.get_header("Upgrade") is None:
            return "a page"
        if not bottle.request.get_cookie("user"):
            bottle.abort(401, "log in first")
        bottle.response.set_cookie("seen", "1")
        with upgrade(subprotocols=["a"], headers={"X-One": "1"}) as ws:
            for message in ws:
                if message == "fail":
                    raise KeyError("lost")
                ws.send(message)
        return "nobody reads this"

    return app


def test_upgrade_in_an_ordinary_route() -> None:
    app = app_with_upgrade()
    with serving(app) as address:
        assert get(address, "/feed")[::2] == (200, b"a page")
        assert get(address, "/feed", Upgrade="websocket", Cookie="user=1")[0] in (400, 426)
    with pytest.raises(syncws.HandshakeError, match="log in first"):
        testing.connect(app, "/feed")
    with testing.connect(app, "/feed", headers={"Cookie": "user=1"}, subprotocols=["a"]) as ws:
        assert ws.subprotocol == "a"
        assert ws.response.headers["Set-Cookie"] == "seen=1"
        assert ws.response.headers["X-One"] == "1"
        ws.send("hello")
        assert ws.receive(timeout=DEADLINE) == "hello"
    assert ws.close_code == 1000


def test_an_exception_after_upgrade() -> None:
    errors = io.StringIO()
    with testing.connect(
        app_with_upgrade(), "/feed", headers={"Cookie": "user=1"}, environ={"wsgi.errors": errors}
    ) as ws:
        ws.send("fail")
        # Bottle 0.12 does not tell the server what it was.
        with pytest.raises((KeyError, RuntimeError)):
            ws.receive(timeout=DEADLINE)
        assert ws.close_code == 1011
    # Bottle has logged it, and nobody else.
    assert errors.getvalue().count("KeyError: 'lost'") == 1


def test_an_exception_in_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()

    @app.route("/fail", websocket=True)
    def fail(ws: syncws.WebSocket) -> None:
        raise KeyError("lost")

    @app.route("/receive", websocket=True)
    def receive(ws: syncws.WebSocket) -> None:
        ws.receive()

    with serving(app) as address:
        with syncws.connect(f"ws://{address}/fail") as ws, pytest.raises(syncws.ConnectionClosed) as closed:
            ws.receive(timeout=DEADLINE)
        assert (closed.value.code, closed.value.reason) == (1011, "internal error")
        with syncws.connect(f"ws://{address}/receive"):
            pass
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]
    with testing.connect(app, "/fail") as ws, pytest.raises(KeyError):
        ws.receive(timeout=DEADLINE)
    with testing.connect(app, "/receive"):
        pass


def test_a_plain_request_on_a_server_that_hides_its_socket() -> None:
    require_module("werkzeug")
    from werkzeug.test import Client

    app = new_app()
    app.route("/ws", websocket=True, callback=lambda ws: None)
    app.route("/upgrade", callback=upgrade)
    for path in "/ws", "/upgrade":
        answer = Client(app).get(path)
        assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")
        # One that insists on PEP 3333.
        answer = Client(app).get(path, environ_overrides={"waitress.client_disconnected": bool})
        assert answer.status_code == 426
        assert not {"Upgrade", "Connection"} & set(answer.headers.keys())


def test_wsgiref_gets_no_header_field_that_it_forbids() -> None:
    app = new_app()
    app.route("/ws", websocket=True, callback=lambda ws: ws.send("hello"))

    with wsgiref_server(app) as address:
        status, headers, _ = get(address, "/ws")
        assert (status, headers["Upgrade"], headers["Connection"]) == (426, None, None)
        with syncws.connect(f"ws://{address}/ws") as ws:
            assert ws.receive(timeout=DEADLINE) == "hello"


@pytest.mark.parametrize("path", ["/plugin", "/decorator", "/upgrade", "/child/plugin"])
def test_the_body_may_have_been_read(path: str) -> None:
    # Bottle puts what it has read in the place of wsgi.input, by way of which other servers let go of a connection.
    app, child = new_app(), new_app()

    @app.hook("before_request")
    def check() -> None:
        if bottle.request.params.token != "x" or bottle.request.forms or bottle.request.json:
            bottle.abort(401)

    def handler(ws: syncws.WebSocket) -> None:
        ws.send(bottle.request.params.token)

    def view() -> str:
        handler(upgrade())
        return ""

    app.route("/plugin", websocket=True, callback=handler)
    app.route("/decorator", callback=websocket(handler))
    app.route("/upgrade", callback=view)
    child.route("/plugin", websocket=True, callback=handler)
    app.mount("/child/", child)

    with wsgiref_server(app) as address:
        assert get(address, path)[0] == 401
        with syncws.connect(f"ws://{address}{path}?token=x") as ws:
            assert ws.receive(timeout=DEADLINE) == "x"


def test_the_request_goes_along_to_another_thread() -> None:
    # What hand_over() does where requests are served from a pool of threads.
    app = bottle.Bottle()

    @app.route("/<room>")
    def view(room: str) -> str:
        with upgrade() as ws:
            start(functools.partial(syncws_bottle._carry(handler), ws)).result()
        return ""

    def handler(ws: syncws.WebSocket) -> None:
        bottle.response.set_header("X-Nothing", "breaks")
        ws.send(f"{bottle.request.path} {bottle.request.url_args}")

    with testing.connect(app, "/lobby") as ws:
        assert ws.receive(timeout=DEADLINE) == "/lobby {'room': 'lobby'}"


# The servers.

PROGRAM = """
{first}
import logging, sys
import bottle
import syncws.bottle

app = bottle.Bottle()
app.install(syncws.bottle.WebSocketPlugin())

@app.route("/chat/<room>", websocket=True)
def chat(ws, room):
    for message in ws:
        ws.send(f"{{bottle.request.path}} {{message}}")

bottle.run(app, server={server}, port=0, {options})
"""
PATCHED = "from gevent.monkey import patch_all; patch_all()"


@contextlib.contextmanager
def program(tmp_path: Path, server: str, first: str = "", options: str = "") -> Iterator[subprocess.Popen[str]]:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(server=server, first=first, options=options))
    with subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("server", "first"),
    [
        ("syncws.bottle.SyncwsServer", ""),
        ("'syncws.bottle:SyncwsServer'", ""),
        ("syncws.bottle.SyncwsServer", PATCHED),
        ("syncws.bottle.GeventServer", PATCHED),
    ],
    ids=["threads", "by name", "patched", "gevent"],
)
def test_bottle_runs_our_servers(tmp_path: Path, server: str, first: str) -> None:
    if first:
        require_module("gevent")
    with program(tmp_path, server, first, "max_message_size=10") as process:
        assert process.stdout is not None
        found = re.search(r"http://(\S+)/", process.stdout.readline())
        assert found, process.communicate()
        address = found[1]
        assert get(address, "/nothing")[0] == 404
        with syncws.connect(f"ws://{address}/chat/lobby") as ws, syncws.connect(f"ws://{address}/chat/other") as other:
            for each, room in ((ws, "lobby"), (other, "other")):
                each.send("hello")
                assert each.receive(timeout=DEADLINE) == f"/chat/{room} hello"
            other.send("x" * 11)
            with pytest.raises(syncws.ConnectionClosed) as too_big:
                other.receive(timeout=DEADLINE)
            process.send_signal(signal.SIGINT)
            with pytest.raises(syncws.ConnectionClosed) as closed:
                ws.receive(timeout=DEADLINE)
        _, errors = process.communicate(timeout=DEADLINE)
        assert (too_big.value.code, closed.value.code) == (1009, 1001)
        assert process.returncode == 0
        assert "Traceback" not in errors


def test_greenlets_need_a_patched_standard_library(tmp_path: Path) -> None:
    require_module("gevent")
    with program(tmp_path, "syncws.bottle.GeventServer", options="quiet=True") as process:
        output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "patch_all" in errors
    assert output == ""


def run_quietly(host: str, app: Any, **options: Any) -> None:
    class Stoppable(SyncwsServer):
        def _server_for(self, *args: Any) -> Any:
            servers.append(super()._server_for(*args))
            return servers[-1]

    servers: list[Any] = []
    running = start(lambda: bottle.run(app, server=Stoppable, host=host, quiet=True, **options))
    eventually(lambda: servers)
    with servers[0]:
        if servers[0].server_address == host[5:]:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(host[5:])
            address, options = "localhost", {"sock": sock}
        else:
            address, options = "{}:{}".format(*servers[0].server_address), {}
        with syncws.connect(f"ws://{address}/ws", **options) as ws:
            assert ws.receive(timeout=DEADLINE) == "hello"
    running.result()


def test_quiet_and_a_unix_socket(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    app = new_app()
    app.route("/ws", websocket=True, callback=lambda ws: ws.send("hello"))
    run_quietly("127.0.0.1", app, port=0)
    run_quietly(f"unix:{tmp_path}/socket", app, port=0)
    assert capfd.readouterr() == ("", "")


GUNICORN_APP = """
import bottle
import syncws.bottle

app = bottle.Bottle()
app.install(syncws.bottle.WebSocketPlugin())

@app.route("/chat/<room>", websocket=True)
def chat(ws, room):
    ws.send(f"{bottle.request.path} {room} {bottle.request.get_cookie('user')}")
    ws.receive()

@app.route("/page")
def page():
    return "a page"
"""


def test_in_a_pool_of_threads(tmp_path: Path) -> None:
    require_module("gunicorn")
    (tmp_path / "pooled.py").write_text(GUNICORN_APP)
    command = [sys.executable, "-m", "gunicorn", "--threads=2", "--bind=127.0.0.1:0", "pooled:app"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(r"at: http://(\S+)", line) for line in process.stderr)))
            with contextlib.ExitStack() as stack:
                for number in range(4):
                    uri = f"ws://{found[1]}/chat/{number}"
                    ws = stack.enter_context(syncws.connect(uri, headers={"Cookie": f"user={number}"}))
                    assert ws.receive(timeout=DEADLINE) == f"/chat/{number} {number} {number}"
                assert get(found[1], "/page")[::2] == (200, b"a page")
        finally:
            process.terminate()
            log = process.stderr.read()
    assert "Traceback" not in log
