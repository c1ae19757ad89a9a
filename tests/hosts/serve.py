"""Serves the app as those do who start a server from Python: ``python -m hosts.serve SERVER PORT [CERTIFICATE]``."""

from __future__ import annotations

import contextlib
import signal
import ssl
import sys
from collections.abc import Callable
from typing import Any

ADDRESS = "127.0.0.1"


def load_app() -> Any:
    from .app import app

    return app


def wsgiref(port: int, _: str | None) -> None:
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIServer, make_server

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    with make_server(ADDRESS, port, load_app(), Server) as server:
        server.serve_forever()


def pywsgi(port: int, certificate: str | None, **options: Any) -> None:
    import gevent
    from gevent.pywsgi import WSGIServer

    tls = {"certfile": certificate, "keyfile": certificate} if certificate else {}
    server = WSGIServer((ADDRESS, port), load_app(), **tls, **options)
    # Not KeyboardInterrupt, which gevent logs.
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


def pywsgi_patched(port: int, certificate: str | None) -> None:
    pywsgi(port, certificate)


def pywsgi_handler(port: int, certificate: str | None) -> None:
    from syncws.gevent import WebSocketHandler

    pywsgi(port, certificate, handler_class=WebSocketHandler)


def own(port: int, certificate: str | None) -> None:
    import syncws

    run_own(syncws.WSGIServer, port, certificate)


def own_gevent(port: int, certificate: str | None) -> None:
    import gevent

    from syncws.gevent import WSGIServer

    run_own(WSGIServer, port, certificate, stopped_by=lambda stop: gevent.signal_handler(signal.SIGTERM, stop))


def run_own(
    server_class: Callable[..., Any],
    port: int,
    certificate: str | None,
    stopped_by: Callable[[Callable[[], None]], object] = lambda stop: None,
) -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    with server_class((ADDRESS, port), load_app(), ssl=context) as server:
        stopped_by(server.shutdown)
        server.serve_forever()


SERVERS: dict[str, Callable[[int, str | None], None]] = {
    each.__name__: each for each in (wsgiref, pywsgi, pywsgi_patched, pywsgi_handler, own, own_gevent)
}


def main(name: str, port: str, certificate: str | None = None) -> None:
    if name == "pywsgi_patched":
        from gevent import monkey

        monkey.patch_all()
    # As if Ctrl-C had been pressed, so that the process ends in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        SERVERS[name](int(port), certificate)


if __name__ == "__main__":
    main(*sys.argv[1:])
