"""What a proxy changes of requests, and that it changes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import REQUEST

from syncws.trace.rewriting import Rewriter


def rewritten(data: bytes, size: int | None = None) -> bytes:
    rewriter = Rewriter("example.com:81", "https://example.com:81")
    pieces = [data] if size is None else [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(map(rewriter.feed, pieces)) + rewriter.end()


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (head(b"GET / HTTP/1.1", b"Host: localhost:9000"), head(b"GET / HTTP/1.1", b"Host: example.com:81")),
        (head(b"GET / HTTP/1.1", b"hOST:x"), head(b"GET / HTTP/1.1", b"hOST: example.com:81")),
        (b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\nHost: example.com:81\n\n"),
        (
            head(b"GET / HTTP/1.1", b"Host: localhost:9000", b"Origin: HTTP://LOCALHOST:9000"),
            head(b"GET / HTTP/1.1", b"Host: example.com:81", b"Origin: https://example.com:81"),
        ),
        (
            head(b"GET / HTTP/1.1", b"Host: a", b"Origin: http://b"),
            head(b"GET / HTTP/1.1", b"Host: example.com:81", b"Origin: http://b"),
        ),
        # One request behind the other, with bodies, which may look like heads.
        (
            head(b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 9") + b"\nHost: a\n"
            + head(b"GET / HTTP/1.1", b"Host: a"),
            head(b"POST / HTTP/1.1", b"Host: example.com:81", b"Content-Length: 9") + b"\nHost: a\n"
            + head(b"GET / HTTP/1.1", b"Host: example.com:81"),
        ),
        (
            b"\r\n" + head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked") + b"8\r\nHost: a\n\r\n0\r\n\r\n"
            + head(b"GET / HTTP/1.1", b"Host: a"),
            b"\r\n" + head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked") + b"8\r\nHost: a\n\r\n0\r\n\r\n"
            + head(b"GET / HTTP/1.1", b"Host: example.com:81"),
        ),
        # What is no request passes, and so does what is not complete.
        (b"\x16\x03\nHost: a\r\n", b"\x16\x03\nHost: a\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nHost: a"),
        (b"GET / HTTP/1.1\r\nno colon\r\n: \r\n", b"GET / HTTP/1.1\r\nno colon\r\n: \r\n"),
    ],
)  # fmt: skip
def test_requests(before: bytes, after: bytes, size: int | None) -> None:
    assert rewritten(before, size) == after


@pytest.mark.parametrize("size", [None, 1])
def test_behind_a_request_for_a_websocket_nothing_is_looked_at(size: int | None) -> None:
    frames = b"\x81\x05\nHost: a\r\n\xff"
    expected = REQUEST.replace(b"Host: server.example.com", b"Host: example.com:81") + frames
    assert rewritten(REQUEST + frames, size) == expected


def test_complete_lines_are_sent_on_at_once() -> None:
    rewriter = Rewriter("b", "http://b")
    assert rewriter.feed(b"GET / HTTP/1.1\r\nHo") == b"GET / HTTP/1.1\r\n"
    assert rewriter.feed(b"st: a\r\n") == b"Host: b\r\n"
    assert rewriter.end() == b""


def test_a_line_that_does_not_end_is_not_held_back_for_ever() -> None:
    rewriter = Rewriter("b", "http://b")
    line = b"X" * 70000
    assert rewriter.feed(line) == line
    assert rewriter.feed(b"Host: a\r\n") == b"Host: a\r\n"


@given(st.binary(), st.integers(1, 20))
def test_what_has_no_host_passes_unchanged(data: bytes, size: int) -> None:
    if b"host" not in data.lower() and b"origin" not in data.lower():
        assert rewritten(data, size) == data
