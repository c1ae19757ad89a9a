"""Each file of examples/ is run as its docstring says, in a process of its own, and used over the network."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import require_module

import syncws

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@contextlib.contextmanager
def running(name: str) -> Iterator[str]:
    """Run a server among the examples on a free port; give the URL that it prints."""
    with printing(name) as line:
        found = re.search(r"(ws|http)://\S+", line)
        assert found, line
        yield found.group()


@contextlib.contextmanager
def printing(name: str) -> Iterator[str]:
    """The same; give the line that it prints."""
    command = [sys.executable, str(EXAMPLES / name), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
        finally:
            process.kill()


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert [each.name for each in EXAMPLES.glob("*.py") if f'"{each.name}"' not in here] == []


@pytest.mark.parametrize("name", ["echo_server.py", "plain_socket.py"])
def test_echo_servers(name: str) -> None:
    with running(name) as uri, syncws.connect(uri) as ws:
        ws.send("hello")
        assert ws.receive(timeout=10) == "hello"
        ws.send(b"\x00\x01")
        assert ws.receive(timeout=10) == b"\x00\x01"


def test_broadcast_reaches_everybody_although_one_does_not_read() -> None:
    with running("broadcast.py") as uri, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(3):
            clients.append(stack.enter_context(syncws.connect(uri)))
            clients[-1].send("here I am")
            assert clients[-1].receive(timeout=10) == "here I am"
        ann, bob, _ = clients
        for number in range(20):
            ann.send(f"{number} " * 100_000)
            for client in (ann, bob):
                while not str(text := client.receive(timeout=10)).startswith(f"{number} "):
                    assert text == "here I am"
                assert text == f"{number} " * 100_000


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


def test_bottle_ticker_ticks_as_fast_as_it_is_told() -> None:
    require_module("bottle")
    with running("bottle_ticker.py") as url:
        with urllib.request.urlopen(url, timeout=10) as response:
            assert b"/ticker/" in response.read()
            assert "visitor=" in response.headers["Set-Cookie"]
        uri = url.replace("http:", "ws:") + "ticker/1"
        with syncws.connect(uri, headers={"Cookie": "visitor=ann"}) as ann, syncws.connect(uri) as bob:
            assert re.fullmatch(r'\{"time": "\d\d:\d\d:\d\d", "people": [12]\}', str(ann.receive(timeout=10)))
            assert '"people": 2' in str(bob.receive(timeout=10))
            for _ in range(4):
                ann.send("faster")
                ann.receive(timeout=10)


def test_prometheus_metrics_of_an_echo_server() -> None:
    require_module("prometheus_client")
    command = [sys.executable, str(EXAMPLES / "prometheus_metrics.py"), "0", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            uri, metrics = process.stdout.readline().strip(), process.stdout.readline().strip()
            with syncws.connect(uri) as ws:
                ws.send("hello")
                assert ws.receive(timeout=10) == "hello"
                with urllib.request.urlopen(metrics, timeout=10) as response:
                    text = response.read().decode()
        finally:
            process.kill()
    assert "\nsyncws_connections_open 1.0\n" in text
    assert '\nsyncws_messages_total{direction="received"} 1.0\n' in text
    assert "\nprocess_open_fds" in text


def test_http_server_tells_the_time() -> None:
    with running("http_server.py") as uri, syncws.connect(uri) as ws:
        assert re.fullmatch(r"\d\d:\d\d:\d\d", str(ws.receive(timeout=10)))
        assert re.fullmatch(r"\d\d:\d\d:\d\d", str(ws.receive(timeout=10)))


def test_gevent_pywsgi_tells_the_time() -> None:
    require_module("gevent")
    with running("gevent_pywsgi.py") as url:
        with urllib.request.urlopen(url, timeout=10) as response:
            assert b"new WebSocket" in response.read()
        with syncws.connect(url.replace("http:", "ws:") + "time") as ws:
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


def test_flask_chat_needs_a_name_and_tells_everybody_in_the_room() -> None:
    require_module("flask")
    with running("flask_chat.py") as url:
        chat = url.replace("http:", "ws:") + "rooms/"
        with pytest.raises(syncws.HandshakeError) as refused:
            syncws.connect(chat + "lobby")
        assert refused.value.status == 401
        with contextlib.ExitStack() as stack:
            cookies, clients = {}, {}
            for name in ("ann", "bob"):
                with urllib.request.urlopen(url, f"name={name}".encode(), timeout=10) as response:
                    cookies[name] = response.headers["Set-Cookie"].partition(";")[0]
                    assert b"/rooms/lobby" in response.read()
                ws = stack.enter_context(syncws.connect(chat + "lobby", headers={"Cookie": cookies[name]}))
                # The first answer tells that the handler has put it in the room.
                ws.send("hello")
                assert ws.receive(timeout=10) == f"{name}: hello"
                clients[name] = ws
            assert clients["ann"].receive(timeout=10) == "bob: hello"
            elsewhere = stack.enter_context(syncws.connect(chat + "kitchen", headers={"Cookie": cookies["ann"]}))
            elsewhere.send("anybody here?")
            assert elsewhere.receive(timeout=10) == "ann: anybody here?"
            clients["bob"].send("bye")
            assert [ws.receive(timeout=10) for ws in clients.values()] == ["bob: bye"] * 2


def test_flask_blueprint_wants_the_key() -> None:
    require_module("flask")
    with running("flask_blueprint.py") as url:
        prices = url.replace("http:", "ws:") + "stock/prices/EUR"
        with pytest.raises(syncws.HandshakeError) as refused:
            syncws.connect(prices)
        assert refused.value.status == 401
        with syncws.connect(prices + "?key=secret", compression=True) as ws:
            assert ws.extensions
            for name in ("bolt", "nut"):
                ws.send(name)
                assert json.loads(ws.receive(timeout=10)) == {"name": name, "price": len(name), "currency": "EUR"}


@contextlib.contextmanager
def token_server() -> Iterator[tuple[str, str]]:
    """The URI of the example, and a token that it has made."""
    with printing("token_auth.py") as line:
        found = re.search(r"(ws://\S+) for (\S+)", line)
        assert found, line
        yield found[1], found[2]


def wrong_tokens(token: str) -> list[str]:
    last = "0" if token[-1] != "0" else "1"
    signature = token.partition(".")[2]
    return [token[:-1] + last, token[:-1], f"bob.{signature}", f".{signature}", signature, "ann.", "ann"]


def test_token_in_the_first_message() -> None:
    with token_server() as (uri, token):
        with syncws.connect(uri + "first") as ws:
            ws.send(token)
            assert ws.receive(timeout=10) == "hello ann"
            ws.send("a note")
            assert ws.receive(timeout=10) == "ann has 1 notes"
        for wrong in ["", "é", *wrong_tokens(token)]:
            with syncws.connect(uri + "first") as ws:
                ws.send(wrong)
                with pytest.raises(syncws.ConnectionClosed) as closed:
                    ws.receive(timeout=10)
                assert (closed.value.code, closed.value.reason) == (4401, "wrong token")
        with syncws.connect(uri + "first") as ws:
            ws.send("x" * 1025)
            with pytest.raises(syncws.ConnectionClosed) as closed:
                ws.receive(timeout=10)
            assert closed.value.code == 1009


def test_token_among_the_subprotocols() -> None:
    with token_server() as (uri, token):
        with syncws.connect(uri + "offered", subprotocols=["notes", f"token.{token}"]) as ws:
            assert ws.receive(timeout=10) == "hello ann"
            assert ws.subprotocol == "notes", "the token is not sent back"
        for wrong in [[], *([f"token.{wrong}"] for wrong in wrong_tokens(token)), [token]]:
            with pytest.raises(syncws.HandshakeError) as refused:
                syncws.connect(uri + "offered", subprotocols=["notes", *wrong])
            assert refused.value.status == 401


def log_in(url: str, user: str, password: str) -> str:
    """Log in as the page does; return the cookie of the session."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    form = urllib.parse.urlencode({"user": user, "password": password}).encode()
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.build_opener(Stay).open(url + "login", form, timeout=10)
    with answer.value:
        if answer.value.code != 302:
            assert answer.value.code == 403
            assert "Set-Cookie" not in answer.value.headers
            return ""
        cookie = answer.value.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    return str(cookie.partition(";")[0])


