"""``syncws trace`` between a client and a server of which one is not ours: neither notices, and both are seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import require_module
from traces import tracing
from wire import DEADLINE, Running, wait_until

import syncws


def echo(ws: syncws.WebSocket) -> None:
    for message in ws:
        ws.send(message)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_the_client_of_websockets_and_our_server(tmp_path: Path, compression: str | None) -> None:
    require_module("websockets")
    from websockets.sync.client import connect

    output = tmp_path / "out"
    with syncws.WebSocketServer(("127.0.0.1", 0), echo, compression=True) as server, Running(server.serve_forever):
        with tracing(f"ws://127.0.0.1:{server.server_address[1]}/", output) as (_, url):
            with connect(url, compression=compression, proxy=None) as ws:
                for message in ("Hello, Hello, Hello, Hello " * 20, b"\0" * 70000):
                    ws.send(message)
                    assert ws.recv(DEADLINE) == message
                ws.send(iter(["in ", "two"]))
                assert ws.recv(DEADLINE) == "in two"
                assert ws.ping().wait(DEADLINE)
            wait_until(lambda: output.read_text().count("ends its direction") == 2)
        server.shutdown()
    text = output.read_text()
    assert "PROBLEM" not in text
    assert text.count("Hello, Hello") >= 4
    assert "text, not the last fragment" in text
    assert ("the message is compressed" in text) is (compression is not None)
    assert "pong, 4 bytes" in text
    assert "close, 2 bytes: 1000" in text


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_our_client_and_the_server_of_websockets(tmp_path: Path, compression: str | None) -> None:
    require_module("websockets")
    from websockets.sync.server import ServerConnection, serve

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    output = tmp_path / "out"
    with serve(echo, "127.0.0.1", 0, compression=compression) as server, Running(server.serve_forever):
        with tracing(f"ws://127.0.0.1:{server.socket.getsockname()[1]}/", output) as (_, url):
            with syncws.connect(url, compression=True, proxy=None) as ws:
                ws.send("Hello, Hello, Hello, Hello " * 20)
                assert ws.receive(DEADLINE) == "Hello, Hello, Hello, Hello " * 20
            wait_until(lambda: output.read_text().count("ends its direction") == 2)
        server.shutdown()
    text = output.read_text()
    assert "PROBLEM" not in text
    assert text.count("Hello, Hello") >= 4
    assert ("the message is compressed" in text) is (compression is not None)
