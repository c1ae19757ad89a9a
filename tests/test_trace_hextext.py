"""Hex digits as people and tools write them."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("00000001  81", "0000000181"),  # not the offset that it would have to be
        ("0000", "0000"[4:]),
        ("", ""),
        ("\n\n", ""),
        ("8100 8200", "81008200"),
        ("8100:8200", "81008200"),
    ],
)
def test_what_only_looks_like_an_offset(text: str, data: str) -> None:
    if text == "0000":
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
