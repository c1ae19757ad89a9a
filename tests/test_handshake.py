"""The opening handshake of both roles: every rule of RFC 6455, section 4, kept and broken."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.errors import HandshakeError
from syncws.protocol.deflate import Deflate
from syncws.protocol.handshake import (
    Agreement,
    RequestHead,
    ResponseHead,
    accept_value,
    check_response,
    is_upgrade_request,
    new_key,
    request_fields,
    respond,
)
from syncws.protocol.headers import Headers
from syncws.protocol.origins import Origins

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
Fields = list[tuple[str, str]]

REQUEST = [
    ("Host", "server.example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
]
RESPONSE = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)]
SWITCHED = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ACCEPT)]
DEFLATE = ("Sec-WebSocket-Extensions", "permessage-deflate")


def changed(fields: Fields, name: str, *values: str) -> Fields:
    """The fields with those called ``name`` replaced by one for each value."""
    return [field for field in fields if field[0] != name] + [(name, value) for value in values]


def request(
    fields: Fields = REQUEST, *, method: str = "GET", target: str = "/chat", version: str = "1.1"
) -> RequestHead:
    return RequestHead(method, target, version, Headers(fields))


def answer(
    head: RequestHead,
    *,
    subprotocols: tuple[str, ...] = (),
    origins: Origins = "same",
    compression: Deflate | None = None,
    headers: Fields = [],  # noqa: B006
) -> tuple[Agreement, Fields]:
    return respond(head, subprotocols=subprotocols, origins=origins, compression=compression, headers=headers)


def refused(head: RequestHead, **options: object) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        answer(head, **options)  # type: ignore[arg-type]
    return caught.value


def checked(
    fields: Fields = RESPONSE,
    *,
    status: int = 101,
    reason: str = "Switching Protocols",
    subprotocols: tuple[str, ...] = (),
    compression: Deflate | None = None,
) -> Agreement:
    head = ResponseHead(status, reason, Headers(fields))
    return check_response(head, KEY, subprotocols=subprotocols, compression=compression)


def unacceptable(fields: Fields, message: str, **options: object) -> HandshakeError:
    with pytest.raises(HandshakeError, match=message) as caught:
        checked(fields, **options)  # type: ignore[arg-type]
    assert caught.value.headers == fields
    return caught.value


# Keys


@pytest.mark.parametrize(
    ("key", "accept"), [(KEY, ACCEPT), ("xqBt3ImNzJbYqRINxEFlkg==", "K7DJLdLooIwIG/MOpvWFB3y3FE8=")]
)
def test_the_accept_value_of_known_keys(key: str, accept: str) -> None:
    assert accept_value(key) == accept


def test_new_keys_are_16_bytes_and_differ() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}


# Heads


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/chat", "/chat"),
        ("/chat?room=1", "/chat"),
        ("/chat?next=/a?b", "/chat"),
        ("/a%20b/%C3%A4", "/a%20b/%C3%A4"),
        ("//double", "//double"),
        ("/?x", "/"),
        ("http://example.com/chat?room=1", "/chat"),
        ("HTTPS://example.com:8443", "/"),
        ("http://example.com?room=1", "/"),
        ("/http://example.com/", "/http://example.com/"),
    ],
)
def test_the_path_of_a_target(target: str, path: str) -> None:
    assert request(target=target).path == path


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        (["websocket"], True),
        (["WebSocket"], True),
        (["foo/1.0, WEBSOCKET"], True),
        (["foo", "websocket"], True),
        (["h2c"], False),
        (["websocket2"], False),
        (["websocket/13"], False),
        ([""], False),
    ],
)
def test_what_is_meant_as_a_websocket(values: list[str], expected: bool) -> None:
    assert is_upgrade_request(request([("Upgrade", value) for value in values])) is expected


# The server's side


def test_the_smallest_request() -> None:
    assert answer(request()) == (Agreement(None, (), None), SWITCHED)


def test_the_example_of_the_rfc() -> None:
    # RFC 6455, 1.3; its Origin is another subdomain than its Host.
    fields = [*REQUEST, ("Origin", "http://example.com"), ("Sec-WebSocket-Protocol", "chat, superchat")]
    agreement, response = answer(request(fields), subprotocols=("chat",), origins=("http://example.com",))
    assert agreement == Agreement("chat")
    assert response == [*SWITCHED, ("Sec-WebSocket-Protocol", "chat")]


def test_extra_fields_come_last() -> None:
    extra = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert answer(request(), headers=extra)[1] == [*SWITCHED, *extra]
    compressed = answer(request([*REQUEST, DEFLATE]), headers=extra, compression=Deflate())[1]
    assert compressed[-2:] == extra


@pytest.mark.parametrize(
    "fields",
    [
        changed(REQUEST, "Upgrade", "WebSocket"),
        changed(REQUEST, "Upgrade", "foo/2, websocket"),
        changed(REQUEST, "Upgrade", "foo", " websocket\t"),
        changed(REQUEST, "Connection", "upgrade"),
        changed(REQUEST, "Connection", "keep-alive, UPGRADE"),
        changed(REQUEST, "Connection", "keep-alive", ",Upgrade,"),
        changed(REQUEST, "Sec-WebSocket-Version", " 13 "),
        changed(REQUEST, "Sec-WebSocket-Key", f"{KEY} "),
        [(name.upper(), value) for name, value in REQUEST],
        [*REQUEST, ("Content-Length", "0")],
        changed(REQUEST, "Host", "[::1]:8000"),
    ],
)
def test_tokens_in_any_case_and_over_several_fields(fields: Fields) -> None:
    assert answer(request(fields))[1] == SWITCHED


@pytest.mark.parametrize("version", ["1.1", "1.2", "2.0"])
def test_http_1_1_or_later(version: str) -> None:
    answer(request(version=version))


@pytest.mark.parametrize("version", ["0.9", "1.0"])
def test_http_before_1_1(version: str) -> None:
    error = refused(request(version=version))
    assert error.status == 505
    assert f"HTTP/{version}; a WebSocket needs HTTP/1.1" in str(error)


@pytest.mark.parametrize("method", ["POST", "HEAD", "get", "CONNECT"])
def test_methods_other_than_get(method: str) -> None:
    error = refused(request(method=method))
    assert (error.status, error.headers) == (405, [("Allow", "GET")])
    assert f"method '{method}'" in str(error)


@pytest.mark.parametrize("hosts", [[], [""], ["a", "a"], ["a b"], ["a/b"], ["user@a"], ["a, b"]])
def test_host_is_needed_exactly_once(hosts: list[str]) -> None:
    error = refused(request(changed(REQUEST, "Host", *hosts)), origins=None)
    assert error.status == 400
    assert "exactly one valid Host" in str(error)
    assert (" and ".join(map(repr, hosts)) or "none") in str(error)


@pytest.mark.parametrize(
    "target", ["*", "chat", "example.com:80", "ws://example.com/", "", "/chat#top", "http://example.com/#top"]
)
def test_targets_that_are_neither_path_nor_uri(target: str) -> None:
    error = refused(request(target=target))
    assert error.status == 400
    assert f"request target {target!r} is neither" in str(error)


@pytest.mark.parametrize("target", ["http:///chat", "http://user@server.example.com/", "http://a b/"])
def test_absolute_targets_without_a_valid_host(target: str) -> None:
    error = refused(request(target=target))
    assert error.status == 400
    assert "has no valid host" in str(error)


def test_the_host_of_an_absolute_target_counts() -> None:
    fields = [*REQUEST, ("Origin", "http://other.example.com")]
    answer(request(fields, target="http://other.example.com/chat"))
    assert refused(request(fields, target="http://server.example.com/chat")).status == 403
    assert refused(request(fields)).status == 403


@pytest.mark.parametrize(
    "body",
    [
        [("Content-Length", "1")],
        [("Content-Length", "0"), ("content-length", "5")],
        [("Content-Length", "")],
        [("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "")],
    ],
)
def test_a_body(body: Fields) -> None:
    error = refused(request([*REQUEST, *body]))
    assert error.status == 400
    assert "has a body" in str(error)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Upgrade", []),
        ("Upgrade", ["h2c"]),
        ("Upgrade", ["websocket13"]),
        ("Upgrade", ["web socket"]),
        ("Connection", []),
        ("Connection", ["keep-alive"]),
        ("Connection", ["close"]),
        ("Connection", ["not-upgrade"]),
    ],
)
def test_a_request_that_does_not_ask_for_the_upgrade(name: str, values: list[str]) -> None:
    error = refused(request(changed(REQUEST, name, *values)))
    assert error.status == 426
    assert error.headers == [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    assert f"{name} must list" in str(error)


@pytest.mark.parametrize("key", ["AQIDBAUGBwgJCgsMDQ4PEC==", "dGhlIHNhbXBsZSBub25jZR=="])
def test_a_key_whose_spare_bits_are_not_zero(key: str) -> None:
    # The first is the key of RFC 6455, 4.1, item 7.
    _, fields = answer(request(changed(REQUEST, "Sec-WebSocket-Key", key)))
    assert ("Sec-WebSocket-Accept", accept_value(key)) in fields


@pytest.mark.parametrize("versions", [[], [""], ["8"], ["7", "13"], ["13", "13"], ["13, 8"], ["14"], ["013"], ["x"]])
def test_versions_other_than_13(versions: list[str]) -> None:
    error = refused(request(changed(REQUEST, "Sec-WebSocket-Version", *versions)))
    assert error.status == 426
    assert ("Sec-WebSocket-Version", "13") in error.headers
    assert ("Upgrade", "websocket") in error.headers


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [""],
        [KEY, KEY],
        [KEY, ""],
        [f"{KEY}, {KEY}"],
        [KEY[:-1]],  # padding missing
        [KEY[:-2]],
        [KEY + "="],
        [base64.b64encode(bytes(15)).decode()],
        [base64.b64encode(bytes(17)).decode()],
        [base64.b64encode(bytes(18)).decode()],
        ["dGhlIHNhbXBsZSBub2 5jZQ=="],
        ["dGhlIHNhbXBsZSBub2_jZQ=="],  # of the alphabet for URLs
        ["dGhlIHNhbXBsZSBub2äjZQ=="],
        [KEY + "\n"],
    ],
)
def test_keys_that_are_not_16_bytes_once(keys: list[str]) -> None:
    error = refused(request(changed(REQUEST, "Sec-WebSocket-Key", *keys)))
    assert error.status == 400
    assert "exactly one Sec-WebSocket-Key" in str(error)


@given(st.binary(min_size=16, max_size=16))
def test_every_16_bytes_are_a_key(nonce: bytes) -> None:
    key = base64.b64encode(nonce).decode()
    fields = answer(request(changed(REQUEST, "Sec-WebSocket-Key", key)))[1]
    assert ("Sec-WebSocket-Accept", accept_value(key)) in fields


@pytest.mark.parametrize(
    ("origin", "origins", "status"),
    [
        ("http://server.example.com", "same", 101),
        ("http://example.com", "same", 403),
        ("null", "same", 403),
        ("http://example.com", ["http://example.com"], 101),
        ("http://example.com", None, 101),
    ],
)
def test_the_origin_is_checked(origin: str, origins: Origins, status: int) -> None:
    head = request([*REQUEST, ("Origin", origin)])
    if status == 101:
        answer(head, origins=origins)
    else:
        assert refused(head, origins=origins).status == status


@pytest.mark.parametrize(
    ("spoken", "offered", "chosen"),
    [
        ((), [], None),
        ((), ["chat"], None),
        (("chat",), [], None),
        (("chat",), ["chat"], "chat"),
        (("b", "a"), ["a, b"], "b"),  # the server's preference decides
        (("b", "a"), ["a", "c , b"], "b"),
        (("a",), [", a,,"], "a"),
        (("a",), ["A"], None),
        (("x", "y"), ["a, b"], None),
    ],
)
def test_the_choice_of_a_subprotocol(spoken: tuple[str, ...], offered: list[str], chosen: str | None) -> None:
    head = request(changed(REQUEST, "Sec-WebSocket-Protocol", *offered))
    agreement, fields = answer(head, subprotocols=spoken)
    assert agreement.subprotocol == chosen
    assert dict(fields).get("Sec-WebSocket-Protocol") == chosen


@pytest.mark.parametrize("offered", [[""], [" , "], ["a b"], ["a;b"], ['"a"'], ["a, a"], ["a", "a"], ["ä"]])
@pytest.mark.parametrize("spoken", [(), ("a",)])
def test_malformed_subprotocols(offered: list[str], spoken: tuple[str, ...]) -> None:
    error = refused(request(changed(REQUEST, "Sec-WebSocket-Protocol", *offered)), subprotocols=spoken)
    assert error.status == 400
    assert "must list unique tokens" in str(error)


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ([], False),
        (["permessage-deflate"], True),
        (["x-unknown, permessage-deflate; server_no_context_takeover"], True),
        (["x-unknown; a=1", "permessage-deflate; client_max_window_bits"], True),
        (["x-unknown"], False),
        (["permessage-deflate; unknown=1"], False),
    ],
)
def test_compression_is_agreed_on(offered: list[str], agreed: bool) -> None:
    head = request(changed(REQUEST, "Sec-WebSocket-Extensions", *offered))
    agreement, fields = answer(head, compression=Deflate())
    elements = [value for name, value in fields if name == "Sec-WebSocket-Extensions"]
    assert agreement.extensions == tuple(elements)
    assert len(elements) == agreed
    assert (agreement.deflate is not None) == agreed
    # Without compression on this side, the same offers are declined.
    assert answer(head) == (Agreement(), SWITCHED)


@pytest.mark.parametrize("offered", ["permessage-deflate; =", "a b", ";", 'permessage-deflate; x="'])
@pytest.mark.parametrize("compression", [None, Deflate()])
def test_malformed_extensions(offered: str, compression: Deflate | None) -> None:
    head = request(changed(REQUEST, "Sec-WebSocket-Extensions", offered))
    assert refused(head, compression=compression).status == 400


def test_a_message_shows_the_peers_values_bounded_and_as_literals() -> None:
    head = request(changed(REQUEST, "Sec-WebSocket-Version", *["1\r\n3" * 10000] * 90))
    message = str(refused(head))
    assert "'1\\r\\n31" in message
    assert "\n" not in message
    assert len(message) < 600


# The client's side


def test_the_fields_of_the_smallest_request() -> None:
    fields = request_fields("server.example.com", KEY, subprotocols=(), compression=None, headers=())
    assert sorted(fields) == sorted(REQUEST)


def test_the_fields_of_a_full_request() -> None:
    extra = [("Origin", "http://example.com"), ("Cookie", "a=1")]
    fields = request_fields("h:81", KEY, subprotocols=("chat", "superchat"), compression=Deflate(), headers=extra)
    assert fields[0] == ("Host", "h:81")
    assert fields[-2:] == extra
    assert dict(fields)["Sec-WebSocket-Protocol"] == "chat, superchat"
    assert dict(fields)["Sec-WebSocket-Extensions"].startswith("permessage-deflate")


@pytest.mark.parametrize(
    "fields",
    [
        RESPONSE,
        [(name.lower(), value) for name, value in RESPONSE],
        changed(RESPONSE, "Upgrade", "WebSocket"),
        changed(RESPONSE, "Connection", "keep-alive, upgrade"),
        changed(RESPONSE, "Connection", "keep-alive", "UPGRADE"),
        changed(RESPONSE, "Sec-WebSocket-Accept", f" {ACCEPT}\t"),
        [*RESPONSE, ("Set-Cookie", "a=1"), ("Sec-WebSocket-Version", "13")],
    ],
)
def test_a_response_that_is_accepted(fields: Fields) -> None:
    for subprotocols in ((), ("chat",)):
        for compression in (None, Deflate()):
            assert checked(fields, subprotocols=subprotocols, compression=compression) == Agreement()


@pytest.mark.parametrize(
    ("status", "reason"), [(200, "OK"), (301, "Moved"), (403, ""), (100, "Continue"), (503, "Busy")]
)
def test_a_status_other_than_101(status: int, reason: str) -> None:
    message = f"the server answered {status} '{reason}' instead of 101"
    error = unacceptable(RESPONSE, re.escape(message), status=status, reason=reason)
    assert error.status == status


@pytest.mark.parametrize(
    "values", [[], [""], ["h2c"], ["websocket, h2c"], ["websocket", "websocket"], ["websocket/13"]]
)
def test_a_response_with_another_upgrade(values: list[str]) -> None:
    error = unacceptable(changed(RESPONSE, "Upgrade", *values), "response's Upgrade must be 'websocket'")
    assert error.status == 101


@pytest.mark.parametrize("values", [[], [""], ["close"], ["keep-alive"], ["upgraded"]])
def test_a_response_with_another_connection(values: list[str]) -> None:
    unacceptable(changed(RESPONSE, "Connection", *values), "response's Connection must list 'Upgrade'")


@pytest.mark.parametrize(
    "values", [[], [""], [KEY], [ACCEPT.lower()], [ACCEPT[:-1]], [ACCEPT, ACCEPT], [accept_value(KEY[::-1])]]
)
def test_a_response_with_another_accept_value(values: list[str]) -> None:
    unacceptable(changed(RESPONSE, "Sec-WebSocket-Accept", *values), re.escape(f"Accept must be '{ACCEPT}'"))


def test_the_subprotocol_that_the_server_chose() -> None:
    fields = changed(RESPONSE, "Sec-WebSocket-Protocol", "b")
    assert checked(fields, subprotocols=("a", "b")) == Agreement("b")


@pytest.mark.parametrize("values", [["c"], ["A"], [""], ["a, b"], ["a", "b"], ["a", "a"]])
def test_a_subprotocol_that_was_not_offered(values: list[str]) -> None:
    fields = changed(RESPONSE, "Sec-WebSocket-Protocol", *values)
    unacceptable(fields, "it must be one of those offered: 'a', 'b'", subprotocols=("a", "b"))
    unacceptable(fields, "it must be one of those offered: none")


def test_the_extension_that_the_server_uses() -> None:
    fields = changed(RESPONSE, "Sec-WebSocket-Extensions", "permessage-deflate;server_no_context_takeover")
    agreement = checked(fields, compression=Deflate())
    assert agreement.extensions == ("permessage-deflate; server_no_context_takeover",)
    assert agreement.deflate is not None
    assert agreement.deflate.server_no_context_takeover


@pytest.mark.parametrize("values", [["permessage-deflate"], ["x-unknown; a=1"], ["a", "b"]])
def test_an_extension_that_was_not_offered(values: list[str]) -> None:
    fields = changed(RESPONSE, "Sec-WebSocket-Extensions", *values)
    error = unacceptable(fields, f"{values[0]}.* is unacceptable: the client has not offered that")
    assert error.status == 101


@pytest.mark.parametrize(
    "value", ["x-unknown", "permessage-deflate, permessage-deflate", "permessage-deflate; unknown", "a b"]
)
def test_an_extension_answer_that_cannot_be(value: str) -> None:
    fields = changed(RESPONSE, "Sec-WebSocket-Extensions", value)
    error = unacceptable(fields, "unacceptable|malformed", compression=Deflate())
    assert error.status == 101


# Both sides

NAMES = [name for name, _ in REQUEST + RESPONSE] + ["Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"]
VALUES = st.sampled_from(["websocket", "Upgrade", "13", KEY, ACCEPT, "permessage-deflate"]) | st.text(
    alphabet=st.characters(max_codepoint=255), max_size=20
)


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=6), st.text(max_size=10))
def test_any_head_is_accepted_or_refused_in_words(more: Fields, target: str) -> None:
    for fields in (more, REQUEST + more, RESPONSE + more):
        for head in (request(fields), request(fields, target=target)):
            try:
                answer(head, subprotocols=("a",), compression=Deflate())
            except HandshakeError as error:
                assert error.status in (400, 403, 426)
                assert str(error)
        try:
            checked(fields, subprotocols=("a",), compression=Deflate())
        except HandshakeError as error:
            assert error.status == 101
            assert error.headers == fields


@pytest.mark.parametrize("compression", [None, Deflate()])
@pytest.mark.parametrize("subprotocols", [(), ("b", "a")])
def test_both_sides_reach_the_same_agreement(compression: Deflate | None, subprotocols: tuple[str, ...]) -> None:
    key = new_key()
    fields = request_fields("localhost:8000", key, subprotocols=("a", "b"), compression=compression, headers=())
    here, response = answer(request(fields), subprotocols=subprotocols, compression=compression)
    head = ResponseHead(101, "Switching Protocols", Headers(response))
    there = check_response(head, key, subprotocols=("a", "b"), compression=compression)
    assert here == there
    assert here.subprotocol == (subprotocols[0] if subprotocols else None)
    assert (here.deflate is not None) == (compression is not None)
