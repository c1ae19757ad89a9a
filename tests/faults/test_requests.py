"""Requests that must not get through: from foreign pages, too large, or malformed so that others read them wrongly."""

from __future__ import annotations

import logging

import pytest
from raw_client import TEXT, WS_FIELDS, Entrance, RawClient, both_servers, frame, request, serving


def with_host(host: str, *fields: str) -> bytes:
    return request(f"Host: {host}", *WS_FIELDS[1:], *fields)


WELL_FORMED = {"https://attacker.example", "null", "http://localhost:8001", "http://sub.example.com"}


@both_servers
@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "https://attacker.example"),
        ("localhost", "null"),
        ("localhost:8000", "http://localhost:8001"),
        ("localhost:8000", "http://localhost"),
        ("localhost", "http://localhost:8000"),
        ("localhost", "http://localhost.attacker.example"),
        ("localhost", "http://attacker.example/localhost"),
        ("localhost", "http://localhost@attacker.example"),
        ("example.com", "http://sub.example.com"),
        ("example.com", "http://example.com, http://attacker.example"),
        ("localhost", "file://"),
        ("localhost", ""),
    ],
)
def test_foreign_page_is_refused_and_the_log_says_how_to_allow_it(
    entrance: Entrance, host: str, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.send(with_host(host, f"Origin: {origin}") + frame(TEXT, b"never read"))
        response = client.read_response()
        assert response.status == 403
        assert b"never read" not in response.body
        # The page learns nothing of the configuration.
        assert b"origins=" not in response.body
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    message = record.getMessage()
    assert "403" in message
    assert repr(origin) in message
    if origin in WELL_FORMED:
        assert f"origins=['same', {origin!r}]" in message, "what to write to allow this page"


@both_servers
@pytest.mark.parametrize(
    ("host", "fields"),
    [
        ("localhost", []),
        ("localhost", ["Origin: http://localhost"]),
        ("localhost", ["Origin: https://localhost"]),
        ("localhost:8000", ["Origin: http://localhost:8000"]),
        ("LOCALHOST:80", ["Origin: http://localhost"]),
        ("[::1]:8000", ["Origin: http://[::1]:8000"]),
    ],
)
def test_page_of_the_same_host_and_program_without_an_origin_are_let_in(
    entrance: Entrance, host: str, fields: list[str]
) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.send(with_host(host, *fields))
        assert client.read_response().status == 101
        client.echo()


@both_servers
def test_origin_that_the_log_names_can_be_allowed(entrance: Entrance) -> None:
    with (
        serving(entrance, origins=["same", "https://friend.example"]) as address,
        RawClient(address) as friend,
        RawClient(address) as foe,
    ):
        friend.open("Origin: https://friend.example").echo()
        foe.send(request(*WS_FIELDS, "Origin: https://foe.example"))
        assert foe.read_response().status == 403


GOOD = request(*WS_FIELDS)
LIMITS = {
    "long target": (414, request(*WS_FIELDS, line=f"GET /{'a' * 8192} HTTP/1.1")),
    "target without an end": (414, f"GET /{'a' * 8192}{'a' * 100}".encode()),
    "many fields": (431, request(*WS_FIELDS, *[f"X-{number}: 1" for number in range(96)])),
    "large field": (431, request(*WS_FIELDS, f"Cookie: {'a' * 65536}")),
    "field without an end": (431, GOOD[:-2] + b"Cookie: " + b"a" * 65536),
    "fields without an end": (431, GOOD[:-2] + b"Cookie: a\r\n" * 101),
}
MALFORMED = {
    "bare LF": GOOD.replace(b"\r\n", b"\n"),
    "one bare LF": GOOD.replace(b"\r\nUpgrade", b"\nUpgrade"),
    "bare LF at the end": GOOD[:-2] + b"\n",
    "bare CR": GOOD.replace(b"\r\nUpgrade", b"\rUpgrade"),
    "NUL in a value": GOOD[:-2] + b"Cookie: a\0b\r\n\r\n",
    "NUL in a name": GOOD[:-2] + b"Coo\0kie: a\r\n\r\n",
    "NUL in the target": GOOD.replace(b"GET /", b"GET /\0"),
    "control character in a value": GOOD[:-2] + b"Cookie: a\x01b\r\n\r\n",
    "two Hosts": GOOD[:-2] + b"Host: localhost\r\n\r\n",
    "two different Hosts": GOOD[:-2] + b"Host: elsewhere\r\n\r\n",
    "no Host": GOOD.replace(b"Host: localhost\r\n", b""),
    "Host with a path": GOOD.replace(b"localhost", b"localhost/path"),
    "Content-Length and Transfer-Encoding": GOOD[:-2]
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding and Content-Length": GOOD[:-2]
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two Content-Lengths": GOOD[:-2] + b"Content-Length: 0\r\nContent-Length: 4\r\n\r\n",
    "negative Content-Length": GOOD[:-2] + b"Content-Length: -1\r\n\r\n",
    "folded field": GOOD[:-2] + b"Cookie: a\r\n b\r\n\r\n",
    "space before a colon": GOOD[:-2] + b"Cookie : a\r\n\r\n",
    "field without a name": GOOD[:-2] + b": a\r\n\r\n",
    "field without a colon": GOOD[:-2] + b"Cookie\r\n\r\n",
    "no request line": GOOD[GOOD.index(b"\r\n") + 2 :],
    "frames instead of a request": frame(TEXT, b"hello"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
}
MALFORMED_HTTP = {name: (400, data) for name, data in MALFORMED.items()}


@both_servers
@pytest.mark.parametrize("broken", [*LIMITS, *MALFORMED_HTTP])
def test_request_over_a_limit_or_malformed_is_answered_and_ends_the_connection(
    entrance: Entrance, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, data = {**LIMITS, **MALFORMED_HTTP}[broken]
    caplog.set_level(logging.INFO, "syncws")
    with serving(entrance) as address:
        with RawClient(address) as client:
            # Nothing of what is behind it is taken for a request, or for frames.
            behind = b"" if "without an end" in broken else GOOD + frame(TEXT, b"smuggled") * 1000
            client.send(data + behind)
            response = client.read_response()
            assert response.status == status
            assert response.headers["Connection"] == "close"
            assert client.read_to_end() == b""
        with RawClient(address) as another:
            another.open().echo()
    # The line may come when the client has gone, so only now is it sure to be there.
    assert len([record for record in caplog.records if f"with {status}" in record.getMessage()]) == 1
    assert not [record for record in caplog.records if record.exc_info]


@both_servers
def test_request_at_the_limits_is_let_in(entrance: Entrance) -> None:
    head = request(*WS_FIELDS, *[f"X-{number}: 1" for number in range(94)], line=f"GET /{'a' * 8191} HTTP/1.1")
    cookie = f"Cookie: {'a' * (65536 - len(head) - len('Cookie: ') - 2)}\r\n\r\n"
    head = head[:-2] + cookie.encode()
    assert len(head) == 65536
    with serving(entrance) as address, RawClient(address) as client:
        client.send(head + frame(TEXT, b"glued"))
        assert client.read_response().status == 101
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload == b"glued"
