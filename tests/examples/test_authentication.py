"""Tokens and cookies: nobody gets in with a wrong one, and no page of another origin with a right one."""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from commands import DEADLINE
from example_programs import printing, running, websocket_url
from support import require_module

import syncws


@contextlib.contextmanager
def token_server() -> Iterator[tuple[str, str]]:
    """The URI of the example, and a token that it has made."""
    with printing("token_auth.py") as line:
        found = re.search(r"(ws://\S+) for (\S+)", line)
        assert found, line
        yield found[1], found[2]


def wrong_tokens(token: str) -> list[str]:
    last = "0" if token[-1] != "0" else "1"
    signature = token.partition(".")[2]
    return [token[:-1] + last, token[:-1], f"bob.{signature}", f".{signature}", signature, "ann.", "ann"]


def test_token_in_the_first_message() -> None:
    with token_server() as (uri, token):
        with syncws.connect(uri + "first") as ws:
            ws.send(token)
            assert ws.receive(timeout=DEADLINE) == "hello ann"
            ws.send("a note")
            assert ws.receive(timeout=DEADLINE) == "ann has 1 notes"
        for wrong in ["", "é", *wrong_tokens(token)]:
            with syncws.connect(uri + "first") as ws:
                ws.send(wrong)
                with pytest.raises(syncws.ConnectionClosed) as closed:
                    ws.receive(timeout=DEADLINE)
                assert (closed.value.code, closed.value.reason) == (4401, "wrong token")
        with syncws.connect(uri + "first") as ws:
            ws.send("x" * 1025)
            with pytest.raises(syncws.ConnectionClosed) as closed:
                ws.receive(timeout=DEADLINE)
            assert closed.value.code == 1009


def test_token_among_the_subprotocols() -> None:
    with token_server() as (uri, token):
        with syncws.connect(uri + "offered", subprotocols=["notes", f"token.{token}"]) as ws:
            assert ws.receive(timeout=DEADLINE) == "hello ann"
            assert ws.subprotocol == "notes", "the token is not sent back"
        for wrong in [[], *([f"token.{wrong}"] for wrong in wrong_tokens(token)), [token]]:
            with pytest.raises(syncws.HandshakeError) as refused:
                syncws.connect(uri + "offered", subprotocols=["notes", *wrong])
            assert refused.value.status == 401


def log_in(url: str, user: str, password: str) -> str:
    """Log in as the page does; return the cookie of the session."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    form = urllib.parse.urlencode({"user": user, "password": password}).encode()
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.build_opener(Stay).open(url + "login", form, timeout=DEADLINE)
    with answer.value:
        if answer.value.code != 302:
            assert answer.value.code == 403
            assert "Set-Cookie" not in answer.value.headers
            return ""
        cookie = answer.value.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    return str(cookie.partition(";")[0])


def test_cookie_is_checked_before_the_websocket_is_opened() -> None:
    require_module("flask")
    with running("cookie_auth.py") as url:
        account = websocket_url(url, "account")
        assert log_in(url, "ann", "wrong horse") == ""
        assert log_in(url, "bob", "correct horse") == ""
        cookie = log_in(url, "ann", "correct horse")
        with syncws.connect(account, headers={"Cookie": cookie, "Origin": url.rstrip("/")}) as ws:
            assert ws.receive(timeout=DEADLINE) == "ann is connected"
            ws.send("still me")
            assert ws.receive(timeout=DEADLINE) == "still me"
        payload, *rest = cookie.split(".")
        last = "A" if cookie[-10] != "A" else "B"
        forged = [f"{cookie[:-10]}{last}{cookie[-9:]}", ".".join([payload + "A", *rest]), payload, "session="]
        for headers in [{}, *({"Cookie": each} for each in forged)]:
            with pytest.raises(syncws.HandshakeError) as refused:
                syncws.connect(account, headers=headers)
            assert refused.value.status == 401


def test_cookie_is_of_no_use_to_a_page_of_another_origin() -> None:
    require_module("flask")
    with running("cookie_auth.py") as url:
        cookie = log_in(url, "ann", "correct horse")
        for origin in ("https://attacker.example", "null", url.rstrip("/") + "0"):
            with pytest.raises(syncws.HandshakeError) as refused:
                syncws.connect(websocket_url(url, "account"), headers={"Cookie": cookie, "Origin": origin})
            assert refused.value.status == 403
