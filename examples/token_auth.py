"""A token says who speaks: in the first message, or as a subprotocol, which a page can send before that.

Run: python examples/token_auth.py [PORT]
Try: python -m syncws connect ws://127.0.0.1:8000/first, and as the first line the token that the server prints;
     then ws://127.0.0.1:8000/offered with --subprotocol notes --subprotocol token.TOKEN

A program that is no browser had better send ``Authorization: Bearer ...``; a page cannot choose its header fields. What
it can choose: ``/first``: the first message is the token. Until it has come, the connection is a stranger's: it has a
deadline and a limit on its size, and is told nothing. ``/offered``: the page offers two subprotocols, ``notes`` and
``token.`` with the token, and a wrong one is answered with 401. A token in the query of the URI works too, and ends in
the log of every proxy: it should be good for one connection, within seconds. Over plain ``ws://`` all can be read.
"""

import contextlib
import hashlib
import hmac
import secrets
import sys

import syncws

PROTOCOL = "notes"
KEY = secrets.token_bytes(32)  # of this process; several of them share one, from their configuration


def token_for(user: str) -> str:
    """Return what proves to be this user, as the page that has logged the user in would hand it out."""
    return f"{user}.{hmac.new(KEY, user.encode(), hashlib.sha256).hexdigest()}"


def user_of(token: str) -> str | None:
    """Return whose token it is; ``None`` if it is nobody's."""
    user = token.rpartition(".")[0]
    # How long == takes tells how much of the token is right, and so it can be found piece by piece.
    return user if user and hmac.compare_digest(token_for(user).encode(), token.encode()) else None


def offered_token(environ: dict) -> str:
    offers = [offer.strip() for offer in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")]
    return next((offer.removeprefix("token.") for offer in offers if offer.startswith("token.")), "")


def take_notes(ws: syncws.WebSocket, user: str) -> None:
    ws.send(f"hello {user}")
    for number, _ in enumerate(ws, 1):
        ws.send(f"{user} has {number} notes")


def app(environ: dict, start_response):
    if environ["PATH_INFO"] == "/first":
        # A stranger may not send more than a token; notes are no longer.
        with syncws.upgrade(environ, max_message_size=1024, max_age=3600) as ws:
            try:
                user = user_of(str(ws.receive(timeout=5)))
            except TimeoutError:
                user = None
            if user is None:
                ws.close(4401, "wrong token")  # 4000 to 4999 are for programs; like the status 401
            else:
                take_notes(ws, user)
        return []
    if environ["PATH_INFO"] == "/offered":
        user = user_of(offered_token(environ))
        if user is None:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "0")])
            return []
        # The token itself is not chosen, and so not sent back.
        with syncws.upgrade(environ, subprotocols=[PROTOCOL]) as ws:
            take_notes(ws, user)
        return []
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


if __name__ == "__main__":
    address = ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    with syncws.WSGIServer(address, app) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"listening on ws://127.0.0.1:{server.server_address[1]}/ for {token_for('ann')}", flush=True)
        server.serve_forever()
