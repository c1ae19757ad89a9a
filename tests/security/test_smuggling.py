"""Requests that two readers on one way could read in two ways: ours reads each as one request, or as none.

Whoever gets a second request past a proxy, inside of what the proxy takes for a body or for one request, has passed all
that the proxy checks. So behind each attack stands a request for ``/smuggled``. What is in doubt is answered with an
error, the connection ends with that, and the second request is never seen.

Every server of ours that runs an app reads requests with the same code: on threads, on greenlets, and in our workers of
Gunicorn, which do not use Gunicorn's parser, nor pywsgi's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from raw_client import RawClient
from security.servers import SERVERS, serving

import syncws

HOST = b"Host: a\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
EMPTY = b"0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST


def post(fields: bytes, body: bytes = b"") -> bytes:
    return POST + fields + b"\r\n" + body


# What could be a body of another size for somebody else, or another request.
REFUSED = {
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
    "one length twice": post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    "list of lengths": post(b"Content-Length: 5, 5\r\n", b"hello"),
    "length with a plus": post(b"Content-Length: +5\r\n", b"hello"),
    "length with a minus": post(b"Content-Length: -5\r\n", b"hello"),
    "hexadecimal length": post(b"Content-Length: 0x5\r\n", b"hello"),
    "length with an underscore": post(b"Content-Length: 1_0\r\n", b"hello12345"),
    "two numbers": post(b"Content-Length: 5 5\r\n", b"hello"),
    "length with a vertical tab": post(b"Content-Length: 5\x0b\r\n", b"hello"),
    "empty length": post(b"Content-Length:\r\n"),
    "blank length": post(b"Content-Length: \r\n"),
    "length in other digits": post("Content-Length: ٥\r\n".encode(), b"hello"),
    "length with a superscript": post(b"Content-Length: \xb2\r\n", b"hello"),
    "length of thousands of digits": post(b"Content-Length: " + b"9" * 5000 + b"\r\n", b"hello"),
    "length over 64 bits": post(b"Content-Length: 18446744073709551621\r\n", b"hello"),
    "length and chunks": post(b"Content-Length: 5\r\n" + TE, EMPTY),
    "chunks and length": post(TE + b"Content-Length: 5\r\n", EMPTY),
    "chunks and length 0": post(TE + b"Content-Length: 0\r\n", EMPTY),
    "length and chunks with an upgrade": post(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n" + TE, EMPTY
    ),
    "chunks twice": post(TE + TE, EMPTY),
    "list of chunks twice": post(b"Transfer-Encoding: chunked, chunked\r\n", EMPTY),
    "identity": post(b"Transfer-Encoding: identity\r\n"),
    "identity behind chunks": post(b"Transfer-Encoding: chunked, identity\r\n", EMPTY),
    "identity before chunks": post(b"Transfer-Encoding: identity, chunked\r\n", EMPTY),
    "gzip and chunks": post(b"Transfer-Encoding: gzip, chunked\r\n", EMPTY),
    "chunks misspelt": post(b"Transfer-Encoding: xchunked\r\n", EMPTY),
    "chunks with a vertical tab": post(b"Transfer-Encoding: \x0bchunked\r\n", EMPTY),
    "chunks with a NUL": post(b"Transfer-Encoding: chunked\0\r\n", EMPTY),
    "chunks in quotes": post(b'Transfer-Encoding: "chunked"\r\n', EMPTY),
    "chunks with a parameter": post(b"Transfer-Encoding: chunked;q=1\r\n", EMPTY),
    "nothing behind chunks": post(b"Transfer-Encoding: chunked,\r\n", EMPTY),
    "nothing before chunks": post(b"Transfer-Encoding: ,chunked\r\n", EMPTY),
    "space before the colon of a coding": post(b"Transfer-Encoding : chunked\r\n", EMPTY),
    "space before the colon of a length": post(b"Content-Length : 5\r\n", b"hello"),
    "tab before the colon of a length": post(b"Content-Length\t: 5\r\n", b"hello"),
    "folded coding": post(b"Transfer-Encoding:\r\n chunked\r\n", EMPTY),
    "folded field": post(b"X: a\r\n b\r\n"),
    "folded first field": b"POST / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + TE + b"Connection: keep-alive\r\n\r\n" + EMPTY,
    "two hosts": post(b"Host: b\r\n"),
    # An HTTP/0.9 request, for whoever takes bare LF for the end of a line (found by fuzzing).
    "bare LF behind the target": b"GET /\nX: HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare LF behind the request line": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    "bare LF behind a field": post(b"X: a\nY: b\r\n"),
    "bare LF at the end": b"GET / HTTP/1.1\r\n" + HOST + b"\n",
    "bare LF before the end": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "nothing but bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare CR in a field": post(b"X: a\rY: b\r\n"),
    "bare CR at the end": b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    "bare CR before the request": b"\r" + post(b""),
    "bare LF before the request": b"\n" + post(b""),
    "space before the request": b" " + post(b""),
    "NUL in a value": post(b"X: a\0b\r\n"),
    "NUL in a name": post(b"X\0: a\r\n"),
    "control character in a value": post(b"X: a\x01b\r\n"),
    "DEL in a value": post(b"X: a\x7fb\r\n"),
    "no name": post(b": a\r\n"),
    "space in a name": post(b"X Y: a\r\n"),
    "name that is not ASCII": post(b"X\xe9: a\r\n"),
    "no colon": post(b"X\r\n"),
    "space in the target": b"GET / x HTTP/1.1\r\n" + HOST + b"\r\n",
    "control character in the target": b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "target that is not ASCII": b"GET /\x85 HTTP/1.1\r\n" + HOST + b"\r\n",
    "tabs in the request line": b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "space behind the version": b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n",
    "version in lower case": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "tunnel": b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "tunnel with a length": b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
}
# The head is all right. The app learns of the chunks when it reads them.
BROKEN_CHUNKS = {
    "negative size": b"-1\r\n\r\n",
    "size with a prefix": b"0x5\r\nhello\r\n" + EMPTY,
    "size with a plus": b"+5\r\nhello\r\n" + EMPTY,
    "space before a size": b" 5\r\nhello\r\n" + EMPTY,
    "space behind a size": b"5 \r\nhello\r\n" + EMPTY,
    "size with an underscore": b"0_5\r\nhello\r\n" + EMPTY,
    "no size": b"\r\nhello\r\n" + EMPTY,
    "size over 64 bits": b"10000000000000005\r\nhello\r\n" + EMPTY,
    "bare LF behind a size": b"5\nhello\r\n" + EMPTY,
    "bare LF behind a chunk": b"5\r\nhello\n" + EMPTY,
    "bare CR behind a chunk": b"5\r\nhello\r" + EMPTY,
    "two other bytes behind a chunk": b"5\r\nhelloXX" + EMPTY,
    "bare LF behind an extension": b"5;a\nhello\r\n" + EMPTY,
    "bare LF in an extension": b"2;\nxx\r\n45\r\n" + EMPTY,
    "bare CR in an extension": b"5;a\rb\r\nhello\r\n" + EMPTY,
    "bare CR in a quoted extension": b'5;a="\rb"\r\nhello\r\n' + EMPTY,
    "bare LF in a quoted extension": b'5;a="\nb"\r\nhello\r\n' + EMPTY,
    "NUL in an extension": b"5;a=\0\r\nhello\r\n" + EMPTY,
    "extension without an end": b"5;" + b"a" * 5000 + b"\r\nhello\r\n" + EMPTY,
    "bare LF at the end": b"0\r\n\n",
    "nothing but bare LF at the end": b"0\n\n",
    "length in the trailer": b"0\r\nContent-Length: 50\r\n\r\n",
    "coding in the trailer": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "bare LF in the trailer": b"0\r\nX: y\n\r\n",
    "folded trailer": b"0\r\nX: y\r\n z\r\n\r\n",
}
# For all readers the same: one request, and behind it the next one.
READ = {
    "length": post(b"Content-Length: 5\r\n", b"hello"),
    "length with spaces around": post(b"Content-Length: \t5 \r\n", b"hello"),
    "length with thousands of zeros": post(b"Content-Length: " + b"0" * 5000 + b"5\r\n", b"hello"),
    "chunks": post(TE, b"5\r\nhello\r\n" + EMPTY),
    "chunks in capitals": post(b"TRANSFER-ENCODING: CHUNKED\r\n", b"5\r\nhello\r\n" + EMPTY),
    "chunks with extensions": post(TE, b'5;a=b;c="d;e"\r\nhello\r\n' + EMPTY),
    "chunks with a trailer": post(TE, b"5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
    "size with zeros": post(TE, b"0" * 300 + b"5\r\nhello\r\n" + EMPTY),
    "upgrade that the app ignores": post(
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n", b"hello"
    ),
    "upgrade to HTTP/2": post(b"Upgrade: h2c\r\nConnection: Upgrade\r\n" + TE, b"5\r\nhello\r\n" + EMPTY),
    "names with an underscore mean nothing": post(b"Content_Length: 50\r\nContent-Length: 5\r\n", b"hello"),
}


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with what has been read. ``/ws`` is a WebSocket that sends messages back."""
    if environ["PATH_INFO"] == "/ws":
        ws = syncws.upgrade(environ)
        for message in ws:
            ws.send(message)
        return []
    body = environ["wsgi.input"].read()
    seen = f"[{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {body!r}]".encode()
    start_response("200 OK", [("Content-Length", str(len(seen)))])
    return [seen]


