"""``syncws connect`` on a terminal: what a person types and sees, message by message, drawn on a screen."""

from __future__ import annotations

import concurrent.futures
import queue
import re
import shutil
import signal
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import DEADLINE, Server, running
from terminals import Terminal, on_terminal
from test_console import serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

HINT = "/help shows what else than text to type; Ctrl-D ends"
COLOUR = re.compile(rb"\x1b\[[1-9][0-9;]*m")


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with running("echo", "--port", "0") as server:
        yield server


class Peer:
    """A server with one connection that does what the test says."""

    def __init__(self) -> None:
        self.to_send: queue.SimpleQueue[str | bytes | None] = queue.SimpleQueue()
        self.received: queue.SimpleQueue[str | bytes] = queue.SimpleQueue()
        self.closed: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()

    def __call__(self, ws: ServerConnection) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            receiving = pool.submit(self._receive, ws)
            while (message := self.to_send.get(timeout=DEADLINE)) is not None:
                ws.send(message)
            receiving.result()

    def _receive(self, ws: ServerConnection) -> None:
        try:
            while True:
                self.received.put(ws.recv())
        except ConnectionClosed as closed:
            end = closed.rcvd or closed.sent
            self.closed.put((end.code, end.reason) if end else (1006, ""))
        self.to_send.put(None)


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def person(peer: Peer, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal on which a conversation with ``peer`` has begun."""
    with serving(peer) as uri, on_terminal("connect", uri, home=tmp_path) as person:
        person.wait_for("connected", HINT, ">", cursor=2)
        yield person


# Typing.


def test_what_is_typed_is_sent_and_the_reply_shown(echo: Server, tmp_path: Path) -> None:
    with on_terminal("connect", echo.url, home=tmp_path) as person:
        person.wait_for("connected", HINT, ">", cursor=2)
        before = person.modes()
        person.type("hello\r")
        person.wait_for("> hello", "< hello", ">", cursor=2)
        person.type("Grüße 🙂\r")
        person.wait_for("> Grüße 🙂", "< Grüße 🙂", ">")
        person.type("\x04")  # Ctrl-D
        person.wait_for_text("closed by this side with 1000")
        person.ends()
        assert person.modes() != before
        assert b"\x1b[?2004l" in person.written


def test_line_is_drawn_again_below_a_message(peer: Peer, person: Terminal) -> None:
    person.type("hello world\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D")
    person.wait_for("> hello world", cursor=8)
    peer.to_send.put("one")
    person.wait_for("< one", "> hello world", cursor=8)
    peer.to_send.put("two\nlines")
    person.wait_for("< two", "  lines", "> hello world", cursor=8)
    person.type("new \r")
    person.wait_for("> hello new world", ">")
    assert peer.received.get(timeout=DEADLINE) == "hello new world"


def test_line_longer_than_the_screen(peer: Peer, tmp_path: Path) -> None:
    with serving(peer) as uri, on_terminal("connect", uri, home=tmp_path, columns=20) as person:
        person.wait_for(">", cursor=2)
        person.type("0123456789abcdefghijklmnop")
        person.wait_for("> 9abcdefghijklmnop", cursor=19)
        peer.to_send.put("message")
        person.wait_for("< message", "> 9abcdefghijklmnop", cursor=19)
        person.type("\x01")
        person.wait_for("> 0123456789abcdefg", cursor=2)
        person.type("\r")
        person.wait_for("> 0123456789abcdefgh", "ijklmnop", ">")
        assert peer.received.get(timeout=DEADLINE) == "0123456789abcdefghijklmnop"


def test_pasted_lines_are_one_message(peer: Peer, person: Terminal) -> None:
    person.type('\x1b[200~{\r"a": 1\r}\x04\x1b[201~')
    person.wait_for('> {\\n"a": 1\\n}')
    person.type("\r")
    assert peer.received.get(timeout=DEADLINE) == '{\n"a": 1\n}'
    person.wait_for("> {", '"a": 1', "}", ">")


def test_several_lines_at_once(peer: Peer, person: Terminal) -> None:
    person.type("one\rtwo\rthr")
    assert [peer.received.get(timeout=DEADLINE) for _ in range(2)] == ["one", "two"]
    person.wait_for("> one", "> two", "> thr")


def test_suspending(peer: Peer, person: Terminal) -> None:
    # There is no shell that could let it go on, so that the system does not stop it, but goes on at once.
    person.type("hel\x1a")
    person.type("lo\r")
    assert peer.received.get(timeout=DEADLINE) == "hello"
    person.wait_for("> hello", ">")
    assert person.written.count(b"\x1b[?2004h") == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")
def test_suspending_in_a_shell(echo: Server, tmp_path: Path) -> None:
    command = f"{sys.executable} -m syncws connect {echo.url}"
    with on_terminal(home=tmp_path, program=["bash", "--norc", "-i"], PS1="$ ", columns=200) as person:
        person.wait_for("$")
        person.type(f"{command}\r")
        person.wait_for(">", cursor=2)
        person.type("half")
        person.wait_for("> half")
        person.type("\x1a")  # Ctrl-Z
        person.wait_until(lambda: "Stopped" in person.rows[-2] and person.rows[-1] == "$")
        echoes = person.modes()
        person.type("echo in the shell\r")
        person.wait_for("in the shell", "$")
        person.type("fg\r")
        person.wait_for(command, "> half", cursor=6)
        person.type(" done\r")
        person.wait_for(command, "> half done", "< half done", ">")
        person.type("\x04")
        person.wait_for("closed by this side with 1000", "$")
        assert person.modes() == echoes
        person.type("exit\r")
        person.ends()


def test_terminal_that_knows_no_escape_sequences(echo: Server, tmp_path: Path) -> None:
    with on_terminal("connect", echo.url, home=tmp_path, TERM="dumb") as person:
        person.wait_for_text(HINT)
        person.type("hello\n")
        person.wait_for_text("< hello")
        person.type("/pin\n")
        person.wait_for_text("there is no /pin")
        person.type("\x04")
        person.wait_for_text("closed by this side with 1000")
        person.ends()
    assert b"\x1b" not in person.written
    assert not list(tmp_path.iterdir())


# History.


def test_history_is_kept_between_runs(echo: Server, tmp_path: Path) -> None:
    for typed, recalled in (("first\r", None), ("second\r", "\x1b[A"), (" secret\r", "\x1b[A\x1b[A")):
        with on_terminal("connect", echo.url, home=tmp_path) as person:
            person.wait_for(">", cursor=2)
            if recalled:
                person.type(recalled)
                person.wait_for("> first")
                person.type("\x1b[B\x15")
            person.type(typed)
            person.wait_for_text(f"< {typed.rstrip()}")
            person.type("\x04")
            person.ends()
    history = tmp_path / ".local" / "state" / "syncws" / "connect-history"
    assert history.read_text() == '"first"\n"second"\n'
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_unfinished_line_is_kept_when_the_peer_goes_away(tmp_path: Path) -> None:
    released = threading.Event()

    def go_away(ws: ServerConnection) -> None:
        assert released.wait(DEADLINE)
        ws.close(1012, "restart")

    with serving(go_away) as uri, on_terminal("connect", uri, home=tmp_path) as person:
        person.wait_for(">", cursor=2)
        person.type("unfinished")
        person.wait_for("> unfinished")
        released.set()
        person.wait_for("> unfinished", "closed by the peer with 1012: restart", "")
        person.ends(1)
    assert (tmp_path / ".local/state/syncws/connect-history").read_text() == '"unfinished"\n'


# Commands.


def test_ping(person: Terminal) -> None:
    person.type("/ping\r")
    person.wait_until(lambda: re.fullmatch(r"pong after \d+\.\d ms", person.rows[-2]))
    person.type("/ping with data\r")
    person.wait_until(lambda: sum(row.startswith("pong after") for row in person.rows) == 2)


def test_close_with_code_and_reason(peer: Peer, person: Terminal) -> None:
    person.type("/close 4000 see you later\r")
    assert peer.closed.get(timeout=DEADLINE) == (4000, "see you later")
    person.wait_for_text("closed by this side with 4000: see you later")
    person.ends()


@pytest.mark.parametrize("size", [0, 10, 65535, 65536, 300_000])
def test_file(peer: Peer, person: Terminal, tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a file").write_bytes(content[:size])
    person.type("/file ~/a file\r")
    assert peer.received.get(timeout=DEADLINE) == content[:size]
    person.wait_for_text(f"sent {size} bytes")


def test_line_that_begins_with_a_slash(peer: Peer, person: Terminal) -> None:
    person.type("//ping\r")
    assert peer.received.get(timeout=DEADLINE) == "/ping"


def test_help(person: Terminal) -> None:
    person.type("/help\r")
    for line in ("/ping [DATA]", "/close [CODE] [REASON]", "/file PATH", "//TEXT"):
        person.wait_for_text(line)


@pytest.mark.parametrize(
    "line, hint",
    [
        ("/pong", "there is no /pong; /help shows what there is, //pong is sent as text"),
        ("/close now", "write /close [CODE] [REASON] with a number such as 4000, not 'now'"),
        ("/close 1006", "1006"),
        ("/file", "write /file PATH, the file to be sent as a binary message"),
        ("/file missing", "cannot read missing: No such file or directory"),
        ("/ping " + 126 * "x", "the data of a ping is 126 bytes; the limit is 125"),
    ],
)
def test_hint_for_a_command_that_cannot_be_done(peer: Peer, person: Terminal, line: str, hint: str) -> None:
    person.type(line + "\r")
    person.wait_for_text(hint)
    person.type("still there\r")
    assert peer.received.get(timeout=DEADLINE) == "still there"
    person.type("\x10\x10")  # twice Ctrl-P
    person.wait_until(lambda: line[-50:] in person.rows[-1])


def test_slash_is_text_if_told_so(peer: Peer, tmp_path: Path) -> None:
    with serving(peer) as uri, on_terminal("connect", "--no-commands", uri, home=tmp_path) as person:
        person.wait_for("connected", ">", cursor=2)
        person.type("//ping\r/ping\r")
        assert [peer.received.get(timeout=DEADLINE) for _ in range(2)] == ["//ping", "/ping"]


# Messages.


def test_json_is_shown_with_its_structure(peer: Peer, person: Terminal) -> None:
    peer.to_send.put('{"a":[1,2.50],"b":{}}')
    person.wait_for("< {", '    "a": [', "      1,", "      2.50", "    ],", '    "b": {}', "  }", ">")


def test_json_as_it_came(peer: Peer, tmp_path: Path) -> None:
    with serving(peer) as uri, on_terminal("connect", "--raw", uri, home=tmp_path) as person:
        person.wait_for(">", cursor=2)
        peer.to_send.put('{"a":1}')
        person.wait_for('< {"a":1}', ">")


def test_bytes_are_dumped(peer: Peer, person: Terminal) -> None:
    peer.to_send.put(b"\x1b[2J and so on, up to a second line")
    peer.to_send.put(b"")
    person.wait_for(
        "< (35 bytes)",
        "  00000000  1b 5b 32 4a 20 61 6e 64 20 73 6f 20 6f 6e 2c 20  .[2J and so on,",
        "  00000010  75 70 20 74 6f 20 61 20 73 65 63 6f 6e 64 20 6c  up to a second l",
        "  00000020  69 6e 65                                         ine",
        "< (0 bytes)",
        ">",
    )


def test_terminal_is_not_steered_by_strangers(peer: Peer, person: Terminal) -> None:
    peer.to_send.put("\x1b[31mred\u202e and\nblue\x00\r")
    person.wait_for("< \\x1b[31mred\\u202e and", "  blue\\x00\\r", ">")
    peer.to_send.put('["\x7f", "\\u001b"]')
    person.wait_for("< [", '    "\\x7f",', '    "\\u001b"', "  ]", ">")


# Colours.


def test_colours_on_a_terminal(echo: Server, tmp_path: Path) -> None:
    with on_terminal("connect", echo.url, home=tmp_path) as person:
        person.wait_for(">", cursor=2)
        person.type("hello\r")
        person.wait_for_text("< hello")
    assert b"\x1b[36m<\x1b[0m hello" in person.written
    assert b"\x1b[2mconnected\x1b[0m" in person.written


def test_no_colours_if_the_person_wants_none(echo: Server, tmp_path: Path) -> None:
    with on_terminal("connect", "--trace", echo.url, home=tmp_path, NO_COLOR="1") as person:
        person.wait_for(">", cursor=2)
        person.type("hello\r")
        person.wait_for_text("< hello")
    assert not COLOUR.search(person.written)


# The end.


def test_interrupt(peer: Peer, person: Terminal) -> None:
    person.type("unfinished")
    person.wait_for("> unfinished")
    person.type("\x03")  # Ctrl-C
    person.wait_for("> unfinished", "closed by this side with 1001", "")
    person.ends()
    assert peer.closed.get(timeout=DEADLINE)[0] == 1001


def test_terminal_gets_its_settings_back(echo: Server, tmp_path: Path) -> None:
    with on_terminal("connect", echo.url, home=tmp_path) as person:
        before = person.modes()
        person.wait_for(">", cursor=2)
        assert person.modes() != before
        person.process.send_signal(signal.SIGTERM)
        person.wait_for_text("closed by this side with 1001")
        person.ends()
        assert person.modes() == before


def test_signal_while_the_terminal_takes_no_output(peer: Peer, tmp_path: Path) -> None:
    with serving(peer) as uri, on_terminal("connect", uri, home=tmp_path) as person:
        before = person.modes()
        person.wait_for(">", cursor=2)
        person.type("unfinished")
        person.wait_for("> unfinished")
        person.stop_output()
        person.process.send_signal(signal.SIGTERM)
        assert peer.closed.get(timeout=DEADLINE)[0] == 1001
        person.ends()
        assert person.modes() == before


def test_terminal_is_left_alone_if_there_is_no_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = "ws://{}:{}/".format(*listener.getsockname())
    with on_terminal("connect", uri, home=tmp_path) as person:
        person.wait_for_text("cannot connect to ")
        person.ends(1)
    assert b"\x1b" not in person.written
    assert not list(tmp_path.iterdir())


def test_only_the_output_goes_elsewhere(echo: Server, tmp_path: Path) -> None:
    with (
        open(tmp_path / "messages", "w") as messages,
        on_terminal("connect", echo.url, home=tmp_path, stdout=messages) as person,
    ):
        person.wait_for_text(HINT)
        person.type('{"a": 1}\n/help\n')
        person.wait_for_text("//TEXT")
        person.type("/close\n")
        person.wait_for_text("closed by this side with 1000")
        person.ends()
    assert (tmp_path / "messages").read_text() == '{"a": 1}\n'
    assert not (tmp_path / ".local").exists()


# The wire view.


def test_trace_is_shown_above_the_line(peer: Peer, tmp_path: Path) -> None:
    with serving(peer) as uri, on_terminal("connect", "--trace", uri, home=tmp_path) as person:
        person.wait_for(">", cursor=2)
        person.type("unfin")
        person.wait_for("> unfin")
        peer.to_send.put("red \x1b[41m")
        person.wait_until(lambda: person.rows[-2:] == ["< red \\x1b[41m", "> unfin"] and person.cursor == 7)
        assert "payload" in "\n".join(person.rows)
    assert b"\x1b[41m" not in person.written
    assert COLOUR.search(person.written)
