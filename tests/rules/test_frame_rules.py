"""The rules for frames and messages that servers break most, over TCP: RFC 6455, sections 5, 7 and 8.

Whatever is broken, the messages in front of it are delivered, the close frame has the right code, nothing follows it,
and the connection ends cleanly although a lot that nobody has read waits behind the broken frame.
"""

from __future__ import annotations

import queue
import struct
import threading

import pytest
from peers import RawFrame
from raw_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEADLINE,
    PING,
    PONG,
    TEXT,
    Entrance,
    RawClient,
    both_servers,
    deflated,
    frame,
    serving,
)

import syncws

UNREAD = frame(BINARY, bytes(60_000)) * 5
BROKEN = {
    # RFC 6455, 5.2: the minimal number of bytes MUST be used to encode the length.
    "length 5 in 16 bits": (1002, frame(TEXT, b"12345", length_bytes=2)),
    "length 125 in 16 bits": (1002, frame(BINARY, bytes(125), length_bytes=2)),
    "length 5 in 64 bits": (1002, frame(TEXT, b"12345", length_bytes=8)),
    "length 65535 in 64 bits": (1002, frame(BINARY, bytes(65535), length_bytes=8)),
    "length with the highest bit": (1002, bytes([0x82, 0xFF]) + b"\xff" * 8),
    # RFC 6455, 5.1.
    "unmasked text": (1002, frame(TEXT, b"text", key=None)),
    "unmasked empty": (1002, frame(TEXT, key=None)),
    "unmasked ping": (1002, frame(PING, key=None)),
    "unmasked close": (1002, frame(CLOSE, b"\x03\xe8", key=None)),
    # RFC 6455, 5.2: reserved bits and opcodes.
    "RSV1": (1002, frame(TEXT, b"text", rsv=4)),
    "RSV2": (1002, frame(TEXT, b"text", rsv=2)),
    "RSV3": (1002, frame(TEXT, b"text", rsv=1)),
    "opcode 3": (1002, frame(0x3)),
    "opcode 7": (1002, frame(0x7)),
    "opcode 11": (1002, frame(0xB)),
    "opcode 15": (1002, frame(0xF)),
    # RFC 6455, 5.4 and 5.5.
    "continuation of nothing": (1002, frame(CONTINUATION, b"text")),
    "text within a message": (1002, frame(TEXT, b"a", fin=False) + frame(TEXT, b"b")),
    "fragmented ping": (1002, frame(PING, fin=False)),
    "ping of 126 bytes": (1002, frame(PING, bytes(126))),
    "close of 126 bytes": (1002, frame(CLOSE, b"\x03\xe8" + b"r" * 124)),
    "close of one byte": (1002, frame(CLOSE, b"\x03")),
    # RFC 6455, 8.1: the connection fails at the byte that cannot be UTF-8, before the rest has come.
    "not UTF-8": (1007, frame(TEXT, b"\xce\xba\xff")),
    "not UTF-8, within a message": (1007, frame(TEXT, b"\xce\xba\xe1", fin=False) + frame(0, b"\xff", fin=False)),
    "surrogate, within a message": (1007, frame(TEXT, b"\xed\xa0", fin=False)),
    "overlong, within a message": (1007, frame(TEXT, b"\xc0", fin=False)),
    "above U+10FFFF, within a frame": (1007, frame(TEXT, b"\xf4\x90" + bytes(98))[:8]),
    "cut off at the end": (1007, frame(TEXT, b"\xce\xba\xe1\xbd")),
    "close reason not UTF-8": (1007, frame(CLOSE, b"\x03\xe8\xff")),
    # What the default limits do not let through: at the header, before the payload.
    "over the size limit": (1009, frame(BINARY, bytes(2**20 + 1))[:14]),
    "over the size limit, in fragments": (1009, frame(BINARY, bytes(2**20), fin=False) + frame(0, b"1")),
}
# They wait in vain for a frame's end if something follows that could be it.
NOTHING_BEHIND = {"above U+10FFFF, within a frame", "over the size limit"}


