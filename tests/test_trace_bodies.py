"""Where bodies end, however they are framed and cut."""

from __future__ import annotations

import pytest

from syncws.protocol.headers import Headers
from syncws.trace.bodies import Body

CHUNKED = ("Transfer-Encoding", "chunked")


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ([("Content-Length", "5")], b"12345"),
        ([CHUNKED], b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"),
        ([CHUNKED], b"0\r\nTrailer: 1\r\n\r\n"),
        ([("Transfer-Encoding", "gzip, chunked")], b"1\r\na\r\n0\r\n\r\n"),
    ],
)
def test_what_is_behind_a_body_is_returned(fields: list[tuple[str, str]], data: bytes) -> None:
    body = Body(Headers(fields), until_end=True)
    assert not body.complete
    assert body.take(data + b"next") == b"next"
    assert body.complete
    body = Body(Headers(fields), until_end=True)
    for byte in data:
        assert not body.complete
        assert body.take(bytes([byte])) == b""
    assert body.complete
    assert body.take(b"next") == b"next"


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ([], b"all"),
        ([("Content-Length", "x")], b"all"),
        ([("Content-Length", "9" * 30)], b"all"),
        ([("Transfer-Encoding", "gzip")], b"all"),
        ([CHUNKED], b"xyz\r\nall"),
        ([CHUNKED], b"1" * 5000),
    ],
)
def test_bodies_that_end_with_the_connection(fields: list[tuple[str, str]], data: bytes) -> None:
    body = Body(Headers(fields), until_end=True)
    assert body.take(data) == b""
    assert body.take(b"more") == b""
    assert not body.complete


def test_no_body() -> None:
    assert Body(Headers(), until_end=False).complete
    assert Body(Headers([("Content-Length", "0")]), until_end=True).complete


@pytest.mark.parametrize(("status", "method"), [(200, "HEAD"), (204, "GET"), (304, "GET"), (100, "GET")])
def test_responses_without_a_body(status: int, method: str) -> None:
    assert Body.of_response(status, Headers([("Content-Length", "5")]), method).complete


def test_responses_with_a_body() -> None:
    assert not Body.of_response(200, Headers(), "GET").complete
    assert Body.of_response(200, Headers([("Content-Length", "1")]), "GET").take(b"ab") == b"b"
