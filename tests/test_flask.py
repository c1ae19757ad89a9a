"""Flask: routes, upgrades in views, contexts; real apps on our own server, over real sockets."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from support import require_module
from wire import DEADLINE, WS_FIELDS, ClientSocket, Running, frame, get, wait_until, ws_request

import syncws

require_module("flask")

import flask  # noqa: E402
from flask import Blueprint, Flask, abort, g, request, session, url_for  # noqa: E402
from werkzeug.exceptions import HTTPException  # noqa: E402
from werkzeug.middleware.proxy_fix import ProxyFix  # noqa: E402

from syncws.flask import Sock, message_context, upgrade  # noqa: E402

TEXT, CLOSE = 1, 8
NORMAL, INTERNAL_ERROR = b"\x03\xe8", b"\x03\xf3internal error"
EVIL = "Origin: http://evil.example"


def new_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="secret", **config)
    return app


class Client:
    """Opens connections to an app that is being served."""

    def __init__(self, address: Any) -> None:
        self._address = address
        self._stack = contextlib.ExitStack()

    def websocket(self, target: str, *fields: str) -> ClientSocket:
        """A connection whose handshake has succeeded, its head read."""
        client = self.send(ws_request(target, *fields))
        assert client.read_head()[0] == 101
        return client

    def refused(self, target: str, *fields: str) -> tuple[int, Any, str]:
        """The answer to a handshake that has not succeeded."""
        status, headers, body = self.send(ws_request(target, *fields)).read_response()
        return status, headers, body.decode()

    def http(self, data: bytes) -> tuple[int, Any, str]:
        status, headers, body = self.send(data).read_response()
        return status, headers, body.decode()

    def send(self, data: bytes) -> ClientSocket:
        client = self._stack.enter_context(ClientSocket(socket.create_connection(self._address[:2])))
        client.send(data)
        return client

    def close(self) -> None:
        self._stack.close()


@contextlib.contextmanager
def served(app: Any, **options: Any) -> Iterator[Client]:
    with syncws.WSGIServer(("127.0.0.1", 0), app, **options) as server:
        with Running(lambda: server.serve_forever(poll_interval=0.05)):
            client = Client(server.server_address)
            try:
                yield client
            finally:
                client.close()
                server.shutdown()


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def text(client: ClientSocket) -> str:
    opcode, payload = client.read_frame()
    assert opcode == TEXT
    return payload.decode()


def closes_with(client: ClientSocket, payload: bytes) -> None:
    assert client.read_frame() == (CLOSE, payload)
    client.send(frame(CLOSE, payload))
    assert client.read_to_end() == b""


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


# Routes.


def test_a_handler_gets_the_websocket_and_the_variable_parts() -> None:
    app = new_app()
    sock = Sock(app)

    @sock.route("/chat/<room>/<int:number>")
    def chat(ws: syncws.WebSocket, room: str, number: int) -> None:
        for message in ws:
            ws.send(f"{room} {number} {message!r}")

    with served(app) as client:
        ws = client.websocket("/chat/lobby/7")
        ws.send(frame(TEXT, b"hello"))
        assert text(ws) == "lobby 7 'hello'"
        ws.send(frame(CLOSE, NORMAL))
        assert ws.read_frame() == (CLOSE, NORMAL)
        assert ws.read_to_end() == b""


def test_the_websocket_is_closed_when_the_handler_returns() -> None:
    app = new_app()

    @Sock(app).route("/")
    def nothing(ws: syncws.WebSocket) -> str:
        return "ignored"

    with served(app) as client:
        closes_with(client.websocket("/"), NORMAL)


def test_the_decorator_returns_the_handler_so_that_it_can_have_several_routes() -> None:
    app = new_app()
    sock = Sock(app)

    def where(ws: Any) -> None:
        ws.send(request.endpoint)

    assert sock.route("/one")(sock.route("/two", endpoint="second")(where)) is where
    with served(app) as client:
        assert text(client.websocket("/one")) == "where"
        assert text(client.websocket("/two")) == "second"


def test_routes_wait_for_apps() -> None:
    sock = Sock()

    @sock.route("/early")
    def early(ws: syncws.WebSocket) -> None:
        ws.send(flask.current_app.config["NAME"])

    for name in ("first", "second"):
        app = new_app(NAME=name)
        sock.init_app(app)
        assert sock.app is app
        with served(app) as client:
            assert text(client.websocket("/early")) == name

    app = new_app(NAME="third")
    sock.init_app(app)

    @sock.route("/late")
    def late(ws: syncws.WebSocket) -> None:
        ws.send(url_for("early", _external=True))

    with served(app) as client:
        assert text(client.websocket("/late")) == "ws://example.com/early"
    later = new_app(NAME="fourth")
    sock.init_app(later)
    with served(later) as client:
        assert text(client.websocket("/late")) == "ws://example.com/early"


def test_blueprints_nested_too() -> None:
    app = new_app()
    sock = Sock(app)
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)

    @inner.before_request
    def check() -> None:
        if "no" in request.args:
            abort(403)

    @sock.route("/feed/<name>", bp=inner)
    def feed(ws: syncws.WebSocket, name: str) -> None:
        ws.send(f"{request.endpoint} {request.blueprints} {name} {url_for('.feed', name='x')}")

    outer.register_blueprint(inner, url_prefix="/inner")
    app.register_blueprint(outer, url_prefix="/outer")
    with served(app) as client:
        expected = "outer.inner.feed ['outer.inner', 'outer'] n ws://example.com/outer/inner/feed/x"
        assert text(client.websocket("/outer/inner/feed/n")) == expected
        assert client.refused("/outer/inner/feed/n?no")[0] == 403


def test_route_options() -> None:
    app = new_app()
    sock = Sock(app)

    @sock.route("/strict/")
    @sock.route("/lax/", strict_slashes=False, endpoint="lax", defaults={"kind": "lax"})
    def handler(ws: syncws.WebSocket, kind: str = "strict") -> None:
        ws.send(kind)

    with served(app) as client:
        assert text(client.websocket("/lax")) == "lax"
        assert text(client.websocket("/strict/")) == "strict"
        status, headers, _ = client.refused("/strict")
        assert (status, headers["location"]) == (308, "ws://example.com/strict/")
    with pytest.raises(ValueError, match="GET"):
        Sock(new_app()).route("/post", methods=["POST"])(lambda ws: None)


def test_a_route_without_parentheses() -> None:
    sock = Sock(new_app())
    for path in (lambda ws: None, None):
        with pytest.raises(TypeError, match=r'write @sock\.route\("/path"\), not @sock\.route'):
            sock.route(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["max_message_size", "subprotocols"])
def test_options_for_websockets_among_those_of_a_route(name: str) -> None:
    with pytest.raises(TypeError, match=rf'{name} is an option of WebSockets, .* options=\{{"{name}": \.\.\.\}}'):
        Sock(new_app()).route("/ws", **{name: 3})


def test_a_plain_request_learns_that_a_websocket_is_wanted() -> None:
    app = new_app()
    sock = Sock(app)
    seen = []

    @app.before_request
    def note() -> None:
        seen.append(request.endpoint)

    @app.after_request
    def count(response: flask.Response) -> flask.Response:
        seen.append(response.status_code)
        return response

    @sock.route("/ws")
    def ws(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with served(app) as client:
        status, headers, body = client.http(get("/ws"))
        assert (status, headers["upgrade"]) == (426, "websocket")
        assert "speaks WebSocket only" in body
        assert seen == ["ws", 426]
        assert client.http(get("/ws", "Content-Length: 0", method="POST"))[0] == 405


def test_a_plain_request_for_a_websocket_view_of_others_stays_refused() -> None:
    app = new_app()

    @app.route("/ws", websocket=True)
    def ws() -> str:
        raise AssertionError

    with served(app) as client:
        assert client.http(get("/ws"))[0] == 400


def test_async_handlers_are_told_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()

    @Sock(app).route("/")
    async def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    app.async_to_sync = lambda function: lambda ws: ws.send("sync")  # type: ignore[method-assign]
    with served(app) as client:
        assert text(client.websocket("/")) == "sync"


# Options.


def test_options_of_the_app_and_of_the_route() -> None:
    app = new_app(SOCK_SERVER_OPTIONS={"subprotocols": ["b", "a"], "headers": {"X-App": "1"}, "origins": None})
    sock = Sock(app)

    @sock.route("/app")
    @sock.route("/route", endpoint="route", options={"subprotocols": ["a"], "headers": [("X-Route", "2")]})
    def handler(ws: syncws.WebSocket) -> None:
        pass

    with served(app) as client:
        offer = "Sec-WebSocket-Protocol: a, b"
        head = client.send(ws_request("/app", offer, EVIL)).read_head()[1]
        assert (head["sec-websocket-protocol"], head["x-app"], head.get("x-route")) == ("b", "1", None)
        head = client.send(ws_request("/route", offer, EVIL)).read_head()[1]
        assert (head["sec-websocket-protocol"], head.get("x-app"), head["x-route"]) == ("a", None, "2")


def test_options_of_the_server_hold_where_the_app_has_none() -> None:
    app = new_app()

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        pass

    with served(app, subprotocols=["server"], headers={"X-Server": "1"}) as client:
        head = client.send(ws_request("/", "Sec-WebSocket-Protocol: server")).read_head()[1]
        assert (head["sec-websocket-protocol"], head["x-server"]) == ("server", "1")


def test_an_option_that_does_not_exist_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(TypeError, match=r"no option 'receive_bytes'.*max_message_size"):
        Sock(new_app(SOCK_SERVER_OPTIONS={"receive_bytes": 1}))
    with pytest.raises(TypeError, match=r"no option 'thread_class'.*max_message_size"):
        Sock().route("/", options={"thread_class": None})


def test_options_set_after_init_app_are_checked_before_anything_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    app.config["SOCK_SERVER_OPTIONS"] = {"receive_bytes": 1}
    with served(app) as client:
        assert client.refused("/")[0] == 500
    (record,) = errors(caplog)
    assert record.exc_info is not None and "receive_bytes" in str(record.exc_info[1])


# Before the 101.


def only_with_key(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if request.args.get("key") != "right":
            abort(401)
        g.key = request.args["key"]
        return view(*args, **kwargs)

    return checked


def greeted(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that is made for WebSocket handlers."""

    @functools.wraps(handler)
    def greeting(ws: syncws.WebSocket, *args: Any, **kwargs: Any) -> Any:
        ws.send("welcome")
        return handler(ws, *args, **kwargs)

    return greeting


