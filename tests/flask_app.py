"""The Flask app that test_flask.py runs, and its settings: ``gunicorn -c flask_app.py flask_app:app``."""

from __future__ import annotations

import os
import threading
from typing import Any

import flask
from flask import Flask, g, request, session, url_for
from flask.globals import app_ctx

import syncws
from syncws.flask import Sock, message_context

# Gunicorn reads these names as settings. Its control socket has one place for all of the tests.
control_socket_disable = True
pythonpath = os.path.dirname(__file__)

app = Flask(__name__)
app.secret_key = "secret"
sock = Sock(app)

lock = threading.Lock()
events: list[str] = []


def note(event: str) -> None:
    with lock:
        events.append(event)


def current_context() -> Any:
    return app_ctx._get_current_object()  # type: ignore[attr-defined]


class Database:
    closed = False


@app.before_request
def before() -> None:
    if request.path in ("/events", "/inner"):
        return
    g.name = request.path.rpartition("/")[2]
    g.user = "ann"
    g.context = current_context()
    g.database = Database()
    session["n"] = 1


@app.after_request
def after(response: flask.Response) -> flask.Response:
    if request.path not in ("/events", "/inner") and response.status_code not in (101, 403):
        note(f"{g.name} after_request {response.status_code}")
    return response


@app.teardown_request
def fail_at_last(error: BaseException | None) -> None:
    if "teardown_fails" in request.args:
        raise LookupError("in teardown_request")


@app.teardown_request
def teardown_request(error: BaseException | None) -> None:
    if request.path == "/inner":
        note("inner request")
    elif "name" in g:
        note(f"{g.name} request {error!r}")


@app.teardown_appcontext
def teardown_appcontext(error: BaseException | None) -> None:
    if "name" in g:
        g.database.closed = True
        note(f"{g.name} app {error!r}")


def on_exception(_: object, exception: BaseException, **others: object) -> None:
    note(f"signal {exception!r}")


flask.got_request_exception.connect(on_exception, app)


@app.route("/events")
def take_events() -> str:
    with lock:
        taken = "\n".join(events)
        events.clear()
    return taken


@sock.route("/chat/<room>")
def chat(ws: syncws.WebSocket, room: str) -> None:
    for message in ws:
        context = "same context" if g.context is current_context() else "another context"
        database = "closed" if g.database.closed else "open"
        link = url_for("chat", room="x")
        ws.send(f"{message!s} {g.user} {request.path} {list(session)} {context}, {database}, {link}")
        with message_context():
            answer = f"fresh: {request.path} {list(session)}, {'a g' if 'user' in g else 'no g'}"
            g.name, g.database = "fresh", Database()
        ws.send(answer)


@app.route("/inner")
def inner() -> str:
    return "inner"


@sock.route("/nested")
def nested(ws: syncws.WebSocket) -> None:
    ws.send(app.test_client().get("/inner").text)
    ws.receive()


@sock.route("/fail")
def fail(ws: syncws.WebSocket) -> None:
    raise ZeroDivisionError
