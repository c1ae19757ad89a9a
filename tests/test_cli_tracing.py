"""``syncws trace`` and ``syncws decode``, each as a new user would try it, with wrong arguments too."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from commands import DEADLINE, Server, run, running, start
from support import require_module
from traces import REQUEST, RESPONSE, SESSION, tracing
from wire import wait_until

import syncws
from syncws.cli import main
from syncws.trace import read_recording

FREE = ("ws://localhost/", "--listen", "127.0.0.1:0")
HELLO = "8185 37fa213d 7f9f4d5158"


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with running("echo", "--port", "0") as server:
        yield server


def talk(url: str, *messages: str) -> None:
    with syncws.connect(url, proxy=None) as ws:
        for message in messages:
            ws.send(message)
            assert ws.receive() == message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_trace_shows_both_sides_while_it_runs(echo: Server, tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "out"
    with tracing(echo.ws_url, output) as (process, url):
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/", url)
        talk(url, "Hello", "\x1b[31m")
        wait_until(lambda: output.read_text().count("ends its direction") == 2)
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
    text = output.read_text()
    assert text.count('client → server  text, 5 bytes: "Hello"') == 1
    assert text.count('client ← server  text, 5 bytes: "Hello"') == 1
    assert "GET / HTTP/1.1" in text
    assert "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" in text
    assert "\\x1b[31m" in text
    assert "\x1b" not in text
    assert "PROBLEM" not in text
    assert (tmp_path / "out.err").read_text() == ""


def test_trace_with_all_that_it_can_write(echo: Server, tmp_path: Path) -> None:
    output, record, page = tmp_path / "out", tmp_path / "a.jsonl", tmp_path / "a.html"
    with tracing(f"{echo.ws_url}?x=1", output, "--json", "--record", str(record), "--html", str(page)) as (
        process,
        url,
    ):
        assert url.endswith("/?x=1")
        talk(url, "Hello")
        wait_until(lambda: output.read_text().count('"kind": "end"') == 2)
        # What has passed is in the file at once.
        assert len(list(read_recording(record.read_text().splitlines()))) >= 6
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    # With --json, standard output is for JSON alone.
    items = [json.loads(line) for line in output.read_text().splitlines()]
    assert [item["kind"] for item in items] == ["request", "response", *["frame"] * 4, "end", "end"]
    assert items[0]["line"] == "GET /?x=1 HTTP/1.1"
    decoded = run("decode", str(record), "--json")
    assert [json.loads(line) for line in decoded.stdout.splitlines()] == items
    assert "Hello" in page.read_text()
    assert "<title>Wire view of ws://" in page.read_text()
    again = tmp_path / "b.html"
    assert run("decode", str(record), "--html", str(again)).stdout == ""
    assert again.read_text().count("<li>") == page.read_text().count("<li>") == 8


def test_trace_of_a_connection_that_is_open_at_the_end(echo: Server, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with tracing(echo.ws_url, output) as (process, url):
        ws = syncws.connect(url, proxy=None)
        wait_until(lambda: "101 Switching" in output.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        with pytest.raises(syncws.ConnectionClosed):
            ws.receive(DEADLINE)
    assert "the connection ends without a close frame" in output.read_text()


def test_trace_to_a_server_with_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    both = tmp_path / "both.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(both))
    with running("echo", "--port", "0", "--certfile", str(both)) as server:
        target = server.ws_url.replace("127.0.0.1", "localhost")
        for trust in (["--cafile", str(tmp_path / "ca.pem")], ["--no-verify"]):
            output = tmp_path / trust[0]
            with tracing(target, output, *trust) as (_, url):
                assert url.startswith("ws://")
                talk(url, "secret")
                wait_until(lambda: output.read_text().count('"secret"') == 2)  # noqa: B023
        output = tmp_path / "refused"
        with tracing(target, output) as (_, url):
            with pytest.raises(syncws.HandshakeError, match="502"):
                talk(url)
        assert "certificate verify failed" in (tmp_path / "refused.err").read_text()


def test_trace_listens_where_it_is_told(echo: Server, tmp_path: Path) -> None:
    with tracing(echo.ws_url, tmp_path / "out", "--listen", "[::1]:0") as (_, url):
        assert re.fullmatch(r"ws://\[::1\]:\d+/", url)
        talk(url, "a")


def test_trace_keeps_the_host_if_wanted(echo: Server, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with tracing(echo.ws_url, output, "--keep-host") as (_, url):
        talk(url)
        wait_until(lambda: "    Host: " in output.read_text())
    assert f"    Host: {url[5:-1]}\n" in output.read_text()


def test_trace_ends_when_nobody_reads_any_more(echo: Server) -> None:
    with start("trace", "--listen", "127.0.0.1:0", echo.ws_url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        process.stdout.close()
        talk(url, "a")  # the connection does not suffer
        assert process.wait(DEADLINE) == 1
        assert "Traceback" not in process.stderr.read()


def test_trace_that_cannot_write_its_recording(echo: Server) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with start("trace", "--listen", "127.0.0.1:0", "--record", "/dev/full", echo.ws_url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        # It ends with the first bytes, and the connection with it.
        with contextlib.suppress(OSError, syncws.HandshakeError):
            talk(process.stdout.readline().removeprefix("listening on ").strip(), "a")
        assert process.wait(DEADLINE) == 1
        assert process.stderr.read() == "syncws trace: error: cannot write the recording: No space left on device\n"


def test_trace_goes_on_when_its_reader_has_paused(echo: Server, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    with start("trace", "--listen", "127.0.0.1:0", "--html", str(page), echo.ws_url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        talk(url, *[f"{number} {'x' * 200}" for number in range(700)])
        talk(url, "second connection")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        said = process.stderr.read()
    assert re.fullmatch(r"\d+ items not shown, because nobody reads standard output\n", said)
    assert page.read_text().count("second connection") >= 2


@pytest.mark.parametrize("option", ["--record", "--html"])
def test_trace_keeps_files_if_it_cannot_listen(echo: Server, tmp_path: Path, option: str) -> None:
    file = tmp_path / "a"
    file.write_text("precious")
    port = echo.url.rpartition(":")[2].strip("/")
    assert run("trace", "--listen", f"127.0.0.1:{port}", option, str(file), echo.ws_url).returncode == 1
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: URI"),
        (["http://localhost/"], "a WebSocket URI begins with ws:// or wss://, not with 'http:'; did you mean ws://?"),
        (["ws://localhost/", "--listen", "9000"], "write HOST:PORT or [IPV6]:PORT, not '9000'"),
        (["ws://localhost/", "--listen", "unix:/x"], "write HOST:PORT or [IPV6]:PORT, not 'unix:/x'"),
        (["ws://localhost/", "--listen", ":70000"], "a port is a number from 0 to 65535"),
        ([*FREE, "--record", ""], "cannot write '': No such file or directory"),
        ([*FREE, "--record", "/nowhere/a"], "cannot write /nowhere/a: No such file or directory"),
        ([*FREE, "--html", ""], "cannot write '': No such file or directory"),
        ([*FREE, "--html", "/nowhere/a"], "cannot write /nowhere/a: No such file or directory"),
        (["ws://localhost/", "--no-verify"], "--cafile and --no-verify are for URIs that begin with wss://"),
        (["wss://localhost/", "--cafile", "/nowhere"], "cannot use the certificates in /nowhere"),
        (["ws://localhost/", "--color", "pink"], "invalid choice: 'pink'"),
        (["ws://localhost/", "other"], "unrecognized arguments: other"),
    ],
)
def test_trace_with_wrong_arguments(arguments: list[str], message: str) -> None:
    done = run("trace", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_trace_on_a_port_that_is_in_use(echo: Server) -> None:
    port = echo.url.rpartition(":")[2].strip("/")
    done = run("trace", "--listen", f"127.0.0.1:{port}", echo.ws_url)
    assert done.returncode == 1
    assert done.stderr == f"syncws trace: error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


# decode


@pytest.mark.parametrize("arguments", [[], ["-"], ["--hex"], ["--client"], ["--color", "never"]])
def test_decode_hex_from_standard_input(arguments: list[str]) -> None:
    done = run("decode", *arguments, input=HELLO)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'client → server  text, 5 bytes: "Hello"' in done.stdout
    assert "PROBLEM" not in done.stdout


@pytest.mark.parametrize(
    ("text", "arguments", "shown"),
    [
        ("8105 48656c6c6f", [], "client ← server  text"),
        ("8105 48656c6c6f", ["--client"], "PROBLEM: unmasked frame from a client"),
        ("\ufeff8105 48656c6c6f", [], "client ← server  text"),
        ("{0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f};", [], "client ← server  text"),
        (b"GET /a b HTTP/1.1\r\n".hex(), [], "PROBLEM: malformed head"),
        (HELLO, ["--server"], "PROBLEM: masked frame from a server"),
        ("c107 f248cdc9c90700", [], "PROBLEM: text frame with RSV1 set"),
        ("c107 f248cdc9c90700", ["--compression"], "    text               Hello"),
        (REQUEST.hex(), [], "client → server  GET /chat HTTP/1.1"),
        (REQUEST.hex() + HELLO, [], 'client → server  text, 5 bytes: "Hello"'),
        (RESPONSE.hex() + "8100", [], "client ← server  text, 0 bytes"),
        ("81", [], "PROBLEM: the recording ends in the middle of a frame"),
    ],
)
def test_decode_hex(text: str, arguments: list[str], shown: str) -> None:
    done = run("decode", *arguments, input=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


def test_decode_a_recording(tmp_path: Path) -> None:
    done = run("decode", str(SESSION / "session.jsonl"))
    assert done.stdout == (SESSION / "session.txt").read_text()
    done = run("decode", "--json", str(SESSION / "session.jsonl"))
    assert done.stdout == (SESSION / "session.items.jsonl").read_text()
    page = tmp_path / "page.html"
    assert run("decode", "--html", str(page), input=HELLO).returncode == 0
    assert "<title>Wire view of standard input</title>" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        ([], "81 zz", "standard input: line 1: 'zz' is not hex"),
        ([], "818", "standard input: line 1: '818' has an odd number of hex digits; a byte has two"),
        ([], "", "standard input: there is nothing in it, no recording and no hex digits"),
        ([], '{"x": 1}', "standard input: line 1 is no chunk of a recording: connection must be a whole number"),
        (["--hex"], '{"x": 1}', "standard input: line 1: '\"x\"' is not hex"),
        (["--hex"], "{}", "standard input: there is nothing in it, no recording and no hex digits"),
        (["--html", ""], "8100", "cannot write '': No such file or directory"),
        (["--json", "--html", "a"], "8100", "--json and --html are two forms of the same: write one of them"),
        (["/nowhere"], "", "cannot read /nowhere: No such file or directory"),
        (["/"], "", "cannot read /: Is a directory"),
        (["--client"], "{}", "--client, --server and --compression are for hex digits; a recording tells by itself"),
        (["--client", "--server"], "", "not allowed with argument --client"),
        (["--html", "/nowhere/a"], "8100", "cannot write /nowhere/a: No such file or directory"),
        (["a", "b"], "", "unrecognized arguments: b"),
    ],
)
def test_decode_with_wrong_arguments(arguments: list[str], text: str, message: str) -> None:
    done = run("decode", *arguments, input=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_decode_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\x81\xff")
    done = run("decode", str(tmp_path / "bytes"))
    assert done.returncode == 2
    assert done.stderr == f"syncws decode: error: {tmp_path}/bytes is neither hex nor a recording: it is no text\n"


def test_decode_to_a_full_disk() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    done = run("decode", "--html", "/dev/full", input=HELLO)
    assert done.returncode == 1
    assert done.stderr == "syncws decode: error: cannot write /dev/full: No space left on device\n"


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        (">/dev/full", 1, "cannot write: No space left on device"),
        (">&-", 1, "cannot write: Bad file descriptor"),
        ("<&-", 2, "standard input is closed"),
    ],
)
def test_decode_without_a_place_to_write_or_read(redirection: str, status: int, message: str) -> None:
    command = f"echo 8100 | {sys.executable} -m syncws decode {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == f"syncws decode: error: {message}\n"


def test_trace_without_a_place_to_write() -> None:
    for redirection, message in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        command = f"exec {sys.executable} -m syncws trace --listen 127.0.0.1:0 ws://localhost/ {redirection}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=DEADLINE)
        assert (done.returncode, done.stderr) == (1, f"syncws trace: error: cannot write: {message}\n")


def test_decode_for_somebody_who_stops_reading() -> None:
    with start("decode", "--json") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write("8100 " * 10000)
        process.stdin.close()
        assert process.wait(DEADLINE) == 1
        assert process.stderr.read() == ""


def test_decode_ends_with_ctrl_c() -> None:
    controller, terminal = pty.openpty()
    with start("decode", stdin=terminal) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "type or paste hex digits, then Ctrl-D\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 130
        assert process.stderr.read() == ""
    os.close(controller)
    os.close(terminal)


def test_decode_of_what_a_person_types_without_standard_error() -> None:
    controller, terminal = pty.openpty()
    command = f"exec {sys.executable} -m syncws decode 2>&-"
    with subprocess.Popen(["sh", "-c", command], stdin=terminal, stdout=subprocess.PIPE, text=True) as process:
        os.write(controller, b"8100\n\x04")
        assert "text, 0 bytes" in process.communicate(timeout=DEADLINE)[0]
    os.close(controller)
    os.close(terminal)


def test_decode_shows_what_is_in_front_of_a_line_that_is_no_chunk(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    chunk = json.dumps({"connection": 1, "time": 0.0, "sender": "client", "data": ""})
    file.write_text(f"{chunk}\n" * 51 + "{}")
    done = run("decode", str(file))
    assert done.returncode == 2
    assert done.stdout.count("ends its direction") == 50
    assert "line 52 is no chunk of a recording" in done.stderr


@pytest.mark.parametrize(("setting", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals(setting: dict[str, str], coloured: bool) -> None:
    require_module("rich")
    assert "\x1b[" in run("decode", "--color", "always", input=HELLO).stdout
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment.update({"TERM": "xterm", **setting})
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "syncws", "decode"], stdin=subprocess.PIPE, stdout=terminal, text=True, env=environment
    ) as process:
        os.close(terminal)
        process.communicate(HELLO, timeout=DEADLINE)
        shown = b""
        with contextlib.suppress(OSError):
            while data := os.read(controller, 65536):
                shown += data
        os.close(controller)
    assert (b"\x1b[" in shown) is coloured


def test_colours_without_rich(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    file = tmp_path / "hex"
    file.write_text(HELLO)
    assert main(["decode", "--color", "always", str(file)]) == 2
    assert capsys.readouterr().err == (
        "syncws decode: error: --color always needs the package rich: pip install 'syncws[trace]'\n"
    )
