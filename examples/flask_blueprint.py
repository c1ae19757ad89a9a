"""A Flask app in the usual parts: a blueprint with a WebSocket, and a factory. Its check runs before the 101.

Run: python examples/flask_blueprint.py [PORT]    (needs Flask)
or:  gunicorn -k gthread "examples.flask_blueprint:create_app()"
Try: python -m syncws connect "ws://127.0.0.1:8000/stock/prices/EUR?key=secret"; without the key it is refused with 401.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import sqlite3
import sys

from flask import Blueprint, Flask, abort, g, request

import syncws
from syncws.flask import Sock, message_context

sock = Sock()
stock = Blueprint("stock", __name__, url_prefix="/stock")


def database() -> sqlite3.Connection:
    if "database" not in g:
        g.database = sqlite3.connect(":memory:")
    return g.database  # type: ignore[no-any-return]


@stock.before_request
def check_key() -> None:
    if not hmac.compare_digest(request.args.get("key", "").encode(), b"secret"):
        abort(401)


@sock.route("/prices/<currency>", bp=stock, options={"max_message_size": 1024})
def prices(ws: syncws.WebSocket, currency: str) -> None:
    for message in ws:
        # The database is closed while the handler waits for the next message.
        with message_context():
            (price,) = database().execute("SELECT length(?)", [str(message)]).fetchone()
        ws.send(json.dumps({"name": str(message), "price": price, "currency": currency}))


def close_database(_: BaseException | None) -> None:
    if "database" in g:
        g.pop("database").close()


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SOCK_SERVER_OPTIONS"] = {"compression": True}
    app.teardown_appcontext(close_database)
    app.register_blueprint(stock)
    sock.init_app(app)
    return app


def main(port: int) -> None:
    with syncws.WSGIServer(("127.0.0.1", port), create_app()) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
