"""What a proxy changes of requests, and that it changes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces import REQUEST

from syncws.trace.rewriting import Own, Rewriter

ASKED = REQUEST.replace(b"server.example.com", b"localhost:9000")
ANSWERED = REQUEST.replace(b"server.example.com", b"example.com:81")
OWN = Own(("::", "192.0.2.1", "Proxy.example"), 9000)


def rewritten(data: bytes, size: int | None = None) -> bytes:
    rewriter = Rewriter("example.com:81", "https://example.com:81", OWN)
    pieces = [data] if size is None else [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(map(rewriter.feed, pieces)) + rewriter.end()


def head(*lines: bytes) -> bytes:
    return b"\r\n".join([*lines, b"", b""])


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (head(b"GET / HTTP/1.1", b"Host: localhost:9000"), head(b"GET / HTTP/1.1", b"Host: example.com:81")),
        (head(b"GET / HTTP/1.1", b"hOST:[::1]:9000"), head(b"GET / HTTP/1.1", b"hOST: example.com:81")),
        (b"GET / HTTP/1.1\nHost: proxy.example:9000\n\n", b"GET / HTTP/1.1\nHost: example.com:81\n\n"),
        (
            head(b"GET / HTTP/1.1", b"Host: localhost:9000", b"Origin: HTTP://LOCALHOST:9000"),
            head(b"GET / HTTP/1.1", b"Host: example.com:81", b"Origin: https://example.com:81"),
        ),
        (
            head(b"GET / HTTP/1.1", b"Origin: https://192.0.2.1:9000", b"Host: 192.0.2.1:9000"),
            head(b"GET / HTTP/1.1", b"Origin: https://example.com:81", b"Host: example.com:81"),
        ),
        (
            head(b"GET / HTTP/1.1", b"Host: localhost:9000", b"Origin: http://b"),
            head(b"GET / HTTP/1.1", b"Host: example.com:81", b"Origin: http://b"),
        ),
        # One request behind the other, with bodies, which may look like heads.
        (
            head(b"POST / HTTP/1.1", b"Host: 127.0.0.1:9000", b"Content-Length: 9") + b"\nHost: a\n"
            + head(b"GET / HTTP/1.1", b"Host: 127.0.0.1:9000"),
            head(b"POST / HTTP/1.1", b"Host: example.com:81", b"Content-Length: 9") + b"\nHost: a\n"
            + head(b"GET / HTTP/1.1", b"Host: example.com:81"),
        ),
        (
            b"\r\n" + head(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked") + b"8\r\nHost: a\n\r\n0\r\n\r\n"
            + head(b"GET / HTTP/1.1", b"Host: 127.0.0.1:9000"),
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
    assert rewritten(ASKED + frames, size) == ANSWERED + frames


@pytest.mark.parametrize("size", [None, 1])
def test_behind_a_request_for_a_websocket_that_was_refused_comes_another(size: int | None) -> None:
    assert rewritten(ASKED + b"\r\n" + ASKED, size) == ANSWERED + b"\r\n" + ANSWERED


@pytest.mark.parametrize("frame", [b"A\x81\0\0\0\0\n", b"GE\x81\n"])
def test_frames_whose_first_byte_is_a_letter(frame: bytes) -> None:
    data = frame + b"GET / HTTP/1.1\r\nHost: localhost:9000\r\n"
    assert rewritten(ASKED + data, 1) == ANSWERED + data


@pytest.mark.parametrize(
    "fields",
    [
        # The name of a stranger that leads to the proxy.
        (b"Host: evil.example:9000", b"Origin: http://evil.example:9000"),
        (b"Origin: http://evil.example:9000", b"Host: evil.example:9000"),
        (b"Host: 192.0.2.2:9000", b"Origin: http://192.0.2.2:9000"),
        # Another port of this machine, and other forms.
        (b"Host: localhost:9001", b"Origin: http://localhost:9001"),
        (b"Host: localhost", b"Origin: https://localhost"),
        (b"Host: a@localhost:9000", b"Origin: ws://localhost:9000"),
        (b"Host: ", b"Origin: null"),
    ],
)
def test_what_does_not_name_the_proxy_stays(fields: tuple[bytes, ...]) -> None:
    request = head(b"GET / HTTP/1.1", *fields)
    assert rewritten(request) == request


def test_addresses_that_need_care() -> None:
    own = Own(("", "::ffff:192.0.2.3"), 80)
    assert own.is_host("192.0.2.3")
    assert not own.is_host("")
    assert not own.is_origin("http://")


def test_the_port_may_be_the_default() -> None:
    own = Own(("192.0.2.1",), 443)
    assert own.is_origin("https://192.0.2.1")
    assert not own.is_origin("http://192.0.2.1")
    assert Own((), 80).is_host("LocalHost")


def test_complete_lines_are_sent_on_at_once() -> None:
    rewriter = Rewriter("b", "http://b", Own((), 80))
    assert rewriter.feed(b"GET / HTTP/1.1\r\nHo") == b"GET / HTTP/1.1\r\n"
    assert rewriter.feed(b"st: localhost\r\n") == b"Host: b\r\n"
    assert rewriter.end() == b""


def test_a_line_that_does_not_end_is_not_held_back_for_ever() -> None:
    rewriter = Rewriter("b", "http://b", Own((), 80))
    line = b"X" * 70000
    assert rewriter.feed(line) == line
    assert rewriter.feed(b"Host: a\r\n") == b"Host: a\r\n"


@given(st.binary(), st.integers(1, 20))
def test_what_has_no_host_passes_unchanged(data: bytes, size: int) -> None:
    if b"host" not in data.lower() and b"origin" not in data.lower():
        assert rewritten(data, size) == data
