"""Peers that want a line of their own in the log, or to steer the terminal that somebody reads it on.

Everything that a peer can have written there is tried over real sockets, with the log at its most talkative. Each line
that comes out is one that the library began, or belongs to a traceback; none has a control character in it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import eventually, start, threads_only
from raw_client import CLOSE, DEADLINE, TEXT, WS_FIELDS, Entrance, RawClient, both_servers, frame, request, serving
from support import require_module

import syncws

FORGED = "2026-01-01 CRITICAL forged"
NASTY = f"x\n{FORGED}\r\x1b[2J\x85\u2028\u202e"

# So that the server need not wait for it.
GOODBYE = frame(CLOSE, b"\x03\xe8")


class Log:
    """All that the library writes."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(logging.Formatter("BEGIN %(levelname)s %(message)s"))

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def check(self, *words: str) -> None:
        """Wait until the log has all of these words; then look at each line."""
        eventually(lambda: all(word in self.text for word in words))
        for line in self.text.split("\n")[:-1]:
            assert line.isprintable(), repr(line)
            assert not line.startswith(FORGED), self.text
            assert line.startswith("BEGIN ") or "BEGIN ERROR" in self.text, self.text


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    logger = logging.getLogger("syncws")
    before = logger.level
    logger.addHandler(log.handler)
    logger.setLevel(logging.DEBUG)
    yield log
    logger.setLevel(before)
    logger.removeHandler(log.handler)


@both_servers
def test_close_reason(entrance: Entrance, log: Log) -> None:
    def receive(ws: syncws.WebSocket) -> None:
        ws.receive()

    with serving(entrance, receive) as address, RawClient(address) as client:
        client.open().send(frame(CLOSE, b"\x0f\xa0" + NASTY.encode()))
        client.read_close()
        client.close()
        log.check("handler of", "4000")


@both_servers
def test_exception_with_what_the_peer_has_sent(entrance: Entrance, log: Log) -> None:
    def fail(ws: syncws.WebSocket) -> None:
        raise ValueError(f"what is {ws.receive()!s}?")

    with serving(entrance, fail) as address, RawClient(address) as client:
        client.open().send(frame(TEXT, NASTY.encode()) + GOODBYE)
        assert client.read_close() == 1011
        client.close()
        log.check("handler of", "Traceback", "ValueError: what is x", FORGED)


def test_end_of_another_connection_as_the_failure_of_a_handler(log: Log) -> None:
    """A handler that is a client too; what ends its own connection is said by a stranger."""

    def say_goodbye(ws: syncws.WebSocket) -> None:
        ws.close(4000, NASTY)

    with serving("handler", say_goodbye) as (_, port):

        def relay(ws: syncws.WebSocket) -> None:
            with syncws.connect(f"ws://127.0.0.1:{port}/") as other:
                other.receive()

        with serving("handler", relay) as address, RawClient(address) as client:
            assert client.open(glued=GOODBYE).read_close() == 1011
            client.close()
            log.check("Traceback", "closed by the peer with 4000: x\\n", FORGED)


FIELDS = {
    "key": ["Sec-WebSocket-Key: \x85\x9b"],
    "version": ["Sec-WebSocket-Version: \x85\x9b"],
    "subprotocol": ["Sec-WebSocket-Protocol: \x85\x9b"],
    "origin": ["Origin: http://\x85\x9b"],
    "host": ["Host: \x85\x9b"],
    "upgrade": ["Upgrade: \x85\x9b"],
    "coding": ["Transfer-Encoding: \x85\x9b"],
    "length": ["Content-Length: \x85\x9b"],
    "extension": ["Sec-WebSocket-Extensions: \x85\x9b"],
}


@both_servers
@pytest.mark.parametrize("name", FIELDS)
def test_header_field(entrance: Entrance, name: str, log: Log) -> None:
    # A peer can have the control characters of ISO 8859-1 in a value: a line break, and the beginning of a sequence.
    replaced = FIELDS[name][0].partition(":")[0]
    others = [field for field in WS_FIELDS if not field.startswith(f"{replaced}:")]
    with serving(entrance) as address, RawClient(address) as client:
        client.send(request(*others, *FIELDS[name]))
        assert client.read_response().status in (400, 403, 426, 501)
        client.close()
        log.check("refused")


@both_servers
@pytest.mark.parametrize(
    "line", ["GET /\x85\x9b HTTP/1.1", "GET /\x1b[2J HTTP/1.1", "G\x1b / HTTP/1.1", "GET / HTTP/\x85"]
)
def test_request_line(entrance: Entrance, line: str, log: Log) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.send(request(*WS_FIELDS, line=line))
        assert client.read_response().status in (400, 505)
        client.close()
        log.check("refused")


def test_rule_that_is_broken(log: Log) -> None:
    with serving() as address, RawClient(address) as client:
        client.open().send(frame(TEXT, b"\xff\n\x1b"))
        assert client.read_close() == 1007
        client.close()
        log.check("broke the protocol")


@threads_only
@pytest.mark.parametrize("what", ["refused", "handler"])
def test_address_of_a_client_that_chose_it(what: str, log: Log, tmp_path: Path) -> None:
    """A client of a Unix socket may have a name: any path that it can make."""

    def fail(ws: syncws.WebSocket) -> None:
        raise ValueError("on purpose")

    server = syncws.WebSocketServer(str(tmp_path / "server"), fail)
    with server, socket.socket(socket.AF_UNIX) as client:
        accepting = start(server.serve_forever)
        client.settimeout(DEADLINE)
        client.bind(str(tmp_path / f"x\n{FORGED}"))
        client.connect(str(tmp_path / "server"))
        client.sendall(request(*WS_FIELDS) + GOODBYE if what == "handler" else b"nonsense\r\n\r\n")
        while client.recv(65536):
            pass
        client.close()
        log.check(what, f"x\\n{FORGED}")
        server.shutdown()
        accepting.result(DEADLINE)


@threads_only
def test_target_on_a_host_that_lets_control_characters_through(log: Log) -> None:
    require_module("werkzeug")
    from werkzeug.serving import make_server

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        def fail(ws: syncws.WebSocket) -> None:
            raise ValueError("on purpose")

        syncws.hand_over(environ, fail)
        start_response("200 OK", [])
        return []

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = start(server.serve_forever)
    with contextlib.closing(server.socket), RawClient(("127.0.0.1", server.server_port)) as client:
        client.send(request(*WS_FIELDS, line="GET /\x1b[2J\x9b HTTP/1.1") + GOODBYE)
        assert client.read_response().status == 101
        assert client.read_close() == 1011
        client.close()
        log.check("handler of /", "Traceback")
        server.shutdown()
        serving.result(DEADLINE)


def test_text_of_a_server_in_the_message_of_an_exception() -> None:
    """What a client is told goes to logs as well."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            peer = listening.accept()[0]
            with peer:
                peer.settimeout(DEADLINE)
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 403 \x85\x9b\r\nLocation: \x85\r\nContent-Length: 0\r\n\r\n")

        answering = start(answer)
        with pytest.raises(syncws.HandshakeError) as refused:
            syncws.connect(f"ws://127.0.0.1:{listening.getsockname()[1]}/")
        answering.result(DEADLINE)
    assert str(refused.value).isprintable()