def test_cookie_is_checked_before_the_websocket_is_opened() -> None:
    require_module("flask")
    with running("cookie_auth.py") as url:
        account = url.replace("http:", "ws:") + "account"
        assert log_in(url, "ann", "wrong horse") == ""
        assert log_in(url, "bob", "correct horse") == ""
        cookie = log_in(url, "ann", "correct horse")
        with syncws.connect(account, headers={"Cookie": cookie, "Origin": url.rstrip("/")}) as ws:
            assert ws.receive(timeout=10) == "ann is connected"
            ws.send("still me")
            assert ws.receive(timeout=10) == "still me"
        payload, *rest = cookie.split(".")
        last = "A" if cookie[-10] != "A" else "B"
        forged = [f"{cookie[:-10]}{last}{cookie[-9:]}", ".".join([payload + "A", *rest]), payload, "session="]
        for headers in [{}, *({"Cookie": each} for each in forged)]:
            with pytest.raises(syncws.HandshakeError) as refused:
                syncws.connect(account, headers=headers)
            assert refused.value.status == 401


def test_cookie_is_of_no_use_to_a_page_of_another_origin() -> None:
    require_module("flask")
    with running("cookie_auth.py") as url:
        cookie = log_in(url, "ann", "correct horse")
        for origin in ("https://attacker.example", "null", url.rstrip("/") + "0"):
            with pytest.raises(syncws.HandshakeError) as refused:
                syncws.connect(url.replace("http:", "ws:") + "account", headers={"Cookie": cookie, "Origin": origin})
            assert refused.value.status == 403


def test_gunicorn_configuration() -> None:
    require_module("gunicorn")
    settings = str(EXAMPLES / "gunicorn_conf.py")
    command = [sys.executable, "-m", "gunicorn", "-c", settings, "--bind", "127.0.0.1:0", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr is not None
            address = None
            while not address:
                line = process.stderr.readline()
                assert line, "Gunicorn has ended"
                address = re.search(r"Listening at: http://(\S+)", line)
            with urllib.request.urlopen(f"http://{address[1]}/", timeout=10) as response:
                assert b"/shout" in response.read()
            with syncws.connect(f"ws://{address[1]}/shout", compression=True) as ws:
                assert any("permessage-deflate" in extension for extension in ws.extensions)
                ws.send("quiet")
                assert ws.receive(timeout=10) == "QUIET"
                process.terminate()
                with pytest.raises(syncws.ConnectionClosed) as closed:
                    ws.receive(timeout=10)
                assert closed.value.code == 1001
            process.stderr.read()
            assert process.wait(10) == 0
        finally:
            process.kill()
