"""Prices and volumes of some funds: the server pushes each trade to every page, and no page has to ask.

Run: python examples/etf_ticker.py [PORT]
Try: open the page twice: both show the same. Then stop the server, and see what the pages say.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import threading
import time
from typing import TYPE_CHECKING

import syncws

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment  # in the standard library from Python 3.11 on

PAGE = b"""<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Funds</title>
<table><thead><tr><th>Fund<th>Price<th>Volume<tbody id=funds></table><p id=state role=status>connecting</p>
<script>
const ws = new WebSocket("ws://" + location.host + "/trades");
ws.onopen = () => state.textContent = "live";
ws.onclose = event => state.textContent = `closed (${event.code} ${event.reason}); reload the page`;
ws.onmessage = event => {
    const trade = JSON.parse(event.data);
    let row = document.getElementById(trade.fund);
    if (!row) {
        row = funds.insertRow();
        row.id = trade.fund;
        for (let cell = 0; cell < 3; cell++) row.insertCell();
    }
    [trade.fund, trade.price.toFixed(2), trade.volume].forEach((value, n) => row.cells[n].textContent = value);
};
</script>
"""


def trade_for_ever(server: syncws.WSGIServer) -> None:
    prices = {"BONDS": 51.20, "METALS": 118.75, "WORLD": 94.10}
    volumes = dict.fromkeys(prices, 0)
    while True:
        time.sleep(0.2)
        fund = random.choice(list(prices))
        prices[fund] = round(max(1, prices[fund] * random.gauss(1, 0.002)), 2)
        volumes[fund] += random.randrange(100, 10_000, 100)
        trade = {"fund": fund, "price": prices[fund], "volume": volumes[fund]}
        prepared = syncws.PreparedMessage(json.dumps(trade))  # encoded once, however many listen
        for ws in server.connections:
            with contextlib.suppress(syncws.ConnectionClosed):  # it has gone meanwhile
                ws.send(prepared, wait=False)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    if environ["PATH_INFO"] == "/trades":
        with syncws.upgrade(environ) as ws:
            for _ in ws:
                pass  # a page has nothing to say; the loop ends when it goes
        return []
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]


def main(port: int) -> None:
    # For a page that is slow to read, old trades are dropped: only the latest ones count.
    options = {"backlog_policy": "drop-oldest", "max_backlog": 4096}
    with syncws.WSGIServer(("127.0.0.1", port), app, **options) as server, contextlib.suppress(KeyboardInterrupt):
        threading.Thread(target=trade_for_ever, args=[server], daemon=True).start()
        host, port = server.server_address[:2]
        print(f"listening on http://{host}:{port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
