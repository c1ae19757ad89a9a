"""The lines that begin with a slash, one by one; what a person sees of them is in test_console_terminal.py."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers import RawPeer, raw_pair, start

import syncws
from syncws.console.commands import Hint, perform
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT


def performed(ws: syncws.WebSocket, line: str) -> list[str]:
    """Have a command performed; return what it tells."""
    notes: list[str] = []
    perform(ws, line, notes.append)
    return notes


def read_message(peer: RawPeer) -> tuple[bytes, int]:
    """The next message, which has to be binary, and the number of its frames that are not empty."""
    opcode, pieces = BINARY, []
    while True:
        frame = peer.read_frame()
        assert frame is not None and frame.opcode == opcode
        pieces.append(frame.payload)
        if frame.fin:
            return b"".join(pieces), len([piece for piece in pieces if piece])
        opcode = CONTINUATION


def messages(ws: syncws.WebSocket) -> Iterator[str | bytes]:
    """Every message up to the end of the connection."""
    with contextlib.suppress(syncws.ConnectionClosed):
        while True:
            yield ws.receive()


@pytest.mark.parametrize("line, payload", [("/ping some  data ", b"some  data"), ("/ping Grüße", "Grüße".encode())])
def test_ping_with_data(line: str, payload: bytes) -> None:
    with raw_pair("client") as (ws, peer):
        pinging = start(performed, ws, line)
        frame = peer.read_frame()
        assert frame is not None and (frame.opcode, frame.payload) == (PING, payload)
        peer.send_frame(PONG, payload)
        (note,) = pinging.result()
        assert note.startswith("pong after ") and note.endswith(" ms")


def test_ping_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncws.console.commands._PING_TIMEOUT", 0.05)
    with raw_pair("client") as (ws, _):
        assert performed(ws, "/ping") == ["no pong within 0.05 s"]
        assert not ws.closed


@pytest.mark.parametrize(
    "line, code, reason",
    [("/close", 1000, ""), ("/close  3000", 3000, ""), ("/close 4999  bye, Grüße", 4999, "bye, Grüße")],
)
def test_close(line: str, code: int, reason: str) -> None:
    with raw_pair("client") as (ws, peer):
        peer.send_frame(TEXT, b"one")
        assert performed(ws, line) == []
        frame = peer.read_frame()
        assert frame is not None
        assert (frame.opcode, frame.payload) == (CLOSE, code.to_bytes(2, "big") + reason.encode())
        # What the peer had to say is there for whoever receives.
        peer.send_frame(TEXT, b"two")
        peer.send_frame(CLOSE, frame.payload)
        peer.close()
        assert list(messages(ws)) == ["one", "two"]
        assert (ws.close_code, ws.close_reason) == (code, reason)


@pytest.mark.parametrize(
    "size, frames, note",
    [
        (0, 0, "sent 0 bytes"),
        (1, 1, "sent 1 byte"),
        (2**16 - 1, 1, "sent 65535 bytes"),
        (2**16, 1, "sent 65536 bytes, piece by piece"),
        (2**16 + 1, 2, "sent 65537 bytes, piece by piece"),
        (2**18, 4, "sent 262144 bytes, piece by piece"),
    ],
)
def test_file(tmp_path: Path, size: int, frames: int, note: str) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    (tmp_path / "a file").write_bytes(content)
    with raw_pair("client") as (ws, peer):
        sending = start(performed, ws, f"/file {tmp_path}/a file")
        assert read_message(peer) == (content, frames)
        assert sending.result() == [note]


def test_file_that_cannot_be_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(size)

    monkeypatch.setattr("builtins.open", lambda *_: Failing(bytes(2**17)))
    with raw_pair("client") as (ws, peer):
        sending = start(performed, ws, "/file half")
        frame = peer.read_frame()
        assert frame is not None and not frame.fin
        frame = peer.read_frame()
        assert frame is not None and (frame.opcode, frame.payload[:2]) == (CLOSE, b"\x03\xf3")  # 1011
        with pytest.raises(Hint, match="cannot read half: Input/output error"):
            sending.result()


@pytest.mark.parametrize(
    "line, words",
    [
        ("/", "there is no /; "),
        ("/Ping", "there is no /Ping; "),
        ("/ping\x1b[2J", r"there is no /ping\x1b[2J; "),
        ("/" + 100 * "x", f"there is no /{19 * 'x'}; "),
        ("/ping " + 126 * "x", "126 bytes"),
        ("/close -1", "with a number such as 4000, not '-1'"),
        ("/close ²", "not '²'"),
        ("/close 1005", "1005"),
        ("/close 4000 " + 124 * "x", "124 bytes"),
        ("/file", "write /file PATH"),
        ("/file /", "cannot read /: Is a directory"),
        ("/file missing\x1b", r"cannot read missing\x1b: No such file"),
        ("/file a\x00b", r"cannot read a\x00b: "),
    ],
)
def test_what_cannot_be_done(line: str, words: str) -> None:
    with raw_pair("client") as (ws, _):
        with pytest.raises(Hint) as caught:
            performed(ws, line)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not ws.closed


def test_help_names_every_command() -> None:
    with raw_pair("client") as (ws, _):
        (text,) = performed(ws, "/help")
    for command in ("/ping", "/close", "/file", "/help", "//"):
        assert f"\n{command}" in f"\n{text}"


@pytest.mark.parametrize("line", ["/ping", "/file /dev/null"])
def test_connection_that_is_over(line: str) -> None:
    with raw_pair("client") as (ws, _):
        ws.abort()
        with pytest.raises(syncws.ConnectionClosed):
            performed(ws, line)
