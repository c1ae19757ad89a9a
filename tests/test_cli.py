"""The command line: what it prints, how it ends, and the servers that it runs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import os
import re
import signal
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from commands import DEADLINE, run, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect, unix_connect

import syncws
from syncws.cli import main

HELLO = """
import threading
import syncws

def app(environ, start_response):
    if environ["PATH_INFO"] == "/echo":
        ws = syncws.upgrade(environ)
        for message in ws:
            ws.send(message)
            if message == "stick":
                threading.Event().wait()
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.url_scheme"].encode()]

class Site:
    app = staticmethod(app)

number = 1
"""


PATIENT = """
import threading

going = threading.Event()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/go":
        going.set()
        return [b"done going"]
    going.wait()
    return [b"done waiting"]
"""

on_both = pytest.mark.parametrize("on", [[], ["--gevent"]], ids=["threads", "greenlets"])


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A directory with a WSGI app in hello.py."""
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ca.pem, chain.pem, key.pem and both.pem, for localhost."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(directory / "chain.pem"))
    certificate.private_key_pem.write_to_path(str(directory / "key.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "both.pem"))
    return directory


def trusting(certificates: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates / "ca.pem"))


# What needs no server.


def test_version(tmp_path: Path) -> None:
    result = run("--version", cwd=tmp_path)  # where no other package lies than the one that is tested
    assert result.returncode == 0
    build = "compiled" if syncws.compiled else "pure Python"
    assert re.fullmatch(rf"syncws {re.escape(syncws.__version__)} \({build}\) on \w+ 3\.\d+\.\S+\n", result.stdout)


@pytest.mark.parametrize("command", [[], ["demo"], ["serve"], ["echo"], ["connect"]])
def test_help(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(" ".join(["usage: syncws", *command]))
    assert result.stderr == ""


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["demo", "--port", "http"], "a port is a number from 0 to 65535, not 'http'"),
        (["demo", "--port", "65536"], "not '65536'"),
        (["echo", "--max-message-size", "-1"], "'-1'"),
        (["echo", "--max-message-size", "1k"], "write a whole number or none, not '1k'"),
        (["echo", "--max-fragments", "0"], "max_fragments must be at least 1"),
        (["echo", "--max-messages-per-second", "0"], "max_messages_per_second must be at least 0.01"),
        (["echo", "--origin", "example.com"], "example.com"),
        (["echo", "--certfile", "missing.pem"], "cannot use the certificate in missing.pem: No such file"),
        (["echo", "--keyfile", "missing.pem"], "--keyfile needs --certfile"),
        (["serve"], "required: MODULE:APP"),
        (["serve", "hello"], "write MODULE:APP, for example hello:app, not 'hello'"),
        (["serve", ":app"], "write MODULE:APP"),
        (["serve", "missing:app"], "cannot import 'missing': ModuleNotFoundError: No module named 'missing'"),
        (["serve", "broken:app"], "cannot import 'broken': ZeroDivisionError: division by zero"),
        (["serve", "leaving:app"], "cannot import 'leaving': SystemExit: 3 ("),
        (["serve", "silent:app"], "cannot import 'silent': SystemExit ("),
        (["demo", "--host", "é..x"], "cannot listen on ('é..x', 8000): "),
        (["serve", "hello:app", "--bind", "é..x:0"], "cannot listen on ('é..x', 0): "),
        (["serve", "hello:app", "--bind", "unix:"], "the path of the Unix socket is missing: write unix:PATH"),
        (["serve", "hello:missing"], "there is no 'missing' in 'hello'"),
        (["serve", "hello:number"], "hello:number is not a WSGI app: an object of type int cannot be called"),
        (["serve", "hello:app", "--bind", "8000"], "write HOST:PORT, [IPV6]:PORT or unix:PATH, not '8000'"),
        (["serve", "hello:app", "--bind", "::1:8000"], "not '::1:8000'"),
        (["serve", "hello:app", "--bind", "localhost:http"], "a port is a number"),
        (["serve", "hello:app", "--max-connections", "0"], "max_connections must be at least 1"),
        (["serve", "hello:app", "--trusted-proxy", "*"], "write '10.0.0.1', '10.0.0.0/8', 'fd00::/8' or 'unix'"),
        (["connect", "ws://localhost/", "--json", "--raw"], "--raw: not allowed with argument --json"),
        (["connect", "ws://localhost/", "--output"], "--output: expected one argument"),
        (["connect"], "required: URI"),
        (["connect", "http://localhost/"], "http"),
        (["connect", "ws://localhost/#top"], "fragment"),
        (["connect", "ws://localhost/", "--header", "Cookie"], "write a header field as 'Name: value', not 'Cookie'"),
        (["connect", "ws://localhost/", "--header", "Upgrade: no"], "Upgrade"),
        (["connect", "ws://localhost/", "--subprotocol", "a b"], "a b"),
        (["connect", "ws://localhost/", "--wait", "soon"], "write a number of seconds, or inf, not 'soon'"),
        (["connect", "ws://localhost/", "--wait", "-1"], "'-1'"),
        (["connect", "wss://localhost/", "--cafile", "missing.pem"], "certificates in missing.pem: No such file"),
        (["connect", "wss://localhost/", "--cafile", ""], "--cafile needs the path of a file, not ''"),
        (["connect", "ws://localhost/", "--no-verify"], "--cafile and --no-verify are for URIs that begin with wss://"),
    ],
)
def test_arguments_that_cannot_work(hello: Path, arguments: list[str], words: str) -> None:
    (hello / "broken.py").write_text("\n1 / 0\n")
    (hello / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    (hello / "silent.py").write_text("import sys\nsys.exit()\n")
    result = run(*arguments, cwd=hello)
    assert result.returncode == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_error_of_an_app_names_the_line(hello: Path) -> None:
    (hello / "broken.py").write_text("\n1 / 0\n")
    assert f"({hello / 'broken.py'}, line 2)" in run("serve", "broken:app", cwd=hello).stderr


def test_module_that_is_missing_is_at_no_place(hello: Path) -> None:
    errors = run("serve", "missing:app", cwd=hello).stderr
    assert errors == "syncws serve: error: cannot import 'missing': ModuleNotFoundError: No module named 'missing'\n"


def test_whole_traceback_is_there_for_who_asks(hello: Path) -> None:
    (hello / "broken.py").write_text("\n1 / 0\n")
    result = run("serve", "broken:app", "--log-level", "debug", cwd=hello)
    assert result.returncode == 2
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("command", [["demo"], ["echo"]])
def test_port_in_use(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run(*command, "--port", str(port))
    assert result.returncode == 1
    assert result.stderr == f"syncws {command[0]}: error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_unix_socket_that_cannot_be_made(hello: Path) -> None:
    result = run("serve", "hello:app", "--bind", f"unix:{hello}/missing/socket", cwd=hello)
    assert result.returncode == 1
    assert result.stderr.startswith(f"syncws serve: error: cannot listen on {hello}/missing/socket: ")


def test_proxy_without_the_package_for_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("python_socks", "python_socks.sync"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert main(["connect", "ws://example.com/"]) == 1
    errors = capsys.readouterr().err
    assert "syncws[proxy]" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("command", [["echo"], ["serve", "hello:app"]])
def test_greenlets_without_the_package_for_them(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gevent", None)
    assert main([*command, "--gevent"]) == 1
    errors = capsys.readouterr().err
    assert "pip install 'syncws[gevent]'" in errors
    assert len(errors.splitlines()) == 1


def test_importing_main_runs_nothing() -> None:
    importlib.import_module("syncws.__main__")


# Servers.


@on_both
def test_echo_server(on: list[str]) -> None:
    with running("echo", "--port", "0", *on) as server:
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/", server.url)
        with connect(server.url) as ws:
            for message in ("hello", b"\x00\xff", ""):
                ws.send(message)
                assert ws.recv(timeout=DEADLINE) == message
            assert ws.protocol.extensions == []
            ws.send((2**20 + 1) * "x")
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009


def test_echo_server_with_other_limits() -> None:
    arguments = ["--compression", "--max-message-size", "none", "--max-fragments", "2"]
    with running("echo", "--host", "localhost", "--port", "0", *arguments) as server:
        with connect(server.url, max_size=None) as ws:
            assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
            ws.send(2**21 * "x")
            assert ws.recv(timeout=DEADLINE) == 2**21 * "x"
            with pytest.raises(ConnectionClosed) as closed:
                ws.send(["a", "b", "c"])
                ws.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ([], ""),
        (["--max-messages-per-second", "3"], "more than 3 messages per second, the limit max_messages_per_second"),
        (["--max-control-frames-per-second", "none"], ""),
    ],
)
def test_echo_server_with_limits_on_what_comes_in_a_second(arguments: list[str], reason: str) -> None:
    with running("echo", "--port", "0", *arguments) as server, connect(server.url) as ws:
        if not reason:
            for _ in range(50):
                ws.send("hello")
                assert ws.recv(timeout=DEADLINE) == "hello"
            return
        with pytest.raises(ConnectionClosed) as closed:
            for _ in range(10_000):
                ws.send("hello")
                ws.recv(timeout=DEADLINE)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, reason)


@pytest.mark.parametrize(
    "arguments, accepted",
    [
        ([], False),
        (["--origin", "https://a.example", "--origin", "https://b.example"], True),
        (["--origin", "https://c.example"], False),
        (["--origin", "*"], True),
    ],
)
def test_echo_server_and_pages_of_others(arguments: list[str], accepted: bool) -> None:
    with running("echo", "--port", "0", *arguments) as server:
        if accepted:
            with connect(server.url, origin="https://b.example") as ws:  # type: ignore[arg-type]
                ws.send("hello")
                assert ws.recv(timeout=DEADLINE) == "hello"
        else:
            with pytest.raises(InvalidStatus) as refused:
                connect(server.url, origin="https://b.example")  # type: ignore[arg-type]
            assert refused.value.response.status_code == 403


@on_both
def test_echo_server_with_tls(certificates: Path, on: list[str]) -> None:
    files = ["--certfile", str(certificates / "chain.pem"), "--keyfile", str(certificates / "key.pem")]
    with running("echo", "--port", "0", *files, *on) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        with connect(server.url, ssl=trusting(certificates)) as ws:
            ws.send("hello")
            assert ws.recv(timeout=DEADLINE) == "hello"


def test_key_that_does_not_fit_the_certificate(certificates: Path) -> None:
    result = run("echo", "--certfile", str(certificates / "chain.pem"), "--keyfile", str(certificates / "ca.pem"))
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"chain.pem and {certificates / 'ca.pem'}" in result.stderr


def test_demo_server() -> None:
    with running("demo", "--port", "0") as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server.url)
        assert "<title>syncws demo" in requests.get(server.url, timeout=DEADLINE).text


