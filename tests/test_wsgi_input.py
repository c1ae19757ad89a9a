"""wsgi.input: the request's body as a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import pytest

from syncws.http import BadRequest, RequestReader
from syncws.wsgi_input import RequestBody, input_stream

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
SIZED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n"
LINES = b"one\ntwo\nend"


def fail() -> None:
    raise AssertionError("100 Continue was sent")


def body_of(*pieces: bytes | Exception, send_continue: Callable[[], None] = fail) -> tuple[RequestBody, BinaryIO]:
    """The body of a request that arrives in pieces."""
    rest = iter(pieces)

    def recv() -> bytes:
        piece = next(rest, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece

    reader = RequestReader(recv)
    assert reader.read_head() is not None
    body = RequestBody(reader, send_continue)
    return body, input_stream(body, reader)


framings = pytest.mark.parametrize(
    "request_bytes",
    [
        SIZED + b"\r\n" + LINES + b"GET / HTTP/1.1\r\n",
        CHUNKED + b"\r\n2\r\non\r\n9\r\ne\ntwo\nend\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    ],
    ids=["Content-Length", "chunked"],
)


@framings
@pytest.mark.parametrize("size", [1, 1000])
def test_all_the_ways_to_read(request_bytes: bytes, size: int) -> None:
    def stream() -> BinaryIO:
        return body_of(*(request_bytes[index : index + size] for index in range(0, len(request_bytes), size)))[1]

    assert stream().read() == LINES
    assert stream().read(1000) == LINES
    assert stream().read(-1) == LINES
    assert list(stream()) == [b"one\n", b"two\n", b"end"]
    assert stream().readlines() == [b"one\n", b"two\n", b"end"]
    assert stream().readlines(1) == [b"one\n"]
    piecewise = stream()
    assert piecewise.read(2) == b"on"
    assert piecewise.readline() == b"e\n"
    assert piecewise.readline(2) == b"tw"
    assert piecewise.read(0) == b""
    assert piecewise.read() == b"o\nend"
    assert piecewise.read() == piecewise.readline() == b""


def test_request_without_a_body() -> None:
    body, stream = body_of(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\nmore")
    assert stream.read() == b""
    assert not body.continue_due
    assert body.drain(100)


def test_continue_is_sent_before_the_first_read() -> None:
    sent = []
    body, stream = body_of(SIZED + b"Expect: 100-continue\r\n\r\n", LINES, send_continue=lambda: sent.append(True))
    assert body.continue_due
    assert stream.readline() == b"one\n"
    assert not body.continue_due
    stream.read()
    assert sent == [True]


def test_failure_is_kept() -> None:
    body, stream = body_of(SIZED + b"\r\none\n", TimeoutError("slow"), b"two\nend")
    assert stream.readline() == b"one\n"
    for _ in range(2):
        with pytest.raises(TimeoutError, match="slow") as caught:
            stream.readline()
        assert body.failure is caught.value
    assert not body.drain(100)
    body, stream = body_of(SIZED + b"\r\none")
    with pytest.raises(BadRequest, match="ended in the middle"):
        stream.read()
    assert isinstance(body.failure, BadRequest)


def test_client_that_is_gone_when_it_is_told_to_continue() -> None:
    def send_continue() -> None:
        raise BrokenPipeError

    body, stream = body_of(SIZED + b"Expect: 100-continue\r\n\r\n", send_continue=send_continue)
    with pytest.raises(BrokenPipeError):
        stream.read()
    assert isinstance(body.failure, BrokenPipeError)


def test_drain() -> None:
    body, _ = body_of(SIZED + b"\r\n", LINES[:5], LINES[5:], b"GET /")
    assert body.drain(100)
    body, _ = body_of(SIZED + b"\r\n", LINES[:5], LINES[5:])
    assert not body.drain(5)
    body, _ = body_of(SIZED + b"\r\n", LINES[:5])
    assert not body.drain(100)
