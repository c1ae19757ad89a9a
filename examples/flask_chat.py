"""A chat in Flask. The session says who speaks; without a name in it there is no WebSocket.

Run: python examples/flask_chat.py [PORT]    (needs Flask)
or:  flask --app examples/flask_chat.py run
Try: join as ann; join as bob in a private window, which has cookies of its own.
"""

import contextlib
import functools
import sys
import threading
from collections import defaultdict

from flask import Flask, abort, render_template_string, request, session

import syncws
from syncws.flask import Sock

PAGE = """<!DOCTYPE html><title>Chat</title>
<form method=post><input name=name required placeholder="your name"><button>Join</button></form>
{% if "name" in session %}
<p><input id=say> <ol id=said></ol>
<script>
const ws = new WebSocket({{ url_for("chat", room="lobby")|tojson }});
say.onchange = () => { ws.send(say.value); say.value = ""; };
ws.onmessage = event => said.append(Object.assign(document.createElement("li"), {textContent: event.data}));
</script>{% endif %}
"""

app = Flask(__name__)
app.secret_key = "change me"
sock = Sock(app)
lock = threading.Lock()  # guards the next one
rooms: defaultdict[str, set[syncws.WebSocket]] = defaultdict(set)


def login_required(view):
    @functools.wraps(view)
    def checked(*args, **kwargs):
        return view(*args, **kwargs) if "name" in session else abort(401)

    return checked


@app.route("/", methods=["GET", "POST"])
def index() -> str:
    if request.method == "POST":
        session["name"] = request.form["name"]
    return render_template_string(PAGE)


@sock.route("/rooms/<room>")
@login_required  # runs before the WebSocket is opened
def chat(ws: syncws.WebSocket, room: str) -> None:
    with lock:
        rooms[room].add(ws)
    try:
        for message in ws:
            prepared = syncws.PreparedMessage(f"{session['name']}: {message!s}")  # encoded once for all
            with lock:
                everybody = list(rooms[room])
            for other in everybody:
                with contextlib.suppress(syncws.ConnectionClosed):  # gone, or too slow; its own thread takes it out
                    other.send(prepared, wait=False)
    finally:
        with lock:
            rooms[room].discard(ws)
            if not rooms[room]:
                del rooms[room]


def main(port: int) -> None:
    with syncws.WSGIServer(("127.0.0.1", port), app) as server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
