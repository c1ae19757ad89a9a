"""Every scenario on every host, over real sockets: what the table in the documentation is made of.

The tests run host by host, and all tests of a host against one process of it. After each of them the host must have no
handler left that runs, and must have logged nothing that the test has not asked for; the last one ends the host.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Iterator

import pytest
from hosts.clients import Answer, ask, connect, opened
from hosts.handlers import BLOCKED, FAILURE, MEANWHILE, MESSAGES_EACH, MIB, QUEUED, SENDERS
from hosts.runners import DEADLINE, FAILED, Host, Served
from hosts.scenarios import scenario
from peers import start
from raw_client import BINARY, CLOSE, PING, PONG, TEXT, WS_FIELDS, deflated, frame, request

keys = map(str, itertools.count(1))

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def nothing_left(served: Served) -> Iterator[None]:
    """After each test no handler runs, and nothing unexpected is in the log."""
    yield
    if served.running:
        served.poll(lambda: served.get("/running") == "0")
        assert served.unexpected() == ""


@scenario("echo of text and binary messages")
@pytest.mark.parametrize("message", ["", "hello", "日本語 👋", b"", bytes(range(256)), "x" * 65535, b"x" * 65536])
def test_echo(served: Served, message: str | bytes) -> None:
    with connect(served, "/echo") as ws:
        for _ in range(3):
            ws.send(message)
            assert ws.receive() == message


@scenario("ping and pong")
def test_ping(served: Served) -> None:
    with opened(served, "/echo") as client:
        client.send(frame(PING, b"are you there?"))
        answer = client.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload) == (PONG, b"are you there?")
        client.close_normally()


@scenario("the subprotocol is agreed upon")
def test_subprotocol(served: Served) -> None:
    with connect(served, "/tell", subprotocols=["other", "chat.v1", "chat.v2"]) as ws:
        assert ws.subprotocol == "chat.v2"
        assert json.loads(ws.receive())["subprotocol"] == "chat.v2"
    with connect(served, "/tell", subprotocols=["other"]) as ws:
        assert ws.subprotocol is None
        assert json.loads(ws.receive())["subprotocol"] is None


@scenario("headers and cookies on the 101")
def test_headers(served: Served) -> None:
    with connect(served, "/tell?a=b", headers={"Cookie": "user=me"}) as ws:
        assert ws.headers["X-Room"] == "lobby"
        assert ws.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
        told = json.loads(ws.receive())
        assert (told["cookie"], told["path"]) == ("user=me", "/tell")


@scenario("401, 403 and 404 before the upgrade")
@pytest.mark.parametrize("status", [401, 403, 404])
def test_refused_by_the_app(served: Served, status: int) -> None:
    with served.connect() as client:
        client.send(request(*WS_FIELDS, line=f"GET /{status} HTTP/1.1"))
        response = Answer.to(client)
        assert response.status == status
        assert response.headers["X-App"] == "plain"
        assert response.body == b"not for you"
        assert response.stays is served.host.keep_alive
        if served.host.keep_alive:
            client.open(target="/echo").echo()
            client.close_normally()


@scenario("plain HTTP on the same connection before the upgrade")
def test_plain_http_before(served: Served) -> None:
    with served.connect() as client:
        for text in (b"first", b"second") if served.host.keep_alive else (b"only",):
            response = ask(client, "POST /body HTTP/1.1", f"Content-Length: {len(text)}", body=text)
            assert (response.status, response.body, response.stays) == (200, text, served.host.keep_alive)
        if served.host.keep_alive:
            client.open(target="/echo", glued=frame(TEXT, b"glued"))
            answer = client.read_frame()
            assert answer is not None
            assert answer.payload == b"glued"
            client.echo()
            client.close_normally()


@scenario("plain HTTP on other connections meanwhile")
def test_plain_http_meanwhile(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(opened(served, "/echo")) for _ in range(3)]
        for client in clients:
            assert served.get("/") == "hello"
            client.echo()
        assert served.get("/running") == "3"
        for client in clients:
            client.close_normally()


@scenario("first frame in the packet of the request")
@pytest.mark.parametrize("size", [0, 5, 3000, 20000, 100000])
def test_first_frame_with_the_request(served: Served, size: int) -> None:
    message = os.urandom(size)
    with opened(served, "/echo", glued=frame(BINARY, message) + frame(TEXT, b"and one more")) as client:
        for opcode, payload in ((BINARY, message), (TEXT, b"and one more")):
            answer = client.read_frame()
            assert answer is not None
            assert (answer.opcode, answer.payload) == (opcode, payload)
        client.close_normally()


@scenario("a request in pieces, the first frame in the last of them")
def test_request_in_pieces(served: Served) -> None:
    data = request(*WS_FIELDS, line="GET /echo HTTP/1.1") + frame(TEXT, b"hello")
    with served.connect() as client:
        for begin in range(0, len(data), 7):
            client.send(data[begin : begin + 7])
        assert client.read_response().status == 101
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload == b"hello"
        client.close_normally()


@scenario("messages of 8 MiB, both ways")
def test_big_messages(served: Served) -> None:
    text, binary = "語" * (8 * MIB // 3), os.urandom(8 * MIB)
    with connect(served, "/echo") as ws:
        for message in (text, binary):
            ws.send(message)
            assert ws.receive() == message


@scenario("send() from 20 threads or greenlets at once")
def test_many_senders(served: Served) -> None:
    with connect(served, "/many") as ws:
        messages = [ws.receive() for _ in range(SENDERS * MESSAGES_EACH)]
        assert ws.receive() == "all sent"
    for message in messages:
        assert isinstance(message, bytes)
        assert hashlib.sha256(message[32:]).digest() == message[:32]


@scenario("receive() and ping() while send() waits for a client that does not read")
def test_both_ways_at_once(served: Served) -> None:
    key = next(keys)
    with opened(served, f"/duplex?key={key}") as client:
        client.send(frame(TEXT, b"go"))
        # Nothing is read here, and so send() waits. All of these are received nevertheless.
        client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(MEANWHILE)))
        assert served.wait_for(f"/noted?key={key}") == f"{MEANWHILE} messages while send() waited"
        answers = []
        while (answer := client.read_frame()) is not None:
            if answer.opcode == PING:
                client.send(frame(PONG, answer.payload))
            elif answer.opcode == CLOSE:
                client.send(frame(CLOSE, answer.payload))
            else:
                answers.append(answer)
        assert [answer.opcode for answer in answers] == [BINARY, TEXT]
        assert answers[0].payload == b"x" * BLOCKED
        assert answers[1].payload == b"pinged"


@scenario("pings and the close frame are answered while the handler is elsewhere")
def test_handler_elsewhere(served: Served) -> None:
    key = next(keys)
    with opened(served, f"/elsewhere?key={key}") as client:
        client.send(frame(TEXT, b"kept"))
        client.send(frame(PING, b"anybody there?"))
        answer = client.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload) == (PONG, b"anybody there?")
        client.send(frame(CLOSE, (4001).to_bytes(2, "big")))
        assert client.read_close() == 4001
    assert served.wait_for(f"/noted?key={key}") == "kept, then 4001"


@scenario("a client that answers no pings is dropped")
def test_silent_client(served: Served) -> None:
    key = next(keys)
    with opened(served, f"/silence?key={key}") as client:
        answer = client.read_frame()
        assert answer is not None
        assert answer.opcode == PING
        assert served.wait_for(f"/noted?key={key}") == "1006: no answer to a ping within 0.6 s"


@scenario("send(wait=False) does not wait for a client that does not read")
def test_send_without_waiting(served: Served) -> None:
    key = next(keys)
    with opened(served, f"/queue?key={key}") as client:
        assert served.wait_for(f"/noted?key={key}") == "queued"
        for number in range(QUEUED):
            answer = client.read_frame()
            assert answer is not None
            assert answer.payload == bytes([number]) * MIB
        client.send(frame(TEXT, b"got it"))
        answer = client.read_frame()
        assert answer is not None
        assert answer.payload == b"all sent"
        assert client.read_close() in (1000, 1005)


@scenario("close() from another thread or greenlet wakes receive()")
def test_close_wakes_receive(served: Served) -> None:
    key = next(keys)
    with opened(served, f"/closed?key={key}") as client:
        assert client.read_frame() is not None
        closing = start(served.get, f"/close-other?key={key}")
        answer = client.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload) == (CLOSE, (4000).to_bytes(2, "big") + b"by another request")
        client.send(frame(CLOSE, answer.payload))
        assert client.read_to_end() == b""
    assert closing.result() == "closed"
    assert served.wait_for(f"/ended?key={key}") == "ConnectionClosed 4000"


@scenario("receive(timeout) times out, and goes on")
def test_receive_timeout(served: Served) -> None:
    with connect(served, "/timeout") as ws:
        assert [ws.receive(), ws.receive()] == ["nothing came"] * 2
        ws.send("hello")
        assert ws.receive() == "hello"


@scenario("not a byte after the close frame")
@pytest.mark.parametrize(
    ("path", "close"),
    [("/close", (4321).to_bytes(2, "big") + b"done"), ("/return", (1000).to_bytes(2, "big"))],
    ids=["closed", "returned"],
)
def test_nothing_after_our_close(served: Served, path: str, close: bytes) -> None:
    with opened(served, path) as client:
        answers = iter(client.read_frame, None)
        answer = next(each for each in answers if each.opcode == CLOSE)
        assert answer.payload == close
        client.send(frame(CLOSE, close[:2]))
        assert client.read_to_end() == b""


@scenario("not a byte after the close frame")
@pytest.mark.parametrize("code", [1000, 1001, 3456])
def test_nothing_after_their_close(served: Served, code: int) -> None:
    with opened(served, "/echo") as client:
        client.echo()
        client.send(frame(CLOSE, code.to_bytes(2, "big")))
        assert client.read_close() == code


@scenario("a handler that fails: 1011, and one entry in the log")
@pytest.mark.parametrize("path", ["/fail", "/flask/fail", "/bottle/fail"])
def test_failing_handler(served: Served, path: str) -> None:
    with opened(served, path, "X-User: me", glued=frame(TEXT, b"go")) as client:
        answer = client.read_frame()
        assert answer is not None
        assert (answer.opcode, answer.payload[:2]) == (CLOSE, (1011).to_bytes(2, "big"))
        client.send(frame(CLOSE, answer.payload[:2]))
        assert client.read_to_end() == b""
    entry = served.take_entries(served.host.failure if path == "/fail" else FAILED)
    assert entry.count("Traceback") == 1, entry
    assert entry.count(f"RuntimeError: {FAILURE}") == 1, entry


@scenario("a client that goes away: nothing in the log")
@pytest.mark.parametrize("how", ["end", "reset", "half a frame"])
def test_client_goes_away(served: Served, how: str) -> None:
    key = next(keys)
    with opened(served, f"/closed?key={key}") as client:
        assert client.read_frame() is not None
        if how == "reset":
            client.reset()
        elif how == "half a frame":
            client.send(frame(BINARY, b"x" * 1000)[:100])
    assert served.wait_for(f"/ended?key={key}") == "ConnectionClosed 1006"


@scenario("a page of another origin: 403, and a line that says how to allow it")
def test_foreign_origin(served: Served) -> None:
    with served.connect() as client:
        client.send(request(*WS_FIELDS, "Origin: https://evil.example", line="GET /echo HTTP/1.1"))
        response = Answer.to(client)
        assert response.status == 403
        assert b"origins=" not in response.body
    line = served.take_entries(r"origins=.*\n")
    assert line.count("\n") == 1, line
    with opened(served, "/echo", f"Origin: http{'s' if served.tls else ''}://localhost") as client:
        client.close_normally()


@scenario("a compression bomb: 1009")
def test_bomb(served: Served) -> None:
    bomb = deflated(*[bytes(MIB)] * 200)
    with opened(served, "/limited", "Sec-WebSocket-Extensions: permessage-deflate") as client:
        client.send(frame(BINARY, bomb, rsv=4))
        assert client.read_close() == 1009


@scenario("the size limit counts bytes, not characters")
def test_limit_counts_bytes(served: Served) -> None:
    with opened(served, "/limited") as client:
        client.echo("é" * (MIB // 2))
        client.send(frame(TEXT, ("é" * (MIB // 2) + "x").encode()))
        assert client.read_close() == 1009


@scenario("a wrong request for an upgrade: 400, 426")
def test_wrong_handshake(served: Served) -> None:
    with served.connect() as client:
        client.send(request(*WS_FIELDS[:-1], "Sec-WebSocket-Version: 8", line="GET /echo HTTP/1.1"))
        response = Answer.to(client)
        assert (response.status, response.headers["Sec-WebSocket-Version"]) == (426, "13")
    with served.connect() as client:
        assert ask(client, "GET /echo HTTP/1.1").status == 426


@scenario("Flask: request, g, session and url_for in the handler of a route")
def test_flask_route(served: Served) -> None:
    with served.connect() as client:
        response = ask(client, "GET /flask/enter HTTP/1.1")
        cookie = response.headers["Set-Cookie"].partition(";")[0]
    headers = {"Cookie": cookie, "X-User": "me", "X-Agent": "test"}
    with connect(served, "/flask/chat/lobby", headers=headers) as ws:
        expected = {"room": "lobby", "user": "me", "agent": "test", "visits": 1}
        # Flask's URLs of WebSockets are complete ones.
        assert json.loads(ws.receive()) == {**expected, "url": f"{served.scheme}://localhost/flask/chat/other"}
        ws.send("hello")
        assert ws.receive() == "hello"
    with connect(served, "/flask/members/chat") as ws:
        assert ws.receive() == "members"


@scenario("Flask: abort() before upgrade() in a view, a cookie with the 101, a page at the same path")
def test_flask_view(served: Served) -> None:
    with served.connect() as client:
        assert ask(client, "GET /flask/view HTTP/1.1").body == b"a page"
    with served.connect() as client:
        client.send(request(*WS_FIELDS, line="GET /flask/view HTTP/1.1"))
        response = Answer.to(client)
        assert response.status == 401
        assert b"who are you?" in response.body
    with connect(served, "/flask/view", headers={"X-User": "me"}) as ws:
        assert ws.headers["Set-Cookie"] == "seen=1; Path=/"
        assert ws.headers["X-Room"] == "lobby"
        ws.send(b"hello")
        assert ws.receive() == b"hello"


def has_bottle(host: Host) -> bool:
    """Bottle's request belongs to a thread, and so it needs threads, or monkey-patching."""
    return host.threads_local


@scenario("Bottle: request in the handler of a route, abort() before it, a cookie with the 101", has_bottle)
def test_bottle_route(served: Served) -> None:
    with served.connect() as client:
        client.send(request(*WS_FIELDS, line="GET /bottle/chat/lobby HTTP/1.1"))
        response = Answer.to(client)
        assert response.status == 401
        assert b"who are you?" in response.body
    with connect(served, "/bottle/chat/lobby?a=b", headers={"X-User": "me"}) as ws:
        assert ws.headers["Set-Cookie"] == "seen=1"
        assert json.loads(ws.receive()) == {"room": "lobby", "user": "me", "query": "b"}
        ws.send("hello")
        assert ws.receive() == "hello"


@scenario("the host is stopped: 1001")
def test_stop(served: Served) -> None:
    with opened(served, "/closed") as client:
        assert client.read_frame() is not None
        stopping = start(served.stop)
        assert client.read_frame().payload[:2] == (1001).to_bytes(2, "big")
        client.send(frame(CLOSE, (1001).to_bytes(2, "big")))
        assert client.read_to_end() == b""
    assert stopping.result(DEADLINE) in (0, -2, 130)
    assert served.unexpected() == ""
