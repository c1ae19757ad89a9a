"""The cookie of a login says who speaks. It is checked before the WebSocket is opened, and so is the page's origin.

Run: python examples/cookie_auth.py [PORT]
or:  flask --app examples/cookie_auth.py run

A browser sends the cookies of a site with every WebSocket that *any* page opens to it. So a cookie says who sits in
front of the browser, and not that the page is ours: a page of an attacker could speak in the user's name (cross-site
WebSocket hijacking). The ``Origin`` field says whose page it is, and a page cannot forge it. syncws refuses pages of
another origin with 403 before anything else; nothing has to be switched on. If pages of other sites of yours are to
connect, name them: ``options={"origins": ["same", "https://www.example.com"]}``. ``SameSite=Lax`` on the cookie is a
second lock on the same door.

Flask signs the session's cookie, and compares the signature in constant time. Who has the secret key can be anybody.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
import sys
from collections.abc import Callable
from typing import Any

from flask import Flask, abort, redirect, request, session
from werkzeug.wrappers import Response

import syncws
from syncws.flask import Sock

PAGE = """<!DOCTYPE html><title>Account</title>
<form method=post action=/login><input name=user> <input name=password type=password> <button>Log in</button></form>
<p id=said></p>
<script>new WebSocket("/account").onmessage = event => said.textContent = event.data;</script>
"""

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)  # of this process; from the configuration if the sessions are to outlive it
app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True)  # and SESSION_COOKIE_SECURE over TLS
sock = Sock(app)


def digest(password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=b"one for each user", n=2**14, r=8, p=1)


PASSWORDS = {"ann": digest("correct horse")}
NOBODY = digest(secrets.token_hex())


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs) if session.get("user") in PASSWORDS else abort(401)

    return checked


@app.get("/")
def index() -> str:
    return PAGE


@app.post("/login")
def login() -> Response:
    user = request.form["user"]
    # The work and the comparison are the same for users that there are not: how long it takes tells nothing.
    if not hmac.compare_digest(PASSWORDS.get(user, NOBODY), digest(request.form["password"])):
        abort(403)
    session.clear()
    session["user"] = user
    return redirect("/")


@sock.route("/account", options={"max_age": 3600})  # a session that has ended meanwhile is noticed within the hour
@login_required  # runs before the WebSocket is opened: without a good cookie there is none
def account(ws: syncws.WebSocket) -> None:
    ws.send(f"{session['user']} is connected")
    for message in ws:
        ws.send(message)


def main(port: int) -> None:
    with syncws.WSGIServer(("127.0.0.1", port), app) as server:
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
