"""Servers on event loops: a task or an object with callbacks for each connection."""

from __future__ import annotations

from typing import Any

from scenario import DEFLATE_SETTINGS, PREPARED, Scenario

__all__ = ["aiohttp", "picows", "websockets_asyncio", "websockets_uvloop"]

_CONNECTIONS: list[Any] = []


def websockets_asyncio(scenario: Scenario) -> None:
    """The server of the websockets package for asyncio."""
    import asyncio

    asyncio.run(_websockets(scenario))


def websockets_uvloop(scenario: Scenario) -> None:
    """The same with the event loop of uvloop."""
    import uvloop

    uvloop.run(_websockets(scenario))


async def _websockets(scenario: Scenario) -> None:
    from websockets.asyncio.server import ServerConnection, broadcast, serve
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def fan_out(connection: ServerConnection) -> None:
        _CONNECTIONS.append(connection)
        async for _ in connection:
            broadcast(_CONNECTIONS, PREPARED)

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
    async with serve(fan_out if scenario.fan_out else echo, "127.0.0.1", scenario.port, **options) as server:
        await server.serve_forever()


def aiohttp(scenario: Scenario) -> None:
    """The WebSockets of aiohttp, on asyncio's own event loop. Its compression has no settings."""
    from aiohttp import WSMsgType, web

    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=scenario.deflate, max_msg_size=0)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/", echo)
    context = scenario.context()
    web.run_app(app, host="127.0.0.1", port=scenario.port, ssl_context=context, print=None, access_log=None)


def picows(scenario: Scenario) -> None:
    """picows, written in Cython, on uvloop: callbacks for frames, which it does not put together to messages."""
    import uvloop
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

    class Echo(WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: WSTransport) -> None:
            if scenario.fan_out:
                _CONNECTIONS.append(transport)

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self.on_message(transport, frame)
            elif frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

        def on_message(self, transport: WSTransport, frame: WSFrame) -> None:
            # Not as bytes, which would be another copy: a tenth of the time of 1 MiB.
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    class FanOut(Echo):
        def on_message(self, transport: WSTransport, frame: WSFrame) -> None:
            for each in _CONNECTIONS:
                each.send(WSMsgType.BINARY, PREPARED)

    async def serve() -> None:
        listener = FanOut if scenario.fan_out else Echo
        options = {"max_frame_size": 2**31 - 1, "ssl": scenario.context()}
        server = await ws_create_server(lambda request: listener(), "127.0.0.1", scenario.port, **options)
        await server.serve_forever()

    uvloop.run(serve())
