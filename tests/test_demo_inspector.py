"""The demo's inspector: it shows a page all that passes on the page's own connections, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from commands import DEADLINE

from syncws import ConnectionClosed
from syncws.demo import DemoApp
from syncws.testing import InProcessWebSocket, connect

SESSION = "0123456789abcdef" * 2
OTHER = "f" * 32


@pytest.fixture
def app() -> DemoApp:
    return DemoApp(tick=1000.0)


def inspector(app: DemoApp, session: str = SESSION, **options: Any) -> InProcessWebSocket:
    return connect(app, f"/inspector?session={session}", **options)


def echo(app: DemoApp, session: str = SESSION, **options: Any) -> InProcessWebSocket:
    return connect(app, f"/echo?session={session}", **options)


def next_item(ws: InProcessWebSocket) -> dict[str, Any]:
    item = json.loads(ws.receive(timeout=DEADLINE))
    assert isinstance(item, dict)
    return item


def items_until(ws: InProcessWebSocket, last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    items = [next_item(ws)]
    while not last(items[-1]):
        items.append(next_item(ws))
    return items


def is_frame(name: str, sender: str, text: str | None = None) -> Callable[[dict[str, Any]], bool]:
    def check(item: dict[str, Any]) -> bool:
        return bool(item["kind"] == "frame" and item["name"] == name and item["sender"] == sender) and (
            text is None or item["text"] == text
        )

    return check


def test_handshake_and_frames(app: DemoApp) -> None:
    with inspector(app) as shown, echo(app) as ws:
        request, response = next_item(shown), next_item(shown)
        assert (request["kind"], request["sender"]) == ("request", "client")
        assert request["line"] == f"GET /echo?session={SESSION} HTTP/1.1"
        assert (response["kind"], response["line"]) == ("response", "HTTP/1.1 101 Switching Protocols")
        assert response["accept"]["ok"] and response["accept"]["key"] == ws.headers["Sec-WebSocket-Key"]
        ws.send("Hello")
        asked, answered = next_item(shown), next_item(shown)
        assert (asked["sender"], asked["masked"], asked["text"]) == ("client", True, "Hello")
        assert (answered["sender"], answered["masked"], answered["text"]) == ("server", False, "Hello")
        assert bytes.fromhex(asked["payload"]) == b"Hello" != bytes.fromhex(asked["payload_masked"])
        ws.close(4000, "bye")
        closes = [next_item(shown), next_item(shown)]
        assert [(item["name"], item["close_code"]) for item in closes] == [("close", 4000), ("close", 4000)]
        everything = [request, response, asked, answered, *closes]
        assert [item["number"] for item in everything] == [1, 2, 3, 4, 5, 6]
        assert {(item["connection"], item["endpoint"]) for item in everything} == {(1, "echo")}
        times = [item["time"] for item in everything]
        assert times == sorted(times) and times[0] >= 0


def test_connections_are_numbered_and_named(app: DemoApp) -> None:
    with inspector(app) as shown:
        for number, endpoint in enumerate(("echo", "chat", "ticker"), 1):
            with connect(app, f"/{endpoint}?session={SESSION}"):
                items = items_until(shown, lambda item: item["kind"] == "response")
                assert {(item["connection"], item["endpoint"]) for item in items[-2:]} == {(number, endpoint)}


def test_what_comes_first_waits_for_the_inspector(app: DemoApp) -> None:
    with echo(app) as ws:
        ws.send("early")
        assert ws.receive(timeout=DEADLINE) == "early"
        with inspector(app) as shown:
            items = items_until(shown, is_frame("text", "server", "early"))
            assert [item["number"] for item in items] == [1, 2, 3, 4]


def test_what_waits_is_limited(app: DemoApp) -> None:
    with echo(app) as ws:
        for number in range(200):
            ws.send(str(number))
            ws.receive(timeout=DEADLINE)
        with inspector(app) as shown:
            items = items_until(shown, is_frame("text", "server", "199"))
            assert len(items) == 100


def test_pages_see_only_their_own(app: DemoApp) -> None:
    with inspector(app) as shown, inspector(app, OTHER) as shown_to_other:
        with echo(app) as ws, echo(app, OTHER) as others, connect(app, "/echo") as nobodys:
            for one, text in ((ws, "mine"), (others, "theirs"), (nobodys, "nobody's")):
                one.send(text)
                assert one.receive(timeout=DEADLINE) == text
            for one, text, foreign in ((shown, "mine", OTHER), (shown_to_other, "theirs", SESSION)):
                items = items_until(one, is_frame("text", "server", text))
                assert [item["number"] for item in items] == [1, 2, 3, 4]
                assert foreign not in json.dumps(items)


def test_two_inspectors_of_a_page(app: DemoApp) -> None:
    with inspector(app) as one, inspector(app) as other, echo(app):
        assert next_item(one) == next_item(other)


@pytest.mark.parametrize("session", ["", "0123", "g" * 32, "A" * 32, SESSION + "0"])
def test_inspector_needs_a_session(app: DemoApp, session: str) -> None:
    with inspector(app, session) as shown, pytest.raises(ConnectionClosed) as closed:
        shown.receive(timeout=DEADLINE)
    assert closed.value.code == 1008
    assert "?session=" in closed.value.reason


def test_inspector_goes_and_comes_back(app: DemoApp) -> None:
    with echo(app) as ws:
        with inspector(app) as shown:
            assert next_item(shown)["kind"] == "request"
        ws.send("unseen")
        assert ws.receive(timeout=DEADLINE) == "unseen"
        with inspector(app) as shown:
            assert next_item(shown)["text"] == "unseen"


def test_inspector_has_nothing_to_say(app: DemoApp) -> None:
    with inspector(app) as shown:
        shown.send("anything")
        shown.ping(timeout=DEADLINE)
        with echo(app):
            assert next_item(shown)["kind"] == "request"


def test_sessions_are_forgotten(app: DemoApp) -> None:
    with inspector(app), echo(app):
        assert list(app._inspection._sessions) == [SESSION]
    assert app._inspection._sessions == {}


def test_long_texts_are_cut(app: DemoApp) -> None:
    with inspector(app) as shown, echo(app) as ws:
        ws.send(100_000 * "x")
        item = items_until(shown, is_frame("text", "client"))[-1]
        assert item["length"] == 100_000
        assert item["cut"]
        assert len(json.dumps(item)) < 20_000


def test_compressed_messages_are_shown_inflated(app: DemoApp) -> None:
    with inspector(app) as shown, connect(app, f"/echo?compress=1&session={SESSION}", compression=True) as ws:
        ws.send(50 * "ha")
        item = items_until(shown, is_frame("text", "server"))[-1]
        assert (item["compressed"], item["rsv1"], item["text"]) == (True, True, 50 * "ha")


def test_broken_frames_are_shown(app: DemoApp) -> None:
    with inspector(app) as shown, echo(app) as ws:
        ws._transport.send_all(b"\x83\x80\x00\x00\x00\x00", None)  # opcode 3 is reserved
        problem = items_until(shown, lambda item: item["kind"] == "problem")[-1]
        assert (problem["sender"], problem["close_code"], problem["endpoint"]) == ("client", 1002, "echo")


def test_a_slow_inspector_misses_the_oldest_and_holds_up_nobody(app: DemoApp) -> None:
    text = 2000 * "x"
    with inspector(app) as shown, echo(app) as ws:
        # More than the buffers of the sockets and the backlog take, in hexadecimal.
        for _ in range(400):
            ws.send(text)
            assert ws.receive(timeout=DEADLINE) == text
        ws.send("the end")
        assert ws.receive(timeout=DEADLINE) == "the end"
        numbers = [item["number"] for item in items_until(shown, is_frame("text", "server", "the end"))]
        assert numbers == sorted(set(numbers))
        assert numbers[0] == 1 and numbers[-1] == 2 * 401 + 2
        assert len(numbers) < numbers[-1]