@pytest.mark.parametrize(
    "decorate", [lambda f: only_with_key(greeted(f)), lambda f: only_with_key(only_with_key(greeted(f)))]
)
def test_decorators_for_views_run_before_the_101_those_for_handlers_after_it(decorate: Any) -> None:
    app = new_app()

    def handler(ws: Any, room: str) -> None:
        ws.send(f"{room} {g.key}")

    Sock(app).route("/<room>")(decorate(handler))
    with served(app) as client:
        assert client.refused("/r")[0] == 401
        ws = client.websocket("/r?key=right")
        assert [text(ws), text(ws)] == ["welcome", "r right"]


def test_a_decorator_may_answer_itself() -> None:
    app = new_app()

    def moved(view: Any) -> Any:
        @functools.wraps(view)
        def redirecting(*args: Any, **kwargs: Any) -> Any:
            return flask.redirect("/login", 302) if "in" not in request.args else view(*args, **kwargs)

        return redirecting

    @Sock(app).route("/")
    @moved
    def handler(ws: syncws.WebSocket) -> None:
        ws.send("in")

    with served(app) as client:
        status, headers, _ = client.refused("/")
        assert (status, headers["location"]) == (302, "/login")
        assert text(client.websocket("/?in")) == "in"


def test_decorators_of_another_make_run_with_the_websocket() -> None:
    app = new_app()
    sock = Sock(app)

    class Decorator:
        def __init__(self, handler: Any) -> None:
            functools.update_wrapper(self, handler)

        def __call__(self, *args: Any, **kwargs: Any) -> None:
            self.__wrapped__(*args, **kwargs)  # type: ignore[attr-defined]

    def hides(handler: Any) -> Any:
        @functools.wraps(handler)
        def calls_what_it_is_told_to(*args: Any, **kwargs: Any) -> Any:
            if False:
                late  # noqa: B018 - a variable of the enclosing function that has no value
            return holder["handler"](*args, **kwargs)

        holder = {"handler": handler}
        if not holder:
            late = None
        return calls_what_it_is_told_to

    @sock.route("/class")
    @Decorator
    def one(ws: syncws.WebSocket) -> None:
        ws.send("one")

    @sock.route("/hidden")
    @hides
    def two(ws: syncws.WebSocket) -> None:
        ws.send("two")

    with served(app) as client:
        assert text(client.websocket("/class")) == "one"
        assert text(client.websocket("/hidden")) == "two"


