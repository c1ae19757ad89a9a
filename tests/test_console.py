"""``syncws connect`` in a pipe and on a terminal, against servers of others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
import trustme
from commands import DEADLINE, Server, run, running, start
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

import syncws
from syncws.console import STOP, Display, converse


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with running("echo", "--port", "0", "--compression") as server:
        yield server


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    with running("demo", "--port", "0") as server:
        yield server


@contextlib.contextmanager
def serving(handler: Callable[[ServerConnection], None], **options: object) -> Iterator[str]:
    """Serve WebSockets with the handler; give the URI."""
    with serve(handler, "127.0.0.1", 0, **options) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "ws://{}:{}/".format(*server.socket.getsockname())
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def sender_ends() -> Iterator[None]:
    """See to it that the sending thread of a conversation in this block does not stay behind."""
    before = threading.enumerate()
    yield
    for thread in threading.enumerate():
        if thread.name == "syncws-send" and thread not in before:
            thread.join(DEADLINE)
            assert not thread.is_alive()


# In a pipe.


@pytest.mark.parametrize(
    "lines", ["", "one\n", "one\ntwo\nthree\n", "no line feed", "\n\n", "Grüße 🙂\n", 70_000 * "x" + "\n"]
)
def test_lines_are_sent_and_replies_shown(echo: Server, lines: str) -> None:
    result = run("connect", echo.url, input=lines)
    assert result.stdout == (lines if lines.endswith("\n") or not lines else lines + "\n")
    assert result.stderr == "connected\nclosed by this side with 1000\n"
    assert result.returncode == 0


def test_many_lines(echo: Server) -> None:
    lines = "".join(f"line {number}\n" for number in range(10_000))
    assert run("connect", echo.url, input=lines).stdout == lines


def test_input_may_come_from_a_file(echo: Server, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("hello\n")
    with open(tmp_path / "lines") as lines, start("connect", echo.url, stdin=lines) as process:
        output, _ = process.communicate(timeout=DEADLINE)
    assert output == "hello\n"


def test_end_of_the_input_waits_for_the_peer_to_be_quiet() -> None:
    released = threading.Event()

    def answer_late(ws: ServerConnection) -> None:
        question = ws.recv()
        assert released.wait(DEADLINE)
        ws.send(f"late answer to {question!r}")
        ws.close()

    with serving(answer_late) as uri, start("connect", uri, "--wait", "inf") as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write("why?")
        process.stdin.close()
        released.set()
        assert process.stdout.readline() == "late answer to 'why?'\n"
        assert process.wait(DEADLINE) == 0
        assert process.stderr.read() == "connected\nclosed by the peer with 1000\n"


def test_each_message_prolongs_the_wait() -> None:
    def tick(ws: ServerConnection) -> None:
        # Together longer than the wait, each pause much shorter.
        for number in range(10):
            threading.Event().wait(0.25)
            ws.send(str(number))
        ws.close()

    with serving(tick) as uri:
        assert run("connect", uri, "--wait", "2").stdout.split() == [str(number) for number in range(10)]


def test_no_wait() -> None:
    codes = []

    def take(ws: ServerConnection) -> None:
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(DEADLINE)
        codes.append(closed.value.rcvd and closed.value.rcvd.code)

    with serving(take) as uri:
        assert run("connect", uri, "--wait", "0").returncode == 0
    assert codes == [1000]


def test_binary_messages_are_shown_in_hexadecimal() -> None:
    def send_bytes(ws: ServerConnection) -> None:
        ws.send(b"\x00\x01\xff")
        ws.send(b"")

    with serving(send_bytes) as uri:
        assert run("connect", uri, "--wait", "inf").stdout == "(3 bytes) 00 01 ff\n(0 bytes) \n"


def test_pipe_gets_messages_as_they_are() -> None:
    with serving(lambda ws: ws.send("\x1b[31mred\x07")) as uri:
        assert run("connect", uri, "--wait", "inf").stdout == "\x1b[31mred\x07\n"


def test_input_that_is_not_text(echo: Server) -> None:
    with start("connect", echo.url, text=False) as process:
        output, errors = process.communicate(b"good\nbad \xff\n", timeout=DEADLINE)
    assert process.returncode == 1
    assert b"the input is not UTF-8 text: " in errors
    assert b"Traceback" not in errors
    assert output in (b"", b"good\n")


def test_input_that_cannot_be_read(echo: Server, tmp_path: Path) -> None:
    with open(tmp_path / "output", "w") as output, start("connect", echo.url, stdin=output) as process:
        _, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "cannot read the input: Bad file descriptor" in errors


def test_no_input_at_all(echo: Server) -> None:
    command = [sys.executable, "-m", "syncws", "connect", echo.url, "--wait", "0"]
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, timeout=DEADLINE
    )
    assert (result.returncode, result.stderr) == (0, "connected\nclosed by this side with 1000\n")


def test_no_output_at_all(echo: Server) -> None:
    command = [sys.executable, "-m", "syncws", "connect", echo.url]
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], input="hello\n", capture_output=True, text=True, timeout=DEADLINE
    )
    assert (result.returncode, result.stderr) == (0, "connected\nclosed by this side with 1000\n")


def test_reader_of_the_output_goes_away() -> None:
    def talk(ws: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                ws.send(1000 * "x")

    with serving(talk) as uri, start("connect", uri) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE) == 1
        assert process.stderr.read() == "connected\n"


def test_output_that_cannot_be_written(echo: Server) -> None:
    with open("/dev/full", "w") as full, start("connect", echo.url, stdout=full) as process:
        _, errors = process.communicate("hello\n", timeout=DEADLINE)
    assert process.returncode == 1
    assert errors == "connected\ncannot write the output: No space left on device\n"


def test_slash_is_text_in_a_pipe(echo: Server) -> None:
    assert run("connect", echo.url, input="/close 4000\n//x\n").stdout == "/close 4000\n//x\n"


def test_commands_in_a_pipe(echo: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    lines = f"hello\n//slash\n/file {tmp_path}/file\n/ping\n/close 4000 done\nnever sent\n"
    result = run("connect", "--commands", echo.url, input=lines)
    assert result.returncode == 0
    shown = ["hello", "/slash", "(3 bytes) 61 62 63"]
    assert result.stdout.splitlines() == shown
    greeting, sent, pong, farewell = result.stderr.splitlines()
    assert (greeting, sent, farewell) == ("connected", "sent 3 bytes", "closed by this side with 4000: done")
    assert pong.startswith("pong after ")


def test_what_has_arrived_when_a_command_closes_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = threading.Event()

    def talk(ws: ServerConnection) -> None:
        ws.send("one")
        ws.send("two")
        with open(writing, "wb") as input:
            input.write(b"/ping\n/close 4000 done\n")
        with pytest.raises(ConnectionClosed):
            ws.recv(DEADLINE)
        closed.set()

    class Slow(Display):
        def message(self, message: str | bytes) -> None:
            assert closed.wait(DEADLINE)
            shown.append(message)

    shown: list[str | bytes] = []
    reading, writing = os.pipe()
    with sender_ends(), serving(talk) as uri, open(reading) as lines:
        monkeypatch.setattr("sys.stdin", lines)
        assert converse(lambda: syncws.connect(uri), SimpleQueue(), Slow(), wait=0, commands=True) == 0
    assert shown == ["one", "two"]


@pytest.mark.parametrize("line", ["/pong", "/close 99999", "/file missing"])
def test_command_in_a_pipe_that_cannot_be_done(echo: Server, line: str) -> None:
    result = run("connect", "--commands", "--wait", "inf", echo.url, input=f"{line}\nnever sent\n")
    assert result.returncode == 1
    assert result.stdout == ""
    greeting, problem, farewell = result.stderr.splitlines()
    assert (greeting, farewell) == ("connected", "closed by this side with 1000")
    assert line.split()[-1] in problem


def test_json_in_a_pipe(echo: Server) -> None:
    assert run("connect", echo.url, input='{"a":[]}\n').stdout == '{"a":[]}\n'
    assert run("connect", "--json", echo.url, input='{"a":[]}\nno\n').stdout == '{\n  "a": []\n}\nno\n'


def test_binary_messages_are_saved(tmp_path: Path) -> None:
    def send_files(ws: ServerConnection) -> None:
        ws.send(b"one")
        ws.send("text")
        ws.send(b"3")

    folder = tmp_path / "new" / "folder"
    folder.mkdir(parents=True)
    (folder / "0002.bin").write_bytes(b"old")
    with serving(send_files) as uri:
        result = run("connect", uri, "--wait", "inf", "--output", str(folder))
    assert result.stdout == f"(3 bytes) saved as {folder}/0001.bin\ntext\n(1 byte) saved as {folder}/0003.bin\n"
    assert [(folder / f"000{number}.bin").read_bytes() for number in (1, 2, 3)] == [b"one", b"old", b"3"]


@pytest.mark.parametrize("redirection", ["", ">&-"], ids=["output", "no output"])
def test_binary_message_that_cannot_be_saved(tmp_path: Path, redirection: str) -> None:
    def send_later(ws: ServerConnection) -> None:
        assert ws.recv(DEADLINE) == "go"
        ws.send(b"one")

    folder = tmp_path / "folder"
    with serving(send_later) as uri:
        command = [sys.executable, "-m", "syncws", "connect", uri, "--wait", "inf", "--output", str(folder)]
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command]
        with subprocess.Popen(shell, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stderr is not None
            assert process.stderr.readline() == "connected\n"
            folder.rmdir()
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stderr.readline() == f"cannot write {folder}/0001.bin: No such file or directory\n"
            assert process.wait(DEADLINE) == 1


def test_directory_that_cannot_be_made(echo: Server) -> None:
    result = run("connect", echo.url, "--output", "/dev/null/folder")
    assert result.returncode == 2
    assert result.stderr == "syncws connect: error: cannot save messages in /dev/null/folder: Not a directory\n"


def test_nothing_is_kept_of_a_pipe(echo: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    assert run("connect", echo.url, input="hello\n").stdout == "hello\n"
    assert not list(tmp_path.iterdir())


def test_trace_in_a_pipe(echo: Server) -> None:
    result = run("connect", "--trace", echo.url, input="hello\n")
    assert (result.stdout, result.returncode) == ("hello\n", 0)
    for words in ("GET / HTTP/1.1", "Sec-WebSocket-Accept", "masking key", "RFC 6455, 5.6"):
        assert words in result.stderr
    assert "\x1b" not in result.stderr


def test_no_standard_error_at_all(echo: Server) -> None:
    command = [sys.executable, "-m", "syncws", "connect", echo.url, "--trace"]
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command],
        input="hello\n",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (result.returncode, result.stdout) == (0, "hello\n")


# How a conversation ends.


@pytest.mark.parametrize(
    "command, status, farewell",
    [
        ("/close 1000", 0, "closed by the peer with 1000"),
        ("/close 1001 restart", 0, "closed by the peer with 1001: restart"),
        ("/close 1011", 1, "closed by the peer with 1011"),
        ("/close 4000 \x1b[2Jbye", 1, "closed by the peer with 4000: \\x1b[2Jbye"),
    ],
)
def test_peer_closes_while_the_input_is_open(demo: Server, command: str, status: int, farewell: str) -> None:
    with start("connect", demo.ws_url + "echo") as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(command + "\n")
        process.stdin.flush()
        assert process.wait(DEADLINE) == status
        assert process.stderr.read() == f"connected\n{farewell}\n"


def test_connection_is_lost() -> None:
    with serving(lambda ws: ws.socket.shutdown(socket.SHUT_RDWR)) as uri, start("connect", uri) as process:
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        assert "connection lost (1006)" in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_ends_the_conversation(number: signal.Signals) -> None:
    codes = []

    def greet(ws: ServerConnection) -> None:
        ws.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(DEADLINE)
        codes.append(closed.value.rcvd and closed.value.rcvd.code)

    with serving(greet) as uri, start("connect", uri) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "hello\n"
        process.send_signal(number)
        assert process.wait(DEADLINE) == 0
        assert process.stderr.read() == "connected\nclosed by this side with 1001\n"
    assert codes == [1001]


@pytest.mark.parametrize("input_ends", [False, True], ids=["input open", "input ended"])
def test_signal_ends_the_conversation_while_nobody_reads_the_output(input_ends: bool) -> None:
    codes: SimpleQueue[int | None] = SimpleQueue()

    def flood(ws: ServerConnection) -> None:
        ws.send(200_000 * "x")  # more than a pipe takes
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(DEADLINE)
        codes.put(closed.value.rcvd and closed.value.rcvd.code)

    with serving(flood) as uri, start("connect", uri, "--wait", "0" if input_ends else "inf") as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        try:
            assert os.read(process.stdout.fileno(), 1) == b"x"  # now it waits for a reader of the rest
            if input_ends:
                process.stdin.close()
                assert codes.get(timeout=DEADLINE) == 1000
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
        assert process.stderr.read() == "connected\nnobody reads the output: what was not read of it is lost\n"
    if not input_ends:
        assert codes.get(timeout=DEADLINE) == 1001


def test_signal_ends_the_opening_handshake() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        start("connect", "ws://{}:{}/".format(*listener.getsockname())) as process,
    ):
        listener.settimeout(DEADLINE)
        with listener.accept()[0]:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


# In this process, where options can be set that the command line does not have.


@contextlib.contextmanager
def not_reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, threading.Thread]]:
    """A server that accepts one connection and reads nothing, and an input with more than the network buffers.

    Give the URI, and a thread that ends when nearly all of the input has been read.
    """
    reading, writing = os.pipe()

    def write_input() -> None:
        with open(writing, "wb") as file:
            file.write(2**25 * b"x" + b"\n")

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        concurrent.futures.ThreadPoolExecutor() as pool,
        open(reading) as input,
    ):
        accepted = pool.submit(lambda: syncws.accept(listener.accept()[0]))
        monkeypatch.setattr("sys.stdin", input)
        writer = threading.Thread(target=write_input)
        writer.start()
        yield "ws://{}:{}/".format(*listener.getsockname()), writer
        writer.join()
        for thread in threading.enumerate():
            if thread.name == "syncws-send":
                thread.join()
        accepted.result().close()


def test_stop_while_the_peer_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    events: SimpleQueue[str] = SimpleQueue()

    def stop() -> None:
        writer.join()
        events.put(STOP)

    with not_reading(monkeypatch) as (uri, writer):
        stopper = threading.Thread(target=stop)
        stopper.start()
        assert converse(lambda: syncws.connect(uri, close_timeout=0.1), events, wait=0) == 0
        stopper.join()


def test_input_that_comes_after_the_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    with sender_ends(), serving(lambda ws: ws.close()) as uri, open(reading) as input:
        monkeypatch.setattr("sys.stdin", input)
        assert converse(lambda: syncws.connect(uri), SimpleQueue(), wait=0, commands=True) == 0
        with open(writing, "wb") as lines:
            lines.write(b"/help\n")
    assert capsys.readouterr().err == "connected\nclosed by the peer with 1000\n"


def test_command_that_takes_longer_than_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def leave(ws: ServerConnection) -> None:
        assert begun.wait(DEADLINE)

    class Slow(Display):
        def note(self, text: str) -> None:
            if text.startswith("/ping "):  # help
                begun.set()
                assert go_on.wait(DEADLINE)
            notes.append(text)

    notes: list[str] = []
    reading, writing = os.pipe()
    with open(writing, "wb") as lines:
        lines.write(b"/help\n")
    with sender_ends(), serving(leave) as uri, open(reading) as input:
        monkeypatch.setattr("sys.stdin", input)
        assert converse(lambda: syncws.connect(uri), SimpleQueue(), Slow(), wait=0, commands=True) == 0
        assert notes == ["connected", "closed by the peer with 1000"]
        go_on.set()


def test_peer_that_does_not_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with not_reading(monkeypatch) as (uri, _):
        assert converse(lambda: syncws.connect(uri, send_timeout=0.1), SimpleQueue(), wait=0) == 1
    problem, farewell = capsys.readouterr().err.splitlines()[1:]
    assert "0.1 s" in problem
    assert "1006" in farewell


def test_unforeseen_error_is_not_hidden(echo: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def receive(ws: syncws.WebSocket) -> str:
        raise RuntimeError("a mistake in the program")

    monkeypatch.setattr(syncws.WebSocket, "receive", receive)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(RuntimeError, match="a mistake in the program"):
        converse(lambda: syncws.connect(echo.url), SimpleQueue(), wait=math.inf)


# How a conversation does not begin.


def test_connection_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run("connect", f"ws://127.0.0.1:{port}/")
    assert result.returncode == 1
    assert result.stderr == f"syncws connect: error: cannot connect to ws://127.0.0.1:{port}/: Connection refused\n"


def test_unknown_host() -> None:
    result = run("connect", "ws://host.invalid/")
    assert result.returncode == 1
    assert result.stderr.startswith("syncws connect: error: cannot connect to ws://host.invalid/: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("path, words", [("", "200"), ("missing", "404")])
def test_answer_that_is_no_websocket(demo: Server, path: str, words: str) -> None:
    result = run("connect", demo.ws_url + path)
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_password_is_not_repeated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "secret" not in run("connect", f"ws://me:secret@127.0.0.1:{port}/").stderr


# What is asked of the server.


def test_header_fields_subprotocols_and_compression() -> None:
    def tell(ws: ServerConnection) -> None:
        assert ws.request is not None
        ws.send(f"{ws.request.headers['X-Team']}, {ws.request.headers['Cookie']}")

    with serving(tell, subprotocols=["v2.chat"]) as uri:
        arguments = [
            "--header",
            "X-Team: red",
            "--header",
            "Cookie:a=b: c",
            "--subprotocol",
            "v3",
            "--subprotocol",
            "v2.chat",
        ]
        result = run("connect", uri, "--compression", "--wait", "inf", *arguments)
    assert result.stdout == "red, a=b: c\n"
    assert result.stderr.startswith("connected (subprotocol v2.chat, permessage-deflate")


def test_message_over_the_limit(echo: Server) -> None:
    result = run("connect", echo.url, "--max-message-size", "4", input="four\nfiver\n")
    assert result.returncode == 1
    assert result.stdout == "four\n"
    assert "closed by this side with 1009" in result.stderr


def test_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    with running("echo", "--port", "0", "--certfile", str(tmp_path / "server.pem")) as server:
        result = run("connect", server.url, input="hello\n")
        assert result.returncode == 1
        assert "certificate" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        for trust in (["--cafile", str(tmp_path / "ca.pem")], ["--no-verify"]):
            result = run("connect", server.url, *trust, input="hello\n")
            assert (result.stdout, result.returncode) == ("hello\n", 0)
