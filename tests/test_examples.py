"""Each file of examples/ is run as its docstring says, in a process of its own, and used over the network."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import syncws

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@contextlib.contextmanager
def running(name: str) -> Iterator[str]:
    """Run a server among the examples on a free port; give the URL that it prints."""
    command = [sys.executable, str(EXAMPLES / name), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"(ws|http)://\S+", line)
            assert found, line
            yield found.group()
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["echo_server.py", "plain_socket.py"])
def test_echo_servers(name: str) -> None:
    with running(name) as uri, syncws.connect(uri) as ws:
        ws.send("hello")
        assert ws.receive(timeout=10) == "hello"
        ws.send(b"\x00\x01")
        assert ws.receive(timeout=10) == b"\x00\x01"


def test_plain_socket_outlives_a_request_that_is_no_websocket() -> None:
    with running("plain_socket.py") as uri:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(uri.replace("ws:", "http:"), timeout=10)
        with refused.value:
            assert refused.value.code == 426
        with syncws.connect(uri) as ws:
            ws.send("still there")
            assert ws.receive(timeout=10) == "still there"


def test_wsgi_app_serves_the_page_and_its_websocket() -> None:
    with running("wsgi_app.py") as url:
        with urllib.request.urlopen(url, timeout=10) as response:
            assert b"/shout" in response.read()
        with syncws.connect(url.replace("http:", "ws:") + "shout") as ws:
            ws.send("quiet")
            assert ws.receive(timeout=10) == "QUIET"


def test_http_server_tells_the_time() -> None:
    with running("http_server.py") as uri, syncws.connect(uri) as ws:
        assert re.fullmatch(r"\d\d:\d\d:\d\d", str(ws.receive(timeout=10)))
        assert re.fullmatch(r"\d\d:\d\d:\d\d", str(ws.receive(timeout=10)))


def test_client_prints_the_answers() -> None:
    with running("echo_server.py") as uri:
        command = [sys.executable, str(EXAMPLES / "client.py"), uri, "hello", "world"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "hello\nworld\n"


def test_client_says_why_there_is_no_connection() -> None:
    with running("http_server.py") as uri:
        command = [sys.executable, str(EXAMPLES / "client.py"), uri.replace("/clock", "/nothing"), "hello"]
        result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert re.match("no connection: .*404", result.stderr)
