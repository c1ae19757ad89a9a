"""A terminal in the browser, with Bottle. It runs the commands of a list, and nothing else.

Run: python examples/bottle_terminal.py [PORT]    (needs Bottle)
Try: help, date, disk, count; then one that is not on the list: rm -rf /
"""

from __future__ import annotations

import subprocess
import sys

import bottle

import syncws
from syncws.bottle import SyncwsServer, WebSocketPlugin

PAGE = """<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Terminal</title>
<style>body { background: #111; color: #ddd } pre, input { font: 1em monospace; color: inherit; background: inherit }
</style>
<pre id=output role=log aria-label=Output></pre>
<form id=form><label>$ <input id=line aria-label=Command autocomplete=off autofocus></label></form>
<script>
const ws = new WebSocket("ws://" + location.host + "/terminal");
form.onsubmit = event => {
    event.preventDefault();
    output.append("$ " + line.value + "\\n");
    ws.send(line.value);
    line.value = "";
};
ws.onmessage = event => output.append(event.data);
ws.onclose = event => output.append(`closed (${event.code} ${event.reason})`);
</script>
"""
COUNT = "import time\nfor number in range(1, 6): print(number, flush=True); time.sleep(0.2)"
# What may be run, argument by argument. No shell reads it, and nothing of what a client sends gets into it.
COMMANDS = {
    "count": [sys.executable, "-c", COUNT],
    "date": ["date"],
    "disk": ["df", "-h", "."],
    "system": ["uname", "-a"],
}

app = bottle.Bottle()
app.install(WebSocketPlugin(max_message_size=100))


@app.route("/")
def page() -> str:
    return PAGE


@app.route("/terminal", websocket=True)
def terminal(ws: syncws.WebSocket) -> None:
    for line in ws:
        name = str(line).strip()
        if name in COMMANDS:
            run(ws, COMMANDS[name])
        elif name:
            ws.send(f"The commands are {', '.join(COMMANDS)}; {name!r} is none of them.\n")


def run(ws: syncws.WebSocket, command: list[str]) -> None:
    """Send what the command prints, line by line, as it prints it."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            for line in process.stdout:
                ws.send(line)
        finally:
            process.kill()  # it is of no use when the page has gone, and send() raises ConnectionClosed


if __name__ == "__main__":
    bottle.run(app, server=SyncwsServer, port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
