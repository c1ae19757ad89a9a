"""syncws.uri: what a WebSocket URI means, and what is said about one that means nothing."""

from __future__ import annotations

import base64

import pytest

from syncws.uri import Authority, WebSocketURI, basic_credentials, parse_authority, parse_uri


@pytest.mark.parametrize(
    ("uri", "secure", "host", "port", "target"),
    [
        ("ws://localhost", False, "localhost", 80, "/"),
        ("wss://localhost", True, "localhost", 443, "/"),
        ("WS://LocalHost/Path", False, "localhost", 80, "/Path"),
        ("Wss://EXAMPLE.com:8443/", True, "example.com", 8443, "/"),
        ("ws://localhost:/x", False, "localhost", 80, "/x"),
        ("ws://localhost:00080/", False, "localhost", 80, "/"),
        ("ws://localhost:65535", False, "localhost", 65535, "/"),
        ("ws://localhost?a=1", False, "localhost", 80, "/?a=1"),
        ("ws://localhost/p?", False, "localhost", 80, "/p"),
        ("ws://localhost/p?a=1?b=/2", False, "localhost", 80, "/p?a=1?b=/2"),
        ("ws://127.0.0.1:9/a//b/../c", False, "127.0.0.1", 9, "/a//b/../c"),
        ("ws://[::1]", False, "::1", 80, "/"),
        ("ws://[2001:DB8:0::1]:81/", False, "2001:db8::1", 81, "/"),
        ("ws://my_service.internal.:1/", False, "my_service.internal.", 1, "/"),
        ("ws://bücher.example/", False, "xn--bcher-kva.example", 80, "/"),
        ("ws://例え.テスト/", False, "xn--r8jz45g.xn--zckzah", 80, "/"),
        ("ws://h/wörter/例?ü=ß", False, "h", 80, "/w%C3%B6rter/%E4%BE%8B?%C3%BC=%C3%9F"),
        ("ws://h/a%2Fb?c=%e4", False, "h", 80, "/a%2Fb?c=%e4"),
        ('ws://h/[1]?q={"a":1}|^\\', False, "h", 80, "/%5B1%5D?q=%7B%22a%22:1%7D%7C%5E%5C"),
        ("ws://h/~user:1@x/!$&'()*+,;=-._", False, "h", 80, "/~user:1@x/!$&'()*+,;=-._"),
    ],
)
def test_parts(uri: str, secure: bool, host: str, port: int, target: str) -> None:
    assert parse_uri(uri) == WebSocketURI(secure, host, port, target, None)


@pytest.mark.parametrize(
    ("uri", "field"),
    [
        ("ws://Example.com:80/", "example.com"),
        ("wss://example.com:443/", "example.com"),
        ("ws://example.com:443/", "example.com:443"),
        ("wss://example.com:80/", "example.com:80"),
        ("ws://[::1]/", "[::1]"),
        ("wss://[::1]:8443/", "[::1]:8443"),
        ("ws://user:password@example.com/", "example.com"),
    ],
)
def test_host_field_has_the_port_only_if_it_is_not_the_default(uri: str, field: str) -> None:
    assert parse_uri(uri).host_field == field


@pytest.mark.parametrize(
    ("uri", "userinfo"),
    [
        ("ws://user:password@h/", ("user", "password")),
        ("ws://user@h/", ("user", "")),
        ("ws://:token@h/", ("", "token")),
        ("ws://@h/", ("", "")),
        ("ws://us%40er:pass%3Aw:ord@h/", ("us@er", "pass:w:ord")),
        ("ws://%C3%BCser:p%C3%A4ss@h/", ("üser", "päss")),
        ("ws://üser:päss@h/", ("üser", "päss")),
        ("ws://user:100%25@h/", ("user", "100%")),
    ],
)
def test_userinfo(uri: str, userinfo: tuple[str, str]) -> None:
    assert parse_uri(uri).userinfo == userinfo


