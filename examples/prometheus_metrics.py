"""An echo server, and its metrics for Prometheus on a port of their own.

Run: python examples/prometheus_metrics.py [PORT [PORT OF THE METRICS]]    (needs prometheus_client)
Try: python -m syncws connect ws://127.0.0.1:8000/, and meanwhile curl http://127.0.0.1:9000/metrics
"""

from __future__ import annotations

import contextlib
import sys
import threading

from prometheus_client import REGISTRY, make_wsgi_app

import syncws
from syncws.prometheus import ServerCollector


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


def main(port: int = 8000, metrics_port: int = 9000) -> None:
    server = syncws.WebSocketServer(("127.0.0.1", port), echo)
    REGISTRY.register(ServerCollector(server))
    metrics = syncws.WSGIServer(("127.0.0.1", metrics_port), make_wsgi_app())
    print(f"ws://127.0.0.1:{server.server_address[1]}", flush=True)
    print(f"http://127.0.0.1:{metrics.server_address[1]}/metrics", flush=True)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    with server, metrics, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
