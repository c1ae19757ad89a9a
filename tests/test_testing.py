"""The test client: what a test sees of an app that runs in its own process."""

from __future__ import annotations

import gc
import io
import re
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import DEADLINE, eventually, open_descriptors, start
from support import require_module

import syncws
from syncws import testing

Environ = dict[str, Any]
pytest_plugins = ["pytester"]


def echo(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    with syncws.upgrade(environ) as ws:
        for message in ws:
            ws.send(message)
    return []


class Oops(Exception):
    """What a handler raises."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    threads, descriptors = threading.active_count(), open_descriptors()
    yield
    gc.collect()
    # Both: a thread that had waited for a connection since an earlier test may have ended meanwhile.
    eventually(lambda: threading.active_count() <= threads and open_descriptors() <= descriptors)


def test_echo() -> None:
    with testing.connect(echo, "/chat") as ws:
        ws.send("hello")
        assert ws.receive(timeout=DEADLINE) == "hello"
        ws.send(b"\0" * 100_000)
        assert ws.receive(timeout=DEADLINE) == b"\0" * 100_000
        assert ws.remote_address == ("localhost", 80)
    assert ws.closed


def shown(app_sees: Environ, url: str, **options: Any) -> tuple[Environ, testing.InProcessWebSocket]:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        app_sees.update(environ)
        syncws.upgrade(environ, headers=[("X-One", "1")]).close()
        return []

    with testing.connect(app, url, **options) as ws:
        return app_sees, ws


def test_the_app_sees_the_request() -> None:
    environ, ws = shown({}, "/chat/zoë?room=1", headers={"X-Test": "yes"}, origin="http://localhost")
    assert environ["PATH_INFO"] == "/chat/zoë".encode().decode("latin-1")
    assert environ["QUERY_STRING"] == "room=1"
    assert environ["HTTP_HOST"] == "localhost"
    assert environ["HTTP_ORIGIN"] == "http://localhost"
    assert environ["HTTP_X_TEST"] == "yes"
    assert environ["HTTP_USER_AGENT"] == "syncws"
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("127.0.0.1", "0")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")
    assert environ["wsgi.url_scheme"] == "http"
    assert ws.path == "/chat/zo%C3%AB"
    assert ws.response.status == 101
    assert ws.response.headers["X-One"] == "1"


def test_a_whole_url_and_what_is_added_to_the_environ() -> None:
    environ, _ = shown(
        {}, "https://ann:secret@chat.example/x", headers=[("User-Agent", "me")], environ={"REMOTE_USER": "ann"}
    )
    assert environ["HTTP_HOST"] == "chat.example"
    assert environ["wsgi.url_scheme"] == "https"
    assert environ["HTTPS"] == "on"
    assert environ["HTTP_AUTHORIZATION"] == "Basic YW5uOnNlY3JldA=="
    assert environ["HTTP_USER_AGENT"] == "me"
    assert environ["REMOTE_USER"] == "ann"


def test_subprotocols_compression_and_options_of_the_server() -> None:
    with testing.connect(
        echo,
        subprotocols=["v2", "v1"],
        compression=True,
        server_options={"subprotocols": ["v1"], "compression": True, "max_message_size": 10},
    ) as ws:
        assert ws.subprotocol == "v1"
        assert ws.extensions[0].startswith("permessage-deflate")
        ws.send("x" * 11)
        with pytest.raises(syncws.ConnectionClosed) as closed:
            ws.receive(timeout=DEADLINE)
        assert closed.value.code == 1009


@pytest.mark.parametrize("name", ["origins", "open_timeout"])
def test_options_that_are_somewhere_else(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        testing.connect(echo, **{name: None})


def test_origins_are_those_of_the_server() -> None:
    with pytest.raises(TypeError, match=r'server_options=\{"origins": \[...\]\}, .* origin="http://...'):
        testing.connect(echo, origins=["http://localhost"])


@pytest.mark.parametrize("url", [None, b"/", 3])
def test_a_url_that_is_no_text(url: Any) -> None:
    for call in (
        lambda: testing.connect(echo, url),
        lambda: testing.connect_handler(lambda ws: None, url),
        lambda: testing.pair(url).__enter__(),
    ):
        with pytest.raises(TypeError, match=r"url must be a str such as '/chat', not "):
            call()


@pytest.mark.parametrize("app", [None, iter(()), "module:app"])
def test_an_app_that_is_none(app: Any) -> None:
    with pytest.raises(TypeError, match=r"app must be a WSGI app or a Werkzeug test client, not "):
        testing.connect(app)


@pytest.mark.parametrize("app", [lambda ws: None, lambda: None, lambda a, b, c: None])
def test_a_function_that_is_no_app(app: Any) -> None:
    with pytest.raises(TypeError, match=r"(?s)is not called with environ and start_response.*connect_handler\(\)"):
        testing.connect(app)


def test_an_app_whose_arguments_cannot_be_known() -> None:
    # As with some builtin functions: this one is called, and says itself what is wrong.
    with pytest.raises(TypeError, match="not supported between instances of"):
        testing.connect(max)


@pytest.mark.parametrize("handler", [None, iter(())])
def test_a_handler_that_is_no_function(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"a function that takes a WebSocket, not .*; write handler, not handler\(\)"):
        testing.connect_handler(handler)


def test_an_origin_that_the_app_refuses() -> None:
    with pytest.raises(syncws.HandshakeError) as refused:
        testing.connect(echo, origin="http://evil.example")
    assert refused.value.status == 403


def test_a_refusal_shows_all_of_the_answer() -> None:
    page = "Zuerst anmelden! — " * 200

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("401 Unauthorized", [("WWW-Authenticate", "Basic"), ("Set-Cookie", "a=1")])
        # Without a length: in chunks.
        yield from (word.encode() for word in page)

    with pytest.raises(syncws.HandshakeError) as refused:
        testing.connect(app, "/private")
    assert refused.value.status == 401
    assert ("WWW-Authenticate", "Basic") in refused.value.headers
    assert refused.value.body == page.encode()
    for part in ("/private", "401 Unauthorized", "WWW-Authenticate: Basic", page.strip()):
        assert part in str(refused.value)


def test_a_refusal_without_an_end() -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        while True:
            yield b"more "

    with pytest.raises(syncws.HandshakeError) as refused:
        testing.connect(app, timeout=0.3)
    assert refused.value.status == 200
    assert refused.value.body.startswith(b"more more ")


def test_an_app_that_claims_to_switch_to_something_else() -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        ws = syncws.upgrade(environ, subprotocols=["a"])
        ws.abort()
        return []

    with testing.connect(app) as ws, pytest.raises(syncws.ConnectionClosed) as closed:
        ws.receive(timeout=DEADLINE)
    assert closed.value.code == 1006


# What the app raises.


def fails_before(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    raise Oops("before")


def fails_after(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    syncws.upgrade(environ).receive()
    raise Oops("after")


def fails_in_its_body(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
    ws = syncws.upgrade(environ)
    yield b""
    ws.receive()
    raise Oops("after")


def makes_an_error_page(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    try:
        syncws.upgrade(environ).receive()
        raise Oops("after")
    except Oops:
        start_response("500 Internal Server Error", [], sys.exc_info())
        return [b"sorry"]


def hands_over(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    def handler(ws: syncws.WebSocket) -> None:
        ws.receive()
        raise Oops("after")

    syncws.hand_over(environ, handler)
    return []


def says_that_it_failed(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    syncws.upgrade(environ).receive()
    start_response("500 Internal Server Error", [])
    return [b"sorry"]


def reports(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    ws = syncws.upgrade(environ)
    ws.receive()
    error = Oops("after")
    environ["syncws.on_error"](error)
    environ["syncws.on_error"](error)  # known already
    ws.close(1011)
    return []


def test_a_failure_before_the_answer() -> None:
    with pytest.raises(Oops, match="before") as failed:
        testing.connect(fails_before)
    assert failed.traceback[-1].name == "fails_before"


failing = pytest.mark.parametrize("app", [fails_after, fails_in_its_body, makes_an_error_page, reports, hands_over])


@failing
def test_receive_raises_what_the_app_has_raised(app: Any) -> None:
    with testing.connect(app) as ws:
        ws.send("go")
        with pytest.raises(Oops, match="after") as failed:
            ws.receive(timeout=DEADLINE)
        # The test knows now: neither the next call nor the end of the block tells it again.
        with pytest.raises(syncws.ConnectionClosed):
            ws.receive(timeout=DEADLINE)
        assert ws.close_code == 1011
    assert failed.value.__context__ is None
    if app not in (reports, hands_over):
        assert failed.traceback[-1].name == app.__name__


@failing
def test_the_end_of_the_block_raises_what_the_app_has_raised(app: Any) -> None:
    with pytest.raises(Oops, match="after"), testing.connect(app) as ws:
        ws.send("go")


def test_an_app_that_keeps_its_exception_to_itself() -> None:
    with testing.connect(says_that_it_failed) as ws:
        ws.send("go")
        with pytest.raises(RuntimeError, match="500 Internal Server Error"):
            ws.receive(timeout=DEADLINE)


def test_iteration_raises_what_the_app_has_raised() -> None:
    with testing.connect(fails_after) as ws:
        ws.send("go")
        with pytest.raises(Oops):
            list(ws)


def test_a_handler_that_exits() -> None:
    with pytest.raises(SystemExit), testing.connect_handler(lambda ws: sys.exit("enough")) as ws:
        ws.receive(timeout=DEADLINE)


def test_what_is_raised_says_that_it_is_the_apps() -> None:
    notes = []

    class Late(TimeoutError):
        # As exceptions of Python 3.11 and later have it.
        def add_note(self, note: str) -> None:
            notes.append(note)

    def handler(ws: syncws.WebSocket) -> None:
        raise Late

    with testing.connect_handler(handler, "/chat?x=1") as ws, pytest.raises(TimeoutError):
        ws.receive(timeout=DEADLINE)
    assert ws.closed
    assert notes == ["raised by the app, for /chat"]


def test_an_exception_that_takes_no_notes() -> None:
    # As those of Python 3.10.
    class Plain(Exception):
        add_note = None

    def handler(ws: syncws.WebSocket) -> None:
        raise Plain

    with pytest.raises(Plain), testing.connect_handler(handler):
        pass


def test_the_end_of_another_connection_is_a_failure() -> None:
    def handler(ws: syncws.WebSocket) -> None:
        raise syncws.ConnectionClosed(1000)

    with pytest.raises(syncws.ConnectionClosed) as closed, testing.connect_handler(handler):
        pass
    assert closed.traceback[-1].name == "handler"


def test_the_end_of_the_connection_is_no_failure() -> None:
    def handler(ws: syncws.WebSocket) -> None:
        while True:
            ws.receive()

    with testing.connect_handler(handler, "/x", server_options={"subprotocols": ["a"]}, subprotocols=["a"]) as ws:
        assert ws.subprotocol == "a"


def test_close_waits_for_what_the_handler_still_does() -> None:
    done = []

    def handler(ws: syncws.WebSocket) -> None:
        with pytest.raises(syncws.ConnectionClosed):
            ws.receive()
        time.sleep(0.05)
        done.append(ws.close_code)

    ws = testing.connect_handler(handler)
    ws.close(3000, "bye")
    assert done == [3000]


def test_the_body_of_a_response_is_closed() -> None:
    closed = []

    class Body:
        def __init__(self, environ: Environ, start_response: Callable[..., Any]) -> None:
            self.environ = environ

        def __iter__(self) -> Iterator[bytes]:
            syncws.upgrade(self.environ).close()
            return iter([])

        def close(self) -> None:
            closed.append(True)

    with testing.connect(Body):
        pass
    assert closed == [True]


def test_the_body_of_a_response_that_cannot_be_closed() -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("404 Not Found", [])
        return iter([b"nothing ", b"here"])

    with pytest.raises(syncws.HandshakeError, match="nothing here"):
        testing.connect(app)


# Handlers that do not end.


class Stuck:
    """A handler that waits for the test."""

    def __init__(self, upgrade: bool) -> None:
        self.upgrade = upgrade
        self.go_on = threading.Event()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.upgrade:
            syncws.upgrade(environ)
        self.wait_for_the_test()
        return []

    def wait_for_the_test(self) -> None:
        self.go_on.wait(DEADLINE)


def test_a_handler_that_does_not_end_is_named() -> None:
    app = Stuck(upgrade=True)
    ws = testing.connect(app, "/slow", timeout=0.1, close_timeout=0.1)
    with pytest.raises(TimeoutError, match=r"(?s)the handler of /slow .*wait_for_the_test") as failed:
        ws.close()
    # Not where the server called it.
    assert "wsgi_exchange" not in str(failed.value)
    ws.close()  # once is enough
    app.go_on.set()


def test_an_app_that_does_not_answer_is_named() -> None:
    app = Stuck(upgrade=False)
    with pytest.raises(TimeoutError, match=r"(?s)/slow was not answered within 0.1 s.*wait_for_the_test"):
        testing.connect(app, "/slow", timeout=0.1)
    app.go_on.set()


def test_where_there_is_nothing_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Stuck(upgrade=True)
    monkeypatch.setattr(sys, "_current_frames", dict)
    ws = testing.connect(app, timeout=0.1, close_timeout=0.1)
    with pytest.raises(TimeoutError):
        ws.close()
    app.go_on.set()


def test_without_a_timeout() -> None:
    with testing.connect(echo, timeout=None) as ws:
        ws.send("hello")
        assert ws.receive() == "hello"


def test_a_test_that_forgets_to_close() -> None:
    ended = threading.Event()

    def handler(ws: syncws.WebSocket) -> None:
        with pytest.raises(syncws.ConnectionClosed):
            ws.receive()
        ended.set()

    assert forgotten(lambda: testing.connect_handler(handler, "/chat")) == [
        "WebSocket /chat was never closed; use it in a with-statement, or the fixture of syncws.testing_pytest"
    ]
    assert ended.wait(DEADLINE)


def forgotten(connect: Callable[[], testing.InProcessWebSocket]) -> list[str]:
    """What is said about a WebSocket that a test forgets, besides its socket."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        connect()
        gc.collect()
    return [str(each.message) for each in caught if "WebSocket" in str(each.message)]


def test_a_test_that_forgets_to_close_hears_of_the_exception() -> None:
    def connect() -> testing.InProcessWebSocket:
        ws = testing.connect(fails_after, "/chat")
        ws.send("go")
        with pytest.raises(syncws.ConnectionClosed):
            ws.ping()
        eventually(lambda: ws._served.untold)
        return ws

    assert forgotten(connect) == [
        "WebSocket /chat was never closed; use it in a with-statement, or the fixture of syncws.testing_pytest; "
        "its app has raised Oops('after')"
    ]


def test_a_websocket_that_is_over_need_not_be_closed() -> None:
    def connect() -> testing.InProcessWebSocket:
        ws = testing.connect_handler(lambda ws: None)
        with pytest.raises(syncws.ConnectionClosed):
            ws.receive()
        return ws

    assert forgotten(connect) == []


def test_a_websocket_whose_app_was_given_up_has_been_closed() -> None:
    app = Stuck(upgrade=True)

    def connect() -> testing.InProcessWebSocket:
        ws = testing.connect(app, timeout=0.1, close_timeout=0.1)
        with pytest.raises(TimeoutError):
            ws.close()
        ws._served.note(Oops())
        return ws

    assert forgotten(connect) == []
    app.go_on.set()


# Test clients of frameworks.


def flask_app(**config: Any) -> Any:
    require_module("flask")
    import flask

    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY="secret", **config)

    @app.get("/login")
    def login() -> str:
        flask.session["user"] = "ann"
        return "welcome"

    @app.get("/ws", websocket=True)
    def serve() -> str:
        request = flask.request
        if "user" not in flask.session:
            answer = flask.make_response("log in first", 401)
            answer.set_cookie("tried", "1")
            flask.abort(answer)
        cookies = [("Set-Cookie", "seen=1; Path=/"), ("Set-Cookie", "also=2")]
        with syncws.upgrade(request.environ, headers=cookies) as ws:
            for message in ws:
                if message == "fail":
                    raise Oops("in a view")
                ws.send(f"{flask.session['user']} {request.host} {request.headers.get('X-From')} {request.remote_addr}")
        return ""

    return app


