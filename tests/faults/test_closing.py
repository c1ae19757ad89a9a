"""The end of a connection and of a server: close frames arrive, and nobody is waited for longer than agreed."""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from commands import running as running_command
from faulting import address_of, descriptors, figure
from peers import RawFrame, start
from raw_client import (
    BINARY,
    CLOSE,
    DEADLINE,
    TEXT,
    WS_FIELDS,
    Entrance,
    RawClient,
    both_servers,
    echo,
    frame,
    request,
    running,
    server_and_client_contexts,
    serving,
)

import syncws

UNREAD = frame(BINARY, bytes(60_000)) * 20
APP = """
import syncws

def app(environ, start_response):
    with syncws.upgrade(environ) as ws:
        for message in ws:
            ws.send(message)
    return []
"""
GOING_AWAY = (1001).to_bytes(2, "big")


def is_going_away(answer: RawFrame | None) -> bool:
    return answer is not None and answer.opcode == CLOSE and answer.payload[:2] == GOING_AWAY


# A reset must not destroy the close frame, or the answer to a request.


@both_servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("ending", ["close", "return", "raise", "with"])
def test_unread_input_does_not_destroy_the_close_frame(entrance: Entrance, tls: bool, ending: str) -> None:
    arrived = threading.Event()

    def handler(ws: syncws.WebSocket) -> None:
        ws.send("a last word")
        assert arrived.wait(DEADLINE)
        if ending == "close":
            ws.close(4000, "enough")
        elif ending == "with":
            with ws:
                pass
        elif ending == "raise":
            closed = syncws.ConnectionClosed(1000)
            closed.websocket = ws
            raise closed

    contexts = server_and_client_contexts()
    with (
        serving(entrance, handler, ssl=contexts[0] if tls else None) as address,
        RawClient(address, tls=contexts[1] if tls else None) as client,
    ):
        client.open()
        # More than the server's buffer takes: some of it is still on its way when the server closes. Not in another
        # thread: OpenSSL's objects must not be read and written at the same time.
        arrived.set()
        client.send(UNREAD)
        assert client.read_frame() == RawFrame(TEXT, b"a last word")
        answer = client.read_frame()
        assert answer is not None
        assert answer.opcode == CLOSE
        assert answer.payload == (b"\x0f\xa0enough" if ending == "close" else b"\x03\xe8")
        client.send(frame(CLOSE, answer.payload[:2]))
        assert client.read_to_end() == b""


@both_servers
def test_close_frame_arrives_although_the_peer_goes_on_sending(entrance: Entrance) -> None:
    with serving(entrance, lambda ws: ws.close(4000), close_timeout=DEADLINE) as address, RawClient(address) as client:
        client.open()
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                client.send(frame(TEXT, bytes(1000)))

        sending = start(go_on)
        assert client.read_frame() == RawFrame(CLOSE, b"\x0f\xa0")
        stop.set()
        sending.result(DEADLINE)
        client.send(frame(CLOSE, b"\x0f\xa0"))
        assert client.read_to_end() == b""


@both_servers
@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST / HTTP/1.1"])
def test_unread_body_does_not_destroy_a_refusal(entrance: Entrance, line: str) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        body = 1_000_000
        head = request("Connection: close", "Host: localhost", f"Content-Length: {body}", line=line)
        sending = start(client.send, head + bytes(body))
        response = client.read_response()
        assert response.status in (400, 405, 426)
        sending.result(DEADLINE)
        assert client.read_to_end() == b""


@both_servers
def test_unread_input_does_not_destroy_a_403(entrance: Entrance) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        fields = [*WS_FIELDS, "Origin: https://elsewhere.example", "X: y"]
        client.send(request(*fields) + UNREAD)
        assert client.read_response().status == 403


# shutdown().


class Handlers:
    """Handlers by path, and what became of them."""

    def __init__(self) -> None:
        self.entered: queue.Queue[str] = queue.Queue()
        self.release = threading.Event()
        self.ended: queue.Queue[tuple[str, object]] = queue.Queue()

    def __call__(self, ws: syncws.WebSocket) -> None:
        self.entered.put(ws.path)
        try:
            if ws.path == "/busy":
                assert self.release.wait(DEADLINE)
            elif ws.path == "/sending":
                ws.send(bytes(50 * 2**20), timeout=None)
            ws.receive()
        except syncws.ConnectionClosed as error:
            self.ended.put((ws.path, error.code))
            raise

    def wait_for(self, *paths: str) -> None:
        assert sorted(self.entered.get(timeout=DEADLINE) for _ in paths) == sorted(paths)


