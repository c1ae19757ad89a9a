"""Text of a stranger, made fit to be shown."""

from __future__ import annotations

import pytest

from syncws.escapes import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text, ü and 世界", "plain text, ü and 世界"),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        ("\x1b[31m\x7f\x85\x9b", "\\x1b[31m\\x7f\\x85\\x9b"),
        ("\u2028\u202e\ufeff", "\\u2028\\u202e\\ufeff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert escaped(text).isprintable()


def test_what_is_to_be_kept() -> None:
    assert escaped("a\tb\nc\r", keep="\t\n") == "a\tb\nc\\r"
