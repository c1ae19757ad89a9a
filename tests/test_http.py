"""Reading and writing HTTP heads and bodies: every vector whole, byte by byte, and with bytes behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate, parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.errors import HandshakeError
from syncws.http import (
    BadRequest,
    Limits,
    RequestReader,
    date,
    read_response_head,
    reason_phrase,
    request_bytes,
    response_bytes,
    text_response,
)
from syncws.protocol.handshake import RequestHead

GET = b"GET /chat?room=1 HTTP/1.1\r\nHost: example.com\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

piece_sizes = pytest.mark.parametrize("size", [1, 7, 1 << 20], ids=["byte by byte", "by 7", "whole"])


def stream(data: bytes, size: int = 1 << 20) -> Callable[[], bytes]:
    """A connection that delivers ``data`` in pieces of ``size`` bytes and then ends."""
    pieces: Iterator[bytes] = (data[index : index + size] for index in range(0, len(data), size))
    return lambda: next(pieces, b"")


def read_all(reader: RequestReader) -> list[tuple[RequestHead, bytes]]:
    requests = []
    while (head := reader.read_head()) is not None:
        body = b"".join(iter(reader.read_body, b""))
        requests.append((head, body))
    return requests


def refused(data: bytes, size: int = 1 << 20, limits: Limits | None = None) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_all(RequestReader(stream(data, size), limits or Limits()))
    assert str(caught.value) == caught.value.message
    return caught.value


@given(st.integers(0, 2**32))
def test_dates_are_those_of_mail_in_english(seconds: int) -> None:
    assert date(seconds) == formatdate(seconds, usegmt=True)


def test_the_date_is_now() -> None:
    before = int(time.time())
    assert before <= parsedate_to_datetime(date()).timestamp() <= time.time()


def test_what_most_requests_have_is_there_once() -> None:
    heads = [
        RequestReader(stream(GET + b"Upgrade: websocket\r\nUpgrade:  websocket \r\n\r\n")).read_head() for _ in "12"
    ]
    one, two = (head.headers.pairs() for head in heads if head is not None)
    assert one == two == (("Host", "example.com"), ("Upgrade", "websocket"), ("Upgrade", "websocket"))
    assert one[1][0] is two[1][0]
    assert one[1][1] is two[1][1]


@piece_sizes
def test_reads_a_head(size: int) -> None:
    data = GET + b"Cookie: a=1\r\nX-Name:  \t caf\xe9 \t\r\nEmpty:\r\nCookie: b=2\r\n\r\n\x81\x80"
    reader = RequestReader(stream(data, size))
    head = reader.read_head()
    assert head is not None
    assert (head.method, head.target, head.version, head.path) == ("GET", "/chat?room=1", "1.1", "/chat")
    assert head.headers.pairs() == (
        ("Host", "example.com"),
        ("Cookie", "a=1"),
        ("X-Name", "caf\xe9"),
        ("Empty", ""),
        ("Cookie", "b=2"),
    )
    assert not reader.has_body
    assert reader.read_body() == b""


def test_hands_over_what_came_beyond_the_head() -> None:
    reader = RequestReader(stream(GET + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x80abcd"))
    assert reader.read_head() is not None
    assert reader.has_buffered
    assert reader.leftover() == b"\x81\x80abcd"
    assert not reader.has_buffered
    assert reader.leftover() == b""


def test_begins_with_what_was_read_before() -> None:
    reader = RequestReader(stream(b"Host: a\r\n\r\n"), data=b"GET / HTTP/1.1\r\n")
    head = reader.read_head()
    assert head is not None
    assert head.headers["host"] == "a"


@piece_sizes
def test_end_of_the_connection(size: int) -> None:
    assert RequestReader(stream(b"", size)).read_head() is None
    assert RequestReader(stream(b"\r\n\r\n", size)).read_head() is None
    assert refused(GET, size).message == "connection ended in the middle of a head"
    assert refused(b"G", size).status == 400


@piece_sizes
def test_pipelined_requests_and_bodies(size: int) -> None:
    data = (
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        b"\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        + CHUNKED
        + b'5\r\nhello\r\n06;name=value;quoted="a;b"\r\n world\r\n0\r\nTrailer: x\r\n\r\n'
        + b"POST /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        + b"OPTIONS * HTTP/1.0\r\n\r\n"
        + b"GET http://b/5 HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    requests = read_all(RequestReader(stream(data, size)))
    assert [(head.target, body) for head, body in requests] == [
        ("/1", b"hello"),
        ("/2", b""),
        ("/", b"hello world"),
        ("/4", b""),
        ("*", b""),
        ("http://b/5", b""),
    ]


@piece_sizes
@pytest.mark.parametrize(
    "first",
    [
        b"GET /1 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"POST /1 HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc",
        CHUNKED[:-2] + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_what_llhttp_takes_for_an_upgrade_is_plain_http(first: bytes, size: int) -> None:
    requests = read_all(RequestReader(stream(first + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n", size)))
    assert len(requests) == 2
    assert requests[0][1] in (b"", b"abc")
    assert requests[1][0].target == "/2"


def test_body_is_handed_out_in_pieces() -> None:
    reader = RequestReader(stream(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello!"))
    reader.read_head()
    assert reader.has_body
    assert [reader.read_body(2) for _ in range(4)] == [b"he", b"ll", b"o", b""]
    assert not reader.has_body
    assert reader.leftover() == b"!"


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "Upgrade, CLOSE", False),
        ("1.1", "keep-alive", True),
        ("1.0", None, False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "keep-alive, close", False),
    ],
)
def test_keep_alive(version: str, connection: str | None, expected: bool) -> None:
    field = f"Connection: {connection}\r\n" if connection else ""
    reader = RequestReader(stream(f"GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n".encode()))
    reader.read_head()
    assert reader.keep_alive is expected


@pytest.mark.parametrize(("version", "expected"), [("1.1", True), ("1.0", False)])
def test_expects_continue(version: str, expected: bool) -> None:
    request = f"POST / HTTP/{version}\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n"
    reader = RequestReader(stream(request.encode()))
    reader.read_head()
    assert reader.expects_continue is expected


# The head of each is broken; llhttp or our own checks refuse it.
BROKEN_HEADS = {
    "Content-Length and Transfer-Encoding": GET + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding and Content-Length": GET + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    "two Content-Length": GET + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
    "list of Content-Length": GET + b"Content-Length: 3, 3\r\n\r\n",
    "signed Content-Length": GET + b"Content-Length: +3\r\n\r\n",
    "empty Content-Length": GET + b"Content-Length:\r\n\r\n",
    "huge Content-Length": GET + b"Content-Length: 99999999999999999999\r\n\r\n",
    "chunked not last": GET + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "chunked missing": GET + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked twice": GET + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked misspelt": GET + b"Transfer-Encoding: xchunked\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare LF after the target": b"GET /\nX: HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "bare LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "bare LF only": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF before": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bare CR in a value": GET + b"X: a\rb\r\n\r\n",
    "bare CR before": b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in a value": GET + b"X: a\0b\r\n\r\n",
    "NUL in a name": GET + b"X\0: a\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "control character in a value": GET + b"X: a\x01b\r\n\r\n",
    "folded field": GET + b"X: a\r\n b\r\n\r\n",
    "space before the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "space before a colon": GET + b"X : a\r\n\r\n",
    "no field name": GET + b": a\r\n\r\n",
    "no colon": GET + b"X\r\n\r\n",
    "two Hosts": GET + b"Host: example.com\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "Host with a list": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "Host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with user information": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "unknown method": b"FETCH / HTTP/1.1\r\nHost: a\r\n\r\n",
    "method in lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces behind the target": b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab before the target": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "target without a slash": b"GET chat HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with a fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "target that is not ASCII": b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with user information": b"GET http://me@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "target without a host": b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
    "Host with two ports": b"GET / HTTP/1.1\r\nHost: a:80:90\r\n\r\n",
    "Host with a port that is no number": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "asterisk": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "target of another scheme": b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    "version 1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
}


@piece_sizes
@pytest.mark.parametrize("head", BROKEN_HEADS.values(), ids=BROKEN_HEADS)
def test_broken_heads_are_refused(head: bytes, size: int) -> None:
    error = refused(head + b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", size)
    assert error.status == 400


def test_errors_say_what_is_wrong() -> None:
    assert refused(BROKEN_HEADS["two Hosts"]).message == "2 Host fields"
    assert refused(BROKEN_HEADS["no Host"]).message == "no Host field"
    assert "'a/b' is not a host name" in refused(BROKEN_HEADS["Host with a path"]).message
    assert "Content-Length can't be present" in refused(BROKEN_HEADS["Transfer-Encoding and Content-Length"]).message


@pytest.mark.parametrize(
    "host", [b"a", b"a:80", b"[::1]:80", b"127.0.0.1", b"", b"xn--caf-dma.example", b"a%20b", b"under_score"]
)
def test_valid_hosts(host: bytes) -> None:
    assert RequestReader(stream(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")).read_head() is not None


def test_http_1_0_needs_no_host() -> None:
    assert RequestReader(stream(b"GET / HTTP/1.0\r\n\r\n")).read_head() is not None


@piece_sizes
@pytest.mark.parametrize(
    ("line", "protocol"),
    [
        (b"GET / HTTP/2.0", "HTTP/2.0"),
        (b"PRI * HTTP/2.0", "HTTP/2.0"),
        (b"GET / HTTP/0.9", "HTTP/0.9"),
        (b"GET / RTSP/1.0", "RTSP/1.0"),
        (b"GET /page", "/page"),
    ],
)
def test_other_versions_are_505(line: bytes, protocol: str, size: int) -> None:
    error = refused(line + b"\r\n\r\n", size)
    assert (error.status, error.message) == (505, f"request line ends with '{protocol}'; only HTTP/1.1 is supported")


def test_other_transfer_codings_are_501() -> None:
    error = refused(GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n")
    assert error.status == 501
    assert "gzip" in error.message


def test_connect_is_for_proxies() -> None:
    # A proxy in front would take a 2xx for a tunnel (RFC 9110, 9.3.6).
    for fields in (b"", b"Content-Length: 3\r\n"):
        error = refused(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\nabc")
        assert (error.status, error.message) == (501, "CONNECT is for proxies")


@piece_sizes
def test_length_with_thousands_of_zeros(size: int) -> None:
    head = GET + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\n"
    assert [body for _, body in read_all(RequestReader(stream(head + b"abc" + GET + b"\r\n", size)))] == [b"abc", b""]


@pytest.mark.parametrize("fields", [b"", b"Connection: Upgrade\r\nUpgrade: x\r\n"])
@pytest.mark.parametrize("value", [b"", b",", b" , ,", b", chunked", b"chunked,"])
def test_transfer_encoding_without_a_coding_is_not_no_body(value: bytes, fields: bytes) -> None:
    error = refused(GET + fields + b"Transfer-Encoding: " + value + b"\r\n\r\n")
    assert error.status in (400, 501)


@pytest.mark.parametrize(("first", "hint"), [(b"\x16\x03\x01", "it looks like TLS"), (b"\x00", "byte 0x00")])
def test_what_cannot_become_a_head_is_refused_at_its_first_byte(first: bytes, hint: str) -> None:
    pieces = iter([b"\r\n", first])
    reader = RequestReader(lambda: next(pieces))  # StopIteration if it asked for more
    with pytest.raises(BadRequest, match=hint):
        reader.read_head()


@piece_sizes
def test_limit_of_the_target(size: int) -> None:
    limits = Limits(max_target=100)
    target = b"/" + b"a" * 99
    request = b"%s HTTP/1.1\r\nHost: a\r\n\r\n"
    assert len(read_all(RequestReader(stream(b"GET " + request % target, size), limits))) == 1
    error = refused(b"GET " + request % (target + b"a"), size, limits)
    assert (error.status, error.message) == (414, "request target is 101 bytes, the limit is 100")
    # A target that does not end is refused while it arrives.
    error = refused(b"GET /" + b"a" * 1000, size, limits)
    assert (error.status, error.message) == (414, "request target is over 100 bytes")


@piece_sizes
def test_limit_of_the_head(size: int) -> None:
    head = GET + b"X: " + b"a" * 60000 + b"\r\n\r\n"
    limits = Limits(max_head=len(head))
    assert len(read_all(RequestReader(stream(head * 2, size), limits))) == 2
    error = refused(head, size, Limits(max_head=len(head) - 1))
    assert (error.status, error.message) == (431, f"head is over {len(head) - 1} bytes")
    assert refused(GET + b"X: " + b"a" * 60000, size, Limits(max_head=1000)).status == 431


@piece_sizes
def test_limit_of_the_field_count(size: int) -> None:
    limits = Limits(max_fields=10)
    head = GET + b"X:\r\n" * 9
    assert len(read_all(RequestReader(stream(head + b"\r\n", size), limits))) == 1
    assert refused(head + b"X:\r\n\r\n", size, limits).status == 431
    # One that does not end is refused while it arrives.
    error = refused(head + b"X:\r\n" * 2, size, limits)
    assert (error.status, error.message) == (431, "head has more than 10 fields")


@piece_sizes
@pytest.mark.parametrize(
    "chunks",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"3;a=b\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"1_0\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"\r\nabc\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nabc",
        b"3;a\0=b\r\nabc\r\n0\r\n\r\n",
        b"0\r\nTrailer : x\r\n\r\n",
        b"0\r\nTrailer\n\r\n",
    ],
)
def test_broken_chunks_are_refused(chunks: bytes, size: int) -> None:
    error = refused(CHUNKED + chunks, size)
    assert error.status == 400
    assert error.message.startswith("malformed chunk: ")


@piece_sizes
def test_limits_of_chunk_lines_and_trailers(size: int) -> None:
    line = b"3;" + b"a" * 4092 + b"\r\n"
    assert len(line) == 4096
    assert read_all(RequestReader(stream(CHUNKED + line + b"abc\r\n0\r\n\r\n", size)))[0][1] == b"abc"
    assert "over 4096 bytes" in refused(CHUNKED + b"3;" + b"a" * 4093 + b"\r\n", size).message
    assert "over 4096 bytes" in refused(CHUNKED + b"3;" + b"a" * 5000, size).message
    limits = Limits(max_fields=10)
    assert len(read_all(RequestReader(stream(CHUNKED + b"0\r\n" + b"X:\r\n" * 10 + b"\r\n", size), limits))) == 1
    error = refused(CHUNKED + b"0\r\n" + b"X:\r\n" * 11 + b"\r\n", size, limits)
    assert (error.status, error.message) == (431, "more than 10 trailer fields")


@piece_sizes
@pytest.mark.parametrize(
    "request_begin",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
        CHUNKED,
        CHUNKED + b"5",
        CHUNKED + b"5\r\nhell",
        CHUNKED + b"5\r\nhello",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
    ],
)
def test_connection_that_ends_in_a_body(request_begin: bytes, size: int) -> None:
    error = refused(request_begin, size)
    assert (error.status, error.message) == (400, "connection ended in the middle of the body")


@given(
    st.lists(
        st.sampled_from([GET, CHUNKED, b"\r\n", b"\r", b"\n", b"0\r\n\r\n", b"3\r\nabc", b"Content-Length: 3\r\n"])
        | st.binary(max_size=20),
        max_size=12,
    ),
    st.integers(1, 200),
)
def test_any_bytes_are_read_or_refused_the_same_on_every_split(parts: list[bytes], size: int) -> None:
    def outcome(size: int) -> list[object]:
        reader = RequestReader(stream(data, size))
        seen: list[object] = []
        try:
            while (head := reader.read_head()) is not None:
                seen.append((head.method, head.target, head.headers.pairs()))
                seen.append(b"".join(iter(reader.read_body, b"")))
        except BadRequest as error:
            seen.append(BadRequest if error.status == 400 else error.status)
        return seen

    data = b"".join(parts)
    assert outcome(size) == outcome(1 << 20)


def test_what_recv_raises_passes_through() -> None:
    def recv() -> bytes:
        raise TimeoutError("too slow")

    with pytest.raises(TimeoutError, match="too slow"):
        RequestReader(recv).read_head()
    with pytest.raises(TimeoutError, match="too slow"):
        read_response_head(recv)


@piece_sizes
def test_reads_a_response_head(size: int) -> None:
    data = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x00"
    )
    recv = stream(data, size)
    head, leftover = read_response_head(recv)
    assert (head.status, head.reason) == (101, "Switching Protocols")
    assert head.headers.pairs() == (("Upgrade", "websocket"), ("Connection", "Upgrade"))
    assert leftover + b"".join(iter(recv, b"")) == b"\x81\x00"


@piece_sizes
@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 404 Not Found", 404, "Not Found"),
        (b"HTTP/1.0 200 ", 200, ""),
        (b"HTTP/1.1 200", 200, ""),
        (b"HTTP/1.1 200 \xe9", 200, "\xe9"),
    ],
)
def test_other_responses(line: bytes, status: int, reason: str, size: int) -> None:
    head, _ = read_response_head(stream(line + b"\r\nContent-Length: 4\r\n\r\nbody", size))
    assert (head.status, head.reason, head.headers["content-length"]) == (status, reason, "4")


@piece_sizes
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\n", "connection ended in the middle of a head"),
        (b"SSH-2.0-OpenSSH\r\n", "not a valid HTTP response"),
        (b"+OK POP3 ready\r\n", "not a valid HTTP response: head begins with byte 0x2b"),
        (b"HTTP/1.1 200 OK\nX: a\n\n", "not a valid HTTP response: malformed head"),
        (b"HTTP/1.1 099 Odd\r\n\r\n", "status 99"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000, "head is over 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 102, "more than 100 fields"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3000, "interim responses of more than 65536 bytes"),
    ],
)
def test_answers_that_are_no_response(data: bytes, words: str, size: int) -> None:
    with pytest.raises(HandshakeError, match=re.escape(words)) as caught:
        read_response_head(stream(data, size))
    assert caught.value.status == 0


def test_response_bytes() -> None:
    head, _, body = response_bytes(404, None, [("X", "a")], b"no such page").partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 404 Not Found"
    assert lines[1] == "X: a"
    assert re.fullmatch(r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", lines[2])
    assert lines[3:] == ["Content-Length: 12", "Connection: close"]
    assert body == b"no such page"


def test_response_bytes_without_a_body() -> None:
    response = response_bytes(101, "Go", [("Upgrade", "websocket")], close=False)
    assert response == b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\n\r\n"
    assert b"Content-Length" not in response_bytes(204, None, [])


def test_text_response() -> None:
    response = text_response(400, "two Hosts – why?", "GET", fields=[("X", "a")])
    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\nX: a\r\nContent-Type: text/plain; charset=utf-8\r\n")
    assert response.endswith("\r\nContent-Length: 19\r\nConnection: close\r\n\r\ntwo Hosts – why?\n".encode())
    # The response to HEAD is the same without the body.
    response = text_response(404, "nothing", "HEAD", close=False)
    assert response.endswith(b"\r\nContent-Length: 8\r\n\r\n")


def test_request_bytes() -> None:
    request = request_bytes("GET", "/chat", [("Host", "a"), ("X", "b")])
    assert request == b"GET /chat HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n"


@pytest.mark.parametrize("field", [("X", "a\r\nY: b"), ("X", "a\nb"), ("X\r\nY", "b"), ("X", "a\0"), ("X", "\u0142")])
def test_line_that_would_be_two_is_never_written(field: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        response_bytes(403, None, [field])
    with pytest.raises(ValueError, match="cannot be sent"):
        request_bytes("GET", "/", [field])
    with pytest.raises(ValueError, match="cannot be sent"):
        request_bytes("GET", "/\r\nX: y", [])


def test_reason_phrase() -> None:
    assert reason_phrase(200) == "OK"
    assert reason_phrase(299) == ""


def test_a_101_without_connection_upgrade_is_a_response_like_others() -> None:
    # What is wrong with it is for the handshake to say.
    data = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\0"
    head, leftover = read_response_head(iter([data]).__next__)
    assert (head.status, head.headers["Upgrade"], leftover) == (101, "websocket", b"\x81\0")
