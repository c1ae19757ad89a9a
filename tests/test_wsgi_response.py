"""start_response(), write() and the framing of a WSGI app's response."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest

from syncws.wsgi_response import FileWrapper, Response

TEXT = ("Content-Type", "text/plain")


class Sent:
    """A client that takes what is sent to it, until it has gone."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.gone = False

    def send(self, data: bytes) -> None:
        if self.gone:
            raise BrokenPipeError("gone")
        self.pieces.append(data)

    @property
    def head(self) -> list[str]:
        lines = b"".join(self.pieces).partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        return [re.sub(r"^Date: .*GMT$", "Date: now", line) for line in lines]

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces).partition(b"\r\n\r\n")[2]


def respond(method: str = "GET", version: str = "1.1", *, alive: bool = True) -> tuple[Response, Sent]:
    sent = Sent()
    return Response(sent.send, method, version, lambda: alive), sent


def test_chunks() -> None:
    response, sent = respond()
    response.start_response("200 OK", [TEXT])
    assert not response.started
    response.write(b"")
    assert not response.started
    response.write(b"hello ")
    assert response.started
    response.write(b"")
    response.write(b"a" * 100)
    response.finish()
    assert sent.head == [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain",
        "Transfer-Encoding: chunked",
        "Date: now",
        "Server: syncws",
    ]
    assert sent.body == b"6\r\nhello \r\n64\r\n" + b"a" * 100 + b"\r\n0\r\n\r\n"
    assert response.keep_alive
    # The head leaves with the first piece.
    assert len(sent.pieces) == 3


def test_content_length_of_the_app() -> None:
    response, sent = respond()
    response.start_response("200 OK", [("content-length", "6")])
    response.write(b"abc")
    response.write(b"def")
    response.finish()
    assert sent.head == ["HTTP/1.1 200 OK", "content-length: 6", "Date: now", "Server: syncws"]
    assert sent.body == b"abcdef"
    assert response.keep_alive


@pytest.mark.parametrize("body", [b"hello", b""])
def test_only_piece(body: bytes) -> None:
    response, sent = respond()
    response.start_response("200 OK", [])
    response.write(body, only=True)
    response.finish()
    assert f"Content-Length: {len(body)}" in sent.head
    assert sent.body == body


def test_large_pieces_are_not_copied() -> None:
    response, sent = respond()
    data = bytes(100_000)
    response.start_response("200 OK", [])
    response.write(data)
    assert sent.pieces[1] is data
    assert sent.pieces[0].endswith(b"\r\n\r\n186a0\r\n")
    assert sent.pieces[2] == b"\r\n"


def test_http_1_0() -> None:
    # Without a length, the end of the connection is the end of the body.
    response, sent = respond(version="1.0")
    response.start_response("200 OK", [])
    response.write(b"hello")
    response.finish()
    assert sent.head == ["HTTP/1.1 200 OK", "Connection: close", "Date: now", "Server: syncws"]
    assert sent.body == b"hello"
    assert not response.keep_alive
    # With one, HTTP/1.0 wants to be told that the connection goes on.
    response, sent = respond(version="1.0")
    response.start_response("200 OK", [])
    response.finish()
    assert sent.head[1:3] == ["Content-Length: 0", "Connection: keep-alive"]
    assert response.keep_alive


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        ("200 OK", [("Content-Length", "5")], ["Content-Length: 5"]),
        ("200 OK", [], []),
        ("204 No Content", [("Content-Length", "0")], []),
        ("304 Not Modified", [("Content-Length", "5")], ["Content-Length: 5"]),
    ],
)
@pytest.mark.parametrize("pieces", [[], [b"hello"], [b"hello", b"hello"]])
def test_responses_without_a_body(
    status: str, fields: list[tuple[str, str]], expected: list[str], pieces: list[bytes]
) -> None:
    response, sent = respond("HEAD" if status == "200 OK" else "GET")
    response.start_response(status, fields)
    for piece in pieces:
        response.write(piece)
    response.finish()
    assert sent.head == [f"HTTP/1.1 {status}", *expected, "Date: now", "Server: syncws"]
    assert sent.body == b""
    assert response.keep_alive