@both_servers
@pytest.mark.parametrize("unread", [False, True], ids=["", "unread"])
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_rule_closes_with_its_code_behind_what_came_before(
    entrance: Entrance, broken: str, unread: bool
) -> None:
    code, data = BROKEN[broken]
    with serving(entrance) as address, RawClient(address) as client:
        behind = UNREAD if unread and broken not in NOTHING_BEHIND else b""
        client.open(glued=frame(TEXT, b"one") + frame(BINARY, b"two") + data + behind)
        assert client.read_frame() == RawFrame(TEXT, b"one")
        assert client.read_frame() == RawFrame(BINARY, b"two")
        assert client.read_close() == code


@both_servers
@pytest.mark.parametrize("broken", ["unmasked text", "not UTF-8", "length 5 in 16 bits"])
def test_messages_before_a_broken_frame_reach_a_handler_that_is_late(entrance: Entrance, broken: str) -> None:
    got: queue.Queue[object] = queue.Queue()
    sent = threading.Event()

    def handler(ws: syncws.WebSocket) -> None:
        assert sent.wait(DEADLINE)
        try:
            while True:
                got.put(ws.receive())
        except syncws.ConnectionClosed as error:
            got.put(error)

    code, data = BROKEN[broken]
    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open()
        client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(100)) + data)
        sent.set()
        assert client.read_close() == code
        # The handler learns of the end when TCP has ended, too.
        client.close()
        assert [got.get(timeout=DEADLINE) for _ in range(100)] == [str(number) for number in range(100)]
        error = got.get(timeout=DEADLINE)
        assert isinstance(error, syncws.ConnectionClosed)
        assert error.code == code
        assert isinstance(error.__cause__, syncws.ProtocolError)


@both_servers
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_code_that_must_not_be_sent_is_not_echoed(entrance: Entrance, code: int) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.open(glued=frame(CLOSE, struct.pack(">H", code) + b"reason") + UNREAD)
        assert client.read_close() == 1002


@both_servers
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999])
def test_close_code_is_echoed(entrance: Entrance, code: int) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.open(glued=frame(CLOSE, struct.pack(">H", code) + b"reason") + UNREAD)
        assert client.read_close() == code


@both_servers
def test_close_without_a_code_is_answered_without_one(entrance: Entrance) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.open(glued=frame(CLOSE) + UNREAD)
        assert client.read_frame() == RawFrame(CLOSE, b"")
        assert client.read_to_end() == b""


@both_servers
@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015, 1016, 2999])
def test_program_cannot_send_a_close_code_that_must_not_be(entrance: Entrance, code: int) -> None:
    def handler(ws: syncws.WebSocket) -> None:
        with pytest.raises(ValueError, match=str(code)):
            ws.close(code)
        ws.close(3999, "as it should be")

    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open()
        assert client.read_frame() == RawFrame(CLOSE, b"\x0f\x9fas it should be")


@both_servers
def test_close_frame_may_come_between_fragments(entrance: Entrance) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.open(glued=frame(TEXT, b"half of it", fin=False) + frame(CLOSE, b"\x03\xe9"))
        assert client.read_close() == 1001


@both_servers
def test_control_frames_between_fragments_are_answered_before_the_end_of_the_message(entrance: Entrance) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.open(glued=frame(TEXT, b"fra", fin=False) + frame(PING, b"you there?") + frame(PONG, b"unsolicited"))
        assert client.read_frame() == RawFrame(PONG, b"you there?")
        client.send(frame(CONTINUATION, b"gme", fin=False) + frame(CONTINUATION, b"nt"))
        assert client.read_frame() == RawFrame(TEXT, b"fragment")
        client.close_normally()


