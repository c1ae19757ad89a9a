"""The cookie of a login says who speaks. It is checked before the WebSocket is opened, and so is the page's origin.

Run: python examples/cookie_auth.py [PORT]    (needs Flask)
Try: log in as ann with "correct horse". Delete the cookie and reload: the WebSocket is refused with 401.

A browser sends the cookies of a site with every WebSocket that *any* page opens to it: a page of an attacker could
speak in the user's name (cross-site WebSocket hijacking). The ``Origin`` field says whose page it is, and no page can
forge it. syncws refuses those of another origin with 403; nothing has to be switched on. For pages of other sites of
yours: ``options={"origins": ["same", "https://www.example.com"]}``. ``SameSite=Lax`` is a second lock on the door.
"""

import contextlib
import functools
import hashlib
import hmac
import secrets
import sys

from flask import Flask, abort, redirect, request, session

import syncws
from syncws.flask import Sock

PAGE = """<!DOCTYPE html><title>Account</title>
<form method=post action=/login><input name=user> <input name=password type=password> <button>Log in</button></form>
<p id=said></p>
<script>new WebSocket("/account").onmessage = event => said.textContent = event.data;</script>
"""

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)  # signs the session's cookie; from the configuration if it is to outlive us
app.config.update(SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_HTTPONLY=True)  # and SESSION_COOKIE_SECURE over TLS
sock = Sock(app)


def digest(password: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=b"one for each user", n=2**14, r=8, p=1)


PASSWORDS = {"ann": digest("correct horse")}
NOBODY = digest(secrets.token_hex())


def login_required(view):
    @functools.wraps(view)
    def checked(*args, **kwargs):
        return view(*args, **kwargs) if session.get("user") in PASSWORDS else abort(401)

    return checked


@app.get("/")
def index():
    return PAGE


@app.post("/login")
def login():
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


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    with syncws.WSGIServer(address, app) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()
