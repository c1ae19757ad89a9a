"""Headers: names without regard to case, several values for one name, never changed."""

from __future__ import annotations

import pytest

from syncws.protocol.headers import Headers

FIELDS = [("Host", "example.com"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Empty", "")]


@pytest.mark.parametrize("name", ["Host", "host", "HOST"])
def test_names_have_no_case(name: str) -> None:
    headers = Headers(FIELDS)
    assert headers[name] == "example.com"
    assert name in headers
    assert headers.get(name) == "example.com"
    assert headers.get_all(name) == ["example.com"]


def test_several_values_are_joined_and_kept_apart() -> None:
    headers = Headers(FIELDS)
    assert headers["Set-Cookie"] == "a=1, b=2"
    assert headers.get_all("SET-COOKIE") == ["a=1", "b=2"]


def test_an_empty_value_is_a_value() -> None:
    headers = Headers(FIELDS)
    assert headers["X-Empty"] == ""
    assert headers.get_all("X-Empty") == [""]
    assert "X-Empty" in headers


def test_a_missing_name() -> None:
    headers = Headers(FIELDS)
    with pytest.raises(KeyError, match="Cookie"):
        headers["Cookie"]
    assert headers.get("Cookie") is None
    assert headers.get("Cookie", "none") == "none"
    assert headers.get_all("Cookie") == []
    assert "Cookie" not in headers


def test_iteration_gives_each_name_once() -> None:
    headers = Headers(FIELDS)
    assert list(headers) == ["host", "set-cookie", "x-empty"]
    assert len(headers) == 3
    assert dict(headers) == {"host": "example.com", "set-cookie": "a=1, b=2", "x-empty": ""}


def test_pairs_are_the_fields_as_they_came() -> None:
    assert Headers(iter(FIELDS)).pairs() == tuple(FIELDS)


def test_equality_is_that_of_a_mapping() -> None:
    assert Headers([("A", "1")]) == Headers([("a", "1")]) == {"a": "1"}
    assert Headers([("A", "1")]) != Headers([("A", "2")])


def test_no_fields() -> None:
    headers = Headers()
    assert len(headers) == 0
    assert list(headers) == []
    assert not headers


def test_repr_shows_the_fields() -> None:
    assert repr(Headers([("A", "1")])) == "Headers([('A', '1')])"


def test_headers_cannot_be_changed() -> None:
    headers = Headers(FIELDS)
    with pytest.raises(TypeError):
        headers["Host"] = "elsewhere"  # type: ignore[index]
    with pytest.raises(AttributeError):
        headers.host = "elsewhere"  # type: ignore[attr-defined]