def test_session_and_cookies_of_flasks_test_client() -> None:
    client = flask_app().test_client()
    with pytest.raises(syncws.HandshakeError, match="log in first") as refused:
        testing.connect(client, "/ws")
    assert refused.value.status == 401
    assert client.get_cookie("tried").value == "1"
    client.get("/login")
    client.environ_base.update(HTTP_X_FROM="here", REMOTE_ADDR="192.0.2.1")
    with client, testing.connect(client, "/ws") as ws:
        assert client.get_cookie("seen").value == "1"
        assert client.get_cookie("also").value == "2"
        ws.send("?")
        assert ws.receive(timeout=DEADLINE) == "ann localhost here 192.0.2.1"
    with testing.connect(client, "http://localhost/ws?x=1", environ={"REMOTE_ADDR": "192.0.2.2"}) as ws:
        ws.send("?")
        assert ws.receive(timeout=DEADLINE) == "ann localhost here 192.0.2.2"


def test_a_flask_app_as_it_is() -> None:
    app = flask_app(SERVER_NAME="chat.example")
    with pytest.raises(syncws.HandshakeError, match="401"):
        testing.connect(app, "/ws", environ={"wsgi.errors": sys.stderr})


@pytest.mark.parametrize("is_testing", [True, False])
def test_an_exception_in_a_flask_view(is_testing: bool) -> None:
    client = flask_app(TESTING=is_testing).test_client()
    client.get("/login")
    with testing.connect(client, "/ws") as ws:
        ws.send("fail")
        with pytest.raises(Oops, match="in a view"):
            ws.receive(timeout=DEADLINE)