@both_servers
@pytest.mark.parametrize("begins", ["server", "client"])
def test_nothing_follows_the_close_frame(entrance: Entrance, begins: str) -> None:
    # The handler goes on sending from another thread, and the app of a WSGI server goes on with an HTTP response.
    def handler(ws: syncws.WebSocket) -> None:
        def go_on() -> None:
            with pytest.raises(syncws.ConnectionClosed):
                while True:
                    ws.send("still here")

        sender = threading.Thread(target=go_on)
        sender.start()
        if begins == "server":
            ws.receive(DEADLINE)
            ws.close(4000)
        with pytest.raises(syncws.ConnectionClosed):
            ws.receive(DEADLINE)
        sender.join(DEADLINE)
        assert not sender.is_alive()

    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open(glued=frame(TEXT, b"go") if begins == "server" else frame(CLOSE, b"\x0f\xa0"))
        answer = client.read_frame()
        while answer == RawFrame(TEXT, b"still here"):
            answer = client.read_frame()
        assert answer == RawFrame(CLOSE, b"\x0f\xa0")
        if begins == "server":
            client.send(frame(CLOSE, b"\x0f\xa0"))
        assert client.read_to_end() == b""


@both_servers
def test_frames_behind_the_close_frame_are_not_looked_at(entrance: Entrance) -> None:
    got: queue.Queue[object] = queue.Queue()

    def handler(ws: syncws.WebSocket) -> None:
        for message in ws:
            got.put(message)
        got.put(ws.close_code)

    with serving(entrance, handler) as address, RawClient(address) as client:
        client.open(glued=frame(TEXT, b"before") + frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"behind") + b"\xff" * 99)
        assert client.read_close() == 1000
        client.close()
        assert [got.get(timeout=DEADLINE), got.get(timeout=DEADLINE)] == ["before", 1000]


# RFC 7692.

OFFER = "Sec-WebSocket-Extensions: permessage-deflate"
FINAL = b"\x03\0"  # DEFLATE data that is complete: a block with BFINAL, fixed codes and nothing in it
MISUSED_RSV1 = {
    "ping": frame(PING, b"ping", rsv=4),
    "pong": frame(PONG, rsv=4),
    "close": frame(CLOSE, b"\x03\xe8", rsv=4),
    "continuation": frame(TEXT, deflated(b"one")[:3], fin=False, rsv=4) + frame(0, deflated(b"one")[3:], rsv=4),
    "continuation of what is not compressed": frame(TEXT, b"o", fin=False) + frame(CONTINUATION, b"ne", rsv=4),
}


@both_servers
@pytest.mark.parametrize("broken", MISUSED_RSV1)
def test_rsv1_belongs_on_the_first_frame_of_a_message_only(entrance: Entrance, broken: str) -> None:
    with serving(entrance, compression=True) as address, RawClient(address) as client:
        client.open(OFFER, glued=frame(TEXT, b"one") + MISUSED_RSV1[broken] + UNREAD)
        assert client.read_frame() == RawFrame(TEXT, b"one")
        assert client.read_close() == 1002


@both_servers
@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(deflated(b"one") + b"\0\0\xff\xff" + FINAL, id="at the end"),
        pytest.param(deflated(b"o") + b"\0\0\xff\xff" + FINAL + deflated(b"ne"), id="in the middle"),
        pytest.param(b"\x01\x03\x00\xfc\xffone", id="stored"),
        pytest.param(b"\x01\x03\x00\xfc\xffone\0", id="stored, and an empty block"),
    ],
)
def test_message_with_a_final_block_is_complete_and_the_next_one_is_not_lost(
    entrance: Entrance, payload: bytes
) -> None:
    with serving(entrance, compression=True) as address, RawClient(address) as client:
        client.open(OFFER, glued=frame(TEXT, payload, rsv=4) + frame(TEXT, deflated(b"two"), rsv=4))
        assert client.read_frame() == RawFrame(TEXT, b"one")
        assert client.read_frame() == RawFrame(TEXT, b"two")
        # The same once more: nothing of the first round is left.
        client.send(frame(TEXT, payload, rsv=4) + frame(TEXT, b"three"))
        assert client.read_frame() == RawFrame(TEXT, b"one")
        assert client.read_frame() == RawFrame(TEXT, b"three")
        client.close_normally()


@both_servers
def test_invalid_compressed_data_is_refused(entrance: Entrance) -> None:
    with serving(entrance, compression=True) as address, RawClient(address) as client:
        client.open(OFFER, glued=frame(TEXT, b"one") + frame(TEXT, b"\x07" * 20, rsv=4) + UNREAD)
        assert client.read_frame() == RawFrame(TEXT, b"one")
        assert client.read_close() == 1007
