"""The ``aiohttp`` package: client and server, on an event loop that runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web
from interop.peers import REDIRECT_PATH, REFUSED_BODY, REFUSED_PATH, ForeignServer, Library, Peer, Refusal
from wire import DEADLINE

__all__ = ["Aiohttp"]

_DEFAULT_SIZE = 4 * 2**20


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(2 * DEADLINE)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()


class _Peer(Peer):
    shows_reason_of_answer = False

    def __init__(self, loop: _Loop, ws: Any, received: Any, answered: Any, session: Any = None) -> None:
        self._loop = loop
        self._ws = ws
        self._session = session
        self._end: tuple[int, str] | None = None
        self._pongs: list[bytes] = []
        self.subprotocol = ws.protocol if session else ws.ws_protocol
        self.headers = {name.lower(): value for name, value in received.items()}
        self.extensions = answered.get("Sec-WebSocket-Extensions", "")
        self.over = asyncio.Event()

    def send(self, data: str | bytes) -> None:
        self._loop.run(self._ws.send_str(data) if isinstance(data, str) else self._ws.send_bytes(data))

    def send_fragments(self, pieces: Sequence[str | bytes]) -> None:
        raise NotImplementedError("aiohttp does not fragment")

    def receive(self) -> str | bytes:
        while self._end is None:
            message = self._receive()
            if message is not None:
                return message
        raise EOFError

    def _receive(self) -> str | bytes | None:
        """Read one message or control frame; answer a ping, as with ``autoping``, which would hide the pongs."""
        message = self._loop.run(self._ws.receive())
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            assert isinstance(message.data, (str, bytes))
            return message.data
        if message.type is WSMsgType.PING:
            self._loop.run(self._ws.pong(message.data))
        elif message.type is WSMsgType.PONG:
            self._pongs.append(bytes(message.data))
        elif message.type is WSMsgType.CLOSE:
            self._end = (int(message.data or 1005), message.extra or "")
        else:
            self._end = (1006, "")
        return None

    def ping(self, data: bytes) -> bytes:
        self._loop.run(self._ws.ping(data))
        while not self._pongs and self._end is None:
            self._receive()
        return self._pongs.pop(0)

    def close(self, code: int | None = None, reason: str = "") -> None:
        assert code is not None, "aiohttp always sends a code"
        self._loop.run(self._ws.close(code=code, message=reason.encode()))
        self._end = (self._ws.close_code, "")

    def ended(self) -> tuple[int, str]:
        while self._end is None:
            self._receive()
        return self._end

    def dispose(self) -> None:
        self._loop.run(self._dispose())

    async def _dispose(self) -> None:
        await self._ws.close()
        if self._session is not None:
            await self._session.close()
        self.over.set()


class Aiohttp(Library):
    def __init__(self) -> None:
        self._loop = _Loop()

    def close(self) -> None:
        self._loop.close()

    def client(self, uri: str, **settings: Any) -> Peer:
        peer = self._loop.run(self._client(uri, **settings))
        assert isinstance(peer, _Peer)
        return peer

    async def _client(
        self,
        uri: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        deflate: dict[str, Any] | None = None,
        max_size: int | None = None,
        tls: Any = None,
        unix: str | None = None,
    ) -> Peer:
        connector = aiohttp.TCPConnector() if unix is None else aiohttp.UnixConnector(unix)
        session = aiohttp.ClientSession(connector=connector)
        try:
            ws = await session.ws_connect(
                uri,
                protocols=subprotocols,
                headers=headers,
                compress=0 if deflate is None else deflate.get("client_max_window_bits", 15),
                max_msg_size=max_size or _DEFAULT_SIZE,
                ssl=tls.client if tls else True,
                autoping=False,
            )
        except BaseException:
            await session.close()
            raise
        answered = ws._response.headers
        return _Peer(self._loop, ws, answered, answered, session)

    def refused(self, uri: str, headers: Sequence[tuple[str, str]] = ()) -> Refusal:
        try:
            self.client(uri, headers=headers)
        except aiohttp.WSServerHandshakeError as error:
            return Refusal(error.status, {name.lower(): value for name, value in (error.headers or {}).items()}, None)
        raise AssertionError("the server did not refuse")

    @contextlib.contextmanager
    def server(
        self,
        host: str = "127.0.0.1",
        *,
        subprotocols: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
        deflate: dict[str, Any] | None = None,
        max_size: int | None = None,
        tls: Any = None,
        unix: str | None = None,
    ) -> Iterator[ForeignServer]:
        accepted: queue.SimpleQueue[_Peer] = queue.SimpleQueue()

        async def handler(request: web.Request) -> web.StreamResponse:
            ws = web.WebSocketResponse(
                protocols=subprotocols,
                compress=deflate is not None,
                max_msg_size=max_size or _DEFAULT_SIZE,
                autoping=False,
            )
            ws.headers.extend(headers)
            await ws.prepare(request)
            peer = _Peer(self._loop, ws, request.headers, ws.headers)
            accepted.put(peer)
            await peer.over.wait()
            return ws

        app = web.Application()
        app.router.add_get("/", handler)
        app.router.add_get(REDIRECT_PATH, _redirect)
        app.router.add_get(REFUSED_PATH, _refuse)
        runner = web.AppRunner(app)
        with contextlib.closing(_listen(host, unix)) as listener:
            self._loop.run(_start(runner, listener, tls and tls.server))
            try:
                yield ForeignServer(0 if unix else listener.getsockname()[1], lambda: accepted.get(timeout=DEADLINE))
            finally:
                self._loop.run(runner.cleanup())


async def _redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/")


async def _refuse(request: web.Request) -> web.StreamResponse:
    return web.Response(status=401, body=REFUSED_BODY, headers={"WWW-Authenticate": "Basic"})


async def _start(runner: web.AppRunner, listener: socket.socket, context: Any) -> None:
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=context).start()


def _listen(host: str, unix: str | None) -> socket.socket:
    if unix is None:
        return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(unix)
    return listener
