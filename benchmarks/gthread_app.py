"""The app of ``gthread_pool.py``: a page and a WebSocket, in Flask."""

from __future__ import annotations

import flask

import syncws
from syncws.flask import Sock

PAGE = "hello"

app = flask.Flask(__name__)
sock = Sock(app)


@app.route("/")
def page() -> str:
    return PAGE


@sock.route("/echo")
def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)