@pytest.mark.parametrize(
    ("fields", "alive", "expected", "kept"),
    [
        ([], False, ["Connection: close"], False),
        ([("Connection", "close")], True, ["Connection: close"], False),
        ([("Connection", "keep-alive")], True, [], True),
        ([("Connection", "keep-alive")], False, ["Connection: close"], False),
        ([("Upgrade", "websocket"), ("Connection", "Upgrade")], True, ["Connection: Upgrade"], True),
        ([("Connection", "Upgrade"), ("connection", "CLOSE")], True, ["Connection: Upgrade, close"], False),
    ],
)
def test_connection(fields: list[tuple[str, str]], alive: bool, expected: list[str], kept: bool) -> None:
    response, sent = respond(alive=alive)
    response.start_response("200 OK", fields)
    response.finish()
    assert [line for line in sent.head if line.lower().startswith("connection")] == expected
    assert response.keep_alive is kept


def test_date_and_server_of_the_app() -> None:
    response, sent = respond()
    response.start_response("200 OK", [("date", "today"), ("SERVER", "mine")])
    response.finish()
    assert sent.head == ["HTTP/1.1 200 OK", "date: today", "SERVER: mine", "Content-Length: 0"]


def test_latin_1_and_repeated_fields() -> None:
    response, sent = respond()
    response.start_response("200 Très bien", [("Set-Cookie", "a=é"), ("Set-Cookie", "b=\t2")])
    response.finish()
    assert sent.head[:3] == ["HTTP/1.1 200 Très bien", "Set-Cookie: a=é", "Set-Cookie: b=\t2"]


def test_write_of_old_code() -> None:
    response, sent = respond()
    write = response.start_response("200 OK", [("Content-Length", "6")])
    write(b"abc")
    response.write(b"def")
    response.finish()
    assert sent.body == b"abcdef"


def test_length_that_does_not_fit() -> None:
    response, sent = respond()
    response.start_response("200 OK", [("Content-Length", "5")])
    response.write(b"abc")
    with pytest.raises(RuntimeError, match="longer than its Content-Length, 5 bytes"):
        response.write(b"def")
    assert sent.body == b"abc"
    with pytest.raises(RuntimeError, match="has 3 bytes, its Content-Length is 5"):
        response.finish()
    # Too long from the start: nothing has been sent, so that it can be an error page instead.
    response, sent = respond()
    response.start_response("200 OK", [("Content-Length", "5")])
    with pytest.raises(RuntimeError, match="longer"):
        response.write(b"abcdef")
    assert not response.started


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_fits_into_the_content_length(method: str) -> None:
    response, _ = respond(method)
    response.start_response("200 OK", [TEXT])
    assert response.fitting(b"abc") == b"abc"
    response, _ = respond(method)
    response.start_response("200 OK", [("Content-Length", "5")])
    assert response.fitting(b"abcdef") == b"abcde"
    response.write(b"abc")
    assert response.fitting(b"def") == b"de"
    response.write(b"de")
    assert response.fitting(b"f") == b""
    if method == "HEAD":
        response.write(b"too much, and not sent")
        assert response.fitting(b"abc") == b""
    response.finish()


def test_no_start_response() -> None:
    response, _ = respond()
    with pytest.raises(RuntimeError, match="did not call start_response"):
        response.write(b"abc")
    with pytest.raises(RuntimeError, match="did not call start_response"):
        response.finish()
    assert not response.started


