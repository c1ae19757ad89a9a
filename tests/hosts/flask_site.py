"""What the tests have of Flask: routes of :class:`syncws.flask.Sock`, and views that upgrade."""

from __future__ import annotations

import json
import threading

import flask

import syncws
from syncws.flask import Sock, upgrade

from .handlers import FAILURE, echo, run

__all__ = ["site"]

site = flask.Flask(__name__)
site.secret_key = "a secret for the tests"
sock = Sock(site)
members = flask.Blueprint("members", __name__, url_prefix="/flask/members")


@site.before_request
def note_user() -> None:
    flask.g.user = flask.request.headers.get("X-User", "nobody")


@sock.route("/flask/chat/<room>")
def chat(ws: syncws.WebSocket, room: str) -> None:
    """Tell what Flask knows after the 101, then send messages back."""
    told = {
        "room": room,
        "user": flask.g.user,
        "agent": flask.request.headers.get("X-Agent"),
        "visits": flask.session.get("visits", 0),
        "url": flask.url_for("chat", room="other"),
    }
    ws.send(json.dumps(told))
    run(echo, ws)


@site.route("/flask/enter")
def enter() -> str:
    """Begin a session."""
    flask.session["visits"] = flask.session.get("visits", 0) + 1
    return "welcome"


@sock.route("/flask/fail")
def fail(ws: syncws.WebSocket) -> None:
    def handler(ws: syncws.WebSocket) -> None:
        ws.receive()
        raise RuntimeError(FAILURE)

    run(handler, ws)


@sock.route("/flask/stuck")
def stuck(ws: syncws.WebSocket) -> None:
    ws.send("ready")
    threading.Event().wait()


@site.route("/flask/view")
def view() -> str:
    """A page, and for those with a name a WebSocket."""
    if "Upgrade" not in flask.request.headers:
        return "a page"
    if flask.g.user == "nobody":
        flask.abort(401, "who are you?")

    @flask.after_this_request
    def add_cookie(response: flask.Response) -> flask.Response:
        response.set_cookie("seen", "1")
        return response

    run(echo, upgrade(headers={"X-Room": "lobby"}))
    return "behind the close frame"


@sock.route("/chat", bp=members)
def chat_of_members(ws: syncws.WebSocket) -> None:
    ws.send(str(flask.request.blueprint))


site.register_blueprint(members)