def test_a_session_that_the_test_has_made() -> None:
    client = flask_app().test_client()
    with client.session_transaction() as session:
        session["user"] = "bob"
    with testing.connect(client, "/ws") as ws:
        ws.send("?")
        assert str(ws.receive(timeout=DEADLINE)).startswith("bob ")
    with client.session_transaction() as session:
        del session["user"]
    with pytest.raises(syncws.HandshakeError, match="log in first"):
        testing.connect(client, "/ws")


def test_an_exception_in_a_handler_of_bottle() -> None:
    require_module("bottle")
    import bottle

    from syncws.bottle import WebSocketPlugin, upgrade

    app = bottle.Bottle()
    app.install(WebSocketPlugin())

    def handler(ws: syncws.WebSocket) -> None:
        ws.receive()
        raise Oops("in a handler")

    app.route("/plugin", websocket=True, callback=handler)
    app.route("/upgrade", callback=lambda: handler(upgrade()))
    for path in "/plugin", "/upgrade":
        with testing.connect(app, path, environ={"wsgi.errors": io.StringIO()}) as ws:
            ws.send("go")
            with pytest.raises(Oops, match="in a handler"):
                ws.receive(timeout=DEADLINE)


def test_an_exception_in_an_ordinary_request_of_flask_is_none_of_ours() -> None:
    app = flask_app()
    testing._watch_flask()

    @app.get("/fail")
    def fail() -> str:
        raise Oops

    assert app.test_client().get("/fail").status_code == 500


