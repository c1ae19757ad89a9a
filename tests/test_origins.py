"""The Origin check: which pages may connect, and what a refusal says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncws.errors import HandshakeError
from syncws.protocol.origins import Origins, check_origin, check_origins, split_authority


def refused(values: list[str], host: str, origins: Origins) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        check_origin(values, host, check_origins(origins))
    return caught.value


@pytest.mark.parametrize(
    ("authority", "parts"),
    [
        ("example.com", ("example.com", None)),
        ("Example.COM:8000", ("example.com", 8000)),
        ("example.com:", ("example.com", None)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]", ("[::1]", None)),
        ("[2001:DB8::1]:443", ("[2001:db8::1]", 443)),
        ("under_score", ("under_score", None)),
        ("", None),
        (":80", None),
        ("::1", None),
        ("[::1", None),
        ("a b", None),
        ("user@example.com", None),
        ("example.com/", None),
        ("example.com:http", None),
        ("example.com:123456", None),
        ("example.com:80\n", None),
        ("müller.de", None),
        ("a, b", None),
    ],
)
def test_authorities(authority: str, parts: tuple[str, int | None] | None) -> None:
    assert split_authority(authority) == parts


@pytest.mark.parametrize("origins", ["same", [], ["https://example.com"], None])
def test_without_an_origin_it_is_no_page(origins: Origins) -> None:
    check_origin([], "example.com", check_origins(origins))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),  # a proxy ends TLS
        ("HTTPS://Example.Com", "eXample.com"),
        ("http://example.com", "example.com:80"),
        ("https://example.com", "example.com:443"),
        ("https://example.com:443", "example.com"),
        ("http://example.com:80", "example.com:"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_the_same_origin(origin: str, host: str) -> None:
    check_origin([origin], host, "same")


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "example.com"),
        ("http://example.com.evil.example", "example.com"),
        ("http://evilexample.com", "example.com"),
        ("http://sub.example.com", "example.com"),
        ("http://localhost:8001", "localhost:8000"),
        ("http://localhost", "localhost:8000"),
        ("http://localhost:8000", "localhost"),
        ("https://example.com", "example.com:80"),
        ("http://example.com", "example.com:443"),
        ("http://127.0.0.1:8000", "localhost:8000"),
        ("ftp://example.com", "example.com"),
        ("chrome-extension://example", "example"),
        ("null", "null"),
    ],
)
def test_a_foreign_origin(origin: str, host: str) -> None:
    error = refused([origin], host, "same")
    assert error.status == 403
    assert f"Origin '{origin}' may not connect to host '{host}'" in str(error)
    assert f"to allow it, pass origins=['same', '{origin}']" in str(error)
    # The advice is for the log; the client is not told which origins are allowed.
    assert origin.encode() not in error.body
    assert b"not allowed" in error.body
    # The advice works.
    check_origin([origin], host, check_origins(["same", origin]))


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "same",
        "example.com",
        "//example.com",
        "http://",
        "http://example.com/",
        "http://example.com/path",
        "http://user@example.com",
        "http://example.com:x",
        "http://example.com http://other.example",
        "http://*",
        "http://localhost:*",
        "http://*.example.com",
        "NULL",
    ],
)
@pytest.mark.parametrize("origins", ["same", ["http://*.example.com", "http://localhost:*", "null", "same"]])
def test_what_is_not_an_origin_is_refused(origin: str, origins: Origins) -> None:
    error = refused([origin], "example.com", origins)
    assert error.status == 403
    assert str(error) == f"Origin {origin!r} is not an origin (RFC 6454, 7); it was refused"


def test_several_origins_are_a_bad_request() -> None:
    error = refused(["http://example.com", "http://example.com"], "example.com", "same")
    assert error.status == 400
    assert "2 Origin header fields" in str(error)


@pytest.mark.parametrize(
    ("pattern", "allowed", "forbidden"),
    [
        (
            "https://example.com",
            ["https://example.com", "https://EXAMPLE.com:443"],
            ["http://example.com", "https://example.com:8443", "https://www.example.com", "null"],
        ),
        (
            "https://*.example.com",
            ["https://www.example.com", "https://a.b.example.com", "https://www.example.com:443"],
            ["https://example.com", "https://.example.com", "https://evilexample.com", "http://www.example.com"],
        ),
        (
            "http://localhost:*",
            ["http://localhost", "http://localhost:5173"],
            ["https://localhost", "http://localhost.evil.example:80"],
        ),
        (
            "https://*.example.com:*",
            ["https://www.example.com:8443", "https://www.example.com"],
            ["https://example.com:8443"],
        ),
        ("http://[::1]:8000", ["http://[::1]:8000"], ["http://[::1]", "http://[::2]:8000"]),
        ("null", ["null"], ["http://null", "http://here"]),
        ("same", ["http://here", "https://here"], ["http://there", "null"]),
        ("file://", ["file://"], ["null", "http://file"]),
        ("app://local", ["app://local"], ["app://other", "app://local:80", "http://local"]),
    ],
)
def test_patterns(pattern: str, allowed: list[str], forbidden: list[str]) -> None:
    for origins in ([pattern], ("https://unrelated.example", pattern)):
        checked = check_origins(origins)
        for origin in allowed:
            check_origin([origin], "here", checked)
        for origin in forbidden:
            assert refused([origin], "here", origins).status == 403


def test_any_origin() -> None:
    for values in (["https://evil.example"], ["null"], ["nonsense"], ["a", "b"]):
        check_origin(values, "example.com", None)


def test_no_origin_at_all() -> None:
    assert "(allowed: none)" in str(refused(["http://example.com"], "example.com", []))


def test_a_host_that_is_not_one_has_no_pages() -> None:
    assert refused(["http://example.com"], "", "same").status == 403


def test_an_origin_cannot_forge_the_log() -> None:
    message = str(refused(["http://x\r\n2026 INFO all is well" + "y" * 60000], "example.com", "same"))
    assert "\n" not in message and "\r" not in message
    assert len(message) < 500


@pytest.mark.parametrize("origins", ["https://example.com", "*", "null", b"same"])
def test_a_single_pattern_has_to_be_in_a_list(origins: object) -> None:
    with pytest.raises(TypeError, match=re.escape(f"write [{origins!r}] for one pattern")):
        check_origins(origins)  # type: ignore[arg-type]


def test_a_pattern_that_is_not_a_str() -> None:
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        check_origins([b"https://example.com"])  # type: ignore[list-item]


def test_a_star_alone() -> None:
    with pytest.raises(ValueError, match="origins=None allows every origin"):
        check_origins(["*"])


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "example.com",
        "localhost:8000",
        "*.example.com",
        "https://",
        "https://*",
        "https://*example.com",
        "https://www.*.com",
        "https://*.*.com",
        "https://example.com/",
        "https://example.com/chat",
        "https://müller.de",
        "https://example.com:port",
        "*://example.com",
        "https://a b",
    ],
)
def test_a_pattern_that_could_never_match(pattern: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{pattern!r} is no pattern for origins; write it as a browser")):
        check_origins([pattern])


def test_checked_origins_are_a_value() -> None:
    assert check_origins("same") == "same"
    assert check_origins(None) is None
    assert check_origins(iter(["null", "same"])) == ("null", "same")


@given(st.text(max_size=40), st.sampled_from(["same", ("http://*.a.example", "null")]))
def test_any_text_is_allowed_or_refused(origin: str, origins: Origins) -> None:
    try:
        check_origin([origin], "example.com", origins)
    except HandshakeError as error:
        assert error.status == 403