@pytest.mark.parametrize("app", ["hello:app", "hello:Site.app"])
def test_serve(hello: Path, app: str) -> None:
    with running("serve", app, "--bind", "127.0.0.1:0", cwd=hello) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server.url)
        assert requests.get(server.url, timeout=DEADLINE).text == "http"


@on_both
def test_serve_with_a_budget(hello: Path, on: list[str]) -> None:
    limits = ["--max-connections", "3", "--max-handshakes", "none", "--max-connections-per-address", "1"]
    proxies = ["--trusted-proxy", "127.0.0.1", "--trusted-proxy", "unix"]
    serve = ("serve", "hello:app", "--bind", "127.0.0.1:0")
    with running(*serve, *limits, *proxies, *on, cwd=hello) as server, contextlib.ExitStack() as held:

        def status(address: str) -> int:
            try:
                held.enter_context(syncws.connect(server.ws_url + "echo", headers={"X-Forwarded-For": address}))
            except syncws.HandshakeError as error:
                return error.status
            return 101

        assert status("192.0.2.1") == 101
        assert status("192.0.2.1") == 429
        answers = [status(f"192.0.2.{number}") for number in range(2, 5)]
        assert answers[0] == 101
        assert answers[-1] == 503


@on_both
def test_serve_with_limits_on_what_comes_in_a_second(hello: Path, on: list[str]) -> None:
    limits = ["--max-messages-per-second", "none", "--max-control-frames-per-second", "1"]
    with running("serve", "hello:app", "--bind", "127.0.0.1:0", *limits, *on, cwd=hello) as server:
        with connect(server.ws_url + "echo", proxy=None) as ws:
            with pytest.raises(ConnectionClosed) as closed:
                for _ in range(10_000):
                    ws.pong()
                ws.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None
            reason = "more than 1 control frames per second, the limit max_control_frames_per_second"
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, reason)


