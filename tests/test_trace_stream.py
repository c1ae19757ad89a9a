"""Frames in the wire view: every bit has its name, and every kind of broken frame its byte."""

from __future__ import annotations

import zlib

import pytest
from traces import DEFLATE, chunk, frames, problem, the_frame, view

from syncws.errors import ProtocolError
from syncws.protocol.codes import BINARY, CLOSE, CONTINUATION, PING, TEXT
from syncws.protocol.deflate import Compressor, Deflate, inflater_for
from syncws.protocol.frames import encode_frame, parse_close
from syncws.protocol.messages import MessageReader
from syncws.trace import End, Frame, Item, Problem
from syncws.trace.judge import INFLATE_LIMIT

KEY = bytes.fromhex("37fa213d")


def compressed(data: bytes) -> bytes:
    """The payload of a message in one frame."""
    return Compressor(15, True, Deflate()).compress(data)


# Whose frames, in hex; is permessage-deflate in use; the offset of the wrong byte and that byte (none: one is missing);
# the close code; what the message says; the section.
BROKEN = {
    "unmasked client frame": ("client", "8105 48656c6c6f", False, 1, "05", 1002, "unmasked", "RFC 6455, 5.1"),
    "masked server frame": ("server", "8185 37fa213d 7f9f4d5158", False, 1, "85", 1002, "masked", "RFC 6455, 5.1"),
    "reserved opcode": ("server", "8300", False, 0, "83", 1002, "reserved opcode 0x3", "RFC 6455, 5.2"),
    "reserved control opcode": ("server", "8b00", False, 0, "8b", 1002, "reserved opcode 0xB", "RFC 6455, 5.2"),
    "RSV1 without an extension": ("server", "c10141", False, 0, "c1", 1002, "RSV1", "RFC 6455, 5.2"),
    "RSV2": ("server", "a10141", False, 0, "a1", 1002, "reserved bits", "RFC 6455, 5.2"),
    "RSV3": ("client", "9180 00000000", False, 0, "91", 1002, "reserved bits", "RFC 6455, 5.2"),
    "RSV1 on a ping": ("server", "c900", True, 0, "c9", 1002, "ping frame with RSV1", "RFC 7692, 6.1"),
    "RSV1 on a continuation": ("server", "010141 c00142", True, 3, "c0", 1002, "continuation", "RFC 7692, 6.1"),
    "length not minimal, 16": ("server", "817e 0005 48656c6c6f", False, 2, "00", 1002, "length 5", "RFC 6455, 5.2"),
    "length not minimal, masked": ("client", "81fe 0001 00000000 41", False, 2, "00", 1002, "1", "RFC 6455, 5.2"),
    "length not minimal, 64": ("server", "827f 000000000000ffff", False, 2, "00", 1002, "65535", "RFC 6455, 5.2"),
    "most significant bit": ("server", "827f 8000000000000000", False, 2, "80", 1002, "significant", "RFC 6455, 5.2"),
    "fragmented ping": ("server", "0900", False, 0, "09", 1002, "fragmented ping", "RFC 6455, 5.5"),
    "too long ping": ("server", "897e 007e" + 126 * "00", False, 1, "7e", 1002, "125 bytes", "RFC 6455, 5.5"),
    "bad continuation": ("server", "810141 800142", False, 3, "80", 1002, "no message", "RFC 6455, 5.4"),
    "new frame within a message": ("server", "010141 820142", False, 3, "82", 1002, "binary frame", "RFC 6455, 5.4"),
    "UTF-8, a byte that begins nothing": ("server", "8103 61ff62", False, 3, "ff", 1007, "0xFF", "RFC 6455, 8.1"),
    "UTF-8, a character cut off": ("server", "8103 c32862", False, 3, "28", 1007, "continuation", "RFC 6455, 8.1"),
    "UTF-8, a surrogate": ("server", "8103 eda080", False, 3, "a0", 1007, "not UTF-8", "RFC 6455, 8.1"),
    "UTF-8, the message ends too early": ("server", "8101 c3", False, 3, None, 1007, "not UTF-8", "RFC 6455, 8.1"),
    "UTF-8, in a later fragment": ("server", "0101c3 8001c3", False, 5, "c3", 1007, "not UTF-8", "RFC 6455, 8.1"),
    "UTF-8, the last fragment is empty": ("server", "0101c3 8000", False, 5, None, 1007, "UTF-8", "RFC 6455, 8.1"),
    "close payload of one byte": ("server", "8801 03", False, 2, "03", 1002, "1 byte", "RFC 6455, 5.5.1"),
    "close code not to be sent": ("server", "8802 03ed", False, 2, "03", 1002, "1005", "RFC 6455, 7.4"),
    "close reason not UTF-8": ("server", "8804 03e8 61ff", False, 5, "ff", 1007, "reason", "RFC 6455, 5.5.1"),
    "close reason cut off": ("server", "8803 03e8 c3", False, 5, None, 1007, "reason", "RFC 6455, 5.5.1"),
    "broken deflate": ("server", "c202 0700", True, 2, "07", 1007, "DEFLATE", "RFC 7692, 7.2.2"),
    "broken deflate, later": ("server", "c20a 4a4c02000000ffff 07 41", True, 10, "07", 1007, "type", "RFC 7692, 7.2.2"),
    "deflate ends too early": ("server", "c202 f248", True, 4, None, 1007, "DEFLATE", "RFC 7692, 7.2.2"),
    "inflated text not UTF-8": ("server", "c105 4a4cfa0f00", True, 5, "0f", 1007, "byte 0xFF", "RFC 6455, 8.1"),
    "behind a close frame": ("client", "8880 00000000 8180 00000000", False, 6, "81", None, "drops", "RFC 6455, 5.5.1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_every_kind_of_broken_frame_has_its_byte(name: str) -> None:
    sender, data, deflate, offset, byte, code, message, section = BROKEN[name]
    items = frames(sender, data, deflate=DEFLATE if deflate else None)
    found = problem(items)
    assert (found.offset, found.byte, found.close_code, found.section) == (offset, byte, code, section)
    assert message in found.message
    assert found.sender == sender
    # The frame stands in front of it, and nothing behind it.
    assert items[-1] is found
    assert isinstance(items[-2], Frame)
    if byte is not None:
        assert bytes.fromhex(data)[offset] == int(byte, 16)


@pytest.mark.parametrize("name", BROKEN)
def test_the_library_fails_the_connection_with_the_same_code(name: str) -> None:
    sender, data, deflate, _, _, code, _, _ = BROKEN[name]
    reader = MessageReader(
        masked=sender == "client",
        inflater=inflater_for(DEFLATE, "server" if sender == "client" else "client") if deflate else None,
    )
    reader.feed(bytes.fromhex(data))
    found = None
    try:
        while (item := reader.next_message()) is not None:
            if getattr(item, "opcode", None) == CLOSE:
                parse_close(item.payload)  # type: ignore[union-attr]
    except ProtocolError as error:
        found = error.close_code
    assert found == code


@pytest.mark.parametrize("name", BROKEN)
def test_broken_frames_byte_by_byte(name: str) -> None:
    sender, data, deflate, *_ = BROKEN[name]
    pieces = [chunk(sender, bytes([byte])) for byte in bytes.fromhex(data)]
    parameters = DEFLATE if deflate else None
    assert view(*pieces, opened=True, deflate=parameters) == frames(sender, data, deflate=parameters)


@pytest.mark.parametrize("name", [name for name in BROKEN if "64" not in name and "significant" not in name])
def test_nothing_is_read_behind_a_broken_frame(name: str) -> None:
    sender, data, deflate, *_ = BROKEN[name]
    parameters = DEFLATE if deflate else None
    first = chunk(sender, data)
    ends = chunk(sender, b"")
    items = view(first, chunk(sender, "8100 ffff"), ends, opened=True, deflate=parameters)
    assert items == [*frames(sender, data, deflate=parameters), End(1, 0.0, sender)]


def test_the_masked_byte_is_named_unmasked_too() -> None:
    found = problem(frames("client", encode_frame(TEXT, b"a\xff", key=KEY)))
    assert (found.offset, found.byte) == (7, "05")
    assert found.message.endswith("invalid start byte 0xFF (RFC 6455, 8.1); unmasked, the byte is 0xFF") is False
    assert found.message.endswith("invalid start byte 0xFF; unmasked, the byte is 0xFF")


def test_a_broken_frame_is_shown_whole() -> None:
    frame = the_frame(frames("client", "8105 48656c6c6f"))
    assert frame.payload == "48656c6c6f"
    assert frame.text is None, "it has not been read as a message"
    assert not frame.cut
    assert [part.name for part in frame.parts] == [
        "FIN", "RSV1", "RSV2", "RSV3", "opcode", "MASK", "payload length", "payload data"
    ]  # fmt: skip


def test_of_broken_text_is_shown_what_is_in_front_of_the_byte() -> None:
    assert the_frame(frames("server", "8105 6162ff6364")).text == "ab"
    frame = the_frame(frames("server", "c105 4a4cfa0f00", deflate=DEFLATE))
    assert (frame.text, frame.inflated) == ("ab", "6162")


def test_a_broken_frame_is_not_waited_for_when_the_other_side_answers() -> None:
    broken, answer = chunk("client", "8105 4865"), chunk("server", "8802 03ea", time=1.0)
    items = view(broken, answer, opened=True)
    assert [type(item) for item in items] == [Frame, Problem, Frame]
    assert items[0].payload == "4865"
    assert items[0].cut
    # What comes later is dropped.
    assert view(broken, answer, chunk("client", "6c6c6f 8100"), opened=True) == items


def test_the_fields_of_a_frame() -> None:
    frame = the_frame(frames("client", "8185 37fa213d 7f9f4d5158"))
    assert (frame.name, frame.opcode, frame.fin, frame.masked, frame.length) == ("text", 1, True, True, 5)
    assert (frame.rsv1, frame.rsv2, frame.rsv3) == (False, False, False)
    assert (frame.masking_key, frame.length_form, frame.section) == ("37fa213d", "7 bits", "RFC 6455, 5.6")
    assert frame.hex == "818537fa213d7f9f4d5158"
    assert (frame.payload, frame.payload_masked, frame.text) == ("48656c6c6f", "7f9f4d5158", "Hello")
    assert [(part.name, part.bits, part.offset, part.value) for part in frame.parts] == [
        ("FIN", "1", 0, "1"),
        ("RSV1", "0", 0, "0"),
        ("RSV2", "0", 0, "0"),
        ("RSV3", "0", 0, "0"),
        ("opcode", "0001", 0, "0x1"),
        ("MASK", "1", 1, "1"),
        ("payload length", "0000101", 1, "5"),
        ("masking key", "", 2, "37fa213d"),
        ("payload data", "", 6, "7f9f4d5158"),
    ]
    assert frame.parts[-1].meaning == "Hello"


@pytest.mark.parametrize(
    ("size", "form", "bits"),
    [(125, "7 bits", 0), (126, "16 bits", 16), (65535, "16 bits", 16), (65536, "64 bits", 64)],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_the_forms_of_a_length(size: int, form: str, bits: int, key: bytes | None) -> None:
    data = encode_frame(BINARY, bytes(size), key=key)
    frame = the_frame(frames("client" if key else "server", data))
    assert (frame.length, frame.length_form) == (size, form)
    extended = [part for part in frame.parts if part.name == "extended payload length"]
    assert [len(part.bits) for part in extended] == ([bits] if bits else [])
    assert frame.cut is (size > 1024)
    assert len(frame.payload) == 2 * min(size, 1024)
    assert frame.hex == data[: len(data) - size + 1024].hex()


def test_control_frames() -> None:
    items = frames("server", "8900 8a0178 8805 03e8 627965")
    assert [(item.name, item.payload) for item in items if isinstance(item, Frame)] == [
        ("ping", ""), ("pong", "78"), ("close", "03e8627965")
    ]  # fmt: skip
    close = items[-1]
    assert isinstance(close, Frame)
    assert (close.close_code, close.close_reason) == (1000, "bye")
    assert close.parts[-1].meaning == "1000, normal closure: bye"
    assert items[0].parts[-1].name == "payload length"


@pytest.mark.parametrize(
    ("code", "meaning"), [("0fa0", "4000, a meaning of the application's own"), ("03f1", "1009, message too big")]
)
def test_close_codes(code: str, meaning: str) -> None:
    assert the_frame(frames("server", f"8802{code}")).parts[-1].meaning == meaning


def test_a_close_frame_without_a_code() -> None:
    frame = the_frame(frames("server", "8800"))
    assert (frame.close_code, frame.close_reason) == (None, None)


def test_fragments_and_control_frames_between_them() -> None:
    euro = "€".encode()
    items = frames("server", b"".join([
        encode_frame(TEXT, b"a" + euro[:1], fin=False), encode_frame(PING, b""),
        encode_frame(CONTINUATION, euro[1:] + b"b"), encode_frame(BINARY, b"c", fin=False),
        encode_frame(CONTINUATION, b"", fin=False), encode_frame(CONTINUATION, b"d"),
    ]))  # fmt: skip
    assert [(item.name, item.text) for item in items if isinstance(item, Frame)] == [
        ("text", "a"), ("ping", None), ("continuation", "€b"), ("binary", None), ("continuation", None),
        ("continuation", None),
    ]  # fmt: skip
    assert items[0].section == "RFC 6455, 5.6"
    assert items[2].section == "RFC 6455, 5.4"


def test_compressed_messages_are_inflated() -> None:
    compressor = Compressor(15, True, Deflate(threshold=0))
    texts = ["one and one and one", "one and one and two"]
    data = b"".join(encode_frame(TEXT, compressor.compress(text.encode()), rsv1=True) for text in texts)
    data += encode_frame(TEXT, b"plain") + encode_frame(BINARY, compressor.compress(b"one and one"), rsv1=True)
    found = [item for item in frames("server", data, deflate=DEFLATE) if isinstance(item, Frame)]
    assert [each.text for each in found] == [*texts, "plain", None]
    assert [each.compressed for each in found] == [True, True, False, True]
    assert found[0].parts[1].meaning == "the message is compressed"
    assert found[3].inflated == found[3].parts[-1].meaning == b"one and one".hex()
    assert found[2].inflated is None


def test_compressed_fragments() -> None:
    payload = Compressor(15, True, Deflate()).compress(b"one and one and one")
    data = encode_frame(TEXT, payload[:4], fin=False, rsv1=True) + encode_frame(CONTINUATION, payload[4:])
    found = [item for item in frames("server", data, deflate=DEFLATE) if isinstance(item, Frame)]
    assert "".join(each.text or "" for each in found) == "one and one and one"
    assert all(each.compressed for each in found)


def test_without_context_takeover() -> None:
    parameters = inflaters(client=False)
    payload = Compressor(15, False, Deflate()).compress(b"aaaaaaaa")
    data = encode_frame(TEXT, payload, rsv1=True, key=KEY)
    found = frames("client", data * 2, deflate=parameters)
    assert [item.text for item in found if isinstance(item, Frame)] == ["aaaaaaaa"] * 2


def inflaters(*, client: bool) -> object:
    """Parameters without context takeover in one direction."""
    return type(DEFLATE)(
        server_no_context_takeover=client,
        client_no_context_takeover=not client,
        server_max_window_bits=15,
        client_max_window_bits=15,
    )


def test_long_texts_are_cut() -> None:
    frame = the_frame(frames("server", encode_frame(TEXT, b"a" * 5000)))
    assert frame.text == "a" * 1024
    assert frame.cut
    payload = Compressor(15, True, Deflate()).compress(b"a" * 5000)
    frame = the_frame(frames("server", encode_frame(TEXT, payload, rsv1=True), deflate=DEFLATE))
    assert (frame.text, frame.inflated) == ("a" * 1024, b"a".hex() * 1024)
    assert frame.cut
    items = view(chunk("server", encode_frame(TEXT, b"abc")), opened=True, shown=2)
    assert the_frame(items).text == "ab"


def test_a_bomb_is_not_inflated_to_its_end() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = b"".join(bomb.compress(bytes(2**20)) for _ in range(INFLATE_LIMIT // 2**20 + 4))
    payload += bomb.flush(zlib.Z_SYNC_FLUSH)[:-4]
    after = Compressor(15, True, Deflate()).compress(b"after")
    data = (
        encode_frame(TEXT, payload, rsv1=True) + encode_frame(TEXT, after, rsv1=True) + encode_frame(PING, b"")
        + encode_frame(BINARY, payload[:9], rsv1=True)
    )  # fmt: skip
    items = frames("server", data, deflate=DEFLATE)
    found = problem(items)
    assert (found.offset, found.byte, found.close_code, found.section) == (None, None, None, "RFC 7692, 8")
    assert str(INFLATE_LIMIT) in found.message
    assert [item.name for item in items if isinstance(item, Frame)] == ["text", "text", "ping", "binary"]
    assert [item.text for item in items if isinstance(item, Frame)] == [None] * 4
    # Headers and close frames are judged all the same.
    assert "1 byte" in frames("server", data + bytes.fromhex("8801 03"), deflate=DEFLATE)[-1].message
    assert (
        view(*(chunk("server", data[i : i + 1000]) for i in range(0, len(data), 1000)), opened=True, deflate=DEFLATE)
        == items
    )


def test_the_end_of_a_connection() -> None:
    def end(data: str) -> list[Item]:
        return view(chunk("server", data), chunk("server", b""), opened=True)

    assert [type(item) for item in end("8800")] == [Frame, End]
    found = problem(end("8100"))
    assert (found.offset, found.byte, found.close_code) == (2, None, 1006)
    assert found.message == "the connection ends without a close frame"
    assert found.section == "RFC 6455, 7.1.5"
    items = end("8105 4865")
    assert problem(items).message == "the connection ends in the middle of a frame, 3 bytes of its payload are missing"
    assert the_frame(items).text == "He"
    assert the_frame(items).cut
    assert problem(end("817e 00")).message == "the connection ends in the middle of a frame"
    assert the_frame(end("817e 00")).parts[-1].name == "payload length"
    assert problem(end("81")).message == "the connection ends in the middle of a frame"
    assert problem(end("010141")).message == "the connection ends in the middle of a message, fragments are missing"


def test_the_end_of_a_recording() -> None:
    assert [type(item) for item in frames("server", "8100")] == [Frame]
    found = problem(frames("server", "8105 4865"))
    assert found.message == "the recording ends in the middle of a frame, 3 bytes of its payload are missing"
    assert found.close_code is None


def test_masked_frames_that_are_not_complete() -> None:
    frame = the_frame(frames("client", "8185 37fa"))
    assert frame.masking_key is None
    assert [part.name for part in frame.parts][-1] == "payload length"