def test_basic_credentials_are_utf8() -> None:
    # The example of RFC 7617, section 2, and one with characters outside ASCII.
    assert basic_credentials(("Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    scheme, _, value = basic_credentials(("üser", "päss")).partition(" ")
    assert (scheme, base64.b64decode(value).decode()) == ("Basic", "üser:päss")


def test_str_leaves_out_the_password() -> None:
    uri = parse_uri("WSS://user:secret@Example.com:443/chat?room=1")
    assert str(uri) == "wss://example.com/chat?room=1"
    assert parse_uri(str(uri)).origin == uri.origin == (True, "example.com", 443)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", r"begins with ws:// or wss://, not with ''"),
        ("localhost:8000", r"begins with ws:// or wss://, not with 'localhost:'"),
        ("//localhost/", r"begins with ws:// or wss://"),
        ("http://localhost/", r"not with 'http:'; did you mean ws://\?"),
        ("HTTPS://localhost/", r"did you mean wss://\?"),
        ("ws:/localhost", r"begins with ws://"),
        ("ftp://localhost", r"not with 'ftp:'$"),
        (" ws://localhost/", r"not with ' ws:'"),
        ("ws://localhost/\n", r"cannot contain '\\n' \(character 15\)"),
        ("ws://local\x00host/", r"cannot contain '\\x00'"),
        ("ws://localhost/a b", r"cannot contain ' '.*percent-encode"),
        ("ws://localhost/\x7f", r"cannot contain '\\x7f'"),
        ("ws://localhost/\x85", r"cannot contain '\\x85'"),
        ("ws://localhost/\u2028", r"cannot contain '\\u2028'"),
        ("ws://localhost/\r\nX-Evil: 1", r"cannot contain '\\r'"),
        ("ws://localhost/#top", r"no fragment, not '#top'; write %23"),
        ("ws://h/#\ud800", r"no fragment"),
        ("ws://localhost#", r"no fragment, not '#'"),
        ("ws://", r"host is missing"),
        ("ws:///path", r"host is missing"),
        ("ws://:8000/", r"host is missing"),
        ("ws://user:secret@/", r"host is missing"),
        ("ws://?q", r"host is missing"),
        ("ws://localhost:0/", r"port '0' is not a number from 1 to 65535"),
        ("ws://localhost:65536/", r"port '65536'"),
        ("ws://localhost:-1/", r"port '-1'"),
        ("ws://localhost:+1/", r"port '\+1'"),
        ("ws://localhost:8o/", r"port '8o'"),
        ("ws://localhost:1_0/", r"port '1_0'"),
        ("ws://localhost:٣/", r"port '٣'"),
        ("ws://localhost:" + "9" * 100_000, r"port '9{40}' is not"),
        ("ws://[::1]:x/", r"port 'x'"),
        ("ws://::1/", r"more than one ':'; an IPv6 address is written in brackets"),
        ("ws://[::1/", r"stands in brackets"),
        ("ws://[::1]8000/", r"stands in brackets"),
        ("ws://[]/", r"\[\] is not an IPv6 address"),
        ("ws://[127.0.0.1]/", r"\[127\.0\.0\.1\] is not an IPv6 address"),
        ("ws://[fe80::1%25eth0]/", r"zone identifier.*sock="),
        ("ws://exa%6Dple.com/", r"not a valid host name: only letters"),
        ("ws://good\\evil/", r"not a valid host name: only letters"),
        ("ws://a,b/", r"not a valid host name"),
        ("ws://℀.example/", r"not a valid host name"),  # becomes "a/c" under IDNA's normalization
        ("ws://a..b/", r"not a valid host name: "),
        (f"ws://{'a' * 64}.example/", r"not a valid host name: "),
        (f"ws://{'abcdefg.' * 32}/", r"has 256 characters; a host name has at most 253"),
        ("ws://\ud800/", r"not a valid host name: "),
        ("ws://a@b@c/", r"write %40"),
        ("ws://us%3Aer:secret@h/", r"user name contains a ':'"),
        ("ws://user:%0Asecret@h/", r"control character"),
        ("ws://user:100%@h/", r"write %25"),
        ("ws://user:%ff@h/", r"not valid UTF-8"),
        ("ws://user:\ud800@h/", r"not valid UTF-8"),
        ("ws://h/100%", r"not '%'; write %25"),
        ("ws://h/?q=%zzz", r"not '%zz'; write %25"),
        ("ws://h/\ud800", r"surrogate"),
    ],
)
def test_bad_uri(uri: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_uri(uri)
    assert "secret" not in str(caught.value)
    str(caught.value).encode()  # no lone surrogate: the message can be printed


def test_a_uri_is_a_str() -> None:
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        parse_uri(b"ws://localhost/")  # type: ignore[arg-type]


def test_authority() -> None:
    assert parse_authority("proxy") == Authority("proxy", None, None)
    assert parse_authority("u:p@[::1]:3128") == Authority("::1", 3128, ("u", "p"))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("ws://other:81/x", "ws://other:81/x"),
        ("http://other/x", "ws://other/x"),
        ("HTTPS://other/x", "wss://other/x"),
        ("//other/x", "ws://other/x"),
        ("/x", "ws://host:8000/x"),
        ("x", "ws://host:8000/a/x"),
        ("../x", "ws://host:8000/x"),
        ("?c", "ws://host:8000/a/b?c"),
        ("/x#fragment", "ws://host:8000/x"),
        ("", "ws://host:8000/a/b?q"),
    ],
)
def test_resolve(location: str, target: str) -> None:
    assert str(parse_uri("ws://user:password@host:8000/a/b?q").resolve(location)) == target


@pytest.mark.parametrize("location", ["ftp://host/", "mailto:someone", "/a b", "http://[/"])
def test_resolve_to_nothing(location: str) -> None:
    with pytest.raises(ValueError):
        parse_uri("ws://host/").resolve(location)
