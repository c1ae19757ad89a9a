"""Hex digits as people and tools write them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from support import require_tool
from wire import DEADLINE

from syncws.trace.hextext import parse_hex

HELLO = bytes.fromhex("818537fa213d7f9f4d5158")


@pytest.mark.parametrize(
    "text",
    [
        "818537fa213d7f9f4d5158",
        "81 85 37 FA 21 3d\n7f 9f\t4d5158\n",
        "0x81, 0x85, 0x37,0xfa,0x21,0X3d, 0x7f 0x9f4d5158",
        "81:85:37:fa:21:3d:7f:9f:4d:51:58",
        r"\x81\x8537fa\x21\x3d\x7f\x9f\x4d\x51\x58",
        "00000000: 8185 37fa 213d 7f9f 4d51 58              ..7.!=..MQX\n",
        "00000000  81 85 37 fa 21 3d 7f 9f  4d 51 58                 |..7.!=..MQX|\n0000000b\n",
        "0000   81 85 37 fa 21 3d 7f 9f 4d 51 58                  ..7.!=..MQX",
    ],
)
def test_ways_to_write_it(text: str) -> None:
    assert parse_hex(text) == HELLO


def test_a_dump_of_several_lines() -> None:
    data = bytes(range(40))
    lines = [
        f"{start:08x}  {data[start : start + 8].hex(' ')}  {data[start + 8 : start + 16].hex(' ')}  |{'a' * 16}|"
        for start in range(0, 40, 16)
    ]
    assert parse_hex("\n".join(lines)) == data
    # Sixteen bytes are a line, whatever the characters behind it look like.
    assert parse_hex("0000: " + bytes(16).hex(" ") + "  abababababababab") == bytes(16)


BYTES = bytes(range(0x30, 0x54))
REPEATED = b"\x82\x40" + bytes(64)


def dumped(data: bytes, *command: str) -> str:
    require_tool(command[0], shutil.which(command[0]))
    return subprocess.run(command, input=data, capture_output=True, timeout=DEADLINE).stdout.decode()


@pytest.mark.parametrize(
    "data", [HELLO, BYTES, BYTES[:16], BYTES[:32], REPEATED, bytes(64) + b"ab", b"\x81\x0cdeadbeefcafe"]
)
@pytest.mark.parametrize(
    "command",
    [
        ("od", "-Ax", "-tx1"),
        ("od", "-tx1"),
        ("od", "-Ax", "-tx1z"),
        ("hexdump", "-C"),
        ("xxd",),
        ("xxd", "-c", "4"),
        ("xxd", "-c", "20", "-g", "1"),
        ("xxd", "-a"),
        ("xxd", "-p"),
    ],
    ids=" ".join,
)
def test_what_tools_write(command: tuple[str, ...], data: bytes) -> None:
    assert parse_hex(dumped(data, *command)) == data


def test_a_long_line() -> None:
    assert len(parse_hex("81 " * 300_000)) == 300_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("000000 81 05", "line 1: '000000' may be an offset or bytes; put a colon behind it, or two spaces"),
        ("00000010: 8105  ..", "line 1: a hex dump has to begin at the offset 0, not at 00000010"),
        ("0000000 0581 6548\n0000004", "line 1: behind one space, bytes have two digits each: od -Ax -tx1 writes so"),
        ("0000: 81 05\n0003: 00", "line 2: its offset, 3, does not fit to the bytes of the line before it"),
        ("0000: 81 05\n0000: 00", "line 2: its offset, 0, does not fit to the bytes of the line before it"),
        ("0000: 81 05\n\nxyz", "line 3: 'xyz' is no line of a hex dump, as those before it"),
        ("0000000 81 05\n*\n0000009", "line 3: '0000009' is no line of a hex dump, as those before it"),
        ("0000: 81 05\n*", "line 1: the line behind the asterisk is missing, whose offset ends it"),
        ("0000: 81 05\n*\n0003", "line 3: its offset, 3, does not fit to the bytes of the line before it"),
        ("0000: 81 05\n*\nfffffffe", "line 3: its offset, 4294967294, does not fit to the bytes of the line before it"),
        ("0000: 81 05\n0002: xy\n*\n0004", "line 4: its offset, 4, does not fit to the bytes of the line before it"),
    ],
)
def test_what_is_not_clear(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_hex(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("0000 8105\n4865", "000081054865"),
        ("0000:8105", "00008105"),
        ("0000:  81  05", "81"),
        ("0000000 81\n0000009 05", None),
        ("00000001  81", "0000000181"),  # not the offset that it would have to be
        ("0000", "0000"[4:]),
        ("", ""),
        ("\n\n", ""),
        ("8100 8200", "81008200"),
        ("8100:8200", "81008200"),
    ],
)
def test_what_only_looks_like_an_offset(text: str, data: str | None) -> None:
    if data is None:
        with pytest.raises(ValueError, match="odd number"):
            parse_hex(text)
    elif text == "0000":
        assert parse_hex(text) == b"\0\0"
    else:
        assert parse_hex(text) == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("81 zz", "line 1: 'zz' is not hex"),
        ("81\n8", "line 2: '8' has an odd number of hex digits; a byte has two"),
        ("0x", "line 1: '0x' is not hex"),
        ("-" * 100, f"line 1: '{'-' * 40}' is not hex"),
        ("0000: xyz", "line 1: 'xyz' is not hex"),
    ],
)
def test_what_is_not_hex(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_hex(text)
    assert str(caught.value) == message