def test_without_flask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "flask", raising=False)
    with testing.connect(echo):
        pass


def test_a_test_client_of_werkzeug() -> None:
    require_module("werkzeug")
    from werkzeug.test import Client

    client = Client(echo)
    with testing.connect(client, "wss://example.com/a%20b?c") as ws:
        assert ws.headers["Host"] == "example.com"
        assert ws.request.target == "/a%20b?c"


def test_a_test_client_that_fails_afterwards() -> None:
    require_module("werkzeug")
    from werkzeug.test import Client

    class Failing(Client):
        def open(self, *args: Any, **options: Any) -> Any:
            super().open(*args, **options)
            raise Oops

    with pytest.raises(Oops):
        testing.connect(Failing(echo))

    class FailingAtOnce(Client):
        def open(self, *args: Any, **options: Any) -> Any:
            raise Oops

    with pytest.raises(Oops):
        testing.connect(FailingAtOnce(echo))


# Both ends.


def test_pair() -> None:
    with testing.pair("/chat?x=1", headers={"X-A": "b"}, subprotocols=["a"], compression=True) as (client, server):
        assert (server.request.target, server.headers["X-A"]) == ("/chat?x=1", "b")
        assert server.remote_address == ("127.0.0.1", 0)
        assert client.subprotocol == server.subprotocol == "a"
        client.send("to the server")
        assert server.receive(timeout=DEADLINE) == "to the server"
        server.send("to the client")
        assert client.receive(timeout=DEADLINE) == "to the client"
        closing = start(server.close)
        with pytest.raises(syncws.ConnectionClosed):
            client.receive(timeout=DEADLINE)
        closing.result()


