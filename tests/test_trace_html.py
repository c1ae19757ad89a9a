"""The wire view as a page: complete in itself, without a script, and safe whatever a peer has sent."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from test_trace_text import evil
from traces import REQUEST, RESPONSE, SESSION, chunk, frames, view

from syncws.protocol.frames import encode_frame
from syncws.trace import annotated, read_recording, render_html

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and keeps what they are and what is written in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def session() -> str:
    with open(SESSION / "session.jsonl") as file:
        return render_html(annotated(read_recording(file)), "A session")


def test_the_page_is_complete_in_itself() -> None:
    page = Page(session())
    assert "script" not in page.tags
    assert not {"link", "img", "iframe", "object", "a"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert "url(" not in session()
    assert "@import" not in session()
    assert "prefers-color-scheme: dark" in session()
    assert ("lang", "en") in page.attributes


def test_everything_is_on_the_page() -> None:
    text = Page(session()).text
    for part in (
        "A session", "GET /chat HTTP/1.1", "Sec-WebSocket-Key", "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", "(right)",
        "the last fragment of its message", "7f 9f 4d 51 58", "masking key", "inflated", "RFC 6455, 5.6", "tick tock",
        "Problem:", "the other side closes with 1007", "ends its direction",
    ):  # fmt: skip
        assert part in text, part


def test_heads_and_frames_open_by_keyboard() -> None:
    page = Page(session())
    assert page.tags.count("details") == page.tags.count("summary") == 15


def test_the_wrong_byte_is_marked() -> None:
    assert "<mark>28</mark>" in render_html(frames("server", "8103 61c328"))
    assert "<mark>" not in render_html(frames("server", "8101 c3"))
    assert "nothing follows it" in render_html(frames("server", "8101 c3"))
    assert "of what the server has sent: 0x81</div>" in render_html(frames("server", "8800 8100"))


def test_an_accept_value_that_is_missing() -> None:
    wrong = RESPONSE.replace(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", b"")
    assert "nothing (wrong)" in render_html(view(chunk("client", REQUEST), chunk("server", wrong)))


def test_a_request_that_was_written_again() -> None:
    assert "written again: a web server" in Page(render_html(view(chunk("client", REQUEST, rebuilt=True)))).text


def test_peers_cannot_write_html() -> None:
    script = b"<script>alert(1)</script>\"'&"
    request = REQUEST.replace(b"/chat", b"/<b>").replace(b"nonce", script).replace(b"example.com", script)
    items = view(
        chunk("client", request, rebuilt=True),
        chunk("server", RESPONSE.replace(b"Switching", script).replace(b"s3pP", script)),
        chunk("client", encode_frame(1, script, key=bytes(4))),
        chunk("server", encode_frame(8, b"\x03\xe8" + script)),
        chunk("client", b"GET /" + script + b" HTTP/9\r\n\r\n", connection=2),
    )
    page = Page(render_html(items, "<script>"))
    assert not {"script", "b"} & set(page.tags)
    assert "<script>alert(1)</script>\"'&" in page.text


def test_characters_that_are_not_to_be_seen_are_escaped() -> None:
    page = render_html(evil(), "\x1b")
    assert page.replace("\n", "").isprintable()
    assert re.search(r"<title>\\x1b</title>", page)
