"""What the tests have of Bottle: a route of :class:`syncws.bottle.WebSocketPlugin`."""

from __future__ import annotations

import json

import bottle

import syncws
from syncws.bottle import WebSocketPlugin

from .handlers import FAILURE, echo, run

__all__ = ["site"]

site = bottle.Bottle()
site.install(WebSocketPlugin())


@site.hook("before_request")
def refuse_nobody() -> None:
    if "X-User" not in bottle.request.headers:
        bottle.abort(401, "who are you?")
    # These read the body, and Bottle puts one that has been read in the place of wsgi.input.
    assert not bottle.request.forms
    assert not bottle.request.params.token
    bottle.response.set_cookie("seen", "1")


@site.route("/bottle/chat/<room>", websocket=True)
def chat(ws: syncws.WebSocket, room: str) -> None:
    """Tell what Bottle knows after the 101, then send messages back."""
    ws.send(json.dumps({"room": room, "user": bottle.request.get_header("X-User"), "query": bottle.request.query.a}))
    run(echo, ws)


@site.route("/bottle/fail", websocket=True)
def fail(ws: syncws.WebSocket) -> None:
    def handler(ws: syncws.WebSocket) -> None:
        ws.receive()
        raise RuntimeError(FAILURE)

    run(handler, ws)
