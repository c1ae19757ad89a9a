"""The terminal while a line is being typed; what a person sees of it is in test_console_terminal.py."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import start

from syncws.console.history import History
from syncws.console.keyboard import Keyboard, open_keyboard


@contextlib.contextmanager
def own_terminal() -> Iterator[tuple[int, int]]:
    """A terminal that this process has as standard input and output: the person's end and the process's."""
    person, terminal = pty.openpty()
    # Not in a fixture: pytest sets the streams anew before it calls the test.
    with (
        open(person, "r+b", buffering=0),
        open(terminal) as input,
        open(os.dup(terminal), "w") as output,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("sys.stdout", output)
        patch.setattr("sys.stdin", input)
        yield person, terminal


def shown(person: int, end: bytes) -> bytes:
    """Read what is shown until it ends so."""
    seen = b""
    while not seen.endswith(end):
        seen += os.read(person, 4096)
    return seen


def test_closing_ends_the_reading(tmp_path: Path) -> None:
    with own_terminal() as (person, terminal):
        before = termios.tcgetattr(terminal)
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        assert termios.tcgetattr(terminal) != before
        reading = start(keyboard.read_line)
        shown(person, b"\r\x1b[K> \r\x1b[2C")
        keyboard.close()
        assert termios.tcgetattr(terminal) == before
        keyboard.close()
        os.write(person, b"too late\n")
        with pytest.raises(EOFError):
            reading.result()
        with pytest.raises(EOFError):
            keyboard.read_line()
        keyboard.show("after it\n")
        shown(person, b"after it\r\n")
    assert not list(tmp_path.iterdir())


def test_control_characters_that_are_no_signals_meanwhile(tmp_path: Path) -> None:
    # A core dump, unlike the end by another signal, would leave the terminal as it is.
    with own_terminal() as (person, terminal):
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        os.write(person, b"one\x1c two\r")  # Ctrl-\
        assert keyboard.read_line() == "one two"
        special = termios.tcgetattr(terminal)[6]
        disabled = os.fpathconf(terminal, "PC_VDISABLE").to_bytes(1, "big")
        assert special[termios.VQUIT] == special[termios.VSUSP] == disabled
        assert special[termios.VINTR] == b"\x03"
        keyboard.close()
        assert termios.tcgetattr(terminal)[6][termios.VQUIT] == b"\x1c"


def test_settings_are_given_back_while_the_terminal_takes_no_output(tmp_path: Path) -> None:
    tries = threading.Event()
    with own_terminal() as (_, terminal):
        before = termios.tcgetattr(terminal)
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        termios.tcflow(terminal, termios.TCOOFF)  # as Ctrl-S does
        closing = start(keyboard.close)
        while termios.tcgetattr(terminal) != before:
            assert not tries.wait(0.02)
        termios.tcflow(terminal, termios.TCOON)
        closing.result()
        assert termios.tcgetattr(terminal) == before


def test_resuming(tmp_path: Path) -> None:
    with own_terminal() as (person, terminal):
        before = termios.tcgetattr(terminal)
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        taken = termios.tcgetattr(terminal)
        termios.tcsetattr(terminal, termios.TCSANOW, before)  # as a shell does
        keyboard.resume()
        assert termios.tcgetattr(terminal) == taken
        reading = start(keyboard.read_line)
        shown(person, b"\r\x1b[K> \r\x1b[2C")
        keyboard.resume()
        shown(person, b"\r\x1b[K> \r\x1b[2C")
        os.write(person, b"line\r")
        assert reading.result() == "line"
        keyboard.close()
        keyboard.resume()
        assert termios.tcgetattr(terminal) == before


@pytest.mark.parametrize("goes_on", [True, False])
def test_suspension_waits_for_whoever_resumes_or_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    with own_terminal() as (person, terminal):
        before = termios.tcgetattr(terminal)
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        monkeypatch.setattr("syncws.console.keyboard._LONGEST_STOPPING", 60)
        killed = threading.Event()

        def kill(pid: int, number: int) -> None:
            assert (pid, number) == (0, signal.SIGTSTP)  # all of the job
            assert termios.tcgetattr(terminal) == before
            killed.set()

        monkeypatch.setattr(os, "kill", kill)
        reading = start(keyboard.read_line)
        shown(person, b"\r\x1b[K> \r\x1b[2C")
        os.write(person, b"\x1a")
        assert killed.wait(30)
        if goes_on:
            keyboard.resume()
            shown(person, b"\r\x1b[K> \r\x1b[2C")
            os.write(person, b"on\n")
            assert reading.result() == "on"
        keyboard.close()
        if not goes_on:
            with pytest.raises(EOFError):
                reading.result()
        assert termios.tcgetattr(terminal) == before


def test_terminal_that_goes_away(tmp_path: Path) -> None:
    with own_terminal() as (person, terminal):
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        reading = start(keyboard.read_line)
        shown(person, b"\r\x1b[K> \r\x1b[2C")
        with open(os.devnull) as nowhere:
            os.dup2(nowhere.fileno(), person)  # the only descriptor of the person's end
        with pytest.raises(EOFError):
            reading.result()


def test_terminal_that_does_not_tell_its_width(tmp_path: Path) -> None:
    with own_terminal() as (person, terminal):
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        os.write(person, 90 * b"x")
        reading = start(keyboard.read_line)
        assert shown(person, b"\r\x1b[79C").endswith(b"> " + 77 * b"x" + b"\r\x1b[79C")
        os.write(person, b"\r")
        assert reading.result() == 90 * "x"
        keyboard.close()


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    with own_terminal() as (person, terminal):
        keyboard = Keyboard(terminal, History(tmp_path / "history"))
        os.write(person, b"a\xffb\r")
        assert keyboard.read_line() == "a\ufffdb"
        keyboard.close()


@pytest.mark.parametrize("name", ["stdin", "stdout"])
def test_no_keyboard_without_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with own_terminal(), open(os.devnull) as nothing:
        keyboard = open_keyboard()
        assert keyboard is not None
        keyboard.close()
        for stream in (None, nothing):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(f"sys.{name}", stream)
                assert open_keyboard() is None


@pytest.mark.parametrize("kind", [None, "dumb"])
def test_no_keyboard_on_a_terminal_without_escape_sequences(kind: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", kind)
    with own_terminal():
        assert open_keyboard() is None
