"""The handshake by hand, the echo, the plain client, and the standard library's servers."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from commands import DEADLINE
from example_programs import EXAMPLES, fetch, running, websocket_url
from wire import frame, ws_request

import syncws


@pytest.mark.parametrize("name", ["echo_server.py", "plain_socket.py", "handshake_by_hand.py"])
def test_echo_to_several_clients(name: str) -> None:
    with running(name) as uri, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(syncws.connect(uri)) for _ in range(3)]
        for message in ["hello", b"\x00\x01", "", "Grüße", "x" * 125, "x" * 126, b"y" * 65535, b"y" * 65536]:
            for ws in clients:
                ws.send(message)
            assert [ws.receive(timeout=DEADLINE) for ws in clients] == [message] * 3
        clients[0].send_fragments(["in ", "three ", "parts"])
        assert clients[0].receive(timeout=DEADLINE) == "in three parts"
        assert clients[1].ping(b"are you there?", timeout=DEADLINE) > 0
        clients[2].close(4000, "enough")
        assert clients[2].close_code == 4000
        clients[0].send("still there")
        assert clients[0].receive(timeout=DEADLINE) == "still there"


def test_forty_lines_echo_to_one_client_after_the_other() -> None:
    with running("forty_lines.py") as uri:
        for _ in range(2):
            with syncws.connect(uri) as ws:
                for message in ["hello", b"\x00\x01", "", "Grüße", "x" * 125, "x" * 126, b"y" * 65535, b"y" * 65536]:
                    ws.send(message)
                    assert ws.receive(timeout=DEADLINE) == message
                assert ws.ping(b"are you there?", timeout=DEADLINE) > 0
                ws.close(4000, "enough")
                assert ws.close_code == 4000
        address = urlsplit(uri)
        for nonsense in [b"", b"\r\n\r\n", ws_request() + b"\x81"]:
            with socket.create_connection((address.hostname, address.port), timeout=DEADLINE) as sock:
                sock.sendall(nonsense)
        with syncws.connect(uri) as ws:
            ws.send("still there")
            assert ws.receive(timeout=DEADLINE) == "still there"


@pytest.mark.parametrize("name, status", [("plain_socket.py", 426), ("handshake_by_hand.py", 400)])
def test_plain_sockets_outlive_a_request_that_is_no_websocket(name: str, status: int) -> None:
    with running(name) as uri:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(uri.replace("ws:", "http:"), timeout=DEADLINE)
        with refused.value:
            assert refused.value.code == status
        with syncws.connect(uri) as ws:
            ws.send("still there")
            assert ws.receive(timeout=DEADLINE) == "still there"


@pytest.mark.parametrize(
    "bad, answer",
    [
        (frame(0x1 | 0x40, b"x"), bytes.fromhex("880203ea")),  # a reserved bit
        (b"\x81\x01x", bytes.fromhex("880203ea")),  # not masked
        (b"\x82\xff" + (2**20 + 1).to_bytes(8, "big"), bytes.fromhex("880203ea")),  # too long
        (frame(0x8, bytes.fromhex("0fa0") + b"bye"), bytes.fromhex("88050fa0") + b"bye"),
        (b"\x81\xfe\x01", b""),  # gone in the middle of a frame
    ],
)
def test_handshake_by_hand_and_frames_that_cannot_be(bad: bytes, answer: bytes) -> None:
    with running("handshake_by_hand.py") as uri:
        address = urlsplit(uri)
        with socket.create_connection((address.hostname, address.port), timeout=DEADLINE) as sock:
            sock.sendall(ws_request() + bad)
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile("rb") as stream:
                head, _, rest = stream.read().partition(b"\r\n\r\n")
        # RFC 6455, 1.3: the example key.
        assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert rest == answer


def test_broadcast_reaches_everybody_although_one_does_not_read() -> None:
    with running("broadcast.py") as uri, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(3):
            clients.append(stack.enter_context(syncws.connect(uri)))
            clients[-1].send("here I am")
            assert clients[-1].receive(timeout=DEADLINE) == "here I am"
        ann, bob, _ = clients
        for number in range(20):
            ann.send(f"{number} " * 100_000)
            for client in (ann, bob):
                while not str(text := client.receive(timeout=DEADLINE)).startswith(f"{number} "):
                    assert text == "here I am"
                assert text == f"{number} " * 100_000


def test_wsgi_app_serves_the_page_and_its_websocket() -> None:
    with running("wsgi_app.py") as url:
        assert "/shout" in fetch(url)
        with syncws.connect(websocket_url(url, "shout")) as ws:
            ws.send("quiet")
            assert ws.receive(timeout=DEADLINE) == "QUIET"


def test_http_server_tells_the_time() -> None:
    with running("http_server.py") as uri, syncws.connect(uri) as ws:
        for _ in range(2):
            assert re.fullmatch(r"\d\d:\d\d:\d\d", str(ws.receive(timeout=DEADLINE)))


def run_client(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "client.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)


def test_client_prints_the_answers() -> None:
    with running("echo_server.py") as uri:
        result = run_client(uri, "hello", "world")
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\nworld\n", "")


def test_client_says_why_there_is_no_connection() -> None:
    with running("http_server.py") as uri:
        refused = run_client(uri.replace("/clock", "/nothing"), "hello")
    assert refused.returncode == 1
    assert re.match("no connection: .*404", refused.stderr)
    gone = run_client(uri, "hello")
    assert gone.returncode == 1
    assert re.match("no connection: .*refused", gone.stderr)


def test_client_says_why_it_was_closed() -> None:
    with running("drawing_board.py") as url:
        closed = run_client(websocket_url(url, "draw"), "hello", "again", "and again")
    assert closed.returncode == 1
    assert re.match("the server ended it: .*1008", closed.stderr)
