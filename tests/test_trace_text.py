"""The wire view as text: plain, in colour, and safe whatever a peer has sent."""

from __future__ import annotations

import builtins
import re
import sys
from typing import Any

import pytest
from support import require_module
from traces import REQUEST, RESPONSE, SESSION, chunk, frames, view

from syncws.protocol.frames import encode_frame
from syncws.trace import Problem, annotated, read_recording, render_html, render_text
from syncws.trace.text import can_color

ESCAPE = re.compile("\x1b\\[[0-9;]*m")


def test_a_frame() -> None:
    assert (
        render_text(frames("client", "8185 37fa213d 7f9f4d5158"))
        == """\
0.000000 #1 client → server  text, 5 bytes: "Hello"  (RFC 6455, 5.6)
    byte 0  1... ....  FIN                     1  the last fragment of its message  (RFC 6455, 5.2)
    byte 0  .0.. ....  RSV1                    0  not set  (RFC 6455, 5.2)
    byte 0  ..0. ....  RSV2                    0  not set  (RFC 6455, 5.2)
    byte 0  ...0 ....  RSV3                    0  not set  (RFC 6455, 5.2)
    byte 0  .... 0001  opcode                  0x1  text: a text message begins: UTF-8  (RFC 6455, 5.6)
    byte 1  1... ....  MASK                    1  a masking key follows; a client must set it  (RFC 6455, 5.1)
    byte 1  .000 0101  payload length          5  5 bytes of payload  (RFC 6455, 5.2)
    byte 2             masking key             37fa213d  byte i of the payload is XORed with byte i modulo 4 of this\
  (RFC 6455, 5.3)
    payload, masked    7f 9f 4d 51 58
    payload, unmasked  48 65 6c 6c 6f
    text               Hello

"""
    )


def test_a_problem_is_pointed_at() -> None:
    text = render_text(frames("server", "8103 61c328"))
    assert text.endswith("""\
0.000000 #1 client ← server  PROBLEM: text message is not UTF-8: invalid continuation byte 0x28  (RFC 6455, 8.1)
    byte 4 of what the server has sent: 0x28; the other side closes with 1007
    81 03 61 c3 28
                ^^

""")


@pytest.mark.parametrize(
    ("items", "line"),
    [
        (frames("server", "8101 c3"), "    byte 3 of what the server has sent: nothing follows it; the other side"),
        (frames("server", "8800 8100"), "    byte 2 of what the server has sent: 0x81\n\n"),
        (view(chunk("server", "8100"), chunk("server", b""), opened=True), "follows it; the other side sees 1006"),
        (view(chunk("client", b"\x16")), "    byte 0 of what the client has sent: 0x16\n\n"),
        (frames("server", encode_frame(1, b"a" * 20 + b"\xff" + b"b" * 20)), "    … 61 61 61 61 61 61 61 61 ff 62 62"),
        (frames("server", encode_frame(1, b"a" * 2000 + b"\xff")), "byte 2004 of what the server has sent: 0xff;"),
        (view(chunk("client", b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")), "the answer is 426"),
    ],
)  # fmt: skip
def test_problems(items: Any, line: str) -> None:
    assert line in render_text(items)


@pytest.mark.parametrize(
    ("data", "summary"),
    [
        ("010141", "text, not the last fragment, 1 byte: \"A\"  (RFC"),
        ("8200", "binary, 0 bytes  (RFC"),
        ("8802 03e8", "close, 2 bytes: 1000  (RFC"),
        ("8805 03e8 627965", "close, 5 bytes: 1000 \"bye\"  (RFC"),
        ("8300", "reserved opcode 0x3, 0 bytes  (RFC 6455, 5.2)"),
        (encode_frame(1, b"a" * 100), f"text, 100 bytes: \"{'a' * 60}…\""),
        (encode_frame(1, b"a" * 500), f"    text               {'a' * 400} …\n"),
        (encode_frame(2, b"a" * 40), f"    payload            {'61 ' * 32}…\n"),
    ],
)  # fmt: skip
def test_frames_in_a_line(data: Any, summary: str) -> None:
    assert summary in render_text(frames("server", data))


def test_the_computation_of_the_accept_value() -> None:
    text = render_text(view(chunk("client", REQUEST), chunk("server", RESPONSE)))
    assert (
        """\
    key + GUID  dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11
    its SHA-1   b37a4f2cc0624f1690f64606cf385945b2bec4ea
    in base64   s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
    received    s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
                right
"""
        in text
    )
    wrong = RESPONSE.replace(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", b"")
    text = render_text(view(chunk("client", REQUEST), chunk("server", wrong)))
    assert "    received    nothing\n                wrong\n" in text


def test_a_request_that_was_written_again() -> None:
    text = render_text(view(chunk("client", REQUEST, rebuilt=True)))
    assert "GET /chat HTTP/1.1\n    written again: a web server had read the request before syncws did\n" in text


EVIL = "\x1b]0;title\x07\u202e\r\n\x9b31m"


def evil() -> list[Any]:
    """Items with everywhere what steers a terminal."""
    evil = EVIL.encode()
    request = REQUEST.replace(b"/chat", b"/\xc2\x9b31m").replace(b"example.com", b"\x9b31m\xc2\x85")
    return view(
        chunk("client", request.replace(b"nonce", b"\x9b31m"), rebuilt=True),
        chunk("server", RESPONSE.replace(b"Switching", b"\x9b31m").replace(b"s3pP", b"\x9b31")),
        chunk("client", encode_frame(1, evil, key=bytes(4))),
        chunk("server", encode_frame(9, evil) + encode_frame(8, b"\x03\xe8" + evil)),
        chunk("client", b"\x16\x1b[31m", connection=2),
        chunk("server", b"HTTP/1.1 200 \x9b31m\r\n\r\n", connection=2),
    )


def test_peers_cannot_steer_the_terminal() -> None:
    text = render_text(evil())
    assert text.replace("\n", "").isprintable()
    assert "\\x1b]0;title\\x07\\u202e\\r\\n\\x9b31m" in text
    require_module("rich")
    colored = ESCAPE.sub("", render_text(evil(), color=True))
    assert colored.replace("\n", "").isprintable()


def test_in_colour_it_says_the_same() -> None:
    require_module("rich")
    assert can_color()
    with open(SESSION / "session.jsonl") as file:
        items = list(annotated(read_recording(file)))
    colored = render_text(items, color=True)
    assert "\x1b[1" in colored
    plain = [line.rstrip() for line in ESCAPE.sub("", colored).splitlines()]
    assert plain == [line.rstrip() for line in render_text(items).splitlines()]


def test_what_looks_like_markup_is_text() -> None:
    require_module("rich")
    text = ESCAPE.sub("", render_text(frames("server", encode_frame(1, b"[red]x[/red]")), color=True))
    assert text.count("[red]x[/red]") == 2


def test_without_rich_there_is_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_rich(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ImportError(f"No module named {name!r}")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    assert not can_color()
    items = frames("server", "8100")
    assert render_text(items).startswith("0.000000 #1")
    with pytest.raises(ImportError, match=r"colours need the package rich: pip install 'syncws\[trace\]'"):
        render_text(items, color=True)


def test_a_problem_of_no_single_byte() -> None:
    found = Problem(1, 0.0, "client", None, None, "too much", None, "RFC 7692, 8")
    assert render_text([found]) == "0.000000 #1 client → server  PROBLEM: too much  (RFC 7692, 8)\n\n"
    assert "byte" not in render_html([found]).partition("<main>")[2]
