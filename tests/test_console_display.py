"""What a conversation shows where there is no terminal, and none of the standard streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncws.console.display import Display, wants_colour
from syncws.console.tracing import recorder_on

REQUEST = b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\r\n"


def test_messages_and_notes(capfd: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.message('{"a": 1}')
    display.message(b"\x00\x01")
    display.note("connected")
    display.write_errors("two\nlines\n")
    output, errors = capfd.readouterr()
    assert output == '{"a": 1}\n(2 bytes) 00 01\n'
    assert errors == "connected\ntwo\nlines\n"


def test_missing_streams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    display = Display(output=tmp_path / "new")
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    display.message("text")
    display.message(b"bytes")
    display.note("connected")
    assert (tmp_path / "new" / "0001.bin").read_bytes() == b"bytes"
    assert not wants_colour(None)


def test_frames_are_shown_as_soon_as_they_are_complete(capfd: pytest.CaptureFixture[str]) -> None:
    report = recorder_on(Display()).attach()
    report("client", REQUEST[:20])
    assert capfd.readouterr().err == ""
    report("client", REQUEST[20:])
    errors = capfd.readouterr().err
    assert "GET / HTTP/1.1" in errors
    assert errors.endswith("\n")
