"""A message that is encoded once, on its way to many: each gets the same as if it had been sent to it alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from peers import DEADLINE, RawFrame, RawPeer, eventually, pair, raw_pair, sockets, start, websocket

import syncws
from syncws.errors import ConcurrencyError, ConnectionClosed
from syncws.prepared import PreparedMessage
from syncws.protocol.codes import BINARY, CONTINUATION, TEXT
from syncws.protocol.deflate import Deflate
from syncws.protocol.frames import encode_frame
from syncws.protocol.zlibs import Settings

both_roles = pytest.mark.parametrize("role", ["server", "client"])
BIG = bytes(range(256)) * 4096
LINE = "the same again, " * 20
COMPRESSIONS = [None, Deflate(threshold=0), Deflate(threshold=0, context_takeover=False), Deflate(threshold=1000)]
# Where the encoding of the length changes.
MESSAGES: list[str | bytes] = [
    "", b"", "t\u00e4xt", b"\xff", b"x" * 125, b"x" * 126, "x" * 127, b"x" * 65535, b"x" * 65536, BIG,
]  # fmt: skip


def test_it_is_public() -> None:
    assert syncws.PreparedMessage is PreparedMessage


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: f"{type(message).__name__} {len(message)}")
def test_what_it_holds(message: str | bytes) -> None:
    prepared = PreparedMessage(message)
    opcode, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    assert (prepared.opcode, prepared.payload) == (opcode, payload)
    assert prepared.frame == encode_frame(opcode, payload)
    assert repr(prepared) == f"<PreparedMessage of {len(payload)} bytes>"


def test_any_bytes_will_do_and_may_change_afterwards() -> None:
    data = bytearray(b"abc")
    for view in (data, memoryview(data)):
        prepared = PreparedMessage(view)
        assert prepared.payload == b"abc"
        data[0] = 0
        assert prepared.payload == b"abc"
        data[0] = ord("a")
    assert PreparedMessage(memoryview(b"aXbXcX")[::2]).payload == b"abc"


@pytest.mark.parametrize("wrong", [None, 1, ["text"], PreparedMessage("once more")])
def test_what_is_no_message(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"a message must be str \(text\) or bytes-like \(binary\), not "):
        PreparedMessage(wrong)


def test_what_utf_8_cannot_encode() -> None:
    with pytest.raises(ValueError, match="text cannot be sent as UTF-8"):
        PreparedMessage("ab\ud800")


@pytest.mark.parametrize(
    "options",
    [{}, {"coalesce": False}, {"compression": Deflate(threshold=0)}, {"compression": Deflate(threshold=1000)}],
    ids=["plain", "not coalesced", "compressed", "large ones compressed"],
)
@pytest.mark.parametrize("sending", [{}, {"wait": False}, {"timeout": DEADLINE}, {"timeout": None}], ids=str)
def test_each_gets_it_whatever_its_role(options: dict[str, Any], sending: dict[str, Any]) -> None:
    with pair(max_backlog=None, max_message_size=None, **options) as ends:
        for sender, receiver in (ends, ends[::-1]):
            for message in MESSAGES:
                prepared = PreparedMessage(message)
                for _ in range(2):
                    task = start(sender.send, prepared, **sending)
                    assert receiver.receive() == message
                    task.result()


@both_roles
def test_a_client_masks_it_each_time_anew(role: Any) -> None:
    with raw_pair(role) as (ws, peer):
        prepared = PreparedMessage(b"payload" * 10)
        for _ in range(2):
            ws.send(prepared)
        raw = [peer._file.read(len(prepared.frame) + (4 if role == "client" else 0)) for _ in range(2)]
        assert (raw[0] == raw[1]) is (role == "server")
        assert (raw[0] == prepared.frame) is (role == "server")


def test_its_place_is_that_of_any_message() -> None:
    prepared = PreparedMessage("prepared")
    with raw_pair() as (ws, peer):
        ws.send("one")
        ws.send(prepared)
        ws.send("two", wait=False)
        ws.send(prepared, wait=False)
        ws.send_fragments(["a", "b"])
        ws.send(prepared)
        frames = [peer.read_frame() for _ in range(8)]
        assert ws.stats().messages_sent == 6
    assert frames == [
        RawFrame(TEXT, b"one"),
        RawFrame(TEXT, b"prepared"),
        RawFrame(TEXT, b"two"),
        RawFrame(TEXT, b"prepared"),
        RawFrame(TEXT, b"a", False),
        RawFrame(CONTINUATION, b"b", False),
        RawFrame(CONTINUATION, b""),
        RawFrame(TEXT, b"prepared"),
    ]


def test_it_leaves_together_with_what_is_gathered() -> None:
    prepared = PreparedMessage("prepared")
    one, two = sockets()
    peer = RawPeer(two, masked=True)
    ws = websocket(one, "server", peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))
    for _ in range(2):
        ws.receive()
        ws.send("other")
        ws.send(prepared)
    assert [peer.read_frame() for _ in range(4)] == [RawFrame(TEXT, b"other"), RawFrame(TEXT, b"prepared")] * 2
    ws.abort()
    ws.close()
    peer.close()


def test_it_is_queued_when_there_is_no_room() -> None:
    prepared = PreparedMessage(bytes(1000))
    with raw_pair(buffer=4096, max_backlog=None) as (ws, peer):
        for _ in range(100):
            ws.send(prepared, wait=False)
        eventually(lambda: ws.backlog > 0)  # the keeper may be at it
        assert [peer.read_frame() for _ in range(100)] == [RawFrame(BINARY, bytes(1000))] * 100
        eventually(lambda: ws.backlog == 0)


def test_a_peer_that_does_not_read_has_a_limit() -> None:
    with raw_pair(buffer=4096) as (ws, _), pytest.raises(TimeoutError, match=r"has not read for 0\.05 s"):
        ws.send(PreparedMessage(BIG), timeout=0.05)


def test_wrong_arguments_and_a_connection_that_is_over() -> None:
    prepared = PreparedMessage("x")
    with raw_pair() as (ws, _):
        with pytest.raises(TypeError, match="does not wait"):
            ws.send(prepared, wait=False, timeout=1)

        def pieces() -> Any:
            yield "one"
            ws.send(prepared)

        with pytest.raises(ConcurrencyError):
            ws.send_fragments(pieces())
        for sending in ({}, {"wait": False}, {"timeout": 1}):
            with pytest.raises(ConnectionClosed):
                ws.send(prepared, **sending)  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", [None, Deflate(threshold=0)], ids=["plain", "compressed"])
def test_many_threads_send_one_to_many(compression: Any) -> None:
    messages = [PreparedMessage(f"{number} " * 50) for number in range(50)]
    begin = threading.Event()
    with pair(compression=compression) as one, pair(compression=compression) as two:

        def send() -> None:
            begin.wait(DEADLINE)
            for message in messages:
                for ends in (one, two):
                    ends[0].send(message)

        sending = [start(send) for _ in range(4)]
        receiving = [start(lambda ws: [ws.receive() for _ in range(200)], ends[1]) for ends in (one, two)]
        begin.set()
        expected = sorted(message.payload.decode() for message in messages * 4)
        for task in receiving:
            assert sorted(task.result()) == expected
        for task in sending:
            task.result()


# Compressed.


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
