"""TLS on this machine, and a client that comes back."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from ssl import SSLCertVerificationError, create_default_context

import pytest
from commands import DEADLINE
from example_programs import EXAMPLES, printing, started
from support import require_module
from wire import Running

import syncws


def test_tls_on_localhost_for_those_who_trust_the_authority() -> None:
    require_module("trustme")
    with printing("tls_localhost.py") as line:
        found = re.search(r"(wss://\S+) for those who trust (\S+)", line)
        assert found, line
        trusting = create_default_context(cafile=found[2])
        with syncws.connect(found[1], ssl=trusting) as ws, syncws.connect(found[1], ssl=trusting) as other:
            ws.send("secret")
            other.send(b"another")
            assert ws.receive(timeout=DEADLINE) == "secret"
            assert other.receive(timeout=DEADLINE) == b"another"
        with pytest.raises(SSLCertVerificationError):
            syncws.connect(found[1])
        with pytest.raises(SSLCertVerificationError, match="mismatch"):
            syncws.connect(found[1].replace("localhost", "127.0.0.1"), ssl=trusting)


def serve(server: syncws.WebSocketServer) -> Running:
    return Running(lambda: server.serve_forever(poll_interval=0.05))


def lines_until(lines: Iterable[str], pattern: str) -> list[str]:
    """Read lines up to the first in which the pattern is found."""
    found = []
    for line in lines:
        found.append(line.rstrip("\n"))
        if re.search(pattern, line):
            return found
    raise AssertionError(f"no line {pattern!r}: {found}")


def test_reconnecting_client_comes_back_when_the_server_does() -> None:
    def hello(ws: syncws.WebSocket) -> None:
        ws.send(f"hello {number}")
        for _ in ws:
            pass

    def goodbye(ws: syncws.WebSocket) -> None:
        ws.send("that was all")

    number = 1
    server = syncws.WebSocketServer(("127.0.0.1", 0), hello)
    address = server.server_address
    with server, serve(server):
        with started("reconnecting_client.py", f"ws://127.0.0.1:{address[1]}/") as (process, first):
            assert first == "connected\n"
            assert process.stdout is not None
            assert lines_until(process.stdout, "hello") == ["hello 1"]
            server.shutdown()
            server.server_close()
            assert len(lines_until(process.stdout, r"^closed with 1001 .*; next try in \d\.\d seconds$")) == 1
            lines_until(process.stdout, r"refused; next try in \d\.\d seconds$")
            number = 2
            again = syncws.WebSocketServer(address, hello)
            with again, serve(again):
                assert lines_until(process.stdout, "hello")[-2:] == ["connected", "hello 2"]
                again.shutdown()
            last = syncws.WebSocketServer(address, goodbye)
            with last, serve(last):
                assert lines_until(process.stdout, "that was all")[-2:] == ["connected", "that was all"]
                assert process.wait(DEADLINE) == 0, "1000 says that there is nothing to come back for"
                last.shutdown()


def test_reconnecting_client_ends_on_ctrl_c() -> None:
    with started("reconnecting_client.py", "ws://127.0.0.1:1/") as (process, line):
        assert "next try in" in line
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 130


def run_client(uri: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "reconnecting_client.py"), uri]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)


def test_reconnecting_client_gives_up_when_it_is_refused() -> None:
    with printing("http_server.py") as line:
        uri = line.split()[-1].replace("/clock", "/nothing")
        result = run_client(uri)
    assert result.returncode == 1
    assert re.match("refused: .*404", result.stderr)


def test_reconnecting_client_gives_up_on_a_server_that_it_does_not_trust() -> None:
    require_module("trustme")
    with printing("tls_localhost.py") as line:
        result = run_client(line.split()[2])
    assert result.returncode == 1
    assert result.stderr.startswith("not to be trusted: ")