def test_exc_info() -> None:
    response, sent = respond()
    response.start_response("200 OK", [("X", "a"), ("Content-Length", "3")])
    with pytest.raises(RuntimeError, match="second time, without exc_info"):
        response.start_response("200 OK", [])
    try:
        raise KeyError("first")
    except KeyError:
        response.start_response("500 Oops", [TEXT], sys.exc_info())
    response.write(b"sorry", only=True)
    assert sent.head[:3] == ["HTTP/1.1 500 Oops", "Content-Type: text/plain", "Content-Length: 5"]
    # Too late: the exception goes on.
    with pytest.raises(KeyError, match="second") as caught:
        try:
            raise KeyError("second")
        except KeyError:
            response.start_response("500 Oops", [TEXT], sys.exc_info())
    assert [entry.name for entry in caught.traceback][-1] == "test_exc_info"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((b"200 OK", []), TypeError, "takes a str and a list"),
        (("200 OK", ()), TypeError, "takes a str and a list"),
        (("OK", []), ValueError, "status must be like '200 OK'"),
        (("200 OK\r\nX: a", []), ValueError, "status must be"),
        (("101 Switching Protocols", []), ValueError, "from 200 to 599"),
        (("600 Odd", []), ValueError, "from 200 to 599"),
        (("200 OK", [["X", "a"]]), TypeError, "must be a tuple of name and value"),
        (("200 OK", [("X", "a", "b")]), TypeError, "must be a tuple of name and value"),
        (("200 OK", [("X", 1)]), TypeError, "must be str"),
        (("200 OK", [(b"X", "a")]), TypeError, "must be str"),
        (("200 OK", [("X Y", "a")]), ValueError, "'X Y' is not a token"),
        (("200 OK", [("X:", "a")]), ValueError, "is not a token"),
        (("200 OK", [("X", "a\r\nSet-Cookie: b")]), ValueError, "cannot be sent"),
        (("200 OK", [("X", "a\0")]), ValueError, "cannot be sent"),
        (("200 OK", [("X", "€")]), ValueError, "cannot be sent"),
        (("200 OK", [("Transfer-Encoding", "chunked")]), ValueError, "Transfer-Encoding is the server's business"),
        (("200 OK", [("Content-Length", "five")]), ValueError, "one number of bytes, not 'five'"),
        (("200 OK", [("Content-Length", "-5")]), ValueError, "one number of bytes"),
        (("200 OK", [("Content-Length", "²")]), ValueError, "one number of bytes"),
        (("200 OK", [("Content-Length", "5"), ("content-length", "5")]), ValueError, "not '5 and 5'"),
    ],
)
def test_wrong_arguments(arguments: Any, error: type[Exception], words: str) -> None:
    response, _ = respond()
    with pytest.raises(error, match=re.escape(words)):
        response.start_response(*arguments)
    # The mistake leaves no trace.
    response.start_response("200 OK", [])


@pytest.mark.parametrize("data", ["text", bytearray(b"abc"), None])
def test_body_that_is_not_bytes(data: Any) -> None:
    response, _ = respond()
    response.start_response("200 OK", [])
    with pytest.raises(TypeError, match=f"made of bytes, not {type(data).__name__}"):
        response.write(data)


def test_client_that_goes_away() -> None:
    response, sent = respond()
    response.start_response("200 OK", [])
    sent.gone = True
    with pytest.raises(BrokenPipeError) as caught:
        response.write(b"abc")
    assert response.failure is caught.value
    assert response.started


def test_discarding() -> None:
    response, sent = respond()
    response.discarding = True
    write = response.start_response("not even valid", [])
    write(b"abc")
    response.write("def")  # type: ignore[arg-type]
    response.finish()
    assert sent.pieces == []
    assert not response.started
    assert not response.failed


def test_discarding_an_error_page() -> None:
    response, sent = respond()
    response.discarding = True
    response.start_response("500 Internal Server Error", [])
    assert response.failed
    assert sent.pieces == []


def test_file_wrapper() -> None:
    file = io.BytesIO(b"a" * 100_000)
    wrapper = FileWrapper(file)
    assert [len(block) for block in wrapper] == [65536, 34464]
    wrapper.close()
    assert file.closed
    assert list(FileWrapper(io.BytesIO(b"abcde"), 2)) == [b"ab", b"cd", b"e"]

    class OnlyRead:
        def read(self, size: int) -> bytes:
            return b""

    FileWrapper(OnlyRead()).close()  # type: ignore[arg-type]  # a file need not have close()
