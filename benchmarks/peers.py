"""Echo servers to compare with, each on its own: ``python peers.py NAME PORT``.

Every one listens on 127.0.0.1, without compression and without a limit on the size of a message, and is otherwise as
its documentation says that it is used. :data:`PEERS` has what they are and which packages they need, those of the
extra ``benchmark``.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import re
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PEERS", "Peer"]


class Peer(NamedTuple):
    """An echo server.

    :ivar serve: runs it on a port, for ever.
    :ivar runs_on: what a connection is: a thread, a greenlet, or a task of an event loop.
    :ivar packages: what has to be installed for it, by the names of the package registry, itself first.
    :ivar compiled: a module with a compiled part for its frames; ``None``: it has none.
    """

    serve: Callable[[int], None]
    runs_on: str
    packages: tuple[str, ...] = ()
    compiled: str | None = None

    def versions(self) -> dict[str, str] | None:
        """Return the versions of its packages; ``None`` if one is not installed."""
        try:
            return {package: importlib.metadata.version(package) for package in self.packages}
        except importlib.metadata.PackageNotFoundError:
            return None

    def is_compiled(self) -> bool:
        """Tell whether its frames are read and written by compiled code, as it is installed here."""
        found = importlib.util.find_spec(self.compiled) if self.compiled else None
        return found is not None and Path(found.origin or "").suffix != ".py"


def syncws(port: int) -> None:
    """This project's threaded server."""
    from syncws import WebSocket, WebSocketServer

    def echo(ws: WebSocket) -> None:
        for message in ws:
            ws.send(message)

    with WebSocketServer(("127.0.0.1", port), echo, max_message_size=None) as server:
        server.serve_forever()


def websockets_sync(port: int) -> None:
    """The threaded server of the websockets package, with its C extension if that is built."""
    from websockets.sync.server import ServerConnection, serve

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", port, compression=None, max_size=None) as server:
        server.serve_forever()


def syncws_gevent(port: int) -> None:
    """This project's server on greenlets."""
    from syncws import WebSocket
    from syncws.gevent import WebSocketServer

    def echo(ws: WebSocket) -> None:
        for message in ws:
            ws.send(message)

    with WebSocketServer(("127.0.0.1", port), echo, max_message_size=None) as server:
        server.serve_forever()


def websockets_asyncio(port: int) -> None:
    """The server of the websockets package for asyncio."""
    import asyncio

    asyncio.run(_websockets_asyncio(port))


def websockets_uvloop(port: int) -> None:
    """The same with the event loop of uvloop."""
    import uvloop

    uvloop.run(_websockets_asyncio(port))


async def _websockets_asyncio(port: int) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", port, compression=None, max_size=None) as server:
        await server.serve_forever()


def aiohttp(port: int) -> None:
    """The WebSockets of aiohttp, on asyncio's own event loop."""
    from aiohttp import WSMsgType, web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False, max_msg_size=0)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/", echo)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def picows(port: int) -> None:
    """picows, written in Cython, on uvloop: callbacks for frames, which it does not put together to messages."""
    import uvloop
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

    class Echo(WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
                transport.send(frame.msg_type, frame.get_payload_as_bytes())
            elif frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    async def serve() -> None:
        server = await ws_create_server(lambda request: Echo(), "127.0.0.1", port, max_frame_size=2**31 - 1)
        await server.serve_forever()

    uvloop.run(serve())


def simple_websocket(port: int) -> None:
    """simple-websocket, the one below flask-sock, on Werkzeug's server with threads."""
    import simple_websocket
    from werkzeug.serving import run_simple

    def app(environ: dict[str, Any], _: object) -> list[bytes]:
        ws = simple_websocket.Server.accept(environ)
        try:
            while True:
                ws.send(ws.receive())
        except simple_websocket.ConnectionClosed:
            raise ConnectionError from None  # so that Werkzeug does not want an answer, as flask-sock does it

    run_simple("127.0.0.1", port, app, threaded=True)


def gevent_websocket(port: int) -> None:
    """gevent-websocket, the one below Flask-Sockets and bottle-websocket, on gevent's server."""
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    def app(environ: dict[str, Any], _: object) -> list[bytes]:
        ws = environ["wsgi.websocket"]
        while (message := ws.receive()) is not None:
            ws.send(message, binary=not isinstance(message, str))
        return []

    WSGIServer(("127.0.0.1", port), app, handler_class=WebSocketHandler, log=None).serve_forever()


def raw_threads(port: int) -> None:
    """A thread a connection that sends back what it gets, without a protocol: the limit for threads.

    It cuts off the masking key to answer with as many bytes as a WebSocket server, and knows only small frames.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=256)

    def serve(sock: socket.socket) -> None:
        head = sock.recv(4096)
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
        assert found is not None
        digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := sock.recv(65536):
            frames = len(data) // (data[1] % 128 + 6)
            sock.sendall(data[: len(data) - 4 * frames])

    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


_WEBSOCKETS = "websockets.speedups"
PEERS = {
    "syncws": Peer(syncws, "threads", ("syncws",)),
    "syncws.gevent": Peer(syncws_gevent, "greenlets", ("syncws", "gevent")),
    "websockets.sync": Peer(websockets_sync, "threads", ("websockets",), _WEBSOCKETS),
    "simple-websocket": Peer(simple_websocket, "threads", ("simple-websocket", "wsproto", "werkzeug")),
    "gevent-websocket": Peer(gevent_websocket, "greenlets", ("gevent-websocket", "gevent"), "wsaccel"),
    "websockets": Peer(websockets_asyncio, "asyncio", ("websockets",), _WEBSOCKETS),
    "websockets, uvloop": Peer(websockets_uvloop, "uvloop", ("websockets", "uvloop"), _WEBSOCKETS),
    "aiohttp": Peer(aiohttp, "asyncio", ("aiohttp",), "aiohttp._websocket.reader_c"),
    "picows": Peer(picows, "uvloop", ("picows", "uvloop"), "picows.picows"),
    "raw threads": Peer(raw_threads, "threads"),
}

if __name__ == "__main__":
    PEERS[sys.argv[1]].serve(int(sys.argv[2]))