@pytest.fixture(scope="module", params=SERVERS)
def address(request: pytest.FixtureRequest) -> Iterator[Any]:
    with serving(request.param, app) as where:
        yield where


def answers_to(address: Any, data: bytes) -> list[bytes]:
    """Send ``data`` and the request to be smuggled; return the status codes of all answers."""
    with RawClient(address) as client:
        client.send(data + SMUGGLED)
        return re.findall(rb"HTTP/1\.1 (\d{3}) ", client.read_to_end())


@pytest.mark.parametrize("attack", REFUSED)
def test_head_in_doubt_is_refused_and_ends_the_connection(address: Any, attack: str) -> None:
    (status,) = answers_to(address, REFUSED[attack])
    assert status in (b"400", b"501", b"505")


@pytest.mark.parametrize("attack", BROKEN_CHUNKS)
def test_broken_chunks_are_refused_and_end_the_connection(address: Any, attack: str) -> None:
    assert answers_to(address, post(TE, BROKEN_CHUNKS[attack])) == [b"400"]


@pytest.mark.parametrize("request_name", READ)
def test_what_is_not_in_doubt_is_read_and_then_the_next_request(address: Any, request_name: str) -> None:
    with RawClient(address) as client:
        client.send(READ[request_name] + SMUGGLED)
        assert client.read_response().body == b"[POST / b'hello']"
        assert client.read_response().body == b"[GET /smuggled b'']"


WEBSOCKET = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def test_request_behind_an_upgrade_is_frames_and_broken_ones(address: Any) -> None:
    with RawClient(address) as client:
        client.send(WEBSOCKET + b"\r\n" + SMUGGLED)
        assert client.read_response().status == 101
        assert client.read_close() == 1002
        # read_close() has seen the end of the connection: there was no answer to the other request.


def test_request_behind_a_refused_upgrade_is_the_next_request(address: Any) -> None:
    with RawClient(address) as client:
        client.send(WEBSOCKET + b"Origin: http://attacker.example\r\n\r\n" + SMUGGLED)
        assert client.read_response().status == 403
        assert client.read_response().body == b"[GET /smuggled b'']"


@pytest.mark.parametrize(
    ("fields", "body"),
    [(b"Content-Length: 5\r\n", b"hello"), (TE, b"5\r\nhello\r\n" + EMPTY)],
    ids=["length", "chunks"],
)
def test_body_of_an_upgrade_is_never_frames(address: Any, fields: bytes, body: bytes) -> None:
    with RawClient(address) as client:
        client.send(WEBSOCKET + fields + b"\r\n" + body + SMUGGLED)
        assert client.read_response().status == 400
        assert client.read_response().body == b"[GET /smuggled b'']"
