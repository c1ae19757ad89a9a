"""Servers for blocking code: a thread or a greenlet for each connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scenario import DEFLATE_SETTINGS, PREPARED, Scenario

__all__ = ["gevent_websocket", "simple_websocket", "syncws", "syncws_gevent", "syncws_pure", "websockets_sync"]

_CONNECTIONS: list[Any] = []


def _send_back(ws: Any) -> None:
    for message in ws:
        ws.send(message)


def syncws(scenario: Scenario) -> None:
    """This project's threaded server."""
    from syncws import WebSocketServer

    _serve_syncws(WebSocketServer, scenario)


def syncws_pure(scenario: Scenario) -> None:
    """The same without its compiled modules."""
    from pure import only_plain_python

    only_plain_python("syncws")
    syncws(scenario)


def syncws_gevent(scenario: Scenario) -> None:
    """This project's server on greenlets."""
    from syncws.gevent import WebSocketServer

    _serve_syncws(WebSocketServer, scenario)


def _serve_syncws(server_class: Any, scenario: Scenario) -> None:
    from syncws import Deflate

    compression = Deflate(
        level=DEFLATE_SETTINGS["level"],
        mem_level=DEFLATE_SETTINGS["mem_level"],
        max_window_bits=DEFLATE_SETTINGS["window_bits"],
    )
    options = {
        "max_message_size": None,
        "max_connections": None,
        "ssl": scenario.tls or None,
        "compression": compression if scenario.deflate else None,
    }
    handler = _syncws_fan_out() if scenario.fan_out else _send_back
    with server_class(("127.0.0.1", scenario.port), handler, **options) as server:
        server.serve_forever()


def _syncws_fan_out() -> Callable[[Any], None]:
    import syncws

    prepared = syncws.PreparedMessage(PREPARED)

    def fan_out(ws: Any) -> None:
        _CONNECTIONS.append(ws)
        for _ in ws:
            for each in _CONNECTIONS:
                each.send(prepared, wait=False)

    return fan_out


def _fan_out(ws: Any) -> None:
    _CONNECTIONS.append(ws)
    for _ in ws:
        for each in _CONNECTIONS:
            each.send(PREPARED)


def websockets_sync(scenario: Scenario) -> None:
    """The threaded server of the websockets package, with its C extension if that is built."""
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.sync.server import serve

    deflate = ServerPerMessageDeflateFactory(
        server_max_window_bits=DEFLATE_SETTINGS["window_bits"],
        client_max_window_bits=DEFLATE_SETTINGS["window_bits"],
        compress_settings={"level": DEFLATE_SETTINGS["level"], "memLevel": DEFLATE_SETTINGS["mem_level"]},
    )
    options = {
        "ssl": scenario.context(),
        "compression": None,
        "extensions": [deflate] if scenario.deflate else None,
        "max_size": None,
        "max_queue": None,
    }
    with serve(_fan_out if scenario.fan_out else _send_back, "127.0.0.1", scenario.port, **options) as server:
        server.serve_forever()


def simple_websocket(scenario: Scenario) -> None:
    """simple-websocket, the one below flask-sock, on Werkzeug's server with threads. It compresses if it is asked."""
    import simple_websocket
    from werkzeug.serving import run_simple

    def app(environ: dict[str, Any], _: object) -> list[bytes]:
        ws = simple_websocket.Server.accept(environ)
        try:
            while True:
                ws.send(ws.receive())
        except simple_websocket.ConnectionClosed:
            raise ConnectionError from None  # so that Werkzeug does not want an answer, as flask-sock does it

    run_simple("127.0.0.1", scenario.port, app, threaded=True, ssl_context=scenario.context())


def gevent_websocket(scenario: Scenario) -> None:
    """gevent-websocket, the one below Flask-Sockets and bottle-websocket, on gevent's server."""
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    def app(environ: dict[str, Any], _: object) -> list[bytes]:
        ws = environ["wsgi.websocket"]
        while (message := ws.receive()) is not None:
            ws.send(message, binary=not isinstance(message, str))
        return []

    options = {"ssl_context": context} if (context := scenario.context()) else {}
    address = ("127.0.0.1", scenario.port)
    WSGIServer(address, app, handler_class=WebSocketHandler, log=None, **options).serve_forever()
