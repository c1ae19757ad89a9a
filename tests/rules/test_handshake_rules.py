"""The rules for the opening handshake that servers break most, over TCP: RFC 6455, section 4, and RFC 7692, 7.1."""

from __future__ import annotations

import base64

import pytest
from raw_client import TEXT, WS_FIELDS, Entrance, RawClient, both_servers, frame, request, serving


def changed(name: str, *replacements: str) -> list[str]:
    """The header fields of a right request, with all of one name replaced."""
    return [field for field in WS_FIELDS if not field.startswith(f"{name}:")] + [*replacements]


def key_field(size: int) -> str:
    return f"Sec-WebSocket-Key: {base64.b64encode(bytes(size)).decode()}"


REFUSED = {
    "version 8": (426, request(*changed("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"))),
    "version 14": (426, request(*changed("Sec-WebSocket-Version", "Sec-WebSocket-Version: 14"))),
    "version 013": (426, request(*changed("Sec-WebSocket-Version", "Sec-WebSocket-Version: 013"))),
    "no version": (426, request(*changed("Sec-WebSocket-Version"))),
    "two versions": (426, request(*WS_FIELDS, "Sec-WebSocket-Version: 8")),
    "no key": (400, request(*changed("Sec-WebSocket-Key"))),
    "two keys": (400, request(*WS_FIELDS, key_field(16))),
    "the same key twice": (400, request(*WS_FIELDS, WS_FIELDS[3])),
    "key of 15 bytes": (400, request(*changed("Sec-WebSocket-Key", key_field(15)))),
    "key of 17 bytes": (400, request(*changed("Sec-WebSocket-Key", key_field(17)))),
    "key not base64": (400, request(*changed("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!=="))),
    "key empty": (400, request(*changed("Sec-WebSocket-Key", "Sec-WebSocket-Key:"))),
    "no Host": (400, request(*changed("Host"))),
    "Host empty": (400, request(*changed("Host", "Host:"))),
    "two Hosts": (400, request(*WS_FIELDS, "Host: localhost")),
    "POST": (405, request(*WS_FIELDS, "Content-Length: 0", line="POST / HTTP/1.1")),
    "HTTP/1.0": (505, request(*WS_FIELDS, line="GET / HTTP/1.0")),
    "no Upgrade": (426, request(*changed("Upgrade"))),
    "Upgrade to h2c": (426, request(*changed("Upgrade", "Upgrade: h2c"))),
    "Upgrade to a longer token": (426, request(*changed("Upgrade", "Upgrade: websocket2"))),
    "no Connection": (426, request(*changed("Connection"))),
    "Connection without Upgrade": (426, request(*changed("Connection", "Connection: keep-alive"))),
}


@both_servers
@pytest.mark.parametrize("broken", REFUSED)
def test_broken_request_gets_the_status_that_says_so(entrance: Entrance, broken: str) -> None:
    status, head = REFUSED[broken]
    with serving(entrance) as address, RawClient(address) as client:
        client.send(head)
        response = client.read_response()
        assert response.status == status
        assert response.body, "a person has to learn what is wrong"
        if status == 426:
            # RFC 9110, 15.5.22: a server MUST send Upgrade in a 426.
            assert response.headers["Upgrade"].lower() == "websocket"
            assert "upgrade" in response.headers["Connection"].lower()
        if "version" in broken:
            # RFC 6455, 4.4.
            assert response.headers.get_all("Sec-WebSocket-Version") == ["13"]
        if status == 405:
            assert response.headers["Allow"] == "GET"
        # The next client is served, whatever this one did.
        with RawClient(address) as another:
            another.open().echo()


@pytest.mark.parametrize("broken", REFUSED)
def test_refused_request_with_unread_bytes_behind_it_ends_without_a_reset(broken: str) -> None:
    status, head = REFUSED[broken]
    with serving() as address, RawClient(address) as client:
        client.send(head + bytes(200_000))
        assert client.read_response().status == status
        assert client.read_to_end() == b""


@both_servers
@pytest.mark.parametrize(
    "fields",
    [
        changed("Upgrade", "Upgrade: WebSocket"),
        changed("Upgrade", "Upgrade: h2c, WEBSOCKET"),
        changed("Upgrade", "Upgrade: h2c", "Upgrade: websocket"),
        changed("Connection", "Connection: keep-alive, upgrade"),
        changed("Connection", "Connection: keep-alive", "Connection: UPGRADE"),
        changed("Connection", "connection:keep-alive ,\tUpgrade  "),
        changed("Host", "hOST: LocalHost:1"),
        [field.upper() if field.startswith("Upgrade") else field for field in WS_FIELDS],
    ],
)
def test_tokens_are_found_in_lists_of_several_lines_without_regard_to_case(
    entrance: Entrance, fields: list[str]
) -> None:
    with serving(entrance) as address, RawClient(address) as client:
        client.send(request(*fields) + frame(TEXT, b"glued"))
        assert client.read_response().status == 101
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload == b"glued"


DECLINED = [
    "permessage-deflate; unknown",
    "permessage-deflate; unknown=1",
    "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=010",
    "permessage-deflate; client_max_window_bits=0",
    "permessage-deflate; client_max_window_bits=ten",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover=true",
    "x-webkit-deflate-frame",
]


@both_servers
@pytest.mark.parametrize("offer", DECLINED)
def test_unacceptable_offer_of_compression_is_declined(entrance: Entrance, offer: str) -> None:
    with serving(entrance, compression=True) as address, RawClient(address) as client:
        client.send(request(*WS_FIELDS, f"Sec-WebSocket-Extensions: {offer}"))
        response = client.read_response()
        assert response.status == 101
        assert "Sec-WebSocket-Extensions" not in response.headers
        client.echo("not compressed")


@both_servers
@pytest.mark.parametrize("separate", [False, True], ids=["one field", "two fields"])
@pytest.mark.parametrize("offer", DECLINED)
def test_the_offer_behind_a_declined_one_is_taken(entrance: Entrance, offer: str, separate: bool) -> None:
    good = "permessage-deflate; server_no_context_takeover; client_max_window_bits"
    offers = [offer, good] if separate else [f"{offer}, {good}"]
    with serving(entrance, compression=True) as address, RawClient(address) as client:
        client.send(request(*WS_FIELDS, *(f"Sec-WebSocket-Extensions: {value}" for value in offers)))
        response = client.read_response()
        assert response.status == 101
        (answer,) = response.headers.get_all("Sec-WebSocket-Extensions", [])
        name, *parameters = [part.strip() for part in answer.split(";")]
        assert name == "permessage-deflate"
        assert "server_no_context_takeover" in parameters
