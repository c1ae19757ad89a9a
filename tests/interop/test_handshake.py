"""Opening handshakes with libraries that others wrote: what is chosen, added, refused, redirected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from interop.cases import CLIENTS, OUR_CLIENT, SERVERS, cases
from interop.peers import (
    REDIRECT_PATH,
    REFUSED_BODY,
    REFUSED_PATH,
    Authority,
    Library,
    connected,
    our_server,
    uri_of,
)
from wire import Running

import syncws

clients = pytest.mark.parametrize("library", CLIENTS, indirect=True)
servers = pytest.mark.parametrize("library", SERVERS, indirect=True)
kinds = pytest.mark.parametrize("kind", ["WebSocketServer", "WSGIServer"])


@cases()
def test_subprotocol_that_both_speak(library: Library, role: str) -> None:
    server, client = {"subprotocols": ["v2.chat", "v1.chat"]}, {"subprotocols": ["v0.chat", "v1.chat", "other"]}
    ours, theirs = (client, server) if role == OUR_CLIENT else (server, client)
    with connected(library, role, ours=ours, theirs=theirs) as (ws, peer):
        assert ws.subprotocol == "v1.chat"
        assert peer.subprotocol == "v1.chat"


@cases()
def test_no_subprotocol(library: Library, role: str) -> None:
    with connected(library, role) as (ws, peer):
        assert ws.subprotocol is None
        assert peer.subprotocol is None


@pytest.mark.parametrize(
    ("library", "role"),
    [("websockets", "WebSocketServer"), ("aiohttp", "WebSocketServer"), ("aiohttp", OUR_CLIENT), ("ws", OUR_CLIENT)],
    indirect=["library"],
)
def test_no_subprotocol_in_common(library: Library, role: str) -> None:
    # RFC 6455, 4.2.2: the server goes on without one. (Some of the others insist on one, and fail the connection.)
    with connected(library, role, ours={"subprotocols": ["a"]}, theirs={"subprotocols": ["b"]}) as (ws, peer):
        assert ws.subprotocol is None
        assert peer.subprotocol is None


@cases()
def test_extra_header_fields_and_cookies(library: Library, role: str) -> None:
    request = [("X-Client", "interop"), ("Cookie", "session=abc123; theme=dark"), ("Authorization", "Bearer t0ken")]
    response = [("X-Server", "interop"), ("Set-Cookie", "session=def456; Path=/; HttpOnly")]
    ours, theirs = ("request", "response") if role == OUR_CLIENT else ("response", "request")
    fields = {"request": request, "response": response}
    with connected(library, role, ours={"headers": fields[ours]}, theirs={"headers": fields[theirs]}) as (ws, peer):
        for name, value in fields[ours]:
            assert peer.headers[name.lower()] == value
        if role != OUR_CLIENT:
            for name, value in request:
                assert ws.headers[name] == value


@cases(role="WSGIServer")
def test_path_and_query(library: Library, role: str) -> None:
    with connected(library, role, path="/room/b%C3%BCro?user=j%C3%BCrgen&x=1") as (ws, _):
        assert ws.path == "/room/b%C3%BCro"
        assert ws.request.target == "/room/b%C3%BCro?user=j%C3%BCrgen&x=1"


@clients
@kinds
def test_foreign_origin_is_refused(library: Library, kind: str) -> None:
    with our_server(kind) as server:
        assert server.port is not None
        refusal = library.refused(uri_of(server.port), [("Origin", "https://evil.example")])
        assert refusal.status == 403
        assert refusal.body is None or b"evil.example" not in refusal.body


@clients
def test_same_and_listed_origins_are_accepted(library: Library) -> None:
    with our_server("WebSocketServer", origins=["https://*.example.com"]) as server:
        assert server.port is not None
        peer = library.client(uri_of(server.port), headers=[("Origin", "https://app.example.com")])
        server.accepted().abort()
        peer.dispose()
    with our_server("WebSocketServer") as server:
        assert server.port is not None
        peer = library.client(uri_of(server.port), headers=[("Origin", f"http://127.0.0.1:{server.port}")])
        server.accepted().abort()
        peer.dispose()


def guarded_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A WSGI app that opens a WebSocket at one path, and only for those who know the password."""
    if environ["PATH_INFO"] != "/chat":
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("X-Reason", "no such room")])
        return [b"no such room"]
    if environ.get("HTTP_AUTHORIZATION") != "Basic eDp5":
        start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="chat"')])
        return [b"log in"]
    with syncws.upgrade(environ) as ws:
        ws.send("welcome")
    return []


@pytest.fixture
def guarded() -> Iterable[int]:
    with syncws.WSGIServer(("127.0.0.1", 0), guarded_app) as server, Running(server.serve_forever):
        yield server.server_address[1]
        server.shutdown()


@clients
def test_app_answers_with_plain_http(library: Library, guarded: int) -> None:
    refusal = library.refused(uri_of(guarded, "/elsewhere"))
    assert refusal.status == 404
    assert refusal.headers["x-reason"] == "no such room"
    assert refusal.body in (b"no such room", None)


@clients
def test_app_refuses_with_a_status_of_its_own(library: Library, guarded: int) -> None:
    refusal = library.refused(uri_of(guarded, "/chat"))
    assert refusal.status == 401
    assert refusal.headers["www-authenticate"] == 'Basic realm="chat"'
    assert refusal.body is None or b"log in" in refusal.body


@clients
def test_app_accepts(library: Library, guarded: int) -> None:
    peer = library.client(uri_of(guarded, "/chat"), headers=[("Authorization", "Basic eDp5")])
    assert peer.receive() == "welcome"
    assert peer.ended() == (1000, "")
    peer.dispose()


@servers
def test_their_refusal(library: Library) -> None:
    with library.server() as server:
        with pytest.raises(syncws.HandshakeError, match="401") as caught:
            syncws.connect(uri_of(server.port, REFUSED_PATH), proxy=None)
    assert caught.value.status == 401
    assert caught.value.body == REFUSED_BODY
    assert ("WWW-Authenticate", "Basic") in caught.value.headers


@servers
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_their_redirect(library: Library, authority: Authority, tls: bool) -> None:
    with library.server(tls=authority if tls else None) as server:
        uri = uri_of(server.port, REDIRECT_PATH, tls=tls)
        options: dict[str, Any] = {"ssl": authority.client if tls else None, "proxy": None}
        with pytest.raises(syncws.HandshakeError, match="302"):
            syncws.connect(uri, **options)
        with syncws.connect(uri, max_redirects=1, **options) as ws:
            assert ws.path == "/"
            peer = server.accepted()
            ws.send("arrived")
            assert peer.receive() == "arrived"
            with Running(peer.ended):
                ws.close()
            peer.dispose()
