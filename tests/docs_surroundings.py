"""What the pages of the documentation assume, and what is to be tried with the things that they define.

:data:`SURROUNDINGS` is a table from pages to functions. Each is called in the process that runs its page
(``docs_page.py``), with the page. It runs the page's blocks in portions, with the names that the prose takes for known,
and looks at what they do. A page that is not here is run just so, which is enough for one whose blocks stand for
themselves.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib
import io
import json
import logging
import os
import queue
import signal
import ssl
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from docs_page import DEADLINE, Page
from proxies import tunnel_proxy

import syncws
from syncws import testing

__all__ = ["SURROUNDINGS"]

Surroundings = Callable[[Page], None]
SURROUNDINGS: dict[str, Surroundings] = {}


def surroundings(*pages: str) -> Callable[[Surroundings], Surroundings]:
    """Put a function into the table."""

    def add(function: Surroundings) -> Surroundings:
        SURROUNDINGS.update(dict.fromkeys(pages, function))
        return function

    return add


# What several pages need.


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


def greet(ws: syncws.WebSocket) -> None:
    ws.send(b"hello")
    echo(ws)


def answers(ws: syncws.WebSocket, text: str) -> str | bytes:
    """Send a message, and return what comes back."""
    ws.send(text)
    return ws.receive(timeout=DEADLINE)


def connect(page: Page, port: int, path: str = "/") -> syncws.WebSocket:
    """Connect to what serves on a port of the page; it may not have begun to."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return syncws.connect(f"ws://127.0.0.1:{page.port(port)}{path}")
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.05)


@contextlib.contextmanager
def serving(handler: Any, **options: Any) -> Iterator[syncws.WebSocketServer]:
    """Run a server on a free port."""
    server = syncws.WebSocketServer(("127.0.0.1", 0), handler, **options)
    thread = threading.Thread(target=server.serve_forever)
    with server:
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(DEADLINE)


def certificate(*hosts: str) -> None:
    """Write fullchain.pem, privkey.pem and company-ca.pem; the system trusts that authority from now on."""
    authority = importlib.import_module("trustme").CA()
    issued = authority.issue_cert(*hosts)
    issued.private_key_pem.write_to_path("privkey.pem")
    for index, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path("fullchain.pem", append=index > 0)
    authority.cert_pem.write_to_path("company-ca.pem")
    os.environ["SSL_CERT_FILE"] = os.path.abspath("company-ca.pem")


