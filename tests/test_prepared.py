"""A message that is encoded, and compressed, once: what arrives of it, and what it leaves behind for the next one."""

from __future__ import annotations

from typing import Any

import pytest
from peers import pair

from syncws import PreparedMessage
from syncws.protocol.codes import BINARY, TEXT
from syncws.protocol.deflate import Deflate
from syncws.protocol.frames import encode_frame
from syncws.protocol.zlibs import Settings

LINE = "the same again, " * 20
COMPRESSIONS = [None, Deflate(threshold=0), Deflate(threshold=0, context_takeover=False), Deflate(threshold=1000)]


@pytest.mark.parametrize(
    ("data", "opcode", "payload"),
    [
        ("t\xe4xt", TEXT, b"t\xc3\xa4xt"),
        (b"bytes", BINARY, b"bytes"),
        (bytearray(b"bytes"), BINARY, b"bytes"),
        (memoryview(b"bytes"), BINARY, b"bytes"),
        ("", TEXT, b""),
    ],
)
def test_it_has_the_frame_of_a_server(data: Any, opcode: int, payload: bytes) -> None:
    prepared = PreparedMessage(data)
    assert (prepared.opcode, prepared.payload) == (opcode, payload)
    assert prepared.frame == encode_frame(opcode, payload)
    assert repr(prepared) == f"<PreparedMessage of {len(payload)} bytes>"


def test_it_does_not_change_with_what_it_was_made_of() -> None:
    data = bytearray(b"before")
    prepared = PreparedMessage(data)
    data[:] = b"after!"
    with pair() as (server, client):
        server.send(prepared)
        assert client.receive() == b"before"


def test_what_is_no_message_is_an_error_at_once() -> None:
    with pytest.raises(TypeError):
        PreparedMessage(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="UTF-8"):
        PreparedMessage("\ud800")


def test_it_is_compressed_once_for_the_same_parameters() -> None:
    prepared = PreparedMessage(LINE)
    frame = prepared.compressed(Settings(level=5, window_bits=12, mem_level=5))
    assert prepared.compressed(Settings(level=5, window_bits=12, mem_level=5)) is frame
    assert prepared.compressed(Settings(level=5, window_bits=9, mem_level=5)) is not frame
    assert len(frame) < len(LINE)


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=["off", "on", "alone", "large"])
@pytest.mark.parametrize("wait", [True, False], ids=["waits", "does not wait"])
def test_it_arrives_among_other_messages(compression: Any, wait: bool) -> None:
    messages = [PreparedMessage(LINE), PreparedMessage(LINE.encode() * 10), PreparedMessage("")]
    with pair(compression=compression) as ends:
        for sender, receiver in (ends, ends[::-1]):
            for _ in range(3):
                sender.send(LINE, wait=wait)
                for prepared in messages:
                    sender.send(prepared, wait=wait)
                sender.send_fragments([LINE, LINE])
                for expected in (LINE, LINE, LINE.encode() * 10, "", LINE * 2):
                    assert receiver.receive() == expected
            assert sender.stats().messages_sent == 15


def test_one_for_many_connections() -> None:
    prepared = PreparedMessage(LINE)
    for compression in COMPRESSIONS:
        with pair(compression=compression) as (server, client):
            server.send(prepared, wait=False)
            client.send(prepared, wait=False)
            assert (server.receive(), client.receive()) == (LINE, LINE)