@both_servers
def test_shutdown_closes_everybody_with_1001_also_where_the_handler_is_busy(entrance: Entrance) -> None:
    handlers = Handlers()
    with running(entrance, handlers, shutdown_timeout=DEADLINE) as server, contextlib.ExitStack() as stack:
        paths = ["/waiting"] * 5 + ["/busy"]
        clients = [
            stack.enter_context(RawClient(server.server_address)).open("Connection: close", target=path)
            for path in paths
        ]
        handlers.wait_for(*paths)
        stopping = start(server.shutdown)
        for client in clients:
            assert is_going_away(client.read_frame())
        # Nobody is there any more, but the server waits for the busy handler, as it has time.
        for client in clients:
            client.send(frame(CLOSE, GOING_AWAY))
        for client in clients[:-1]:
            assert client.read_to_end() == b""
            client.close()
        assert stopping.is_alive()
        handlers.release.set()
        assert clients[-1].read_to_end() == b""
        clients[-1].close()
        stopping.result(DEADLINE)
        assert sorted(handlers.ended.get(timeout=DEADLINE) for _ in paths) == sorted((path, 1001) for path in paths)
        server.server_close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.server_address, DEADLINE)


@both_servers
@pytest.mark.parametrize("path", ["/waiting", "/busy", "/sending"])
def test_shutdown_returns_in_time_with_a_peer_that_never_answers(entrance: Entrance, path: str) -> None:
    handlers = Handlers()
    slow = {"close_timeout": 10 * DEADLINE, "send_timeout": None}
    with (
        running(entrance, handlers, shutdown_timeout=0.5, **slow) as server,
        RawClient(server.server_address) as silent,
    ):
        silent.open(target=path)
        handlers.wait_for(path)
        begun = time.monotonic()
        start(server.shutdown).result(DEADLINE)
        # Twenty times the deadline, and still far from close_timeout: a busy machine is no failure.
        assert time.monotonic() - begun < 10
        if path != "/sending":
            assert is_going_away(silent.read_frame())
        handlers.release.set()
        # Dropped: not even the thread is left.
        _, code = handlers.ended.get(timeout=DEADLINE)
        assert code in (1001, 1006)


@both_servers
def test_shutdown_drops_connections_that_have_not_sent_a_request(entrance: Entrance) -> None:
    with (
        running(entrance, echo, open_timeout=None, shutdown_timeout=0.5) as server,
        RawClient(server.server_address) as silent,
        RawClient(server.server_address) as begun,
        RawClient(server.server_address) as other,
    ):
        begun.send(b"GET / HT")
        other.open().echo()
        stopping = start(server.shutdown)
        assert is_going_away(other.read_frame())
        other.close()
        stopping.result(DEADLINE)
        assert silent.read_to_end() == b""
        with contextlib.suppress(ConnectionResetError):  # its bytes may not have been read
            begun.read_to_end()


# SIGTERM.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "command", [["echo", "--port", "0"], ["serve", "ending:app", "--bind", "127.0.0.1:0"]], ids=["echo", "serve"]
)
@pytest.mark.parametrize("runs_on", [[], ["--gevent"]], ids=["threads", "gevent"])
def test_signal_with_1000_connections_closes_each_with_1001(
    number: signal.Signals, command: list[str], runs_on: list[str], tmp_path: Path
) -> None:
    (tmp_path / "ending.py").write_text(APP)
    with descriptors(1200), contextlib.ExitStack() as stack:
        server = stack.enter_context(running_command(*command, *runs_on, cwd=tmp_path))
        clients = [stack.enter_context(RawClient(address_of(server))).open() for _ in range(1000)]
        for client in clients[::100]:
            client.echo()
        server.process.send_signal(number)
        began = time.monotonic()
        for client in clients:
            assert is_going_away(client.read_frame())
            client.send(frame(CLOSE, GOING_AWAY))
        all_told = time.monotonic() - began
        for client in clients:
            assert client.read_to_end() == b""
            client.close()
        assert server.process.wait(DEADLINE) == 0
        figure(f"all told in {all_told:.2f} s, exit in {time.monotonic() - began:.2f} s")
        log = server.log()
        assert "Traceback" not in log
        assert "dropping" not in log