def logged_in_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator for views of Flask or Bottle: whoever sends a header field X-User is logged in."""

    @functools.wraps(function)
    def view(*args: Any, **kwargs: Any) -> Any:
        if "flask" in sys.modules and (flask := importlib.import_module("flask")).has_request_context():
            user = flask.request.headers.get("X-User")
            return function(*args, **kwargs) if user else ("log in first", 401)
        bottle = importlib.import_module("bottle")
        if not bottle.request.get_header("X-User"):
            bottle.abort(401, "log in first")
        return function(*args, **kwargs)

    return view


def refused(app: Any, path: str, status: int, **options: Any) -> None:
    with pytest.raises(syncws.HandshakeError) as error:
        testing.connect(app, path, **options)
    assert error.value.status == status


# The pages.


@surroundings("docs/index.rst")
def index(page: Page) -> None:
    with testing.connect_handler(greet) as ws:
        page.run(ws=ws)


@surroundings("docs/tutorial/first-endpoint.rst")
def first_endpoint(page: Page) -> None:
    page.run(until="What time is it?")
    page.stop()  # Ctrl-C in the first terminal
    page.run(until='"text only"')
    with testing.connect_handler(page["answer"]) as ws:
        assert answers(ws, "Why?") == "You asked: Why?"
        ws.send(b"why")
        with pytest.raises(syncws.ConnectionClosed, match="1003"):
            ws.receive(timeout=DEADLINE)
    page.run(until="origins=")
    page["server"].server_close()


@surroundings("docs/tutorial/byte-by-byte.rst")
def byte_by_byte(page: Page) -> None:
    page.run()
    with serving(page["answers"], subprotocols=["lesson"]) as server:
        view = page["have_a_session"](server.server_address[1])
    assert '  text, 5 bytes: "Hello"  ' in view
    assert "PROBLEM" not in view


@surroundings("docs/explanation/threads-and-greenlets.rst")
def threads_and_greenlets(page: Page) -> None:
    page.run(gevent=importlib.import_module("gevent"), hashlib=hashlib, password=b"secret", salt=b"salt")
    assert page["digest"] == hashlib.scrypt(b"secret", salt=b"salt", n=2**14, r=8, p=1)


@surroundings("docs/explanation/why-blocking.rst")
def why_blocking(page: Page) -> None:
    kitchen: queue.SimpleQueue[str] = queue.SimpleQueue()
    page.run(menu={"soup": "5"}, kitchen=kitchen)
    with testing.connect_handler(page["order"]) as ws:
        assert ws.receive(timeout=DEADLINE) == "What would you like?"
        assert answers(ws, "soup") == "soup is 5. Is that all right?"
        ws.send("yes")
        assert kitchen.get(timeout=DEADLINE) == "soup"


@surroundings("docs/reference/errors.rst")
def errors(page: Page) -> None:
    def ends(ws: syncws.WebSocket) -> None:
        ws.close(4000, "enough")

    with testing.connect_handler(ends) as ws, contextlib.redirect_stdout(io.StringIO()) as printed:
        page.run(ws=ws, syncws=syncws)
    assert printed.getvalue() == "closed by remote with 4000 enough\n"


@surroundings("docs/howto/authentication.rst")
def authentication(page: Page) -> None:
    bottle = importlib.import_module("bottle")
    page.run(until="bottle_account")
    refused(page["bottle_app"], "/account", 401)
    response = bottle.Response()
    response.set_cookie("user", "ann", secret=page["SECRET"])
    cookie = dict(response.headerlist)["Set-Cookie"].partition(";")[0]
    with testing.connect(page["bottle_app"], "/account", headers={"Cookie": cookie}) as ws:
        assert ws.receive(timeout=DEADLINE) == "hello ann"
    page.run(until="def wsgi_app")
    refused(page["wsgi_app"], "/", 401, headers={"Authorization": "Bearer wrong"})
    with testing.connect(page["wsgi_app"], headers={"Authorization": f"Bearer {page['TOKENS']['ann']}"}) as ws:
        assert ws.receive(timeout=DEADLINE) == "hello ann"
    page.run(until="def handler")
    with testing.connect_handler(page["handler"]) as ws:
        assert answers_after(ws, page["TOKENS"]["ann"], "hello") == "hello"
    with testing.connect_handler(page["handler"]) as ws, pytest.raises(syncws.ConnectionClosed, match="4401"):
        answers(ws, "wrong")
    page.run(until="def log_out")
    with testing.connect_handler(lambda ws: page["serve"](ws, "ann")) as ws:
        assert answers(ws, "hello") == "hello"
        page["log_out"]("ann")
        with pytest.raises(syncws.ConnectionClosed, match="4401: logged out"):
            ws.receive(timeout=DEADLINE)
    page.run()  # its own tests


def answers_after(ws: syncws.WebSocket, first: str, text: str) -> str | bytes:
    """Send something that is not answered, and then what is."""
    ws.send(first)
    return answers(ws, text)


@surroundings("docs/howto/broadcasting.rst")
def broadcasting(page: Page) -> None:
    page.run()
    with serving(page["chat"]) as server:
        host, port = server.server_address[:2]
        with contextlib.ExitStack() as stack:
            members = []
            for path in ("/news", "/news", "/x"):
                members.append(stack.enter_context(syncws.connect(f"ws://{host}:{port}{path}")))
                assert answers(members[-1], "I am here") == "I am here"  # and so is in the room
            ann, bob, eve = members
            assert ann.receive(timeout=DEADLINE) == "I am here"  # Bob's
            assert page["app"].test_client().post("/announce", data="hello").status_code == 204
            assert ann.receive(timeout=DEADLINE) == bob.receive(timeout=DEADLINE) == "hello"
            page["tell_everybody"](server, "all")
            assert [each.receive(timeout=DEADLINE) for each in members] == ["all"] * 3
            page["deliver"](Redis())
            assert eve.receive(timeout=DEADLINE) == "by the channel"
    assert not page["rooms"]._members


class Redis:
    """As much of a client of Redis as the page uses; its channel has one message."""

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def pubsub(self, *, ignore_subscribe_messages: bool) -> Redis:
        assert ignore_subscribe_messages
        return self

    def subscribe(self, channel: str) -> None:
        assert channel == "rooms"

    def listen(self) -> Iterator[dict[str, bytes]]:
        yield {"data": b'["/x", "by the channel"]'}


@surroundings("docs/howto/behind-a-proxy.rst")
def behind_a_proxy(page: Page) -> None:
    with testing.connect_handler(greet) as ws:
        page.run(ws=ws)


@surroundings("docs/howto/bottle.rst")
def bottle(page: Page) -> None:
    page.run(until="def chat(ws, room)")
    with connect(page, 8080, "/chat/lobby") as ws:
        assert answers(ws, "hello") == "lobby: hello"
    page.stop()
    bottle = page["bottle"]

    def new_app() -> Any:
        app = bottle.Bottle()
        app.install(page["WebSocketPlugin"]())
        return app

    app = new_app()
    page.run(until="@login_required", app=app, login_required=logged_in_only, check_password=lambda *_: _[1] == "right")
    log_in = {"Authorization": "Basic " + base64.b64encode(b"ann:right").decode()}
    refused(app, "/chat/lobby", 401)
    refused(app, "/chat/lobby", 401, headers=log_in)
    testing.connect(app, "/chat/lobby", headers={**log_in, "X-User": "ann"}).close()
    page.run(until="def remember()")
    with testing.connect(app, "/chat/lobby", headers={**log_in, "X-User": "ann"}) as ws:
        assert "seen=1" in ws.response.headers["Set-Cookie"]
    page.run(until="def feed(ws)", app=(app := bottle.Bottle()))
    with testing.connect(app, "/feed", subprotocols=["v1", "v2"]) as ws:
        assert ws.subprotocol == "v2"
    page.run(until="def feed()", app=(app := new_app()), request=bottle.request, template=str)
    refused(app, "/feed", 401)
    with testing.connect(app, "/feed", headers={"Cookie": "user=ann"}) as ws:
        assert answers(ws, "hello") == "hello"
    with open("myapp.py", "w") as file:
        file.write("import bottle\napp = bottle.Bottle()\n")
    with page.program("patch_all()"), pytest.raises(syncws.HandshakeError, match="404"):
        connect(page, 8080, "/there-are-no-routes")


@surroundings("docs/howto/client.rst")
def client(page: Page) -> None:
    certificate("example.com")

    def feed(ws: syncws.WebSocket) -> None:
        if ws.path == "/feed":
            ws.receive()
            ws.send("news")
        elif ws.path == "/greeting":
            greet(ws)
        else:
            ws.send("a message")

    class Enough(Exception):
        pass

    handled: list[str] = []

    def handle(message: str) -> None:
        handled.append(message)
        if len(handled) == 2:
            raise Enough

    with serving(feed, ssl=("fullchain.pem", "privkey.pem")) as server, tunnel_proxy() as proxy:
        page.hosts["example.com"] = server.server_address[1]
        page.ports[1080] = proxy.server_address[1]
        page.run(until="subscribe")
        page.run(until="Authorization", token="0123")
        assert page["ws"].request.headers["Authorization"].startswith("Basic ")
        page.run(until="HandshakeError", uri="wss://example.com/feed")
        with pytest.raises(Enough):
            page.run(until="random.uniform", uri="wss://example.com/", handle=handle, log=logging.getLogger())
        page.run(until="socks5h", uri="wss://example.com/feed")
        assert proxy.requests == [("socks5", "example.com", 443, "")]
        page.run(until="receive_stream", ws=syncws.connect("wss://example.com/greeting"))
        with open("download", "rb") as file:
            assert file.read() == b"hello"


@surroundings("docs/howto/flask.rst")
def flask(page: Page) -> None:
    page.run(until="def chat(ws, room)")
    with testing.connect(page["app"], "/chat/lobby") as ws:
        assert answers(ws, "hello") == "lobby: hello"
    flask = importlib.import_module("flask")
    blueprint = flask.Blueprint("shop", "docs", url_prefix="/shop")
    page.run(until="def create_app()", blueprint=blueprint)
    page.run(until="def news(ws)")
    app = page["create_app"]()
    app.register_blueprint(blueprint)
    for path in ("/shop/feed", "/news", "/news/"):
        testing.connect(app, path).close()

    # For the rest, an app with a database and logins.
    login = importlib.import_module("flask_login")
    database = importlib.import_module("flask_sqlalchemy")
    app = flask.Flask("docs")
    app.config.update(SECRET_KEY="secret", SQLALCHEMY_DATABASE_URI="sqlite:///" + os.path.abspath("orders.db"))

    class User(login.UserMixin):  # type: ignore[misc,name-defined]
        name = id = "ann"

    login.LoginManager(app).request_loader(lambda request: User() if request.headers.get("X-User") else None)
    db = database.SQLAlchemy(app)

    class Order(db.Model):  # type: ignore[misc,name-defined]
        number = db.Column(db.Integer, primary_key=True)
        user_name = db.Column(db.String)
        text = db.Column(db.String)

        def __init__(self, user: Any, text: str) -> None:
            super().__init__(user_name=user.name, text=text)

    with app.app_context():
        db.create_all()

    saved: list[Any] = []
    page.run(
        until="def orders(ws)",
        app=app,
        sock=page["Sock"](app),
        login_required=login.login_required,
        current_user=login.current_user,
        request=flask.request,
        session=flask.session,
        abort=flask.abort,
        save=saved.append,
        db=db,
        Order=Order,
        summary=lambda session: f"{session.query(Order).count()} orders",
    )
    refused(app, "/private", 401)
    ann = {"X-User": "ann"}
    with testing.connect(app, "/private", headers=ann) as ws:
        assert ws.receive(timeout=DEADLINE) == "welcome, ann"
    refused(app, "/notes", 401)
    client = app.test_client()
    assert client.post("/notes", json={"a": "note"}).status_code == 204
    assert saved == [{"a": "note"}]
    with client.session_transaction() as session:
        session["user"] = "ann"
    with testing.connect(client, "/notes", subprotocols=["notes.v1"]) as ws:
        assert ws.subprotocol == "notes.v1"
        assert "session=" in ws.response.headers["Set-Cookie"]
    for number in range(2):
        with testing.connect(app, "/orders", headers=ann) as ws:
            assert ws.receive(timeout=DEADLINE) == f"{number} orders"
            assert answers(ws, "cake") == "saved"
    with app.app_context():
        db.engine.dispose()

    app = flask.Flask("docs")
    page.run(until="SOCK_SERVER_OPTIONS", app=app, sock=page["Sock"](app), upgrade=lambda **options: options)
    assert page["ws"] == {"compression": True}
    with testing.connect(app, "/feed", subprotocols=["v1", "v2"], origin="https://app.example.com") as ws:
        assert ws.subprotocol == "v2"
    refused(app, "/feed", 403, origin="https://elsewhere.example.com")


@surroundings("docs/howto/gevent.rst")
def gevent(page: Page) -> None:
    page.run(until="serve_forever()")
    with connect(page, 8765) as ws:
        assert answers(ws, "hello") == "hello"
    page.run(until="SIGTERM", gevent=importlib.import_module("gevent"), signal=signal)
    with testing.connect_handler(echo) as ws:
        page.run(until="threadpool.apply", ws=ws, compute=lambda: "result")
        assert ws.receive(timeout=DEADLINE) == "result"


@surroundings("docs/howto/migrate-from-bottle-websocket.rst")
def migrate_from_bottle_websocket(page: Page) -> None:
    bottle = importlib.import_module("bottle")
    # The page leaves it to Bottle, which takes 8080.
    bottle.run.__defaults__ = tuple(page.port(8080) if each == 8080 else each for each in bottle.run.__defaults__)
    page.run(until="GeventWebSocketServer")
    with connect(page, 8080, "/chat") as ws:
        assert answers(ws, "hello") == "hello"


@surroundings("docs/howto/migrate-from-flask-sock.rst", "docs/howto/migrate-from-flask-sockets.rst")
def migrate_to_sock(page: Page) -> None:
    app = importlib.import_module("flask").Flask("docs")
    page.run(until="sock = Sock(app)", app=app)
    with testing.connect(app, "/echo") as ws:
        assert answers(ws, "hello") == "hello"


@surroundings("docs/howto/migrate-from-gevent-websocket.rst")
def migrate_from_gevent_websocket(page: Page) -> None:
    page.run(until="WSGIServer")
    with connect(page, 8000) as ws:
        assert answers(ws, "hello") == "hello"


@surroundings("docs/howto/monitoring.rst")
def monitoring(page: Page) -> None:
    with serving(echo) as server, syncws.connect(f"ws://127.0.0.1:{server.server_address[1]}/chat") as ws:
        assert answers(ws, "hello") == "hello"
        page.run(until="maintenance", server=server, contextlib=contextlib, syncws=syncws)
        assert ws.receive(timeout=DEADLINE) == "maintenance in five minutes"
        page.run(until="server.stats()")
        page.run(until="setLevel(logging.WARNING)", logging=logging)
        page.run(until="class JSONFormatter")
    page["handler"].close()
    with open("access.log") as file:
        (line,) = file
    assert json.loads(line).items() >= {"path": "/chat", "close_code": 1000, "messages_received": 1}.items()


@surroundings("docs/howto/production.rst")
def production(page: Page) -> None:
    server = syncws.WebSocketServer(("127.0.0.1", 0), echo)
    page.run(until="serve_forever()", server=server)
    page.stop()
    server = syncws.WebSocketServer(("127.0.0.1", 0), echo)

    def terminate() -> None:
        with syncws.connect(f"ws://127.0.0.1:{server.server_address[1]}/") as ws:
            assert answers(ws, "hello") == "hello"
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(syncws.ConnectionClosed, match="1001"):
                ws.receive(timeout=DEADLINE)

    page.names["server"] = server
    thread = threading.Thread(target=terminate)
    thread.start()
    page.run_here("signal.SIGTERM")
    thread.join(DEADLINE)
    gone: list[syncws.WebSocket] = []
    page.run(until="on_close", log_out=gone.append)
    testing.connect_handler(page["chat"]).close()
    assert len(gone) == 1
    page.run(until="basicConfig", logging=logging)
    with testing.connect_handler(echo) as ws:
        page.run(until="wait=False", ws=ws, data="news")
        assert ws.receive(timeout=DEADLINE) == "news"


@surroundings("docs/howto/testing.rst")
def test_your_handlers(page: Page) -> None:
    flask = importlib.import_module("flask")
    sock = importlib.import_module("syncws.flask").Sock()
    app = flask.Flask("docs")
    app.secret_key = "secret"
    people: list[syncws.WebSocket] = []

    @app.post("/login")
    def login() -> tuple[str, int]:
        flask.session["user"] = flask.request.form["user"]
        return "", 204

    @sock.route("/chat/<room>")
    def chat(ws: syncws.WebSocket, room: str) -> None:
        for message in ws:
            if message == "nonsense":
                raise ValueError(message)
            if ws not in people:
                people.append(ws)
            for each in people:
                with contextlib.suppress(syncws.ConnectionClosed):
                    each.send(f"lobby: {message}" if message == "hello" else message)

    @sock.route("/chat", endpoint="one-room")
    @sock.route("/lobby")
    def quiet(ws: syncws.WebSocket) -> None:
        for _ in ws:
            pass

    @sock.route("/private")
    def private(ws: syncws.WebSocket) -> None:
        ws.send(f"welcome, {flask.session['user']}")

    @app.before_request
    def check() -> tuple[str, int] | None:
        return ("log in", 401) if flask.request.path == "/private" and "user" not in flask.session else None

    sock.init_app(app)
    myapp: Any = types.ModuleType("myapp")
    myapp.app = app
    sys.modules["myapp"] = myapp
    page.run(until="def test_chat()")
    page.run(until="def test_private_chat()", pytest=pytest, syncws=syncws)
    with pytest.raises(syncws.HandshakeError, match="403"):
        page.run(until="http://evil.example", token="0123")
    page.run(until="def test_two_people", echo=echo)
    page["test_two_people"](testing.connect)


@surroundings("docs/howto/tls.rst")
def tls(page: Page) -> None:
    certificate("localhost", "intranet.example")
    page.run(until="serve_forever()", handler=greet)
    with syncws.connect(f"wss://localhost:{page.port(443)}/") as ws:
        assert ws.receive(timeout=DEADLINE) == b"hello"
    page.hosts["intranet.example"] = page.port(443)
    page.run(until="intranet.example", ssl=ssl)
    with page["ws"] as ws:
        assert ws.receive(timeout=DEADLINE) == b"hello"


@surroundings("docs/howto/wire-view.rst")
def wire_view(page: Page) -> None:
    with serving(echo) as server, contextlib.redirect_stdout(io.StringIO()) as printed:
        page.ports[8765] = server.server_address[1]
        page.run(until="render_text(syncws.trace.annotated")
        page.run(until="write_recording")
    assert 'client ← server  text, 5 bytes: "Hello"  ' in printed.getvalue()
    with open("session.jsonl") as file:
        assert list(page["syncws"].trace.read_recording(file)) == page["recorder"].chunks
    page.ports.clear()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        page.run(until="Recorder(show)", handler=echo)
        page["server"].server_close()
        for chunk in page["recorder"].chunks:
            page["show"](chunk)
    assert 'client → server  text, 5 bytes: "Hello"  ' in printed.getvalue()


@surroundings("docs/howto/wsgi-app.rst")
def wsgi_app(page: Page) -> None:
    page.run(until="hand_over", syncws=syncws, chat=greet)
    with testing.connect(page["app"]) as ws:
        assert ws.receive(timeout=DEADLINE) == b"hello"
    page.run(until="401 Unauthorized", logged_in=lambda environ: "HTTP_COOKIE" in environ)
    refused(page["app"], "/", 401)
    testing.connect(page["app"], headers={"Cookie": "a=b"}).close()
    refused(page.function("error.respond", "environ", "start_response"), "/", 403, origin="http://evil.example")

    def with_cookie(environ: Any, start_response: Any) -> list[bytes]:
        page.run(until="Set-Cookie", environ=environ)
        return []

    with testing.connect(with_cookie) as ws:
        assert ws.response.headers["Set-Cookie"] == "seen=1; HttpOnly"
    agreed = page.function("chat.v2", "environ", "start_response")
    with testing.connect(agreed, subprotocols=["chat.v1"]) as ws:
        assert ws.subprotocol == "chat.v1"
    with testing.connect(agreed) as ws, pytest.raises(syncws.ConnectionClosed, match="1008"):
        ws.receive(timeout=DEADLINE)