@on_both
def test_serve_with_tls(hello: Path, certificates: Path, on: list[str]) -> None:
    tls = ["--certfile", str(certificates / "both.pem")]
    with running("serve", "hello:app", "--bind", "localhost:0", *tls, *on, cwd=hello) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert requests.get(server.url, verify=str(certificates / "ca.pem"), timeout=DEADLINE).text == "https"


def test_serve_on_greenlets(tmp_path: Path) -> None:
    # The app knows nothing of greenlets, and one that waits, in whatever way, does not keep the others waiting.
    (tmp_path / "hello.py").write_text(PATIENT)
    with running("serve", "hello:app", "--bind", "127.0.0.1:0", "--gevent", cwd=tmp_path) as server:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(requests.get, server.url + path, timeout=DEADLINE) for path in ("wait", "go")]
            assert [answer.result().text for answer in answers] == ["done waiting", "done going"]
        assert "Warning" not in server.log()


def test_serve_on_ipv6(hello: Path) -> None:
    with running("serve", "hello:app", "--bind", "[::1]:0", cwd=hello) as server:
        assert re.fullmatch(r"http://\[::1\]:\d+/", server.url)
        assert requests.get(server.url, timeout=DEADLINE).text == "http"


@on_both
def test_serve_on_a_unix_socket(hello: Path, on: list[str]) -> None:
    path = hello / "socket"
    with running("serve", "hello:app", "--bind", f"unix:{path}", *on, cwd=hello) as server:
        assert server.url == f"unix:{path}"
        with unix_connect(str(path), "ws://localhost/echo") as ws:
            ws.send("hello")
            assert ws.recv(timeout=DEADLINE) == "hello"