def test_before_request_may_refuse_and_error_handlers_answer() -> None:
    app = new_app()

    @app.before_request
    def check() -> Any:
        if "abort" in request.args:
            abort(401)
        return "no WebSocket today" if "answer" in request.args else None

    @app.errorhandler(401)
    def unauthorized(error: HTTPException) -> tuple[str, int]:
        return "a page of our own", 401

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with served(app) as client:
        status, _, body = client.refused("/?abort")
        assert (status, body) == (401, "a page of our own")
        status, _, body = client.refused("/?answer")
        assert (status, body) == (200, "no WebSocket today")


@pytest.mark.parametrize("path", ["/sock", "/view"])
def test_a_handshake_that_is_refused_is_an_http_error(path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()

    @app.route("/view")
    def view() -> None:
        upgrade()

    @Sock(app).route("/sock")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with served(app) as client:
        status, headers, body = client.refused(path, EVIL)
        assert (status, headers["content-type"]) == (403, "text/html; charset=utf-8")
        assert "not allowed" in body and "origins=" not in body
        (record,) = errors(caplog)
        assert "origins=" in record.getMessage()
        request = ws_request(path).replace(b"Version: 13", b"Version: 8")
        status, headers, _ = client.http(request)
        assert (status, headers["sec-websocket-version"]) == (426, "13")


def test_error_handlers_answer_a_handshake_that_is_refused() -> None:
    app = new_app()

    @app.errorhandler(403)
    def forbidden(error: HTTPException) -> tuple[str, int]:
        assert isinstance(error, syncws.HandshakeError)
        return f"no: {error.name}", 403

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with served(app) as client:
        assert client.refused("/", EVIL)[2] == "no: Forbidden"


def test_a_view_may_catch_what_is_refused() -> None:
    app = new_app()

    @app.route("/")
    def view() -> str:
        try:
            upgrade()
        except syncws.HandshakeError as error:
            return f"a page, not {error.status}"
        raise AssertionError

    with served(app) as client:
        status, _, body = client.http(get("/"))
        assert (status, body) == (200, "a page, not 426")


def test_what_wsgiref_forbids_is_left_out() -> None:
    app = new_app()

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with make_server("127.0.0.1", 0, app, handler_class=QuietHandler) as server:
        with Running(server.handle_request), contextlib.closing(Client(server.server_address)) as client:
            head, _, body = client.send(get("/")).read_to_end().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 426 ")
    assert b"upgrade:" not in head.lower()
    assert b"speaks WebSocket only" in body


def test_a_plain_request_on_a_server_that_hides_its_socket() -> None:
    app = new_app()
    Sock(app).route("/ws")(lambda ws: None)

    @app.route("/both")
    def both() -> str:
        try:
            upgrade()
        except syncws.HandshakeError as error:
            return f"a page, not {error.status}"
        raise AssertionError

    client = app.test_client()
    answer = client.get("/ws")
    assert (answer.status_code, answer.headers["Upgrade"]) == (426, "websocket")
    assert client.get("/both").text == "a page, not 426"
    # One that insists on PEP 3333.
    answer = client.get("/ws", environ_overrides={"waitress.client_disconnected": bool})
    assert answer.status_code == 426
    assert not {"Upgrade", "Connection"} & set(answer.headers.keys())


def test_a_test_client_cannot_open_a_websocket() -> None:
    app = new_app(TESTING=True)
    Sock(app).route("/ws")(lambda ws: None)
    with pytest.raises(RuntimeError, match=r"syncws\.testing\.connect\(client, path\)"):
        app.test_client().get("/ws", headers=[field.split(": ") for field in WS_FIELDS])


# Views that upgrade.


def test_a_view_is_for_plain_requests_and_websockets() -> None:
    app = new_app()

    @app.route("/notes/<name>", methods=["GET", "POST"])
    def notes(name: str) -> str | None:
        if request.method == "POST":
            return f"{name}: {request.get_data(as_text=True)}"
        if "ws" not in request.args:
            return "plain"
        ws = upgrade()
        ws.send(f"{name} {request.endpoint} {url_for('notes', name='x')}")
        return None

    @app.route("/post", methods=["POST"])
    def post() -> str:
        raise AssertionError

    with served(app) as client:
        body = get("/notes/a", "Content-Length: 4", method="POST") + b"body"
        assert client.http(body)[2] == "a: body"
        assert client.http(get("/notes/a"))[2] == "plain"
        assert client.refused("/notes/a")[::2] == (200, "plain")
        ws = client.websocket("/notes/a?ws")
        assert text(ws) == "a notes /notes/x"
        closes_with(ws, NORMAL)
        assert client.refused("/post")[0] == 405
        assert client.refused("/nothing")[0] == 404


def test_rules_that_redirect_do_so_for_websockets() -> None:
    app = new_app()
    app.add_url_rule("/old", endpoint="old", redirect_to="/new")
    with served(app) as client:
        status, headers, _ = client.refused("/old")
    assert (status, headers["location"]) == (308, "ws://example.com/new")


def test_cookies_and_fields_of_the_response_go_out_with_the_101_and_once() -> None:
    app = new_app(SOCK_SERVER_OPTIONS={"headers": {"X-Option": "0"}})
    seen: list[str] = []

    @app.after_request
    def note(response: flask.Response) -> flask.Response:
        seen.append(f"after_request {response.status_code}")
        response.headers["X-After"] = "1"
        response.headers["Connection"] = "keep-alive"
        response.headers["Sec-WebSocket-Protocol"] = "none"
        return response

    def finished(_: object, response: flask.Response, **others: object) -> None:
        seen.append("request_finished")

    @app.route("/view", endpoint="view")
    def view() -> None:
        prepare()
        check(upgrade(headers={"X-Option": "1"}))

    @Sock(app).route("/sock")
    def handler(ws: syncws.WebSocket) -> None:
        check(ws)

    def check(ws: syncws.WebSocket) -> None:
        @flask.after_this_request
        def late(response: flask.Response) -> flask.Response:
            raise AssertionError("the response has been sent")

        ws.send(session["user"])
        session["user"] = "somebody else"

    def prepare() -> None:
        session["user"] = "ann"

        @flask.after_this_request
        def cookie(response: flask.Response) -> flask.Response:
            seen.append("after_this_request")
            response.set_cookie("seen", "1")
            return response

    @app.before_request
    def before() -> None:
        if request.endpoint == "handler":
            prepare()

    with flask.request_finished.connected_to(finished, app), served(app) as client:
        for path in ("/view", "/sock"):
            ws = client.send(ws_request(path))
            status, head = ws.read_head()
            assert (status, head["x-after"], head.get("x-option")) == (101, "1", str(int(path == "/view")))
            assert head["connection"] == "Upgrade"
            for name in ("content-type", "content-length", "sec-websocket-protocol"):
                assert name not in head
            cookies = head.get_all("set-cookie")
            assert [cookie.partition("=")[0] for cookie in cookies] == ["seen", "session"]
            assert text(ws) == "ann"
            closes_with(ws, NORMAL)
            assert seen == ["after_this_request", "after_request 101", "request_finished"]
            seen.clear()
            # The session is the one that was saved with the 101.
            value = cookies[1].partition(";")[0]
            other = client.websocket(path, f"Cookie: {value}")
            assert text(other) == "ann"
            closes_with(other, NORMAL)
            seen.clear()


@pytest.mark.parametrize("path", ["/view", "/sock"])
def test_a_refused_request_has_one_response(path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()
    seen: list[object] = []

    @app.before_request
    def before() -> None:
        g.began = 1
        session["visits"] = 1

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        seen.append((response.status_code, g.pop("began")))
        return response

    def finished(_: object, response: flask.Response, **others: object) -> None:
        seen.append(response.status_code)

    @app.route("/view")
    def view() -> None:
        upgrade()

    @Sock(app).route("/sock")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with flask.request_finished.connected_to(finished, app), served(app) as client:
        status, headers, _ = client.refused(path, EVIL)
        assert (status, headers["set-cookie"].partition("=")[0]) == (403, "session")
        assert seen == [(403, 1), 403]
        seen.clear()
        assert client.http(ws_request(path).replace(b"Version: 13", b"Version: 8"))[0] == 426
        assert seen == [(426, 1), 426]
    assert not [record for record in errors(caplog) if record.exc_info]


@pytest.mark.parametrize("path", ["/view", "/sock"])
def test_a_client_that_goes_away_before_the_101_gets_one_response(path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()
    entered, gone, over = threading.Event(), threading.Event(), threading.Event()
    seen: list[object] = []

    @app.after_request
    def after(response: flask.Response) -> flask.Response:
        seen.append(response.status_code)
        entered.set()
        assert gone.wait(DEADLINE)
        return response

    app.teardown_appcontext(lambda _: over.set())

    @app.route("/view")
    def view() -> None:
        upgrade()

    @Sock(app).route("/sock")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with served(app) as client:
        ws = client.send(ws_request(path))
        # A reset, so that writing fails.
        ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert entered.wait(DEADLINE)
        ws.close()
        gone.set()
        assert over.wait(DEADLINE)
    assert seen == [101]
    assert errors(caplog) == []


def test_a_request_is_upgraded_once(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()

    @app.route("/")
    def view() -> None:
        upgrade()
        upgrade()

    with served(app) as client:
        closes_with(client.websocket("/"), INTERNAL_ERROR)
    (record,) = errors(caplog)
    assert record.exc_info is not None and "upgraded already" in str(record.exc_info[1])


def test_a_route_for_a_request_that_has_been_upgraded_already(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()
    app.before_request(lambda: upgrade() and None)

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        raise AssertionError

    with served(app) as client:
        closes_with(client.websocket("/"), INTERNAL_ERROR)
    (record,) = errors(caplog)
    assert record.exc_info is not None and "upgraded already" in str(record.exc_info[1])


def test_an_after_request_function_that_fails_is_an_error_page(caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()

    @app.after_request
    def fail(response: flask.Response) -> flask.Response:
        raise ZeroDivisionError

    @app.route("/")
    def view() -> None:
        upgrade()
        raise AssertionError

    with served(app) as client:
        assert client.refused("/")[0] == 500


# Failures.


@pytest.fixture
def failing() -> tuple[Flask, list[BaseException]]:
    """An app whose WebSockets fail, and the exceptions that extensions learn of."""
    app = new_app()
    signalled: list[BaseException] = []

    def on_exception(_: object, exception: BaseException, **others: object) -> None:
        signalled.append(exception)

    app.extensions["test"] = on_exception  # a signal has weak references only
    flask.got_request_exception.connect(on_exception, app)

    @app.errorhandler(Exception)
    def handle(error: Exception) -> tuple[str, int]:
        return "handled", 200

    def fail() -> None:
        what = request.args.get("what")
        if what == "closed":
            raise syncws.ConnectionClosed(1000)
        abort(404) if what == "abort" else 1 / 0  # type: ignore[operator]

    @app.route("/view")
    def view() -> None:
        upgrade()
        fail()

    @Sock(app).route("/sock")
    def handler(ws: syncws.WebSocket) -> None:
        fail()

    return app, signalled


@pytest.mark.parametrize("path", ["/view", "/sock"])
@pytest.mark.parametrize(
    ("what", "kind"), [("raise", ZeroDivisionError), ("abort", HTTPException), ("closed", syncws.ConnectionClosed)]
)
def test_an_exception_is_1011_one_log_entry_and_a_signal(
    failing: tuple[Flask, list[BaseException]],
    path: str,
    what: str,
    kind: type[Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, signalled = failing
    with served(app) as client:
        closes_with(client.websocket(f"{path}?what={what}"), INTERNAL_ERROR)
    (record,) = errors(caplog)
    assert record.name == app.logger.name
    assert record.exc_info is not None and isinstance(record.exc_info[1], kind)
    assert signalled == [record.exc_info[1]]


@pytest.mark.parametrize("path", ["/view", "/sock"])
def test_exceptions_that_the_app_propagates_are_the_servers(
    failing: tuple[Flask, list[BaseException]], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, signalled = failing
    app.testing = True
    with served(app) as client:
        closes_with(client.websocket(path), INTERNAL_ERROR)
    (record,) = errors(caplog)
    assert record.name == "syncws.server"
    assert len(signalled) == 1


@pytest.mark.parametrize("path", ["/view", "/sock"])
def test_the_end_of_the_websocket_is_no_error(path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = new_app()
    ended: list[BaseException | None] = []

    @app.errorhandler(Exception)
    def handle(error: Exception) -> tuple[str, int]:
        raise AssertionError

    @app.route("/view")
    def view() -> None:
        upgrade().receive()

    @Sock(app).route("/sock")
    def handler(ws: syncws.WebSocket) -> None:
        ws.receive()

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        ended.append(error)

    with served(app) as client:
        ws = client.websocket(path)
        ws.send(frame(CLOSE, NORMAL))
        assert ws.read_frame() == (CLOSE, NORMAL)
        assert ws.read_to_end() == b""
        client.websocket(path).close()
    assert errors(caplog) == []
    assert ended == [None, None]


# Contexts.


def test_contexts_last_as_long_as_the_handler_and_then_end() -> None:
    app = new_app()
    seen: list[str] = []
    over = threading.Event()

    @app.before_request
    def before() -> None:
        g.name = "ann"
        session["n"] = 1

    @app.teardown_request
    def teardown_request(error: BaseException | None) -> None:
        seen.append(f"request {g.name} {request.path}")

    @app.teardown_appcontext
    def teardown_appcontext(error: BaseException | None) -> None:
        seen.append(f"app {g.name}")
        over.set()

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        for _ in ws:
            ws.send(f"{g.name} {session['n']} {seen}")

    with served(app) as client:
        ws = client.websocket("/")
        for _ in range(2):
            ws.send(frame(TEXT, b"?"))
            assert text(ws) == "ann 1 []"
        ws.send(frame(CLOSE, NORMAL))
        assert over.wait(DEADLINE)
    assert seen == ["request ann /", "app ann"]


def test_each_message_has_an_app_context_of_its_own() -> None:
    app = new_app()
    seen: list[str] = []

    @app.before_request
    def before() -> None:
        g.name = "request"
        session["user"] = "ann"

    @app.teardown_request
    def teardown_request(error: BaseException | None) -> None:
        seen.append("end")

    @app.teardown_appcontext
    def teardown(error: BaseException | None) -> None:
        seen.append(f"{g.get('name')} {error!r}")

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        for message in ws:
            with contextlib.suppress(ZeroDivisionError), message_context():
                assert "name" not in g
                g.name = message
                ws.send(f"{request.path} {session['user']} {url_for('handler')} {flask.current_app.name}")
                if message == "fail":
                    raise ZeroDivisionError
            ws.send(f"{g.name} {seen}")
            seen.clear()

    with served(app) as client:
        ws = client.websocket("/")
        for message, error in (("one", "None"), ("fail", "ZeroDivisionError()")):
            ws.send(frame(TEXT, message.encode()))
            assert text(ws) == f"/ ann ws://example.com/ {app.name}"
            assert text(ws) == f"request ['request None', '{message} {error}']"
        ws.send(frame(CLOSE, NORMAL))
        assert ws.read_frame() == (CLOSE, NORMAL)
        assert ws.read_to_end() == b""
    assert seen == ["end", "request None"]


# Extensions and middleware.


def test_login_required_of_flask_login() -> None:
    require_module("flask_login")
    from flask_login import LoginManager, UserMixin, current_user, login_required, login_user

    app = new_app()
    manager = LoginManager(app)
    loaded: list[str] = []

    class User(UserMixin):  # type: ignore[misc]
        id = "ann"

    @manager.user_loader
    def load(name: str) -> User:
        loaded.append(name)
        return User()

    @app.route("/login")
    def login() -> str:
        login_user(User())
        return "in"

    @Sock(app).route("/private")
    @login_required
    def private(ws: syncws.WebSocket) -> None:
        ws.send(current_user.id)
        with message_context():
            ws.send(f"{current_user.id} {len(loaded)}")

    with served(app) as client:
        assert client.refused("/private")[0] == 401
        cookie = client.http(get("/login"))[1]["set-cookie"].partition(";")[0]
        ws = client.websocket("/private", f"Cookie: {cookie}")
        assert [text(ws), text(ws)] == ["ann", "ann 2"]
        # With a login page, it is a redirect.
        manager.login_view = "login"
        assert client.refused("/private")[0] in (302, 303)  # Flask 3.2: 303


def test_database_sessions_are_returned_between_messages(tmp_path: Path) -> None:
    require_module("flask_sqlalchemy")
    from flask_sqlalchemy import SQLAlchemy
    from sqlalchemy.pool import QueuePool

    engine = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": DEADLINE}
    app = new_app(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/db", SQLALCHEMY_ENGINE_OPTIONS=engine)
    db = SQLAlchemy(app)

    def pool() -> QueuePool:
        with app.app_context():
            assert isinstance(db.engine.pool, QueuePool)
            return db.engine.pool

    @app.before_request
    def use_the_database() -> None:
        db.session.execute(db.text("SELECT 1"))

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        with message_context():
            ws.send("connected")
        for message in ws:
            with message_context():
                ws.send(str(db.session.execute(db.text(f"SELECT {message!s}")).scalar_one()))

    with served(app) as client:
        idle = [client.websocket("/") for _ in range(2)]
        for number, ws in enumerate(idle * 2):
            if number < 2:
                assert text(ws) == "connected"
            ws.send(frame(TEXT, b"6 * 7"))
            assert text(ws) == "42"
        wait_until(lambda: pool().checkedout() == 0)
        assert client.refused("/nothing")[0] == 404  # it has got the connection
        wait_until(lambda: pool().checkedout() == 0)
    pool().dispose()


def test_the_origin_is_compared_with_the_host_that_middleware_has_found() -> None:
    app = new_app()

    @Sock(app).route("/")
    def handler(ws: syncws.WebSocket) -> None:
        ws.send(request.host_url)

    app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_proto=1)  # type: ignore[method-assign]
    forwarded = ("X-Forwarded-Host: public.example", "X-Forwarded-Proto: https", "Origin: https://public.example")
    with make_server("127.0.0.1", 0, app, handler_class=QuietHandler) as server:
        with Running(server.handle_request), contextlib.closing(Client(server.server_address)) as client:
            ws = client.websocket("/", *forwarded)
            assert text(ws) == "https://public.example/"
            closes_with(ws, NORMAL)


# Gunicorn's gthread worker, where a handler goes on in a thread of its own.


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """An app under a worker with one thread."""
    require_module("gunicorn")
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    command = [sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "1", "-c", "flask_app.py"]
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "-b", f"fd://{listener.fileno()}", "flask_app:app"],
            cwd=Path(__file__).parent,
            pass_fds=[listener.fileno()],
            stdout=file,
            stderr=file,
        )
        with contextlib.closing(Client(listener.getsockname())) as client:
            yield client
        process.terminate()
        assert process.wait(DEADLINE) == 0
    # The exceptions that a handler and a teardown function have raised on purpose, and nothing else.
    written = log.read_text()
    assert written.count("Exception on /fail [GET]") == written.count("LookupError: in teardown_request") == 1, written
    assert written.count("Traceback") == 2, written
    assert "[ERROR]" not in written


def events(client: Client) -> list[str]:
    """What the app has noted since the last time; this request too needs the only thread of the pool."""
    with contextlib.closing(client.send(get("/events", "Connection: close"))) as connection:
        return connection.read_response()[2].decode().split("\n")


def test_contexts_go_along_to_the_handlers_thread(gunicorn: Client) -> None:
    clients = [gunicorn.websocket(f"/chat/{room}") for room in ("one", "two")]
    assert events(gunicorn) == [""]  # the pool's thread is free, and nothing has been torn down
    for room, client in zip(("one", "two"), clients, strict=True):
        client.send(frame(TEXT, b"hello"))
        assert text(client) == f"hello ann /chat/{room} ['n'] same context, open, ws://example.com/chat/x"
        assert text(client) == f"fresh: /chat/{room} ['n'], no g"
    # At the first message_context(), what the context holds is released.
    assert sorted(events(gunicorn)) == ["fresh app None", "fresh app None", "one app None", "two app None"]
    for room, client in zip(("one", "two"), clients, strict=True):
        client.send(frame(CLOSE, NORMAL))
        assert client.read_frame() == (CLOSE, NORMAL)
        assert client.read_to_end() == b""
        seen: list[str] = []
        wait_until(lambda seen=seen: seen.extend(filter(None, events(gunicorn))) or len(seen) == 2)  # type: ignore[misc]
        assert seen == [f"{room} request None", f"{room} app None"]


def test_an_exception_in_the_handlers_thread(gunicorn: Client) -> None:
    closes_with(gunicorn.websocket("/fail"), INTERNAL_ERROR)
    seen: list[str] = []
    wait_until(lambda: seen.extend(filter(None, events(gunicorn))) or len(seen) == 3)
    assert seen == ["signal ZeroDivisionError()", "fail request ZeroDivisionError()", "fail app ZeroDivisionError()"]


def test_a_teardown_function_that_fails_in_the_handlers_thread(gunicorn: Client) -> None:
    client = gunicorn.websocket("/chat/one?teardown_fails")
    client.send(frame(CLOSE, NORMAL))
    assert client.read_frame() == (CLOSE, NORMAL)
    assert client.read_to_end() == b""
    seen: list[str] = []
    # The app context ends nevertheless.
    wait_until(lambda: seen.extend(filter(None, events(gunicorn))) or len(seen) == 2)
    assert seen == ["one request None", "one app None"]


def test_a_request_in_process_within_the_handlers_thread(gunicorn: Client) -> None:
    client = gunicorn.websocket("/nested")
    assert text(client) == "inner"
    assert events(gunicorn) == ["inner request"]
    client.send(frame(CLOSE, NORMAL))
    assert client.read_frame() == (CLOSE, NORMAL)
    assert client.read_to_end() == b""
    seen: list[str] = []
    wait_until(lambda: seen.extend(filter(None, events(gunicorn))) or len(seen) == 2)
    assert seen == ["nested request None", "nested app None"]


def test_a_refused_handshake_stays_in_the_pools_thread(gunicorn: Client) -> None:
    assert gunicorn.refused("/chat/one", EVIL, "Connection: close")[0] == 403
    assert events(gunicorn) == ["one request None", "one app None"]