def test_pair_drops_what_is_open() -> None:
    with testing.pair() as (client, server):
        pass
    assert client.closed
    assert server.closed


# Greenlets.

PROGRAM = """
{first}
import gc, gevent, sys, warnings
from gevent.event import Event
import syncws
from syncws import testing

def handler(ws):
    hub_thread.append(gevent.getcurrent() is not main)
    for message in ws:
        gevent.sleep(0)  # another greenlet of the same loop
        ws.send(message)
        if message == "stay":
            stay.wait(10)

main, hub_thread, stay = gevent.getcurrent(), [], Event()
with testing.connect_handler(handler, **{options}) as ws, testing.pair(**{options}) as (client, server):
    ws.send("hello")
    assert ws.receive(timeout=10) == "hello"
    client.send(b"1")
    assert server.receive(timeout=10) == b"1"
assert hub_thread == [True]
ws = testing.connect_handler(handler, timeout=0.1, close_timeout=0.1, **{options})
ws.send("stay")
assert ws.receive(timeout=10) == "stay"
try:
    ws.close()
except TimeoutError as error:
    assert "stay.wait(10)" in str(error), error
else:
    raise AssertionError
stay.set()

def alive():
    gc.collect()
    return sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())

with gevent.Timeout(10):
    while alive():
        gevent.sleep(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        testing.connect_handler(handler, **{options})
        # Nobody has closed it, and nothing of it remains.
        while alive():
            gevent.sleep(0.01)
print("done")
"""

