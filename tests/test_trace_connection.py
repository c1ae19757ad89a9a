"""The opening handshake in the wire view, plain HTTP in front of it, and what is wrong with either."""

from __future__ import annotations

import pytest
from traces import KEY, REQUEST, RESPONSE, chunk, problem, view

from syncws.protocol.frames import encode_frame
from syncws.trace import End, Frame, Handshake, Item, Problem

WS = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
TEXT = bytes.fromhex("8185 37fa213d 7f9f4d5158")


def request(*fields: str, line: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([line, "Host: a", *fields, "", ""]).encode("latin-1")


def response(*fields: str, status: str = "200 OK", body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode() + body


def names(items: list[Item]) -> list[str]:
    """What the items are, in short."""
    return [
        item.line if isinstance(item, Handshake) else item.name if isinstance(item, Frame) else type(item).__name__
        for item in items
    ]


def test_the_handshake_of_the_standard() -> None:
    asked, answered = view(chunk("client", REQUEST), chunk("server", RESPONSE, time=1.0))
    assert isinstance(asked, Handshake)
    assert isinstance(answered, Handshake)
    assert (asked.kind, asked.line, asked.hex, asked.offset) == ("request", "GET /chat HTTP/1.1", REQUEST.hex(), 0)
    assert (answered.kind, answered.line) == ("response", "HTTP/1.1 101 Switching Protocols")
    assert asked.accept is None
    assert asked.note == ""
    accept = answered.accept
    assert accept is not None
    assert (accept.key, accept.guid) == (KEY, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    # RFC 6455, 1.3 has the digest too.
    assert accept.sha1 == "b37a4f2cc0624f1690f64606cf385945b2bec4ea"
    assert accept.accept == accept.received == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert accept.ok
    assert [(field.name, field.section) for field in asked.fields] == [
        ("Host", "RFC 6455, 4.1"),
        ("Upgrade", "RFC 6455, 4.1"),
        ("Connection", "RFC 6455, 4.1"),
        ("Sec-WebSocket-Key", "RFC 6455, 4.1"),
        ("Origin", "RFC 6455, 10.2"),
        ("Sec-WebSocket-Protocol", "RFC 6455, 4.1"),
        ("Sec-WebSocket-Version", "RFC 6455, 4.1"),
    ]
    assert all(field.note for field in (*asked.fields, *answered.fields))


def test_a_key_that_is_not_ascii() -> None:
    broken = REQUEST.replace(b"nonce", b"\xe9").replace(KEY.encode(), b"\xe9")
    items = view(chunk("client", broken), chunk("server", RESPONSE))
    assert isinstance(items[2], Handshake)
    assert items[2].accept is not None
    assert items[2].accept.key == "\xe9"


def test_a_field_that_has_nothing_to_do_with_it() -> None:
    (item,) = view(chunk("client", request("X-Other: 1")))
    assert isinstance(item, Handshake)
    assert (item.fields[1].note, item.fields[1].section) == ("", "")


def test_a_request_that_was_written_again_says_so() -> None:
    (item,) = view(chunk("client", REQUEST, rebuilt=True))
    assert isinstance(item, Handshake)
    assert "written again" in item.note


def test_frames_behind_the_request_wait_for_the_answer() -> None:
    together = view(chunk("client", REQUEST + TEXT), chunk("server", RESPONSE + b"\x81\0", time=1.0))
    assert names(together) == ["GET /chat HTTP/1.1", "HTTP/1.1 101 Switching Protocols", "text", "text"]
    frame = together[2]
    assert isinstance(frame, Frame)
    assert (frame.sender, frame.offset, frame.time) == ("client", len(REQUEST), 1.0)
    apart = view(
        chunk("client", REQUEST), chunk("client", TEXT[:3]), chunk("client", TEXT[3:]), chunk("server", RESPONSE)
    )
    assert names(apart)[2:] == ["text"]


@pytest.mark.parametrize("answer", [RESPONSE, response(status="403 Forbidden")], ids=["accepted", "refused"])
def test_a_client_that_does_not_wait_is_not_kept_for_ever(answer: bytes) -> None:
    flood = [chunk("client", bytes([number]) * 2**19) for number in range(5)]
    items = view(chunk("client", REQUEST), *flood, chunk("server", answer), chunk("client", b""))
    assert [type(item) for item in items] == [Handshake, Problem, Handshake, End]
    found = problem(items)
    assert (found.offset, found.byte) == (len(REQUEST), "00")
    assert "more than 1048576 bytes before the request was answered" in found.message


def test_a_client_that_does_not_wait_may_send_single_bytes_and_end() -> None:
    flood = [chunk("client", b"x")] * 20_000
    items = view(
        chunk("client", REQUEST), *flood, chunk("client", b""), chunk("server", response(status="403 Forbidden"))
    )
    assert [type(item) for item in items] == [Handshake, Handshake, Problem, End]
    items = view(chunk("client", REQUEST), chunk("client", bytes(2**20)), chunk("client", b""), chunk("server", b""))
    assert [type(item) for item in items] == [Handshake, End, End]


def test_permessage_deflate_is_what_the_answer_says() -> None:
    offer = request(WS[:-2], f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Extensions: permessage-deflate")
    compressed = encode_frame(1, bytes.fromhex("f248cdc9c90700"), rsv1=True)  # RFC 7692, 7.2.3.1
    agreed = RESPONSE.replace(b"Sec-WebSocket-Protocol: chat", b"Sec-WebSocket-Extensions: permessage-deflate")
    items = view(chunk("client", offer), chunk("server", agreed + compressed))
    assert isinstance(items[-1], Frame)
    assert items[-1].text == "Hello"
    declined = RESPONSE.replace(b"Sec-WebSocket-Protocol: chat\r\n", b"")
    assert "RSV1" in problem(view(chunk("client", offer), chunk("server", declined + compressed))).message


@pytest.mark.parametrize(
    ("data", "place", "message", "status"),
    [
        (request(WS[:-2]), b"\r\n\r\n", "exactly one Sec-WebSocket-Key", 400),
        (request(WS[:-2], "Sec-WebSocket-Key: short"), b"short", "got 'short'", 400),
        (request(WS.replace("13", "12")[:-2], f"Sec-WebSocket-Key: {KEY}"), b"12", "must be 13", 426),
        (request("Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}"), b"\r\n\r\n", "Connection must list", 426),
        (request("Connection: x", "Sec-WebSocket-Version: 13"), b"\r\n\r\n", "Upgrade must list", 426),
        (request(WS[:-2], f"Sec-WebSocket-Key: {KEY}", line="POST / HTTP/1.1"), b"POST", "method 'POST'", 405),
        (request(WS[:-2], f"Sec-WebSocket-Key: {KEY}", line="GET / HTTP/1.0"), b"HTTP/", "HTTP/1.0", 505),
        (request(WS[:-2], f"Sec-WebSocket-Key: {KEY}", line="OPTIONS * HTTP/1.1"), b"OPTIONS", "method", 405),
        (request(WS[:-2], f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Protocol:  a b"), b"a b", "Protocol", 400),
        (request(WS[:-2], f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Extensions: ;"), b";", "Extensions", 400),
        (request(WS[:-2], f"Sec-WebSocket-Key: {KEY}", "Content-Length: 2"), b"\r\n\r\n", "has a body", 400),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request(data: bytes, place: bytes, message: str, status: int) -> None:
    items = view(chunk("client", data))
    assert isinstance(items[0], Handshake)
    found = problem(items)
    expected = data.index(place) + (2 if place == b"\r\n\r\n" else 0)
    assert (found.offset, found.byte, found.close_code) == (expected, f"{data[expected]:02x}", None)
    assert message in found.message
    assert found.message.endswith(f"the answer is {status}")


def test_a_plain_request_is_not_judged_as_a_handshake() -> None:
    assert names(view(chunk("client", request()))) == ["GET / HTTP/1.1"]


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        (b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", b"AAAA", b"AAAA", "Sec-WebSocket-Accept must be 's3pP"),
        (b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", b"", b"\r\n\r\n", "got none"),
        (b"Upgrade: websocket", b"Upgrade: other", b"other", "Upgrade must be"),
        (b"Connection: Upgrade", b"Connection: close", b"close", "Connection must list"),
        (b"Protocol: chat", b"Protocol: video", b"video", "chose subprotocol"),
        (b"Protocol: chat", b"Extensions: x-own", b"x-own", "has not offered"),
    ],
)
def test_what_is_wrong_with_a_response(old: bytes, new: bytes, place: bytes, message: str) -> None:
    data = RESPONSE.replace(old, new)
    items = view(chunk("client", REQUEST), chunk("server", data + b"\x81\0"))
    found = problem(items)
    expected = data.index(place) + (2 if place == b"\r\n\r\n" else 0)
    assert (found.offset, found.sender) == (expected, "server")
    assert message in found.message
    # They go on all the same, and so does the view.
    assert isinstance(items[-1], Frame)
    if b"Accept" in old or old.startswith(b"s3"):
        assert isinstance(items[1], Handshake)
        assert items[1].accept is not None
        assert not items[1].accept.ok


def test_a_refused_handshake_and_another_one() -> None:
    refused = response("Content-Length: 3", status="403 Forbidden", body=b"no\n")
    items = view(
        chunk("client", REQUEST), chunk("server", refused), chunk("client", REQUEST), chunk("server", RESPONSE),
        chunk("client", TEXT),
    )  # fmt: skip
    assert names(items) == [
        "GET /chat HTTP/1.1", "HTTP/1.1 403 Forbidden", "GET /chat HTTP/1.1", "HTTP/1.1 101 Switching Protocols", "text"
    ]  # fmt: skip
    assert isinstance(items[-1], Frame)
    assert items[-1].offset == 2 * len(REQUEST)
    assert isinstance(items[3], Handshake)
    assert items[3].offset == len(refused)


def test_plain_http_in_front_of_it() -> None:
    items = view(
        chunk("client", b"\r\n" + request("Content-Length: 5", line="POST / HTTP/1.1") + b"GET /"),
        chunk("server", response(status="100 Continue")),
        chunk("server", response("Transfer-Encoding: chunked", body=b"3\r\na")),
        chunk("server", b"bc\r\n0\r\n\r\n"),
        chunk("client", request(line="HEAD / HTTP/1.1")),
        chunk("server", response("Content-Length: 100")),
        chunk("client", REQUEST),
        chunk("server", RESPONSE),
    )
    assert names(items) == [
        "POST / HTTP/1.1", "HTTP/1.1 100 Continue", "HTTP/1.1 200 OK", "HEAD / HTTP/1.1", "HTTP/1.1 200 OK",
        "GET /chat HTTP/1.1", "HTTP/1.1 101 Switching Protocols",
    ]  # fmt: skip
    assert isinstance(items[0], Handshake)
    assert items[0].offset == 2


def test_another_protocol_is_not_read() -> None:
    items = view(
        chunk("client", request("Upgrade: h2c", "Connection: Upgrade")),
        chunk("server", response("Upgrade: h2c", status="101 Switching Protocols") + b"\0\0"),
        chunk("client", b"PRI * HTTP/2.0"),
        chunk("client", b""),
        chunk("server", b""),
    )
    assert names(items)[1:] == ["HTTP/1.1 101 Switching Protocols", "End", "End"]


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (b"\x16\x03\x01", 0, "it looks like TLS"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", 20, "malformed head"),
        (b"GET /\x9b HTTP/1.1\r\n", 5, "malformed head"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n", 28, "malformed head"),
        (b"GET /a b HTTP/1.1\r\n", 7, "malformed head"),
        (b"GET / HTTP/1.1\r\nX: 1\r\n\r\n", 22, "no Host field"),
        (b"GET /" + b"a" * 9000, 0, "request target"),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 102, 622, "more than 100 fields"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 66000, 16, "head is over 65536 bytes"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 0, "HTTP"),
        (b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n", 4, "a fragment"),
    ],
)
def test_a_request_that_cannot_be_read(data: bytes, offset: int, message: str) -> None:
    whole = view(chunk("client", data), chunk("server", response(status="400 Bad Request")))
    found = problem(whole)
    assert message in found.message
    assert (found.offset, found.byte) == (offset, f"{data[offset]:02x}")
    assert names(whole) == ["Problem", "HTTP/1.1 400 Bad Request"]
    apart = [chunk("client", bytes([byte])) for byte in data]
    assert view(*apart, chunk("server", response(status="400 Bad Request"))) == whole


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n", b"HTTP/1.1 000 x\r\n\r\n"])
def test_a_response_that_cannot_be_read(data: bytes) -> None:
    found = problem(view(chunk("client", REQUEST), chunk("server", data)))
    assert found.sender == "server"


def test_heads_that_are_not_complete() -> None:
    found = problem(view(chunk("client", REQUEST[:50])))
    assert (found.message, found.offset, found.byte) == ("the recording ends in the middle of a head", 50, None)
    items = view(chunk("client", b"\r"), chunk("client", b""))
    assert problem(items).message == "the connection ends in the middle of a head"
    assert names(view(chunk("client", b""), chunk("client", b"x"), chunk("server", b""))) == ["End", "Problem", "End"]


def test_a_response_without_its_request() -> None:
    items = view(chunk("server", RESPONSE + b"\x81\0"))
    assert names(items) == ["HTTP/1.1 101 Switching Protocols", "text"]
    assert isinstance(items[0], Handshake)
    assert items[0].accept is None
    assert names(view(chunk("server", response(status="204 No Content")))) == ["HTTP/1.1 204 No Content"]


def test_a_request_without_its_response() -> None:
    assert names(view(chunk("client", REQUEST + TEXT))) == ["GET /chat HTTP/1.1", "text"]
    items = view(chunk("client", REQUEST + TEXT), chunk("client", b""), chunk("server", b""))
    assert names(items) == ["GET /chat HTTP/1.1", "End", "End"]
    assert [item.sender for item in items[1:]] == ["server", "client"]


def test_connections_are_read_each_for_itself() -> None:
    items = view(
        chunk("client", REQUEST), chunk("client", REQUEST, connection=2), chunk("server", RESPONSE, connection=2),
        chunk("server", RESPONSE), chunk("client", TEXT, connection=2),
    )  # fmt: skip
    assert [item.connection for item in items] == [1, 2, 2, 1, 2]
    assert names(items)[-1] == "text"


def test_a_connection_that_is_over_is_forgotten() -> None:
    both_end = [chunk("client", b""), chunk("server", b"")]
    items = view(chunk("client", REQUEST), chunk("server", RESPONSE), *both_end, chunk("client", REQUEST))
    assert names(items)[-1] == "GET /chat HTTP/1.1"
    assert sum(isinstance(item, End) for item in items) == 2