# Signals.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("command", ["demo", "echo", "echo --gevent"])
def test_signals_end_servers_gracefully(command: str, number: signal.Signals) -> None:
    with running(*command.split(), "--port", "0") as server:
        with connect(server.ws_url + "echo") as ws:
            ws.send("hello")
            assert ws.recv(timeout=DEADLINE) == "hello"
            server.process.send_signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
        assert server.process.wait(DEADLINE) == 0
        assert "Traceback" not in server.log()


@on_both
def test_second_signal_ends_a_server_at_once(hello: Path, on: list[str]) -> None:
    with running("serve", "hello:app", "--bind", "127.0.0.1:0", *on, cwd=hello) as server:
        with connect(server.ws_url + "echo") as ws:
            ws.send("stick")
            assert ws.recv(timeout=DEADLINE) == "stick"
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_log("stopping")
            assert server.stop(signal.SIGTERM) == -signal.SIGTERM


# In this process.


def test_main_returns_after_a_signal_and_restores_the_handlers(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    listening = threading.Event()
    url = ""

    class Output(list[str]):
        def write(self, text: str) -> int:
            nonlocal url
            if text.startswith("listening on "):
                url = text.removeprefix("listening on ")
                listening.set()
            return len(text)

        def flush(self) -> None:
            pass

    def use_and_stop() -> None:
        assert listening.wait(DEADLINE)
        with syncws.connect(url) as ws:
            ws.send("hello")
            echoes.append(ws.receive(timeout=DEADLINE))
        os.kill(os.getpid(), signal.SIGTERM)

    echoes: list[Any] = []
    client = threading.Thread(target=use_and_stop)
    client.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", Output())
        assert main(["echo", "--port", "0"]) == 0
    client.join()
    assert echoes == ["hello"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_server_that_cannot_go_on_does_not_look_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[object] = []

    def serve_forever(server: syncws.WebSocketServer) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr("syncws.WebSocketServer.serve_forever", serve_forever)
    monkeypatch.setattr("threading.excepthook", lambda arguments: failures.append(arguments.exc_value))
    assert main(["echo", "--port", "0"]) == 1
    assert [str(failure) for failure in failures] == ["no more"]