FLASK_PROGRAM = """
{first}
import flask, gevent
from syncws import testing
from syncws.flask import Sock

app = flask.Flask("app")
app.config.update(SECRET_KEY="secret")
app.logger.disabled = True

@app.get("/login")
def login():
    flask.session["user"] = "ann"
    return "welcome"

@Sock(app).route("/ws")
def handler(ws):
    for message in ws:
        gevent.sleep(0)
        if message == "fail":
            raise KeyError("lost")
        ws.send(flask.session["user"])

client = app.test_client()
client.get("/login")
with testing.connect(client, "/ws", **{options}) as one, testing.connect(client, "/ws", **{options}) as two:
    for ws in one, two:
        ws.send("who?")
        assert ws.receive(timeout=10) == "ann"
    one.send("fail")
    try:
        one.receive(timeout=10)
    except KeyError:
        print("done")
    two.send("who?")
    assert two.receive(timeout=10) == "ann"
"""


@pytest.mark.parametrize(
    ("first", "options"),
    [("", "{'gevent': True}"), ("from gevent.monkey import patch_all; patch_all()", "{}")],
    ids=["plain", "patched"],
)
@pytest.mark.parametrize("source", [PROGRAM, FLASK_PROGRAM], ids=["handler", "flask"])
def test_greenlets(source: str, first: str, options: str, tmp_path: Path) -> None:
    require_module("gevent")
    require_module("flask")
    program = tmp_path / "program.py"
    program.write_text(source.format(first=first, options=options))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=6 * DEADLINE)
    assert (done.stdout, done.stderr) == ("done\n", "")


# The fixture.

TESTS = """
import pytest
import syncws

def app(environ, start_response):
    ws = syncws.upgrade(environ)
    if environ["PATH_INFO"] == "/fail":
        raise KeyError("lost key")
    assert ws.receive() == "hello"
    ws.send("you too")
    for _ in ws: pass
    return []

def test_that_forgets_to_close(websocket_connect):
    ws = websocket_connect(app, "/", headers={{"X": "1"}})
    ws.send("hello")
    assert ws.receive(timeout=10) == "you too"

def test_whose_handler_fails(websocket_connect):
    websocket_connect(app, "/fail")
"""


def test_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["syncws.testing_pytest"]')
    pytester.makepyfile(TESTS.replace("{{", "{").replace("}}", "}"))
    result = pytester.runpytest_inprocess("-Werror", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*KeyError: 'lost key'*"])


def test_fixture_on_greenlets(pytester: pytest.Pytester) -> None:
    require_module("gevent")
    pytester.makeconftest(
        "from gevent.monkey import patch_all; patch_all()\n"
        "import gevent, pytest\n"
        'pytest_plugins = ["syncws.testing_pytest"]\n'
        "@pytest.fixture(autouse=True)\n"
        "def timeout():\n"
        "    with gevent.Timeout(10): yield\n"
    )
    pytester.makepyfile(TESTS.replace("{{", "{").replace("}}", "}"))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*KeyError: 'lost key'*"])


CHAT = """
import syncws

room = set()

def app(environ, start_response):
    with syncws.upgrade(environ) as ws:
        room.add(ws)
        for message in ws:
            for each in list(room): each.send(message)
        room.discard(ws)
    return []
"""


def test_the_example_of_the_documentation(pytester: pytest.Pytester) -> None:
    page = (Path(__file__).parent.parent / "docs" / "howto" / "testing.rst").read_text()
    example = re.search(r"^    def test_two_people.*?^(?=\S)", page, re.DOTALL | re.MULTILINE)
    assert example
    pytester.makeconftest('pytest_plugins = ["syncws.testing_pytest"]')
    pytester.makepyfile(CHAT + textwrap.dedent(example.group()))
    pytester.runpytest_inprocess("-Werror", "-p", "no:cacheprovider").assert_outcomes(passed=1)
